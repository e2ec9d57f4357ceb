// Sessions whose LLM calls and git go through Palisade's own gateway: what is made where, and in
// which order it goes again; and gateways of the administrator's own, with a key.
#include <set>

#include <gmock/gmock.h>

#include "operator/model.h"
#include "policy/fixture.h"

namespace palisade::op::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kGitHost = "192.0.2.10";

Model running(Json workspace = usual_workspace(), bool own_gateway = true) {
  Model model(std::move(workspace), own_gateway);
  model.settle();
  model.run();
  model.settle();
  return model;
}

Json with(const std::string& pointer, const Json& value, Json object = usual_workspace()) {
  object[Json::json_pointer(pointer)] = value;
  return object;
}

// The gateway for LLM calls; git goes to its host.
Access direct_access() {
  Access out = gateway_access();
  out.git = access().git;
  out.git_url.clear();
  return out;
}

Json relay_of(const Json& config_map) {
  return Json::parse(config_map["data"]["relay.json"].get<std::string>());
}

Json courier_of(const Json& config_map) {
  return Json::parse(config_map["data"]["courier.json"].get<std::string>());
}

// Everything that a container could read a token or key from.
std::set<std::string> secrets_of(const Json& pod, const std::string& name) {
  std::set<std::string> out;
  for (const Json& mount : container(pod, name).at("volumeMounts")) {
    const Json& volume = named(pod["spec"]["volumes"], mount["name"]);
    if (volume.contains("secret") || volume.contains("projected"))
      out.insert(volume["name"].get<std::string>());
  }
  return out;
}

TEST(GatewayPod, RelayIsFirstAndAloneHasAnIdentity) {
  const Json pod = gateway_pod_of(usual_workspace());
  const Json& inits = pod["spec"]["initContainers"];
  ASSERT_EQ(inits.size(), 5U);
  EXPECT_EQ(inits[0]["name"], "relay");
  EXPECT_EQ(inits[0]["restartPolicy"], "Always");
  EXPECT_EQ(inits[0]["command"], Json({"/usr/local/bin/palisade-relay", "serve", "--config",
                                       "/etc/palisade/relay.json"}));
  EXPECT_EQ(
      inits[0]["startupProbe"]["exec"]["command"],
      Json({"/usr/local/bin/palisade-relay", "ready", "--config", "/etc/palisade/relay.json"}));
  EXPECT_EQ(inits[0]["securityContext"]["runAsUser"], 1004);
  EXPECT_EQ(inits[0]["securityContext"]["readOnlyRootFilesystem"], true);
  EXPECT_EQ(inits[0]["resources"]["limits"]["memory"], "64Mi");
  EXPECT_EQ(secrets_of(pod, "relay"), std::set<std::string>{"identity"});
  for (const char* other : {"courier", "checkout", "guard", "recorder", "aider"})
    EXPECT_EQ(secrets_of(pod, other), std::set<std::string>{}) << other;
  for (const char* mount : {"config", "identity"})
    EXPECT_EQ(named(inits[0]["volumeMounts"], mount)["readOnly"], true) << mount;
  EXPECT_EQ(
      named(pod["spec"]["volumes"], "identity")["projected"]["sources"],
      Json::array(
          {{{"serviceAccountToken",
             {{"audience", "palisade-gateway"}, {"expirationSeconds", 600}, {"path", "token"}}}}}));
  EXPECT_FALSE(pod["spec"].contains("hostAliases"));
  EXPECT_EQ(named(container(pod, "aider")["env"], "OPENAI_API_BASE")["value"],
            "http://127.0.0.1:4000/v1");
  EXPECT_EQ(named(container(pod, "aider")["env"], "OPENAI_API_KEY")["value"], "none");
  EXPECT_EQ(pod.dump().find("secret-token"), std::string::npos);
}

// The policy takes the relay's identity, there and nowhere else.
TEST(GatewayPod, ItsOwnPolicyFindsNothingWrongWithItThereAlone) {
  policy::Settings settings;
  settings.allowed_token_audiences = {"palisade-gateway"};
  const Json pod = gateway_pod_of(usual_workspace());
  EXPECT_TRUE(policy::testing::findings_of(pod, settings).empty())
      << policy::testing::tell(policy::testing::findings_of(pod, settings));
  EXPECT_EQ(policy::testing::controls_of(policy::testing::findings_of(pod)),
            std::set<std::string>{"no-service-account-token"});
  Json stolen = pod;
  stolen["spec"]["containers"][0]["volumeMounts"].push_back(
      {{"name", "identity"}, {"mountPath", "/workspace/.identity"}, {"readOnly", true}});
  EXPECT_EQ(policy::testing::controls_of(policy::testing::findings_of(stolen, settings)),
            std::set<std::string>{"no-service-account-token"});
}

