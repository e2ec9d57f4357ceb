// `palisade permissions` on what a real API server holds.
#include <gmock/gmock.h>

#include <kube/http_server.h>

#include "as_user.h"
#include "cli/cluster.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
namespace known = kube::resources;

const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace",
                                 true};
const kube::Resource kRoleBindings{"rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding",
                                   true};

class PermissionsOf : public testing::ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    install_crds({"agentworkspaces"});
  }
  json make_workspace(const std::string& ns) const {
    return make(kWorkspaces, ns,
                {{"metadata", {{"name", "fix-login"}}},
                 {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}});
  }
  // What the operator would have made for it.
  void make_session(const std::string& ns, const json& workspace,
                    const json& change = json::object()) const {
    json agent = pod("fix-login-agent");
    agent["metadata"]["ownerReferences"] = {{{"apiVersion", "palisade.dev/v1alpha1"},
                                             {"kind", "AgentWorkspace"},
                                             {"name", "fix-login"},
                                             {"uid", workspace["metadata"]["uid"]},
                                             {"controller", true}}};
    agent.merge_patch(change);
    make(known::kPods, ns, agent);
    make(known::kNetworkPolicies, ns,
         {{"metadata", {{"name", "fix-login-agent"}}},
          {"spec",
           {{"podSelector", {{"matchLabels", {{"palisade.dev/workspace", "fix-login"}}}}},
            {"policyTypes", {"Ingress", "Egress"}},
            {"egress",
             {{{"to", {{{"ipBlock", {{"cidr", "192.0.2.10/32"}}}}}},
               {"ports", {{{"port", 443}}}}}}}}}});
    make(known::kConfigMaps, ns,
         {{"metadata", {{"name", "fix-login-agent"}}},
          {"data",
           {{"courier.json", json{{"url", "https://git.example.com/team/app.git"},
                                  {"ref", "main"},
                                  {"branch", "palisade/fix-login"},
                                  {"access", "ReadWrite"},
                                  {"workspace", "/workspace/repo"}}
                                 .dump()}}}});
  }
  // One that goes through Palisade's gateway in namespace `gateways`.
  void make_session_through(const std::string& ns, const std::string& gateways) const {
    const json access{{"llm",
                       {{"peers",
                         {{{"namespaceSelector",
                            {{"matchLabels", {{"kubernetes.io/metadata.name", gateways}}}}}}}}}}};
    json agent = pod("fix-login-agent");
    agent["spec"]["volumes"].push_back(
        {{"name", "identity"},
         {"projected",
          {{"sources",
            {{{"serviceAccountToken", {{"path", "token"}, {"audience", "gateway"}}}}}}}}});
    agent["spec"]["initContainers"][0]["volumeMounts"].push_back(
        {{"name", "identity"}, {"mountPath", "/var/run/secrets/palisade/gateway"}});
    const json change{{"metadata", {{"annotations", {{"palisade.dev/access", access.dump()}}}}},
                      {"spec",
                       {{"volumes", agent["spec"]["volumes"]},
                        {"initContainers", agent["spec"]["initContainers"]}}}};
    make_session(ns, make_workspace(ns), change);
    const json route{{"path", "/v1"},
                     {"url", "https://palisade-gateway." + gateways + ".svc:8443/v1"},
                     {"tokenFile", "/var/run/secrets/palisade/gateway/token"}};
    const auto told =
        admin_->patch(known::kConfigMaps, ns, "fix-login-agent", kube::PatchType::kMerge,
                      {{"data", {{"relay.json", json{{"routes", {route}}}.dump()}}}});
    ASSERT_TRUE(told) << told.error().text();
  }
};

