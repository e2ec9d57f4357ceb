// The permissions document: each thing that a pod is given shows in it, under its name.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <policy/permissions.h>

#include "policy/fixture.h"

namespace palisade::policy {
namespace {

using policy::testing::good_pod;
using policy::testing::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Lines = std::vector<std::string>;

json deny_all() {
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"name", "closed"}, {"namespace", "team-a"}}},
          {"spec", {{"podSelector", json::object()}, {"policyTypes", {"Ingress", "Egress"}}}}};
}

json objects(const json& pod) {
  return {{"pod", pod}, {"networkPolicies", json::array({deny_all()})}};
}

std::expected<Permissions, std::string> read(const json& from) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(from.dump());
  return permissions_of(parser.parse(text));
}

// "CAPABILITY VALUE" of one container.
Lines grants(const json& from, const std::string& container = "aider") {
  const auto permissions = read(from);
  EXPECT_TRUE(permissions) << permissions.error();
  Lines out;
  if (!permissions) return out;
  for (const Actor& actor : permissions->actors) {
    if (actor.container != container) continue;
    for (const Capability& capability : actor.capabilities) {
      for (const Grant& grant : capability.grants)
        out.push_back(capability.name + " " + grant.value);
    }
  }
  return out;
}

// What a change of the good session gives that it had not.
Lines gained(const std::function<void(json&)>& change, const std::string& container = "aider") {
  json changed = objects(good_pod());
  const Lines before = grants(changed, container);
  change(changed);
  Lines out = grants(changed, container);
  std::erase_if(
      out, [&](const std::string& one) { return std::ranges::find(before, one) != before.end(); });
  return out;
}

json& aider(json& from) {
  return from["pod"]["spec"]["containers"][0];
}
void mount(json& from, const json& volume, const std::string& path, bool read_only = false) {
  json named = volume;
  named["name"] = "more";
  from["pod"]["spec"]["volumes"].push_back(named);
  aider(from)["volumeMounts"].push_back(
      {{"name", "more"}, {"mountPath", path}, {"readOnly", read_only}});
}

