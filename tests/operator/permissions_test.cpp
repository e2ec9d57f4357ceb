// What the operator renders against the permissions document: nothing is granted beyond it, and
// nothing stands in it without a cause.
#include <array>
#include <cstdlib>
#include <random>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <policy/permissions.h>

#include "operator/model.h"
#include "operator/weakenings.h"

namespace palisade::op::testing {
namespace {

using policy::Actor;
using policy::Capability;
using policy::Grant;
using policy::Permissions;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;
using Lines = std::vector<std::string>;

std::uint64_t seed() {
  const char* given = std::getenv("PALISADE_TEST_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 10) : 20262;
}

// What the operator has applied for a workspace, by the plans that it makes.
struct Applied {
  Json pod, config_map, service_account;
  Json network_policies = Json::array();
  Json secret;

  [[nodiscard]] Json objects() const {
    return {{"pod", pod},
            {"networkPolicies", network_policies},
            {"configMaps", Json::array({config_map})},
            {"serviceAccount", service_account}};
  }
};

Applied applied(const Model& model) {
  Applied out;
  if (!model.seen.pod) throw std::runtime_error("no pod: " + model.condition("Accepted").dump());
  out.pod = *model.seen.pod;
  out.config_map = *model.seen.config_map;
  out.service_account = *model.seen.service_account;
  out.network_policies.push_back(*model.seen.network_policy);
  if (model.seen.secret) out.secret = *model.seen.secret;
  return out;
}

Permissions permissions_of(const Json& objects) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(objects.dump());
  auto read = policy::permissions_of(parser.parse(text));
  if (!read) throw std::runtime_error(read.error());
  return std::move(*read);
}

class Generator {
 public:
  explicit Generator(std::uint64_t number) : random_(number) {}
  int pick(int below) { return std::uniform_int_distribution(0, below - 1)(random_); }
  bool coin() { return pick(2) == 0; }

  Model model() {
    const bool own_gateway = coin();
    Model out(coin() ? usual_workspace() : minimal_workspace(), own_gateway);
    Json& spec = out.spec();
    if (coin()) spec.erase("task");
    if (coin()) spec["repository"]["access"] = "ReadOnly";
    if (coin()) spec["repository"]["branch"] = "palisade/" + std::to_string(pick(9));
    if (coin()) spec["isolation"]["runtimeClassName"] = "gvisor";
    if (coin()) spec["isolation"]["userNamespace"] = coin();
    if (!spec.value("isolation", Json::object()).value("userNamespace", true))
      out.config.policy.require_user_namespace = false;
    if (coin()) out.config.defaults.git_ca = "-----BEGIN CERTIFICATE-----\n";
    if (coin()) spec["agent"]["image"] = "registry.example.com/mine:" + std::to_string(pick(5));
    Json egress = Json::array();
    for (int i = pick(4); i > 0; --i)
      egress.push_back(rule());
    if (!egress.empty()) spec["isolation"]["egress"] = egress;
    if (pick(4) == 0) spec["isolation"]["exec"] = {{"mode", "Audit"}};
    if (coin()) spec["isolation"]["exec"]["allow"] = {"/usr/bin/make"};
    if (coin()) spec["storage"] = {{"size", "2Gi"}};
    if (!spec.contains("storage") && coin()) {
      spec["repository"]["mount"] = coin() ? "GitDirOnly" : "ReadOnly";
      if (spec["repository"]["mount"] == "ReadOnly") spec["repository"]["outputDir"] = "docs/out";
    }
    Access reached = own_gateway ? gateway_access() : access();
    if (own_gateway && coin()) {
      spec["repository"]["via"] = "Direct";
      reached.git = access().git;
      reached.git_url.clear();
    } else if (!own_gateway && coin()) {
      reached.llm.peers = Json::array({{{"ipBlock", {{"cidr", address() + "/32"}}}},
                                       {{"ipBlock", {{"cidr", "2001:db8::7/128"}}}}});
      reached.llm.host = "llm.example.com";
      reached.llm_url = "http://llm.example.com:8080/v1";
    }
    out.seen.access = reached;
    return out;
  }

 private:
  std::string address() { return "203.0.113." + std::to_string(pick(250) + 1); }
  Json rule() {
    Json out{{"to", Json::array()}};
    for (int i = pick(3) + 1; i > 0; --i) {
      switch (pick(3)) {
        case 0:
          out["to"].push_back({{"ipBlock", {{"cidr", address() + "/32"}}}});
          break;
        case 1:
          out["to"].push_back({{"podSelector", {{"matchLabels", {{"app", "x"}}}}}});
          break;
        default:
          out["to"].push_back(
              {{"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", "db"}}}}},
               {"podSelector", {{"matchLabels", {{"app", "y"}}}}}});
      }
    }
    if (coin()) out["ports"] = {{{"protocol", "TCP"}, {"port", pick(1000) + 1}}};
    return out;
  }
  std::mt19937_64 random_;
};