TEST_F(PermissionsOf, ALiveSessionIsToldInEachFormat) {
  const auto ns = make_namespace("session");
  make_session(ns, make_workspace(ns));
  // Policies of other pods are none of its business.
  make(known::kNetworkPolicies, ns,
       {{"metadata", {{"name", "web"}}},
        {"spec",
         {{"podSelector", {{"matchLabels", {{"app", "web"}}}}},
          {"policyTypes", {"Egress"}},
          {"egress", json::array({json::object()})}}}});

  const auto text = run("permissions fix-login -n session");
  EXPECT_EQ(text.status, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("workspace session/fix-login\n"));
  EXPECT_THAT(text.out, HasSubstr("\naider (agent)\n"));
  EXPECT_THAT(text.out, HasSubstr("192.0.2.10/32 TCP/443"));
  EXPECT_THAT(text.out, Not(HasSubstr("anywhere")));

  const auto structured = run("permissions fix-login -n session -o json");
  ASSERT_EQ(structured.status, 0) << structured.err;
  const json document = json::parse(structured.out);
  EXPECT_EQ(document["workspace"], "fix-login");
  const json& agent = document["actors"]["aider"]["capabilities"];
  EXPECT_EQ(agent["filesystem.rw"][0]["from"].get<std::string>().substr(0, 27),
            "Pod session/fix-login-agent");
  EXPECT_EQ(agent["network.egress.extra"][0]["from"],
            "NetworkPolicy session/fix-login-agent /spec/egress/0/to/0");
  EXPECT_FALSE(agent.contains("kube.api"));
  EXPECT_EQ(document["actors"]["courier"]["capabilities"]["git.api"][0]["value"],
            "fetch main of https://git.example.com/team/app.git");

  const auto rego = run("permissions fix-login -n session -o rego");
  EXPECT_EQ(rego.status, 0) << rego.err;
  EXPECT_EQ(json::parse(rego.out.substr(rego.out.find(":=") + 2)), document);
}