TEST(GatewayPod, NetworkIsTheGatewayAlone) {
  const Workspace w = parsed(usual_workspace());
  EXPECT_EQ(
      desired_network_policy(w, gateway_access())["spec"]["egress"],
      Json::array({{{"to", gateway_access().llm.peers}, {"ports", gateway_access().llm.ports}}}));
  EXPECT_EQ(desired_network_policy(w, direct_access())["spec"]["egress"].size(), 2U);
}

TEST(GatewayConfig, RelayHasBothRoutes) {
  const Workspace w = parsed(usual_workspace());
  const Json map = desired_config_map(w, gateway_defaults(), gateway_access(), unreachable());
  const auto route = [](const char* name, const char* listen, const char* path) {
    return Json{{"name", name},
                {"listen", listen},
                {"url", std::string("https://palisade-gateway.palisade-gateway.svc:8443") + path},
                {"path", path},
                {"address", "10.96.3.4"},
                {"tokenFile", "/var/run/secrets/palisade/gateway/token"},
                {"caFile", "/etc/palisade/gateway-ca.pem"}};
  };
  EXPECT_EQ(relay_of(map),
            Json({{"routes",
                   {route("llm", "127.0.0.1:4000", "/v1"), route("git", "127.0.0.1:4001", "/git")}},
                  {"terminationLog", "/dev/termination-log"}}));
  EXPECT_EQ(map["data"]["gateway-ca.pem"], gateway().authorities);
  EXPECT_FALSE(map["data"].contains("git-ca.pem"));
  const Json courier = courier_of(map);
  EXPECT_EQ(courier["url"], "http://127.0.0.1:4001/git");
  EXPECT_EQ(courier["access"], "ReadWrite");
  for (const char* field : {"tokenFile", "caFile", "username"})
    EXPECT_EQ(courier[field], "") << field;
}

TEST(GatewayConfig, DirectGitKeepsTheCouriersTokenAndAuthorities) {
  Defaults set = gateway_defaults();
  set.git_ca = "-----BEGIN CERTIFICATE-----\n";
  const Workspace w = parsed(usual_workspace());
  const Json map = desired_config_map(w, set, direct_access(), unreachable());
  EXPECT_EQ(relay_of(map)["routes"].size(), 1U);
  EXPECT_EQ(map["data"]["git-ca.pem"], set.git_ca);
  EXPECT_EQ(courier_of(map)["url"], "https://git.example.com/team/app.git");
  EXPECT_EQ(courier_of(map)["tokenFile"], "/var/run/secrets/palisade/git/token");
  const Json pod = desired_pod(w, set, direct_access(), "secret-token");
  EXPECT_EQ(secrets_of(pod, "courier"), std::set<std::string>{"git-token"});
  EXPECT_EQ(secrets_of(pod, "relay"), std::set<std::string>{"identity"});
  EXPECT_EQ(pod["spec"]["hostAliases"],
            Json::array({{{"ip", kGitHost}, {"hostnames", {"git.example.com"}}}}));
}

TEST(GatewayConfig, AnotherGatewayGetsTheWorkspacesKeyFromTheRelay) {
  const Json keyed = with("/spec/llm/keySecretRef", {{"name", "virtual-key"}, {"key", "k"}});
  const Workspace w = parsed(keyed);
  const Json map = desired_config_map(w, defaults(), access(), unreachable());
  EXPECT_EQ(relay_of(map)["routes"],
            Json::array({{{"name", "llm"},
                          {"listen", "127.0.0.1:4000"},
                          {"url", "http://llm.llm.svc:8080/v1"},
                          {"path", "/v1"},
                          {"address", "10.96.0.20"},
                          {"tokenFile", "/var/run/secrets/palisade/llm/key"}}}));
  EXPECT_FALSE(map["data"].contains("gateway-ca.pem"));
  const Json pod = desired_pod(w, defaults(), access(), "secret-token");
  EXPECT_EQ(secrets_of(pod, "relay"), std::set<std::string>{"llm-key"});
  EXPECT_EQ(secrets_of(pod, "aider"), std::set<std::string>{});
  EXPECT_EQ(named(pod["spec"]["volumes"], "llm-key")["secret"]["secretName"], "fix-login-llm");
  // Without a key it has none.
  const Json bare = relay_of(config_map_of(parsed(usual_workspace())));
  EXPECT_FALSE(bare["routes"][0].contains("tokenFile"));
}

