// What others see of the guard: the audit log of a real API server, pods that are on their way out,
// and a cluster whose webhook is away.
#include "webhook/judges/guard_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

// With a cluster of its own: the last test takes the webhook away.
class GuardFromOutside : public Guard {
 protected:
  // Of the one request that was made for a pod of that name, not as a dry run; without the prefix
  // of the entry.
  static json annotations_of(const std::string& pod) {
    std::ifstream log(audit_log_);
    json out;
    for (std::string line; std::getline(log, line);) {
      const json event = json::parse(line, nullptr, false);
      if (!event.is_object()) continue;
      const json object = event.value("objectRef", json::object());
      const json annotations = event.value("annotations", json::object());
      if (object.value("resource", "") != "pods" || event.value("verb", "") != "create" ||
          !event.value("requestURI", "").ends_with("fieldManager=" + pod)) {
        continue;
      }
      EXPECT_TRUE(out.is_null()) << "two requests for " << pod;
      out = json::object();
      constexpr std::string_view kEntry = "pods.palisade.dev/";
      for (const auto& [key, value] : annotations.items()) {
        if (key.starts_with(kEntry)) out[key.substr(kEntry.size())] = value;
      }
    }
    return out;
  }
};

TEST_F(GuardFromOutside, TheAuditLogSaysWhatWasFoundAndWhatBecameOfIt) {
  for (const char* mode : {"audit", "warn", "enforce"}) {
    must("root", "POST", "/api/v1/namespaces",
         {{"metadata",
           {{"name", std::string("mode-") + mode}, {"labels", {{"palisade.dev/mode", mode}}}}}});
  }
  must("root", "POST", "/apis/palisade.dev/v1alpha1/hardeningexceptions",
       {{"apiVersion", "palisade.dev/v1alpha1"},
        {"kind", "HardeningException"},
        {"metadata", {{"name", "legacy"}}},
        {"spec",
         {{"namespaces", {"mode-enforce"}},
          {"podSelector", {{"matchLabels", {{"legacy", "yes"}}}}},
          {"controls", {"read-only-root-filesystem"}},
          {"reason", "an image that writes to its root"},
          {"ticket", "OPS-7"},
          {"approver", "root"},
          {"expires", "2099-01-01T00:00:00Z"}}}});
  const auto weak = [](const std::string& name, bool legacy) {
    json pod = pod_by_hand(name);
    pod["metadata"]["labels"]["palisade.dev/agent"] = "aider";
    if (legacy) pod["metadata"]["labels"]["legacy"] = "yes";
    pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false;
    return pod;
  };
  const auto create = [&](const std::string& mode, const std::string& name, bool legacy = false) {
    return call("mallory", "POST", "/api/v1/namespaces/mode-" + mode + "/pods?fieldManager=" + name,
                weak(name, legacy));
  };
  for (const char* mode : {"audit", "warn", "enforce"}) {
    must("mallory", "POST",
         "/apis/networking.k8s.io/v1/namespaces/mode-" + std::string(mode) + "/networkpolicies",
         network("deny-all",
                 {{"podSelector", json::object()}, {"policyTypes", {"Ingress", "Egress"}}}));
  }
  // Once the watches have told of the exception. Each attempt has a name of its own.
  int attempt = 0;
  std::string excepted;
  ASSERT_TRUE(eventually([&] {
    excepted = "excepted-" + std::to_string(++attempt);
    return create("enforce", excepted, true).status == 201;
  }));
  ASSERT_EQ(create("audit", "audited").status, 201);
  ASSERT_EQ(create("warn", "warned").status, 201);
  ASSERT_TRUE(create("enforce", "denied").refused());
  ASSERT_TRUE(eventually([&] { return !annotations_of("denied").is_null(); }));

  const std::string field =
      "[read-only-root-filesystem] "
      "spec.containers[0].securityContext.readOnlyRootFilesystem is false";
  json seen = annotations_of("audited");
  EXPECT_EQ(seen.value("verdict", ""), "allowed-by-mode") << seen;
  EXPECT_EQ(seen.value("audited-controls", ""), "read-only-root-filesystem");
  EXPECT_THAT(seen.value("findings", ""), HasSubstr(field));
  EXPECT_FALSE(seen.contains("warned-controls") || seen.contains("denied-controls"));
  seen = annotations_of("warned");
  EXPECT_EQ(seen.value("verdict", ""), "allowed-by-mode") << seen;
  EXPECT_EQ(seen.value("warned-controls", ""), "read-only-root-filesystem");
  EXPECT_THAT(seen.value("findings", ""), HasSubstr(field));
  seen = annotations_of("denied");
  EXPECT_EQ(seen.value("verdict", ""), "denied") << seen;
  EXPECT_EQ(seen.value("denied-controls", ""), "read-only-root-filesystem");
  EXPECT_THAT(seen.value("reason", ""), HasSubstr("palisade.dev/agent"));
  seen = annotations_of(excepted);
  EXPECT_EQ(seen.value("verdict", ""), "allowed") << seen;
  EXPECT_EQ(seen.value("exceptions", ""), "legacy (OPS-7): read-only-root-filesystem");
}