// What Palisade's gateway does for a session is told with it: by its own configuration where that
// may be read.
TEST_F(PermissionsOf, TheGatewayIsAnActorToo) {
  const auto ns = make_namespace("through");
  const auto gateways = make_namespace("gateways");
  make_session_through(ns, gateways);
  const auto models = [&] {
    const auto result = run("permissions fix-login -n through -o json");
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(result.err, "");
    const json document = json::parse(result.out, nullptr, false);
    EXPECT_EQ(document["unread"], json::array());
    return document["actors"]["gateway"]["capabilities"]["network.egress.api.llm"];
  };
  EXPECT_EQ(models()[0]["value"],
            "the models behind https://palisade-gateway.gateways.svc:8443/v1");
  make(
      known::kConfigMaps, gateways,
      {{"metadata", {{"name", "palisade-gateway-config"}}},
       {"data",
        {{"gateway.json",
          R"({"llm": {"upstreams": [{"name": "openai", "url": "https://api.openai.com/v1"}]}})"}}}});
  EXPECT_EQ(models()[0]["value"], "https://api.openai.com/v1");
  EXPECT_EQ(models()[0]["from"], "ConfigMap gateways/palisade-gateway-config /data/gateway.json");
}

// Of the gateway's configuration only what nobody made, or what may not be read, may be missing.
TEST_F(PermissionsOf, WhatMayNotBeReadIsNamedAndAnythingElseIsAnError) {
  const auto ns = make_namespace("narrow");
  const auto gateways = make_namespace("closed");
  make_session_through(ns, gateways);
  make(known::kConfigMaps, gateways,
       {{"metadata", {{"name", "palisade-gateway-config"}}},
        {"data", {{"gateway.json", R"({"llm": {"upstreams": []}})"}}}});
  make(known::kServiceAccounts, ns, {{"metadata", {{"name", "jane"}}}});
  make({"rbac.authorization.k8s.io", "v1", "roles", "Role", true}, ns,
       {{"metadata", {{"name", "reads"}}},
        {"rules",
         {{{"apiGroups", {"", "palisade.dev", "networking.k8s.io", "rbac.authorization.k8s.io"}},
           {"resources",
            {"agentworkspaces", "pods", "networkpolicies", "configmaps", "serviceaccounts", "roles",
             "rolebindings"}},
           {"verbs", {"get", "list"}}}}}});
  make(kRoleBindings, ns,
       {{"metadata", {{"name", "reads"}}},
        {"subjects", {{{"kind", "ServiceAccount"}, {"name", "jane"}, {"namespace", ns}}}},
        {"roleRef",
         {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "Role"}, {"name", "reads"}}}});
  make({"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", false}, "",
       {{"metadata", {{"name", "narrow-reads"}}},
        {"rules",
         {{{"apiGroups", {"rbac.authorization.k8s.io"}},
           {"resources", {"clusterroles", "clusterrolebindings"}},
           {"verbs", {"get", "list"}}}}}});
  make({"rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", false}, "",
       {{"metadata", {{"name", "narrow-reads"}}},
        {"subjects", {{{"kind", "ServiceAccount"}, {"name", "jane"}, {"namespace", ns}}}},
        {"roleRef",
         {{"apiGroup", "rbac.authorization.k8s.io"},
          {"kind", "ClusterRole"},
          {"name", "narrow-reads"}}}});
  const auto token =
      admin_->create({"", "v1", "serviceaccounts/jane/token", "TokenRequest", true}, ns,
                     {{"apiVersion", "authentication.k8s.io/v1"},
                      {"kind", "TokenRequest"},
                      {"spec", {{"audiences", json::array()}}}});
  ASSERT_TRUE(token) << token.error().text();
  const auto as = [&](const std::string& server, const json& user) {
    const json config{
        {"apiVersion", "v1"},
        {"kind", "Config"},
        {"current-context", "c"},
        {"clusters",
         {{{"name", "c"}, {"cluster", {{"server", server}, {"insecure-skip-tls-verify", true}}}}}},
        {"users", {{{"name", "u"}, {"user", user}}}},
        {"contexts", {{{"name", "c"}, {"context", {{"cluster", "c"}, {"user", "u"}}}}}}};
    return "permissions fix-login -n narrow --kubeconfig '" + write("config.json", config.dump()) +
           "' -o json";
  };
  const auto narrow = run(as(env_->config().server, {{"token", (*token)["status"]["token"]}}));
  EXPECT_EQ(narrow.status, 0) << narrow.err;
  EXPECT_THAT(narrow.err,
              HasSubstr("ConfigMap closed/palisade-gateway-config may not be read by this user"));
  const json document = json::parse(narrow.out, nullptr, false);
  EXPECT_EQ(document["unread"], json({"ConfigMap closed/palisade-gateway-config"}));
  EXPECT_EQ(document["actors"]["gateway"]["capabilities"]["network.egress.api.llm"][0]["value"],
            "the models behind https://palisade-gateway.closed.svc:8443/v1");

  // A server that fails at that read alone.
  const std::shared_ptr<kube::Transport> upstream = transport_to(env_->config());
  kube::HttpServerOptions options;
  options.address = "127.0.0.1";
  kube::HttpServer failing(options, [&](const kube::HttpRequest& request) -> kube::HttpResponse {
    if (request.target.find("palisade-gateway-config") != std::string_view::npos)
      return {
          500, "application/json",
          R"({"kind": "Status", "code": 500, "reason": "InternalError", "message": "no leader"})"};
    kube::Request asked;
    asked.target = request.target;
    auto answer = upstream->send(asked, {});
    if (!answer) return {502, "text/plain", answer.error().text()};
    return {answer->status, "application/json", std::move(answer->body)};
  });
  ASSERT_TRUE(failing.start());
  const auto failed = run(as("http://127.0.0.1:" + std::to_string(failing.port()), json::object()));
  EXPECT_EQ(failed.status, 2);
  EXPECT_EQ(failed.out, "");
  EXPECT_THAT(failed.err,
              HasSubstr("get configmaps palisade-gateway-config in closed: 500 InternalError"));
}

TEST_F(PermissionsOf, RightsAreReadWhereATokenIs) {
  const auto ns = make_namespace("token");
  make_session(ns, make_workspace(ns), {{"spec", {{"automountServiceAccountToken", true}}}});
  make(kRoleBindings, ns,
       {{"metadata", {{"name", "reads"}}},
        {"subjects", {{{"kind", "ServiceAccount"}, {"name", "fix-login-agent"}}}},
        {"roleRef",
         {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", "view"}}}});
  const auto result = run("permissions fix-login -n token -o json");
  ASSERT_EQ(result.status, 0) << result.err;
  const json document = json::parse(result.out);
  const json& api = document["actors"]["aider"]["capabilities"]["kube.api"];
  EXPECT_EQ(api[0]["value"], "token of ServiceAccount fix-login-agent for the API server");
  bool reads = false;
  for (const json& grant : api)
    reads = reads || grant["value"] == "ClusterRole view";
  EXPECT_TRUE(reads) << api.dump(2);
}

TEST_F(PermissionsOf, WhatIsNotThereIsSaid) {
  const auto ns = make_namespace("absent");
  const auto none = run("permissions nobody -n absent");
  EXPECT_EQ(none.status, 2);
  EXPECT_EQ(none.out, "");
  EXPECT_THAT(none.err, HasSubstr("no AgentWorkspace nobody in namespace absent"));
  make_workspace(ns);
  const auto asleep = run("permissions fix-login -n absent");
  EXPECT_EQ(asleep.status, 2);
  EXPECT_THAT(asleep.err, HasSubstr("has no pod now"));
  // A pod of the same name that is another's says nothing of this workspace.
  make(known::kPods, ns, pod("fix-login-agent"));
  EXPECT_EQ(run("permissions fix-login -n absent").status, 2);
  EXPECT_EQ(run("permissions").status, 2);
  EXPECT_EQ(run("permissions fix-login -o yaml").status, 2);
}

}  // namespace
}  // namespace palisade::cli