TEST(GatewayConfig, TheDefaultWayForGitIsTheGatewayForHostsOutside) {
  const struct {
    const char* url;
    const char* via;
    bool installed;
    bool through;
  } rows[] = {
      {"https://git.example.com/team/app.git", "", true, true},
      {"https://git.example.com/team/app.git", "", false, false},
      {"https://git.example.com/team/app.git", "Direct", true, false},
      {"https://git.example.com/team/app.git", "Gateway", false, true},  // refused when looked up
      {"https://gitea.git.svc/team/app.git", "", true, false},
      {"https://gitea.git.svc:3000/team/app.git", "", true, false},
      {"https://GITEA.git.SVC.cluster.local/team/app.git", "", true, false},
      {"https://gitea.git.svc/team/app.git", "Gateway", true, true},
      {"https://svc.example.com/team/app.svc", "", true, true},
      {"https://192.0.2.10/team/app.git", "", true, true},
  };
  for (const auto& row : rows) {
    Json object = with("/spec/repository/url", row.url);
    if (*row.via != '\0') object["spec"]["repository"]["via"] = row.via;
    EXPECT_EQ(
        wants_gateway_for_git(parsed(object), row.installed ? gateway_defaults() : defaults()),
        row.through)
        << row.url << " " << row.via;
  }
}

TEST(GatewayDecide, TheTokenIsMadeInTheGatewaysNamespace) {
  Model model(usual_workspace(), true);
  const Plan plan = model.decide();
  EXPECT_EQ(tell(plan),
            "add finalizer, apply ServiceAccount, apply Secret, apply ConfigMap, "
            "apply NetworkPolicy, create Pod, status");
  model.settle();
  ASSERT_TRUE(model.seen.gateway_secret);
  const Json& secret = *model.seen.gateway_secret;
  EXPECT_EQ(secret["metadata"]["name"], std::string("git-") + kUid);
  EXPECT_EQ(secret["metadata"]["namespace"], "palisade-gateway");
  EXPECT_EQ(secret["metadata"]["labels"]["palisade.dev/git-token"], "true");
  EXPECT_EQ(secret["metadata"]["annotations"]["palisade.dev/workspace"], "team-a/fix-login");
  EXPECT_FALSE(secret["metadata"].contains("ownerReferences"));
  EXPECT_EQ(secret["data"],
            Json({{"token", "dG9rZW4tMQ=="}, {"username", "eC1hY2Nlc3MtdG9rZW4="}}));
  EXPECT_FALSE(model.seen.secret) << "none in the workspace's namespace";
  EXPECT_EQ(tell(running().decide()), "");
}

TEST(GatewayDecide, ItsTokenRotatesAndGoesWithSuspensionEndAndDeletion) {
  Model model = running();
  model.seen.token = "token-2";
  EXPECT_EQ(tell(model.decide()), "apply Secret");
  model.settle();
  EXPECT_EQ((*model.seen.gateway_secret)["data"]["token"], "dG9rZW4tMg==");

  Model suspended = running();
  suspended.spec()["lifecycle"]["suspend"] = true;
  suspended.settle();
  EXPECT_TRUE(suspended.seen.gateway_secret) << "the pod still ends, and may push";
  suspended.let_go();
  suspended.settle();
  EXPECT_FALSE(suspended.seen.gateway_secret);

  Model ended = running();
  ended.end("Succeeded", R"({"commits": 0, "pushed": false})");
  ended.settle();
  EXPECT_EQ(ended.phase(), "Succeeded");
  EXPECT_FALSE(ended.seen.gateway_secret);

  Model deleted = running();
  deleted.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z";
  EXPECT_EQ(tell(deleted.decide()), "delete Pod");
  deleted.settle();
  EXPECT_TRUE(deleted.seen.gateway_secret);
  deleted.let_go();
  EXPECT_THAT(tell(deleted.decide()), HasSubstr("delete Secret"));
  deleted.settle();
  EXPECT_TRUE(deleted.gone);
  EXPECT_FALSE(deleted.seen.gateway_secret);

  // Also where the spec cannot be read any more.
  Model broken = running();
  broken.spec()["repository"]["url"] = "ext::sh";
  broken.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z";
  broken.settle();
  broken.let_go();
  broken.settle();
  EXPECT_TRUE(broken.gone);
  EXPECT_FALSE(broken.seen.gateway_secret);
}

