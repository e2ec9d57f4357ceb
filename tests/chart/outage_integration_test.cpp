// What an outage of the webhook refuses, on a real API server with the chart's configurations and
// nobody behind them: what docs/faq.md lists, and nothing else.
#include <fstream>
#include <regex>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "as_user.h"
#include "chart/chart.h"
#include "definitions.h"

namespace palisade::chart::testing {
namespace {

constexpr const char* kPassed = "";
constexpr const char* kOperator = "system:serviceaccount:palisade-system:palisade-operator";
const std::string kTeam = "/api/v1/namespaces/team-a/";
const std::string kNetwork = "/apis/networking.k8s.io/v1/namespaces/team-a/networkpolicies";
const std::string kWorkspaces = "/apis/palisade.dev/v1alpha1/namespaces/team-a/agentworkspaces";
const std::string kRbac = "/apis/rbac.authorization.k8s.io/v1/";

struct Answer {
  int status = 0;
  std::string text;
  // The entry whose webhook could not be asked; kPassed: none.
  [[nodiscard]] std::string entry() const {
    static const std::regex kFailed(R"re(failed calling webhook \\?"([a-z.-]+)\\?")re");
    std::smatch found;
    return std::regex_search(text, found, kFailed) ? found[1].str() : kPassed;
  }
};

struct Attempt {
  const char* name;
  std::string method;
  std::string path;
  json body;
  const char* entry;
  const char* user = "mallory";
};

class Outage : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<Directory>();
    const fs::path tokens = directory_->path() / "tokens";
    std::ofstream(tokens) << "mallory,mallory,1,system:masters\n"
                          << "operator," << kOperator << ",2,system:masters\n"
                          << "scheduler,system:kube-scheduler,3,system:masters\n"
                          << "apiserver,system:apiserver,4,system:masters\n";
    kube::EnvTestOptions options;
    options.apiserver_flags = {"--token-auth-file=" + tokens.string()};
    auto started = kube::EnvTest::start(options);
    ASSERT_TRUE(started) << started.error().text();
    env_ = *std::move(started);
    transport_ = transport_to(as_user(env_->config()));
    const auto installed =
        install_definitions(*env_, {"agentworkspaces", "agentworkspacetemplates", "agentpolicies"});
    ASSERT_TRUE(installed) << installed.error().text();
    const fs::path cilium = directory_->path() / "cilium.yaml";
    std::ofstream(cilium) << R"(apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ciliumclusterwidenetworkpolicies.cilium.io}
spec:
  group: cilium.io
  scope: Cluster
  names: {kind: CiliumClusterwideNetworkPolicy, plural: ciliumclusterwidenetworkpolicies}
  versions:
    - name: v2
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
)";
    const auto foreign = env_->install_crd(cilium);
    ASSERT_TRUE(foreign) << foreign.error().text();
    populate();
    for (json object : objects()) {
      const std::string kind = object["kind"];
      if (!kind.ends_with("WebhookConfiguration")) continue;
      for (json& hook : object["webhooks"]) {
        ++(hook["failurePolicy"] == "Fail" ? strict_ : lenient_)[hook["name"]];
        hook["clientConfig"] = {{"url", "https://127.0.0.1:1/"}};  // nobody listens
      }
      must("POST",
           "/apis/admissionregistration.k8s.io/v1/" +
               std::string(kind.starts_with("Mutating") ? "mutating" : "validating") +
               "webhookconfigurations",
           object);
    }
    // Until the API server goes by them.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    const auto waits = [] {
      return call("mallory", "POST", kTeam + "pods", marked()).entry() != "pods.palisade.dev" ||
             call("mallory", "POST", "/api/v1/namespaces/guard-all/pods", pod()).entry().empty() ||
             call("mallory", "POST", kWorkspaces, workspace("new")).entry().empty();
    };
    while (waits()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  static void TearDownTestSuite() {
    transport_.reset();
    env_.reset();
    directory_.reset();
  }

  static Answer call(const std::string& user, const std::string& method, const std::string& path,
                     const json& body = nullptr, bool dry_run = true) {
    kube::Request request;
    request.method = method;
    request.target =
        path + (path.find('?') == std::string::npos ? "?" : "&") + (dry_run ? "dryRun=All" : "");
    request.headers = {{"Authorization", "Bearer " + user}};
    if (!body.is_null()) {
      request.body = body.dump();
      const bool by_name = path.find("webhookconfigurations") != std::string::npos;
      request.headers.emplace_back("Content-Type", method != "PATCH" ? "application/json"
                                                   : by_name
                                                       ? "application/strategic-merge-patch+json"
                                                       : "application/merge-patch+json");
    }
    const auto response = transport_->send(request, {});
    if (!response) throw std::runtime_error(response.error().text());
    return {response->status, response->body};
  }
  static void must(const std::string& method, const std::string& path, const json& body) {
    const Answer answer = call("mallory", method, path, body, false);
    EXPECT_LT(answer.status, 300) << method << " " << path << ": " << answer.text;
  }

  static json named_as(const char* name, json object = json::object()) {
    object["metadata"]["name"] = name;
    return object;
  }
  static json pod(const json& more = json::object()) {
    json container = {{"name", "main"}, {"image", "nginx"}};
    container.update(more);
    return {{"metadata", {{"name", "new"}}}, {"spec", {{"containers", {container}}}}};
  }
  static json marked() {
    json out = pod();
    out["metadata"]["labels"] = {{"palisade.dev/agent", "aider"}};
    return out;
  }
  static json claim(const char* name, json object = json::object()) {
    object["spec"] = {{"accessModes", {"ReadWriteOnce"}},
                      {"resources", {{"requests", {{"storage", "1Gi"}}}}}};
    return named_as(name, std::move(object));
  }
  static json labels(const json& set) { return {{"metadata", {{"labels", set}}}}; }
  static json workspace(const char* name) {
    return {{"apiVersion", "palisade.dev/v1alpha1"},
            {"kind", "AgentWorkspace"},
            {"metadata", {{"name", name}}},
            {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}};
  }
  static json template_of_images() {
    return {{"apiVersion", "palisade.dev/v1alpha1"},
            {"kind", "AgentWorkspaceTemplate"},
            {"metadata", {{"name", "new"}}},
            {"spec", {{"workspace", {{"agent", {{"model", "gpt-4o"}}}}}}}};
  }
  static json policy(const char* kind, const char* version, const json& spec) {
    return {
        {"apiVersion", version}, {"kind", kind}, {"metadata", {{"name", "new"}}}, {"spec", spec}};
  }
  static json network_policy() {
    return {{"metadata", {{"name", "new"}}},
            {"spec", {{"podSelector", json::object()}, {"policyTypes", {"Ingress"}}}}};
  }
  static json binding(const char* kind, const char* name) {
    json subject = {{"kind", kind}, {"name", name}};
    if (std::string_view(kind) == "ServiceAccount") {
      subject["namespace"] = "team-a";
    } else {
      subject["apiGroup"] = "rbac.authorization.k8s.io";
    }
    return {
        {"metadata", {{"name", "new"}}},
        {"roleRef",
         {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", "view"}}},
        {"subjects", {subject}}};
  }
  static json put_on_a_node(const json& metadata = json::object()) {
    json out = {{"apiVersion", "v1"},
                {"kind", "Binding"},
                {"metadata", metadata},
                {"target", {{"kind", "Node"}, {"name", "node"}}}};
    out["metadata"]["name"] = "ordinary";
    return out;
  }

  // From before the outage.
  static void populate() {
    for (const char* name : {"team-a", "guard-all", "palisade-system"}) {
      json made = named_as(name);
      if (std::string_view(name) == "guard-all")
        made["metadata"]["labels"] = {{"palisade.dev/enforce", "all"}};
      must("POST", "/api/v1/namespaces", made);
    }
    json old = pod({{"resources", {{"requests", {{"cpu", "1"}}}, {"limits", {{"cpu", "2"}}}}}});
    old["metadata"]["name"] = "ordinary";
    must("POST", kTeam + "pods", old);
    must("POST", "/api/v1/namespaces/kube-system/pods", old);
    old = marked();
    old["metadata"]["name"] = "marked";
    must("POST", kTeam + "pods", old);
    must("POST", kTeam + "serviceaccounts", named_as("web"));
    must("POST", kTeam + "serviceaccounts", named_as("datadog-agent"));
    must("POST", kTeam + "configmaps",
         named_as("owned", labels({{"palisade.dev/workspace", "fix"}})));
    must("POST", kTeam + "configmaps", named_as("ordinary"));
    must("POST", kTeam + "persistentvolumeclaims",
         claim("fix-workspace", labels({{"palisade.dev/workspace", "fix"}})));
    json network = network_policy();
    network["metadata"]["name"] = "old";
    must("POST", kNetwork, network);
    json fix = workspace("fix");
    fix["metadata"]["finalizers"] = {"palisade.dev/workspace"};
    must("POST", kWorkspaces, fix);
  }

  static void expect(const std::vector<Attempt>& attempts) {
    for (const Attempt& attempt : attempts) {
      const Answer answer = call(attempt.user, attempt.method, attempt.path, attempt.body);
      EXPECT_EQ(answer.entry(), attempt.entry)
          << attempt.name << ": " << answer.status << " " << answer.text.substr(0, 500);
      if (std::string_view(attempt.entry).empty()) {
        EXPECT_LT(answer.status, 300) << attempt.name << ": " << answer.text.substr(0, 500);
      } else {
        tried_.insert(attempt.entry);
      }
    }
  }

  static inline std::unique_ptr<Directory> directory_;
  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::unique_ptr<kube::Transport> transport_;
  static inline std::map<std::string, int> strict_;  // entries, by failurePolicy
  static inline std::map<std::string, int> lenient_;
  static inline std::set<std::string> tried_;
};

TEST_F(Outage, RefusesWhatTheDocumentSaysAndNothingElse) {
  const std::string pods = kTeam + "pods";
  const std::string ordinary = pods + "/ordinary";
  const char* const sent = "pods.palisade.dev";
  expect({
      {"a plain pod", "POST", pods, pod({{"args", {"--port=8080", "serve"}}}), kPassed},
      {"a marked pod", "POST", pods, marked(), sent},
      {"a variable", "POST", pods, pod({{"args", {"--ip=$(IP)"}}}), sent},
      {"Java's heap", "POST", pods, pod({{"command", {"java", "-Xmx1G"}}}), sent},
      {"a long command", "POST", pods, pod({{"args", {std::string(4097, 'x')}}}), sent},
      {"a label of a plain pod", "PATCH", ordinary, labels({{"x", "y"}}), kPassed},
      {"a label of a marked pod", "PATCH", pods + "/marked", labels({{"x", "y"}}), sent},
      {"a marked pod's end", "DELETE", pods + "/marked", nullptr, kPassed},
      {"an eviction",
       "POST",
       ordinary + "/eviction",
       {{"apiVersion", "policy/v1"}, {"kind", "Eviction"}, {"metadata", {{"name", "ordinary"}}}},
       kPassed},
      {"a debug container",
       "PATCH",
       ordinary + "/ephemeralcontainers",
       {{"spec", {{"ephemeralContainers", {{{"name", "d"}, {"image", "busybox"}}}}}}},
       sent},
      {"a resize",
       "PATCH",
       ordinary + "/resize",
       {{"spec",
         {{"containers",
           {{{"name", "main"},
             {"image", "nginx"},
             {"resources", {{"requests", {{"cpu", "1"}}}, {"limits", {{"cpu", "3"}}}}}}}}}}},
       sent},
      {"a plain pod where all are judged", "POST", "/api/v1/namespaces/guard-all/pods", pod(),
       "all-pods.palisade.dev"},
      {"a marked pod of the release's namespace", "POST", "/api/v1/namespaces/palisade-system/pods",
       marked(), kPassed},
      {"a status", "PATCH", ordinary + "/status", {{"status", {{"phase", "Running"}}}}, kPassed},
      {"a label by a status", "PATCH", ordinary + "/status", labels({{"x", "y"}}),
       "pod-status.palisade.dev"},
      {"the scheduler's binding", "POST", ordinary + "/binding", put_on_a_node(), kPassed,
       "scheduler"},
      {"its binding with a label", "POST", ordinary + "/binding",
       put_on_a_node(labels({{"x", "y"}})["metadata"]), "bindings.palisade.dev", "scheduler"},
      {"another scheduler's", "POST", ordinary + "/binding", put_on_a_node(),
       "bindings.palisade.dev"},
      {"a Deployment of agents",
       "POST",
       "/apis/apps/v1/namespaces/team-a/deployments",
       {{"metadata", {{"name", "new"}}},
        {"spec",
         {{"selector", {{"matchLabels", {{"palisade.dev/agent", "aider"}}}}},
          {"template", marked()}}}},
       kPassed},
  });
  expect({
      {"a NetworkPolicy", "POST", kNetwork, network_policy(), "network.palisade.dev"},
      {"its change", "PATCH", kNetwork + "/old", labels({{"x", "y"}}), "network.palisade.dev"},
      {"its end", "DELETE", kNetwork + "/old", nullptr, "network.palisade.dev"},
      {"the end of all", "DELETE", kNetwork, nullptr, "network.palisade.dev"},
      {"one for the cluster", "POST", "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
       policy("CiliumClusterwideNetworkPolicy", "cilium.io/v2", json::object()),
       "cluster-network.palisade.dev"},
      {"a ConfigMap", "PATCH", kTeam + "configmaps/ordinary", {{"data", {{"x", "y"}}}}, kPassed},
      {"a workspace's",
       "PATCH",
       kTeam + "configmaps/owned",
       {{"data", {{"x", "y"}}}},
       "objects.palisade.dev"},
      {"its end", "DELETE", kTeam + "configmaps/owned", nullptr, "objects.palisade.dev"},
      {"a claim", "POST", kTeam + "persistentvolumeclaims", claim("new"), kPassed},
      {"a workspace's volume", "PATCH", kTeam + "persistentvolumeclaims/fix-workspace",
       labels({{"x", "y"}}), "volumes.palisade.dev"},
      {"by its status", "PATCH", kTeam + "persistentvolumeclaims/fix-workspace/status",
       labels({{"x", "y"}}), "volumes.palisade.dev"},
      {"where it is put",
       "PATCH",
       kTeam + "persistentvolumeclaims/fix-workspace",
       {{"metadata", {{"annotations", {{"volume.kubernetes.io/selected-node", "n"}}}}}},
       kPassed},
      {"what became of it",
       "PATCH",
       kTeam + "persistentvolumeclaims/fix-workspace/status",
       {{"status", {{"phase", "Pending"}}}},
       kPassed},
      {"its end", "DELETE", kTeam + "persistentvolumeclaims/fix-workspace", nullptr,
       "volumes.palisade.dev"},
      {"a Secret", "POST", kTeam + "secrets", named_as("new"), kPassed},
      {"a token that never ends",
       "POST",
       kTeam + "secrets",
       {{"type", "kubernetes.io/service-account-token"},
        {"metadata",
         {{"name", "new"}, {"annotations", {{"kubernetes.io/service-account.name", "web"}}}}}},
       "objects.palisade.dev"},
      {"a token", "POST", kTeam + "serviceaccounts/web/token", {{"spec", json::object()}}, kPassed},
      {"a token of somebody's agent",
       "POST",
       kTeam + "serviceaccounts/datadog-agent/token",
       {{"spec", json::object()}},
       "tokens.palisade.dev"},
  });
  const std::string bindings = kRbac + "namespaces/team-a/rolebindings";
  const std::string cluster = kRbac + "clusterrolebindings";
  const char* const rights = "rights.palisade.dev";
  expect({
      {"a right", "POST", bindings, binding("ServiceAccount", "web"), kPassed},
      {"a user's", "POST", cluster, binding("User", "jane"), kPassed},
      {"somebody's agent's", "POST", bindings, binding("ServiceAccount", "datadog-agent"), rights},
      {"also where nothing is judged", "POST", kRbac + "namespaces/kube-system/rolebindings",
       binding("ServiceAccount", "datadog-agent"), rights},
      {"all accounts'", "POST", cluster, binding("Group", "system:serviceaccounts"), rights},
      {"one namespace's", "POST", cluster, binding("Group", "system:serviceaccounts:team-a"),
       rights},
      {"everybody's", "POST", bindings, binding("Group", "system:authenticated"), rights},
  });
  const std::string definition =
      "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/agentpolicies.palisade.dev";
  const std::string other =
      "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
      "ciliumclusterwidenetworkpolicies.cilium.io";
  const json kept = {{"status", {{"storedVersions", {"v1alpha1"}}}}};
  expect({
      {"a namespace", "POST", "/api/v1/namespaces", named_as("new"), kPassed},
      {"its label", "PATCH", "/api/v1/namespaces/guard-all", labels({{"x", "y"}}), kPassed},
      {"one of Palisade's", "PATCH", "/api/v1/namespaces/team-a",
       labels({{"palisade.dev/mode", "warn"}}), "namespaces.palisade.dev"},
      {"a namespace with one", "POST", "/api/v1/namespaces",
       named_as("new", labels({{"palisade.dev/enforce", "all"}})), "namespaces.palisade.dev"},
      {"a bound", "POST", "/apis/palisade.dev/v1alpha1/agentpolicies",
       policy("AgentPolicy", "palisade.dev/v1alpha1", {{"namespaceSelector", json::object()}}),
       "own.palisade.dev"},
      {"a definition", "PATCH", definition, labels({{"x", "y"}}), "own.palisade.dev"},
      {"another's definition", "PATCH", other, labels({{"x", "y"}}), kPassed},
      {"its status", "PATCH", definition + "/status", kept, "own.palisade.dev"},
      {"its status by the API server", "PATCH", definition + "/status", kept, kPassed, "apiserver"},
      {"another's status",
       "PATCH",
       other + "/status",
       {{"status", {{"storedVersions", {"v2"}}}}},
       kPassed},
      {"a workspace", "POST", kWorkspaces, workspace("new"), "creators.palisade.dev"},
      {"its finalizer",
       "PATCH",
       kWorkspaces + "/fix",
       {{"metadata", {{"finalizers", nullptr}}}},
       "creators.palisade.dev",
       "operator"},
      {"its end", "DELETE", kWorkspaces + "/fix", nullptr, kPassed},
      {"its status by another",
       "PATCH",
       kWorkspaces + "/fix/status",
       {{"status", {{"phase", "Running"}}}},
       "workspaces.palisade.dev"},
      {"its status",
       "PATCH",
       kWorkspaces + "/fix/status",
       {{"status", {{"phase", "Running"}}}},
       kPassed,
       "operator"},
      {"a template", "POST",
       "/apis/palisade.dev/v1alpha1/namespaces/team-a/agentworkspacetemplates",
       template_of_images(), "workspaces.palisade.dev"},
  });
  // Connections know no dry run, and end at the pod that no kubelet has started.
  for (const char* way :
       {"exec?command=sh&stdout=true", "attach?stdout=true", "portforward?ports=80", "proxy/x"}) {
    const Answer refused = call("mallory", "POST", ordinary + "/" + way, nullptr, false);
    EXPECT_EQ(refused.entry(), "sessions.palisade.dev") << way << ": " << refused.text;
    const Answer passed =
        call("mallory", "POST", std::string("/api/v1/namespaces/kube-system/pods/ordinary/") + way,
             nullptr, false);
    EXPECT_EQ(passed.entry(), kPassed) << way << ": " << passed.text;
  }
  tried_.insert("sessions.palisade.dev");
  for (const auto& [entry, count] : strict_)
    EXPECT_TRUE(tried_.contains(entry)) << entry << " has no case here";
}

// What the runbook has an administrator do meanwhile.
TEST_F(Outage, OneEntryCanBeOpened) {
  const std::string configuration =
      "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/palisade-webhook";
  const std::string exec = kTeam + "pods/ordinary/exec?command=sh&stdout=true";
  const auto becomes = [&](const char* policy, const char* entry) {
    const Answer changed = call(
        "mallory", "PATCH", configuration,
        {{"webhooks", {{{"name", "sessions.palisade.dev"}, {"failurePolicy", policy}}}}}, false);
    ASSERT_EQ(changed.status, 200) << changed.text;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    Answer last = call("mallory", "POST", exec, nullptr, false);
    while (last.entry() != entry && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      last = call("mallory", "POST", exec, nullptr, false);
    }
    EXPECT_EQ(last.entry(), entry) << last.text;
    expect({{"a marked pod", "POST", kTeam + "pods", marked(), "pods.palisade.dev"},
            {"a NetworkPolicy", "POST", kNetwork, network_policy(), "network.palisade.dev"}});
  };
  becomes("Ignore", kPassed);
  becomes("Fail", "sessions.palisade.dev");
}

// The document's table has each entry of the chart once, and what is ignored as such.
TEST_F(Outage, IsToldEntryByEntry) {
  std::ifstream file(fs::path(environment("PALISADE_SOURCE_DIR")) / "docs/faq.md");
  std::map<std::string, int> strict;
  std::map<std::string, int> lenient;
  static const std::regex kEntry(R"(`([a-z-]+\.palisade\.dev)`)");
  for (std::string line; std::getline(file, line);) {
    const auto end = line.find(" | ");
    if (!line.starts_with("| `") || end == std::string::npos) continue;
    const bool ignored = line.find("`failurePolicy: Ignore`") != std::string::npos;
    const std::string first = line.substr(0, end);
    for (std::sregex_iterator at(first.begin(), first.end(), kEntry), none; at != none; ++at)
      ++(ignored ? lenient : strict)[(*at)[1].str()];
  }
  EXPECT_EQ(strict, strict_);
  EXPECT_EQ(lenient, lenient_);
}

}  // namespace
}  // namespace palisade::chart::testing