// What a grant's `from` names: the member of the objects that caused it. nullptr: there is none.
const Json* cause(const Applied& objects, const std::string& from) {
  const auto pointer_at = from.find(" /");
  if (pointer_at == std::string::npos) return nullptr;
  const std::string object = from.substr(0, pointer_at);
  const Json* root = nullptr;
  if (object == "Pod team-a/fix-login-agent") root = &objects.pod;
  if (object == "ConfigMap team-a/fix-login-agent") root = &objects.config_map;
  if (object == "NetworkPolicy team-a/fix-login-agent") root = &objects.network_policies[0];
  const Json::json_pointer pointer(from.substr(pointer_at + 1));
  return root != nullptr && root->contains(pointer) ? &root->at(pointer) : nullptr;
}

std::set<std::string> names_of(const Actor& actor) {
  std::set<std::string> out;
  for (const Capability& capability : actor.capabilities)
    out.insert(capability.name);
  return out;
}

Lines values(const Actor& actor, std::string_view name) {
  Lines out;
  if (const Capability* capability = actor.find(name); capability != nullptr) {
    for (const Grant& grant : capability->grants)
      out.push_back(grant.value);
  }
  return out;
}

const Actor& actor_named(const Permissions& permissions, const std::string& name) {
  const auto found = std::ranges::find(permissions.actors, name, &Actor::container);
  if (found == permissions.actors.end()) throw std::out_of_range("no actor " + name);
  return *found;
}

// The relay's door and the courier's: the guard of the agent's container keeps them shut, but where
// spec.isolation.egress selects pods, whose addresses are not known: then guard shuts out none.
bool shut_by_guard(const Applied& objects, const Json& rule) {
  const auto access = access_from_json(
      objects.pod["metadata"]["annotations"][kAccessAnnotation].get<std::string>());
  const auto selects = [](const Json& peer) { return !peer.contains("ipBlock"); };
  const Json& rules = objects.network_policies[0]["spec"]["egress"];
  for (std::size_t i = access->llm == access->git ? 1 : 2; i < rules.size(); ++i) {
    if (std::ranges::any_of(rules[i]["to"], selects)) return false;
  }
  return std::ranges::any_of(std::array{&access->llm, &access->git}, [&](const Endpoint* one) {
    return rule["to"] == one->peers && rule["ports"] == one->ports;
  });
}