TEST(GatewayDecide, SomebodyElsesSecretThereIsNeverTouched) {
  for (const Json& whose : {Json("team-b/fix-login"), Json(nullptr)}) {
    Model model = running();
    model.edit(&Observed::gateway_secret,
               {{"metadata", {{"annotations", {{kWorkspaceLabel, whose}}}}}});
    const Json before = *model.seen.gateway_secret;
    EXPECT_EQ(tell(model.decide()), "status");
    model.settle();
    EXPECT_EQ(model.condition("Accepted")["reason"], "NameConflict");
    model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z";
    model.settle();
    model.let_go();
    model.settle();
    EXPECT_TRUE(model.gone);
    EXPECT_EQ(*model.seen.gateway_secret, before);
  }
}

TEST(GatewayDecide, NewAuthoritiesReachALivePodAndSpareIt) {
  Model model = running();
  const std::string uid = (*model.seen.pod)["metadata"]["uid"];
  model.seen.gateway_ca = gateway().authorities + gateway().authorities;
  EXPECT_EQ(tell(model.decide()), "apply ConfigMap");
  model.settle();
  EXPECT_EQ((*model.seen.config_map)["data"]["gateway-ca.pem"], *model.seen.gateway_ca);
  EXPECT_EQ((*model.seen.pod)["metadata"]["uid"], uid);
  EXPECT_FALSE((*model.seen.pod)["metadata"].contains("deletionTimestamp"));
  // While they cannot be told, it keeps its own.
  const Json before = *model.seen.config_map;
  model.seen.gateway_ca = std::unexpected(Problem{"GatewayNotReady", "no ca.crt"});
  EXPECT_EQ(tell(model.decide()), "");
  EXPECT_EQ(*model.seen.config_map, before);
}

TEST(GatewayDecide, NothingStartsWithoutTheGatewaysAuthorities) {
  Model model(usual_workspace(), true);
  model.seen.gateway_ca = std::unexpected(Problem{"GatewayNotReady", "no ca.crt"});
  model.settle();
  EXPECT_FALSE(model.seen.pod);
  EXPECT_FALSE(model.seen.gateway_secret);
  EXPECT_EQ(model.condition("Accepted")["reason"], "GatewayNotReady");
  // A session that uses none does not mind.
  Model other;
  other.seen.gateway_ca = std::unexpected(Problem{"GatewayNotReady", "no ca.crt"});
  other.settle();
  EXPECT_TRUE(other.seen.pod);
}

TEST(GatewayDecide, NoSessionRunsAmongTheGatewaysKeys) {
  Json there = usual_workspace();
  there["metadata"]["namespace"] = "palisade-gateway";
  Model model(there, true);
  EXPECT_EQ(tell(model.decide()), "add finalizer, status");
  model.settle();
  EXPECT_EQ(model.condition("Accepted")["reason"], "NamespaceReserved");
}

TEST(GatewayDecide, AWayRoundTheGatewayWaitsForThePodsEnd) {
  Model model = running();
  const Json before = *model.seen.network_policy;
  model.spec()["repository"]["via"] = "Direct";
  model.seen.access = direct_access();
  EXPECT_THAT(tell(model.decide()), HasSubstr("delete Pod"));
  model.settle();
  EXPECT_EQ(*model.seen.network_policy, before) << "the pod is still ending";
  model.let_go();
  model.settle();
  EXPECT_EQ((*model.seen.network_policy)["spec"]["egress"].size(), 2U);
  EXPECT_TRUE(model.seen.secret);
  EXPECT_FALSE(model.seen.gateway_secret);
  // And back: narrower at once, and a new pod.
  model.run();
  model.settle();
  model.spec()["repository"].erase("via");
  model.seen.access = gateway_access();
  model.settle();
  EXPECT_EQ((*model.seen.network_policy)["spec"]["egress"].size(), 1U);
  model.let_go();
  model.settle();
  EXPECT_FALSE(model.seen.secret);
  EXPECT_TRUE(model.seen.gateway_secret);
}

TEST(GatewayDecide, AnnotationsOpenNoNetwork) {
  const std::pair<const char*, std::function<void(Access&)>> rows[] = {
      {"everything",
       [](Access& a) {
         a.llm.peers = Json::array({{{"ipBlock", {{"cidr", "0.0.0.0/0"}}}}});
       }},
      {"all pods of its namespace",
       [](Access& a) { a.git.peers[0]["podSelector"] = Json::object(); }},
      {"another namespace",
       [](Access& a) {
         a.git.peers[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] = "x";
       }},
      {"no peers", [](Access& a) { a.llm.peers = Json::array(); }},
      {"no ports", [](Access& a) { a.git.ports = Json::array(); }},
      {"a second peer",
       [](Access& a) {
         a.llm.peers.push_back({{"ipBlock", {{"cidr", "198.51.100.7/32"}}}});
       }},
      {"another gateway",
       [](Access& a) {
         a.git_url = "https://evil.team-b.svc/git";
         a.git.host = "evil.team-b.svc";
         a.git.peers[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] =
             "team-b";
       }},
      {"no gateway",
       [](Access& a) {
         a.git_url.clear();
         a.git = access().git;
       }},
  };
  for (const bool resolves : {true, false}) {
    for (const auto& [name, change] : rows) {
      Model model = running();
      const Json policy = (*model.seen.network_policy)["spec"];
      Access forged = gateway_access();
      change(forged);
      model.edit(&Observed::pod,
                 {{"metadata", {{"annotations", {{kAccessAnnotation, to_json(forged).dump()}}}}}});
      if (!resolves) model.seen.access = std::unexpected(Problem{"EndpointNotFound", "no Service"});
      model.settle([&](const Action&) {
        if (model.seen.pod) {
          EXPECT_EQ((*model.seen.network_policy)["spec"], policy) << name;
        }
      });
    }
  }
}