TEST(PermissionsTest, EachThingThatIsGivenShows) {
  struct Case {
    const char* name;
    std::function<void(json&)> change;
    Lines gained;
  };
  const std::vector<Case> cases{
      {"nothing", [](json&) {}, {}},
      {"emptyDir",
       [](json& o) {
         mount(o, {{"emptyDir", {{"sizeLimit", "1Gi"}}}}, "/more");
       },
       {"exec.any /more", "filesystem.rw /more"}},
      {"volume without a type",
       [](json& o) { mount(o, json::object(), "/more"); },
       {"exec.any /more", "filesystem.rw /more"}},
      {"read-only emptyDir",
       [](json& o) {
         mount(o, {{"emptyDir", json::object()}}, "/ro", true);
       },
       {"filesystem.read /ro"}},
      {"image volume",
       [](json& o) {
         mount(o, {{"image", {{"reference", "x"}}}}, "/image");
       },
       {"filesystem.read /image"}},
      {"read-only claim",
       [](json& o) {
         mount(o, {{"persistentVolumeClaim", {{"claimName", "c"}, {"readOnly", true}}}}, "/claim");
       },
       {"filesystem.read /claim"}},
      {"claim",
       [](json& o) {
         mount(o, {{"persistentVolumeClaim", {{"claimName", "c"}}}}, "/claim");
       },
       {"exec.any /claim", "filesystem.rw /claim"}},
      {"hostPath",
       [](json& o) {
         mount(o, {{"hostPath", {{"path", "/etc"}}}}, "/node");
       },
       {"exec.any /node", "filesystem.rw /node", "host.files /etc"}},
      {"mount of no volume",
       [](json& o) {
         aider(o)["volumeMounts"].push_back({{"name", "gone"}, {"mountPath", "/gone"}});
       },
       {"exec.any /gone", "filesystem.rw /gone"}},
      {"Secret mounted",
       [](json& o) {
         mount(o, {{"secret", {{"secretName", "s"}}}}, "/s");
       },
       {"secret.read Secret s"}},
      {"Secret projected",
       [](json& o) {
         mount(o, {{"projected", {{"sources", {{{"secret", {{"name", "p"}}}}}}}}}, "/p");
       },
       {"secret.read Secret p"}},
      {"Secret as a variable",
       [](json& o) {
         aider(o)["env"].push_back(
             {{"name", "X"}, {"valueFrom", {{"secretKeyRef", {{"name", "v"}, {"key", "k"}}}}}});
       },
       {"secret.read Secret v key k"}},
      {"Secret as variables",
       [](json& o) {
         aider(o)["envFrom"] = {{{"secretRef", {{"name", "all"}}}}};
       },
       {"secret.read Secret all"}},
      {"ConfigMap as variables",
       [](json& o) {
         aider(o)["envFrom"] = {{{"configMapRef", {{"name", "all"}}}}};
       },
       {"config.read ConfigMap all"}},
      {"ConfigMap mounted",
       [](json& o) {
         mount(o, {{"configMap", {{"name", "c"}}}}, "/c");
       },
       {"config.read ConfigMap c"}},
      {"token of the API server",
       [](json& o) { o["pod"]["spec"]["automountServiceAccountToken"] = true; },
       {"kube.api token of ServiceAccount fix-login-agent for the API server"}},
      {"token by default",
       [](json& o) { o["pod"]["spec"].erase("automountServiceAccountToken"); },
       {"kube.api token of ServiceAccount fix-login-agent for the API server"}},
      {"no token by the account's wish",
       [](json& o) {
         o["pod"]["spec"].erase("automountServiceAccountToken");
         o["serviceAccount"] = {{"automountServiceAccountToken", false}};
       },
       {}},
      {"token of an audience",
       [](json& o) {
         mount(
             o,
             {{"projected",
               {{"sources", {{{"serviceAccountToken", {{"audience", "vault"}, {"path", "t"}}}}}}}}},
             "/t");
       },
       {"identity.token token of ServiceAccount fix-login-agent for vault"}},
      {"rights bound to a token",
       [](json& o) {
         o["pod"]["spec"]["automountServiceAccountToken"] = true;
         o["roleBindings"] = {
             {{"metadata", {{"name", "b"}, {"namespace", "team-a"}}},
              {"subjects", {{{"kind", "ServiceAccount"}, {"name", "fix-login-agent"}}}},
              {"roleRef", {{"kind", "Role"}, {"name", "edit"}}}},
             {{"metadata", {{"name", "g"}}},
              {"subjects", {{{"kind", "Group"}, {"name", "system:serviceaccounts:team-a"}}}},
              {"roleRef", {{"kind", "ClusterRole"}, {"name", "view"}}}},
             {{"metadata", {{"name", "other"}, {"namespace", "team-a"}}},
              {"subjects", {{{"kind", "ServiceAccount"}, {"name", "somebody"}}}},
              {"roleRef", {{"kind", "Role"}, {"name", "admin"}}}}};
       },
       {"kube.api token of ServiceAccount fix-login-agent for the API server", "kube.api Role edit",
        "kube.api ClusterRole view"}},
      {"rights without a token",
       [](json& o) {
         o["roleBindings"] = {
             {{"metadata", {{"name", "b"}, {"namespace", "team-a"}}},
              {"subjects", {{{"kind", "ServiceAccount"}, {"name", "fix-login-agent"}}}},
              {"roleRef", {{"kind", "Role"}, {"name", "edit"}}}}};
       },
       {}},
      {"writable root",
       [](json& o) { aider(o)["securityContext"].erase("readOnlyRootFilesystem"); },
       {"filesystem.rw /"}},
      {"shared memory",
       [](json& o) {
         std::erase_if(aider(o)["volumeMounts"].get_ref<json::array_t&>(),
                       [](const json& m) { return m["mountPath"] == "/dev/shm"; });
       },
       {"filesystem.rw /dev/shm"}},
      {"privileged",
       [](json& o) { aider(o)["securityContext"]["privileged"] = true; },
       {"host.privileged everything"}},
      {"escalation",
       [](json& o) { aider(o)["securityContext"].erase("allowPrivilegeEscalation"); },
       {"kernel.escalation set-user-ID programs"}},
      {"a kernel capability",
       [](json& o) { aider(o)["securityContext"]["capabilities"]["add"] = {"NET_RAW"}; },
       {"kernel.capabilities NET_RAW"}},
      {"kernel capabilities not dropped",
       [](json& o) { aider(o)["securityContext"]["capabilities"].erase("drop"); },
       {"kernel.capabilities the runtime's default ones"}},
      {"no seccomp",
       [](json& o) {
         aider(o)["securityContext"]["seccompProfile"] = {{"type", "Unconfined"}};
       },
       {"kernel.syscalls all of them"}},
      {"proc",
       [](json& o) { aider(o)["securityContext"]["procMount"] = "Unmasked"; },
       {"kernel.proc unmasked"}},
      {"the node's network",
       [](json& o) { o["pod"]["spec"]["hostNetwork"] = true; },
       {"host.namespaces network"}},
      {"the node's processes",
       [](json& o) { o["pod"]["spec"]["hostPID"] = true; },
       {"host.namespaces processes"}},
      {"the node's IPC",
       [](json& o) { o["pod"]["spec"]["hostIPC"] = true; },
       {"host.namespaces IPC"}},
      {"the node's users",
       [](json& o) { o["pod"]["spec"].erase("hostUsers"); },
       {"host.users user IDs are the node's own"}},
      {"a host port",
       [](json& o) {
         aider(o)["ports"] = {{{"containerPort", 1}, {"hostPort", 2}}};
       },
       {"host.ports 2"}},
      {"others' processes",
       [](json& o) { o["pod"]["spec"]["shareProcessNamespace"] = true; },
       {"process.others all containers of the pod"}},
      {"a device",
       [](json& o) {
         aider(o)["volumeDevices"] = {{{"name", "d"}, {"devicePath", "/dev/sda"}}};
       },
       {"devices /dev/sda"}},
      {"no NetworkPolicy",
       [](json& o) { o.erase("networkPolicies"); },
       {"network.egress.any anywhere", "network.ingress anywhere"}},
      {"one for other pods",
       [](json& o) {
         o["networkPolicies"][0]["spec"]["podSelector"] = {{"matchLabels", {{"app", "web"}}}};
       },
       {"network.egress.any anywhere", "network.ingress anywhere"}},
      {"one of another namespace",
       [](json& o) { o["networkPolicies"][0]["metadata"]["namespace"] = "team-b"; },
       {"network.egress.any anywhere", "network.ingress anywhere"}},
      {"one for one way",
       [](json& o) { o["networkPolicies"][0]["spec"]["policyTypes"] = {"Ingress"}; },
       {"network.egress.any anywhere"}},
      {"egress",
       [](json& o) {
         o["networkPolicies"][0]["spec"]["egress"] = {
             {{"to",
               {{{"ipBlock", {{"cidr", "10.0.0.0/8"}, {"except", {"10.1.0.0/16"}}}}},
                {{"podSelector", {{"matchLabels", {{"app", "db"}}}}}},
                {{"namespaceSelector", json::object()}}}},
              {"ports", {{{"port", 443}}, {{"port", 8000}, {"endPort", 9000}}}}},
             {{"ports", {{{"protocol", "UDP"}, {"port", 53}}}}},
             json::object()};
       },
       {"network.egress.extra 10.0.0.0/8 except 10.1.0.0/16 TCP/443,TCP/8000-9000",
        "network.egress.extra pods app=db of namespace team-a TCP/443,TCP/8000-9000",
        "network.egress.extra pods all of namespaces all TCP/443,TCP/8000-9000",
        "network.egress.extra anywhere UDP/53", "network.egress.extra anywhere all ports"}},
      {"ingress",
       [](json& o) {
         o["networkPolicies"][0]["spec"]["ingress"] = {
             {{"from", {{{"podSelector", json::object()}}}}}};
       },
       {"network.ingress pods all of namespace team-a all ports"}},
      {"a second policy",
       [](json& o) {
         json more = deny_all();
         more["metadata"]["name"] = "more";
         more["spec"]["egress"] = json::array({json::object()});
         o["networkPolicies"].push_back(more);
       },
       {"network.egress.extra anywhere all ports"}},
  };
  for (const Case& c : cases)
    EXPECT_THAT(gained(c.change), ::testing::UnorderedElementsAreArray(c.gained)) << c.name;
}