// Deleted, but held by a finalizer, and its containers by their grace period: what made it an
// agent's still must stay, and so must what closes it in.
TEST_F(GuardFromOutside, APodThatIsOnItsWayOutIsStillGuarded) {
  json by_hand = pod_by_hand("late");
  by_hand["metadata"]["labels"] = {{"app", "late"}, {"palisade.dev/agent", "aider"}};
  by_hand["metadata"]["finalizers"] = {"example.com/hold"};
  json owned_pod = policy::testing::good_pod();
  owned_pod["metadata"] = owned("late-agent")["metadata"];
  owned_pod["metadata"]["labels"]["palisade.dev/agent"] = "aider";
  owned_pod["metadata"]["finalizers"] = {"example.com/hold"};
  must("mallory", "POST", kNetwork,
       network("deny-late", {{"podSelector", {{"matchLabels", {{"app", "late"}}}}},
                             {"policyTypes", {"Ingress", "Egress"}}}));
  ASSERT_TRUE(
      eventually([&] { return call("mallory", "POST", kTeam + "pods", by_hand).status == 201; }));
  must("operator", "POST", kTeam + "pods", owned_pod);
  for (const char* pod : {"late", "late-agent"}) {
    must("mallory", "DELETE", kTeam + "pods/" + pod);
    const json held = must("mallory", "GET", kTeam + "pods/" + pod);
    ASSERT_TRUE(held["metadata"].contains("deletionTimestamp")) << held;
  }
  const std::string late = kTeam + "pods/late";
  const std::string agent = kTeam + "pods/late-agent";
  const auto labels = [](const json& set) { return json{{"metadata", {{"labels", set}}}}; };
  const json disowned{{"metadata", {{"ownerReferences", {{{"$patch", "delete"}, {"uid", uid_}}}}}}};
  const json open = network("open", {{"podSelector", {{"matchLabels", {{"app", "late"}}}}},
                                     {"policyTypes", {"Egress"}},
                                     {"egress", {json::object()}}});
  const json released{{"metadata", {{"finalizers", nullptr}}}};
  expect_refused({
      {"its mark", "PATCH", late, labels({{"palisade.dev/agent", nullptr}}), "agent-identity"},
      {"its mark by status", "PATCH", late + "/status", labels({{"palisade.dev/agent", nullptr}}),
       "agent-identity"},
      {"out of its policy", "PATCH", late, labels({{"app", "other"}}), "deny-all-network"},
      {"its policy", "DELETE", kNetwork + "/deny-late", nullptr, "deny-all-network"},
      {"its policy, emptied",
       "PATCH",
       kNetwork + "/deny-late",
       {{"spec", {{"policyTypes", {"Ingress"}}}}},
       "deny-all-network"},
      {"another policy", "POST", kNetwork, open, "deny-all-network"},
      {"a workspace's label", "PATCH", agent, labels({{"palisade.dev/workspace", nullptr}}),
       "agent-identity"},
      {"a workspace's owner", "PATCH", agent, disowned, "agent-identity"},
      {"a workspace's owner by the collector", "PATCH", agent, disowned, "agent-identity",
       "collector"},
      {"a workspace's policy", "DELETE", kNetwork + "/fix-agent", nullptr, "workspace-objects"},
  });
  expect_passes({
      {"a note", "PATCH", late, {{"metadata", {{"annotations", {{"note", "x"}}}}}}, ""},
      {"its end", "PATCH", late, released, ""},
      {"a workspace's end", "PATCH", agent, released, ""},
  });
  for (const std::string& pod : {late, agent}) {
    must("mallory", "PATCH", pod, released);
    EXPECT_EQ(call("mallory", "GET", pod).status, 404) << pod;
  }
  Answer gone;
  EXPECT_TRUE(eventually([&] {
    gone = call("mallory", "DELETE", kNetwork + "/deny-late");
    return gone.status < 300;
  })) << gone.message();
}