TEST(GatewayDecide, ALivePodKeepsItsGatewayWhileItCannotBeLookedUp) {
  Model model = running();
  model.seen.access = std::unexpected(Problem{"EndpointNotFound", "no Service"});
  EXPECT_EQ(tell(model.decide()), "");
  EXPECT_EQ(model.phase(), "Running");
}

TEST(KeyDecide, ItsKeyIsCopiedForTheRelayAndRotates) {
  const Json keyed = with("/spec/llm/keySecretRef", {{"name", "virtual-key"}});
  Model model(keyed);
  model.seen.llm_key = std::unexpected(Problem{"SecretNotFound", "no virtual-key"});
  model.settle();
  EXPECT_FALSE(model.seen.pod);
  EXPECT_EQ(model.condition("CredentialsReady")["reason"], "SecretNotFound");
  model.seen.llm_key = "sk-1";
  model.settle();
  model.run();
  model.settle();
  ASSERT_TRUE(model.seen.llm_secret);
  EXPECT_EQ((*model.seen.llm_secret)["metadata"]["name"], "fix-login-llm");
  EXPECT_EQ((*model.seen.llm_secret)["data"], Json({{"key", "c2stMQ=="}}));
  model.seen.llm_key = "sk-2";
  EXPECT_EQ(tell(model.decide()), "apply Secret");
  model.settle();
  EXPECT_EQ((*model.seen.llm_secret)["data"], Json({{"key", "c2stMg=="}}));
  EXPECT_TRUE(model.seen.secret) << "git goes to its host here";
  model.end("Succeeded", R"({"commits": 0, "pushed": false})");
  model.settle();
  EXPECT_FALSE(model.seen.llm_secret);
  EXPECT_FALSE(model.seen.secret);
}

TEST(KeyDecide, PalisadesOwnGatewayTakesNone) {
  Model model(with("/spec/llm/keySecretRef", {{"name", "virtual-key"}}), true);
  model.seen.llm_key = "sk-1";
  model.settle();
  EXPECT_FALSE(model.seen.pod);
  EXPECT_FALSE(model.seen.llm_secret);
  EXPECT_EQ(model.condition("Accepted")["reason"], "InvalidSpec");
  EXPECT_THAT(model.condition("Accepted")["message"].get<std::string>(),
              HasSubstr("spec.llm.keySecretRef"));
}

TEST(RelayEnd, ItsCountsReachTheStatus) {
  const auto ended = [](const std::string& word) {
    Model model = running();
    model.end("Succeeded", R"({"commits": 0, "pushed": false})");
    Json statuses = (*model.seen.pod)["status"]["initContainerStatuses"];
    statuses.push_back({{"name", "relay"}, {"state", {{"terminated", {{"message", word}}}}}});
    model.edit(&Observed::pod, {{"status", {{"initContainerStatuses", statuses}}}});
    model.settle();
    EXPECT_EQ(model.phase(), "Succeeded") << word;
    EXPECT_EQ(tell(model.decide()), "") << word;
    return model.seen.workspace["status"].value("llm", Json());
  };
  EXPECT_EQ(ended(R"({"requests": 7, "failures": 1, "bytesUp": 5, "bytesDown": 6})"),
            Json({{"requests", 7}, {"failures", 1}}));
  EXPECT_EQ(ended(R"({"requests": 18446744073709551615, "failures": "x"})"),
            Json({{"requests", 1000000000}, {"failures", 0}}));
  for (const char* none :
       {"", "{", "[]", "7", R"({"requests": -1})", R"({"requests": "7"})", R"({"failures": 1})"})
    EXPECT_EQ(ended(none), Json()) << none;
}

}  // namespace
}  // namespace palisade::op::testing