TEST(PermissionsTest, EgressIsNamedByWhatItWasOpenedFor) {
  const json llm{{"peers", {{{"podSelector", {{"matchLabels", {{"app", "llm"}}}}}}}},
                 {"ports", {{{"port", 8080}, {"protocol", "TCP"}}}},
                 {"host", "llm.llm.svc"}};
  const json git{{"peers", {{{"ipBlock", {{"cidr", "192.0.2.10/32"}}}}}},
                 {"ports", {{{"port", 443}, {"protocol", "TCP"}}}},
                 {"host", "git.example.com"}};
  json from = objects(good_pod());
  from["pod"]["metadata"]["annotations"]["palisade.dev/access"] =
      json{{"llmUrl", "http://llm.llm.svc:8080/v1"}, {"llm", llm}, {"git", git}}.dump();
  json& egress = from["networkPolicies"][0]["spec"]["egress"];
  egress = json::array();
  for (const json& endpoint : {llm, git})
    egress.push_back({{"ports", endpoint["ports"]}, {"to", endpoint["peers"]}});
  egress.push_back({{"to", git["peers"]}});  // the same host, on more ports
  const Lines all = grants(from);
  EXPECT_THAT(all, Contains("network.egress.llm pods app=llm of namespace team-a TCP/8080"));
  EXPECT_THAT(all, Contains("network.egress.git 192.0.2.10/32 TCP/443"));
  EXPECT_THAT(all, Contains("network.egress.extra 192.0.2.10/32 all ports"));
  // An annotation gives nothing, and hides nothing.
  egress = json::array();
  EXPECT_THAT(grants(from), Not(Contains(HasSubstr("network.egress"))));
  from["pod"]["metadata"]["annotations"]["palisade.dev/access"] = "{not JSON";
  egress.push_back({{"to", git["peers"]}, {"ports", git["ports"]}});
  EXPECT_THAT(grants(from), Contains("network.egress.extra 192.0.2.10/32 TCP/443"));
}