// A namespace bound to one RuntimeClass: its agents name that one, and nobody else needs to.
TEST_F(GuardFromOutside, AnAgentPolicyHoldsInTheNamespacesThatItSelects) {
  must("root", "POST", "/apis/node.k8s.io/v1/runtimeclasses",
       {{"metadata", {{"name", "sandboxed"}}}, {"handler", "runc"}});
  must("root", "POST", "/api/v1/namespaces", {{"metadata", {{"name", "bound"}}}});
  must("mallory", "POST", "/apis/networking.k8s.io/v1/namespaces/bound/networkpolicies",
       network("deny-all",
               {{"podSelector", json::object()}, {"policyTypes", {"Ingress", "Egress"}}}));
  must("root", "POST", "/apis/palisade.dev/v1alpha1/agentpolicies",
       {{"apiVersion", "palisade.dev/v1alpha1"},
        {"kind", "AgentPolicy"},
        {"metadata", {{"name", "bound"}}},
        {"spec",
         {{"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", "bound"}}}}},
          {"allowedRuntimeClasses", {"sandboxed"}}}}});
  const auto pod = [](const char* runtime_class, bool marked = true) {
    json out = pod_by_hand("bound");
    if (marked) out["metadata"]["labels"]["palisade.dev/agent"] = "aider";
    if (!marked) {
      out["spec"] = {{"containers", {{{"name", "main"}, {"image", "registry.example.com/x:1"}}}}};
    }
    if (*runtime_class != 0) out["spec"]["runtimeClassName"] = runtime_class;
    return out;
  };
  const std::string pods = "/api/v1/namespaces/bound/pods";
  ASSERT_TRUE(
      eventually([&] { return call("mallory", "POST", pods + "?dryRun=All", pod("")).refused(); }));
  expect_refused({{"no class", "POST", pods, pod(""), "runtime-class"}});
  expect_passes({{"the class", "POST", pods, pod("sandboxed"), ""},
                 {"anybody's pod", "POST", pods, pod("", false), ""},
                 {"elsewhere", "POST", kTeam + "pods", pod(""), ""}});
  // Nobody's to write that gives an agent the network: the API server says it of the schema.
  for (const char* user : {"root", "mallory"}) {
    const Answer refused =
        call(user, "POST", "/apis/palisade.dev/v1alpha1/agentpolicies",
             {{"apiVersion", "palisade.dev/v1alpha1"},
              {"kind", "AgentPolicy"},
              {"metadata", {{"name", "network"}}},
              {"spec", {{"permissions", {{"agent", {"filesystem.rw", "network.egress.llm"}}}}}}});
    EXPECT_GE(refused.status, 400) << user;
    if (user == std::string_view("root")) {
      EXPECT_THAT(refused.message(), HasSubstr("no agent may have network.egress"));
    }
  }
}