// Everything that the rendered objects give a container, found here without the code under test:
// capability and value, "CAPABILITY VALUE".
std::multiset<std::string> rendered(const Applied& objects, const Json& container) {
  std::multiset<std::string> out;
  const Json& spec = objects.pod["spec"];
  const auto volume_of = [&](const Json& mount) { return named(spec["volumes"], mount["name"]); };
  // Only the agent has a guard; what it allows stands in its policy.
  const Json guard = Json::parse(objects.config_map["data"]["guard.json"].get<std::string>());
  const bool guarded = container["name"] == "aider" && guard["mode"] == "Enforce";
  const std::string exec = container["name"] == "aider" && !guarded ? "exec.any " : "exec ";
  const auto closed = [&](const std::string& path) {
    return guarded && path.starts_with("/palisade/") && path != "/palisade/policy" &&
           path != "/palisade/project";
  };
  if (guarded) {
    out.insert("exec aider, python3, git");
    for (const char* list : {"allow", "commands"}) {
      for (const Json& program : guard["exec"][list])
        out.insert("exec " + program.get<std::string>());
    }
  } else {
    out.insert(exec + container["image"].get<std::string>());
  }
  bool shm = true;
  bool mqueue = true;
  for (const Json& mount : container["volumeMounts"]) {
    const std::string path = mount["mountPath"];
    shm = shm && path != "/dev/shm";
    mqueue = mqueue && path != "/dev/mqueue";
    const Json volume = volume_of(mount);
    if (volume.contains("secret")) {
      out.insert("secret.read Secret " + volume["secret"]["secretName"].get<std::string>());
    } else if (volume.contains("projected")) {
      for (const Json& source : volume["projected"]["sources"])
        out.insert("identity.token token of ServiceAccount fix-login-agent for " +
                   source["serviceAccountToken"]["audience"].get<std::string>());
    } else if (volume.contains("configMap")) {
      out.insert("config.read ConfigMap " + volume["configMap"]["name"].get<std::string>());
    } else if (closed(path)) {
      continue;
    } else if (mount.value("readOnly", false)) {
      out.insert("filesystem.read " + path);
    } else {
      out.insert("filesystem.rw " + path);
      if (!guarded) out.insert(exec + path);
    }
  }
  if (shm) out.insert("filesystem.rw /dev/shm");
  if (mqueue) out.insert("filesystem.rw /dev/mqueue");
  if (!guarded) out.insert("filesystem.rw /dev/termination-log");
  for (const Json& variable : container.value("env", Json::array())) {
    if (variable.contains("valueFrom")) out.insert("env " + variable.dump());
  }
  if (container.contains("envFrom")) out.insert("envFrom " + container["envFrom"].dump());
  if (!container["securityContext"].value("readOnlyRootFilesystem", false))
    out.insert("filesystem.rw /");
  if (spec.value("automountServiceAccountToken", true)) out.insert("kube.api token");
  if (spec.value("hostUsers", true)) out.insert("host.users user IDs are the node's own");
  const Json& network = objects.network_policies[0]["spec"];
  for (const Json& rule : network["egress"]) {
    if (guarded && shut_by_guard(objects, rule)) continue;
    for (std::size_t i = 0; i < rule["to"].size(); ++i)
      out.insert("egress");
    if (rule["to"].empty()) out.insert("egress to all");
  }
  if (network.contains("ingress")) out.insert("ingress");
  if (guarded) out.insert("network.loopback 127.0.0.1/32 TCP/4000");
  const Json courier = Json::parse(objects.config_map["data"]["courier.json"].get<std::string>());
  const bool pushes = courier["access"] == "ReadWrite";
  const std::string url = courier.value("repositoryUrl", courier["url"].get<std::string>());
  if (container["name"] == "courier") {
    out.insert("git.api fetch " + courier["ref"].get<std::string>() + " of " + url);
    if (pushes) out.insert("git.api push " + courier["branch"].get<std::string>() + " of " + url);
  } else if (pushes && (container["name"] == "aider" || container["name"] == "checkout")) {
    out.insert("git.api push " + courier["branch"].get<std::string>() + " of " + url);
  }
  return out;
}

std::multiset<std::string> documented(const Actor& actor) {
  std::multiset<std::string> out;
  for (const Capability& capability : actor.capabilities) {
    for (const Grant& grant : capability.grants) {
      out.insert(capability.name.starts_with("network.egress.")
                     ? "egress"
                     : capability.name + " " + grant.value);
    }
  }
  return out;
}

// What the gateway does for the session, by the routes that show its token there.
Lines gateway_routes(const Applied& objects) {
  Lines out;
  const Json relay = Json::parse(objects.config_map["data"]["relay.json"].get<std::string>());
  for (const Json& route : relay["routes"]) {
    if (route.value("tokenFile", "") != "/var/run/secrets/palisade/gateway/token") continue;
    out.emplace_back(route["name"] == "llm" ? "network.egress.api.llm" : "network.egress.git");
  }
  return out;
}

TEST(Permissions, NothingIsRenderedBeyondTheDocumentAndNothingStandsInItWithoutACause) {
  SCOPED_TRACE("PALISADE_TEST_SEED=" + std::to_string(seed()));
  Generator generator(seed());
  std::set<std::string> seen;
  for (int round = 0; round < 60; ++round) {
    Model model = generator.model();
    model.settle();
    if (round % 2 == 0) model.run();
    const Applied objects = applied(model);
    const Permissions permissions = permissions_of(objects.objects());
    const Lines routes = gateway_routes(objects);
    ASSERT_EQ(permissions.actors.size(), routes.empty() ? 6U : 7U);
    if (!routes.empty()) {
      EXPECT_EQ(permissions.actors[6].role, "gateway");
      EXPECT_EQ(names_of(permissions.actors[6]),
                (std::set<std::string>{routes.begin(), routes.end()}));
    }
    for (const Actor& actor : permissions.actors) {
      if (actor.role == "gateway") continue;
      EXPECT_EQ(documented(actor), rendered(objects, container(objects.pod, actor.container)))
          << "round " << round << ", " << actor.container;
      for (const Capability& capability : actor.capabilities) {
        seen.insert(capability.name);
        for (const Grant& grant : capability.grants) {
          EXPECT_NE(cause(objects, grant.from), nullptr) << grant.from;
          if (capability.name.starts_with("network.egress.")) {
            EXPECT_THAT(grant.from, HasSubstr("NetworkPolicy"));
          }
        }
      }
      // Each peer has its grant, by its place.
      std::set<std::string> from;
      for (const char* name : {"network.egress.llm", "network.egress.git", "network.egress.gateway",
                               "network.egress.extra"}) {
        if (const Capability* egress = actor.find(name); egress != nullptr) {
          for (const Grant& grant : egress->grants)
            from.insert(grant.from);
        }
      }
      const Json& rules = objects.network_policies[0]["spec"]["egress"];
      std::size_t peers = 0;
      for (const Json& rule : rules) {
        const bool guarded = actor.container == "aider" && actor.find("exec.any") == nullptr;
        if (!guarded || !shut_by_guard(objects, rule)) peers += rule["to"].size();
      }
      EXPECT_EQ(from.size(), peers) << "round " << round;
    }
  }
  EXPECT_THAT(seen,
              ::testing::IsSupersetOf(
                  {"exec", "exec.any", "filesystem.read", "filesystem.rw", "git.api", "host.users",
                   "network.egress.extra", "network.egress.git", "network.egress.llm",
                   "network.egress.gateway", "network.loopback", "identity.token", "secret.read"}));
}