TEST(PermissionsTest, WhatCannotBeReadIsAnError) {
  struct Case {
    const char* name;
    json objects;
    const char* error;
  };
  json bad_policy = objects(good_pod());
  bad_policy["networkPolicies"][0] = 7;
  const std::vector<Case> cases{
      {"nothing", json::object(), "no pod"},
      {"no pod", {{"pod", 7}}, "no pod"},
      {"no containers", {{"pod", {{"spec", json::object()}}}}, "spec.containers"},
      {"no policy", bad_policy, "NetworkPolicy"}};
  for (const Case& c : cases) {
    const auto permissions = read(c.objects);
    ASSERT_FALSE(permissions) << c.name;
    EXPECT_THAT(permissions.error(), HasSubstr(c.error)) << c.name;
  }
}

TEST(PermissionsTest, BeyondIsTheDifferenceOfTheAgents) {
  json from = objects(good_pod());
  from["networkPolicies"][0]["spec"]["egress"] = {
      {{"to", {{{"ipBlock", {{"cidr", "192.0.2.1/32"}}}}}}, {"ports", {{{"port", 443}}}}}};
  mount(from, {{"secret", {{"secretName", "s"}}}}, "/s");
  const auto permissions = read(from);
  ASSERT_TRUE(permissions);
  struct Case {
    Lines allowed;
    Lines beyond;
  };
  const std::string egress = "aider: network.egress.extra: 192.0.2.1/32 TCP/443";
  const std::string secret = "aider: secret.read: Secret s";
  const std::vector<Case> cases{
      {{"exec", "filesystem.rw", "git.api", "network.egress", "secret.read"}, {}},
      {{"exec", "filesystem.rw", "network.egress.extra", "secret.read"}, {}},
      {{"exec", "filesystem.rw", "git.api", "secret.read"}, {egress}},
      {{"exec", "filesystem.rw", "network.egress.git", "secret.read"}, {egress}},
      {{"exec", "filesystem.rw", "network", "secret"}, {}},
      {{"exec", "filesystem.rw", "network.egress.ext", "secret.re"}, {egress, secret}},
      {{"exec", "filesystem.rw", ""}, {egress, secret}},
  };
  for (const Case& c : cases)
    EXPECT_EQ(beyond(*permissions, c.allowed), c.beyond) << ::testing::PrintToString(c.allowed);
  const auto all = beyond(*permissions, Lines{});
  EXPECT_THAT(all, Contains("aider: filesystem.rw: /workspace"));
  // No guard bounds its programs.
  EXPECT_THAT(all, Contains("aider: exec.any: /workspace"));
  // The others' are no agent's.
  EXPECT_THAT(all, Not(Contains(HasSubstr("courier"))));
  // A debugging container is one.
  from["pod"]["spec"]["ephemeralContainers"] = {
      {{"name", "debug"}, {"image", "x"}, {"securityContext", {{"privileged", true}}}}};
  const auto debugged = read(from);
  ASSERT_TRUE(debugged);
  EXPECT_THAT(beyond(*debugged, Lines{"filesystem", "network", "secret"}),
              Contains("debug: host.privileged: everything"));
}