// Last. Registered as the chart registers it, and away: whatever starts Kubernetes and Palisade
// itself must not wait for it.
TEST_F(GuardFromOutside, AClusterStartsAndHealsWhileItIsAway) {
  webhook_->stop(SIGTERM, std::chrono::seconds(20));
  ASSERT_THAT(call("mallory", "POST", kTeam + "pods?dryRun=All",
                   [] {
                     json pod = pod_by_hand("waits");
                     pod["metadata"]["labels"]["palisade.dev/agent"] = "aider";
                     return pod;
                   }())
                  .message(),
              HasSubstr("failed calling webhook"));
  const json plain{{"containers", {{{"name", "main"}, {"image", "registry.example.com/x:1"}}}}};
  const auto named = [](const std::string& name, json more = json::object()) {
    more["metadata"]["name"] = name;
    return more;
  };
  // Also what the guard would look at elsewhere: a pod marked as an agent's, owned objects, and a
  // system's ServiceAccount whose name ends as an agent's does.
  json marked = named("marked", {{"spec", plain}});
  marked["metadata"]["labels"] = {{"palisade.dev/agent", "aider"}};
  json owned_secret = named("owned");
  owned_secret["metadata"]["labels"] = {{"palisade.dev/workspace", "x"}};
  const json labels{{"app", "x"}};
  const json deployment{{"spec",
                         {{"selector", {{"matchLabels", labels}}},
                          {"template", {{"metadata", {{"labels", labels}}}, {"spec", plain}}}}}};
  json binding = named("x");
  binding["roleRef"] = {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "Role"}, {"name", "x"}};
  for (const char* ns : {"palisade-system", "kube-system"}) {
    binding["subjects"] = {
        {{"kind", "ServiceAccount"}, {"name", "palisade-operator"}, {"namespace", ns}}};
    const std::string core = "/api/v1/namespaces/" + std::string(ns) + "/";
    const std::string in = "/namespaces/" + std::string(ns) + "/";
    const struct {
      std::string path;
      json body;
    } made[] = {
        {core + "pods", named("x", {{"spec", plain}})},
        {core + "pods", marked},
        {core + "pods/x/binding", named("x", {{"target", {{"kind", "Node"}, {"name", "n1"}}}})},
        {core + "secrets", named("x")},
        {core + "secrets", owned_secret},
        {core + "configmaps", named("x")},
        {core + "serviceaccounts", named("x")},
        {core + "serviceaccounts", named("node-agent")},
        {core + "serviceaccounts/x/token", {{"spec", json::object()}}},
        {core + "serviceaccounts/node-agent/token", {{"spec", json::object()}}},
        {core + "events",
         named("x", {{"involvedObject", {{"kind", "Pod"}, {"name", "x"}, {"namespace", ns}}}})},
        {"/apis/apps/v1" + in + "deployments", named("x", deployment)},
        {"/apis/apps/v1" + in + "daemonsets", named("x", deployment)},
        {"/apis/coordination.k8s.io/v1" + in + "leases", named("x")},
        {"/apis/networking.k8s.io/v1" + in + "networkpolicies",
         named("x", {{"spec", {{"podSelector", json::object()}}}})},
        {kRbac.substr(0, kRbac.size() - 1) + in + "rolebindings", binding},
    };
    for (const auto& one : made) {
      const Answer answer = call("root", "POST", one.path, one.body);
      EXPECT_EQ(answer.status, 201) << one.path << ": " << answer.message();
    }
    const Answer status =
        call("root", "PATCH", core + "pods/x/status", {{"status", {{"phase", "Running"}}}});
    EXPECT_EQ(status.status, 200) << status.message();
    const Answer deleted = call("root", "DELETE", core + "pods/x?gracePeriodSeconds=0");
    EXPECT_EQ(deleted.status, 200) << deleted.message();
  }
  const struct {
    std::string path;
    json body;
  } of_the_cluster[] = {
      {"/api/v1/nodes", named("n2")},
      {"/api/v1/namespaces", named("new")},
      {"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", named("n2")},
      {kRbac + "clusterroles", named("x", {{"rules", json::array()}})},
      {"/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
       named("things.example.com",
             {{"spec",
               {{"group", "example.com"},
                {"scope", "Cluster"},
                {"names", {{"plural", "things"}, {"kind", "Thing"}}},
                {"versions",
                 {{{"name", "v1"},
                   {"served", true},
                   {"storage", true},
                   {"schema", {{"openAPIV3Schema", {{"type", "object"}}}}}}}}}}})},
  };
  for (const auto& one : of_the_cluster) {
    const Answer answer = call("root", "POST", one.path, one.body);
    EXPECT_EQ(answer.status, 201) << one.path << ": " << answer.message();
  }
}

}  // namespace
}  // namespace palisade::webhook::testing