TEST(Permissions, OfTheUsualSession) {
  for (const bool own_gateway : {true, false}) {
    SCOPED_TRACE(own_gateway);
    Model model(usual_workspace(), own_gateway);
    model.settle();
    const Permissions permissions = permissions_of(applied(model).objects());
    EXPECT_EQ(permissions.workspace, "fix-login");
    const Actor& agent = actor_named(permissions, "aider");
    EXPECT_EQ(agent.role, "agent");
    EXPECT_EQ(names_of(agent),
              (std::set<std::string>{"config.read", "exec", "filesystem.read", "filesystem.rw",
                                     "git.api", "network.loopback"}));
    EXPECT_THAT(values(agent, "exec"),
                ElementsAre("aider, python3, git", "aider", "sh", "python3"));
    EXPECT_THAT(values(agent, "filesystem.rw"), ElementsAre("/workspace", "/tmp"));
    EXPECT_THAT(values(agent, "git.api"),
                ElementsAre("push palisade/fix-login of https://git.example.com/team/app.git"));
    EXPECT_THAT(values(agent, "network.loopback"), ElementsAre("127.0.0.1/32 TCP/4000"));
    const Actor& relay = actor_named(permissions, "relay");
    EXPECT_EQ(relay.role, "sidecar");
    const Actor& courier = actor_named(permissions, "courier");
    EXPECT_EQ(courier.role, "sidecar");
    EXPECT_THAT(
        values(courier, "git.api"),
        UnorderedElementsAre("fetch main of https://git.example.com/team/app.git",
                             "push palisade/fix-login of https://git.example.com/team/app.git"));
    EXPECT_EQ(actor_named(permissions, "checkout").role, "init");
    if (own_gateway) {
      EXPECT_THAT(values(relay, "network.egress.gateway"),
                  ElementsAre("pods app=palisade-gateway of namespaces "
                              "kubernetes.io/metadata.name=palisade-gateway TCP/8443"));
      EXPECT_THAT(values(relay, "identity.token"),
                  ElementsAre("token of ServiceAccount fix-login-agent for palisade-gateway"));
      EXPECT_THAT(values(courier, "secret.read"), ElementsAre());
    } else {
      EXPECT_THAT(
          values(relay, "network.egress.llm"),
          ElementsAre("pods app=llm of namespaces kubernetes.io/metadata.name=llm TCP/8080"));
      EXPECT_THAT(values(courier, "network.egress.git"), ElementsAre("192.0.2.10/32 TCP/443"));
      EXPECT_THAT(values(courier, "secret.read"), ElementsAre("Secret fix-login-git"));
    }
    for (const Actor& actor : permissions.actors)
      EXPECT_EQ(actor.find("identity.token") != nullptr, own_gateway && actor.container == "relay");
    // The gateway is outside the pod, and does for it what the pod cannot.
    EXPECT_EQ(permissions.actors.back().role == "gateway", own_gateway);
    if (own_gateway) {
      const Actor& gateway = permissions.actors.back();
      EXPECT_EQ(gateway.container, "gateway");
      EXPECT_EQ(names_of(gateway),
                (std::set<std::string>{"network.egress.api.llm", "network.egress.git"}));
      EXPECT_THAT(values(gateway, "network.egress.api.llm"),
                  ElementsAre("the models behind "
                              "https://palisade-gateway.palisade-gateway.svc:8443/v1"));
      EXPECT_THAT(values(gateway, "network.egress.git"),
                  ElementsAre("https://git.example.com/team/app.git"));
      for (const Capability& capability : gateway.capabilities) {
        for (const Grant& grant : capability.grants)
          EXPECT_NE(cause(applied(model), grant.from), nullptr) << grant.from;
      }
      // With its configuration at hand, by the upstreams there; keys in a URL are nobody's
      // business.
      Json objects = applied(model).objects();
      objects["configMaps"].push_back(
          {{"metadata", {{"name", "palisade-gateway-config"}, {"namespace", "palisade-gateway"}}},
           {"data",
            {{"gateway.json",
              R"({"llm": {"upstreams": [{"name": "a", "url": "https://u:k@a.example.com/v1"},
                                        {"name": "b", "url": "https://b.example.com"}]}})"}}}});
      const Actor named = permissions_of(objects).actors.back();
      EXPECT_THAT(values(named, "network.egress.api.llm"),
                  ElementsAre("https://a.example.com/v1", "https://b.example.com"));
      EXPECT_EQ(named.find("network.egress.api.llm")->grants[1].from,
                "ConfigMap palisade-gateway/palisade-gateway-config /data/gateway.json");
      // Without the token nobody goes there.
      objects["pod"]["spec"]["volumes"] = Json::array();
      EXPECT_NE(permissions_of(objects).actors.back().role, "gateway");
    }
  }
}

TEST(Permissions, DifferByTheShape) {
  const auto agent_of = [](const char* mount) {
    Json workspace = usual_workspace();
    workspace["spec"]["repository"]["mount"] = mount;
    if (std::string_view(mount) == "ReadOnly")
      workspace["spec"]["repository"]["outputDir"] = "docs/out";
    Model model(workspace, true);
    model.settle();
    return actor_named(permissions_of(applied(model).objects()), "aider");
  };
  const Actor usual = agent_of("ReadWrite");
  const Actor shared = agent_of("GitDirOnly");
  EXPECT_THAT(values(usual, "filesystem.read"), ElementsAre("/dev/shm", "/dev/mqueue"));
  EXPECT_THAT(values(shared, "filesystem.read"),
              UnorderedElementsAre("/dev/shm", "/dev/mqueue", "/palisade/project"));
  EXPECT_THAT(values(shared, "filesystem.rw"), ElementsAre("/workspace", "/tmp"));
  EXPECT_EQ(values(shared, "git.api"), values(usual, "git.api"));
  const Actor fixed = agent_of("ReadOnly");
  EXPECT_THAT(
      values(fixed, "filesystem.read"),
      UnorderedElementsAre("/dev/shm", "/dev/mqueue", "/palisade/project", "/workspace/repo"));
  EXPECT_THAT(values(fixed, "filesystem.rw"),
              UnorderedElementsAre("/workspace/.home", "/tmp", "/workspace/repo/docs/out"));
  ASSERT_EQ(values(fixed, "git.api"), values(usual, "git.api"));
  EXPECT_EQ(usual.find("git.api")->grants[0].detail,
            "through the courier, what is committed in /workspace/repo");
  EXPECT_EQ(fixed.find("git.api")->grants[0].detail,
            "through the courier, what is left in /workspace/repo/docs/out");
}

// Each weakening that gives a container something changes the document.
TEST(Permissions, AWeakenedPodHasAnotherDocument) {
  const std::set<std::string> gives{"not-privileged",
                                    "no-privilege-escalation",
                                    "drop-all-capabilities",
                                    "read-only-root-filesystem",
                                    "proc-mount",
                                    "host-ports",
                                    "no-host-namespaces",
                                    "user-namespace",
                                    "no-block-devices",
                                    "no-secret-in-env",
                                    "no-service-account-token"};
  Model model;
  model.settle();
  Applied objects = applied(model);
  objects.service_account = Json::object();  // which says no itself
  const Permissions before = permissions_of(objects.objects());
  const Json good = objects.pod;
  std::set<std::string> tried;
  for (const Weakening& weakening : weakenings_of(good)) {
    // A volume that no container mounts gives nothing.
    if (!gives.contains(weakening.control) || weakening.changes[0].pointer == "/spec/volumes/-")
      continue;
    objects.pod = weakened(good, weakening);
    const Permissions after = permissions_of(objects.objects());
    if (after == before)
      ADD_FAILURE() << weakening.control << ": " << weakening.name << " gives nothing";
    tried.insert(weakening.control);
  }
  EXPECT_EQ(tried, gives);
}

}  // namespace
}  // namespace palisade::op::testing