TEST(PermissionsTest, RenderingsSayTheSame) {
  json from = objects(good_pod());
  const std::string odd = "/odd\"\\\n\x1b[2J\u00e9";
  mount(from, {{"emptyDir", json::object()}}, odd);
  auto permissions = read(from);
  ASSERT_TRUE(permissions);
  EXPECT_EQ(json::parse(permissions_json(*permissions))["unread"], json::array());
  permissions->unread = {"ConfigMap a/\"b", "ConfigMap a/c"};
  const json document = json::parse(permissions_json(*permissions));
  EXPECT_EQ(document["unread"], json(permissions->unread));
  EXPECT_EQ(document["namespace"], "team-a");
  EXPECT_EQ(document["workspace"], "fix-login");
  EXPECT_EQ(document["actors"].size(), permissions->actors.size());
  std::size_t lines = 0;
  for (const Actor& actor : permissions->actors) {
    const json& told = document["actors"][actor.container];
    EXPECT_EQ(told["role"], actor.role);
    EXPECT_EQ(told["capabilities"].size(), actor.capabilities.size());
    for (const Capability& capability : actor.capabilities) {
      const json& list = told["capabilities"][capability.name];
      ASSERT_EQ(list.size(), capability.grants.size());
      for (std::size_t i = 0; i < list.size(); ++i, ++lines) {
        EXPECT_EQ(list[i]["value"], capability.grants[i].value);
        EXPECT_EQ(list[i]["from"], capability.grants[i].from);
        EXPECT_EQ(list[i].value("detail", ""), capability.grants[i].detail);
      }
    }
  }
  const std::string rego = permissions_rego(*permissions);
  EXPECT_THAT(rego, HasSubstr("\npackage palisade.permissions\n"));
  EXPECT_EQ(json::parse(rego.substr(rego.find(":=") + 2)), document);
  const std::string text = permissions_text(*permissions);
  EXPECT_THAT(text, HasSubstr("\naider (agent)\n"));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(static_cast<std::size_t>(std::ranges::count(text, '\n')),
            lines + 1 + 2 * permissions->actors.size());
}

}  // namespace
}  // namespace palisade::policy
