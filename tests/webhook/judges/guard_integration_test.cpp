// Each attempt to get round the guard has a twin that passes: see guard_cluster.h.
#include "webhook/judges/guard_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(Guard, Sessions) {
  const std::string pod = kTeam + "pods/fix-agent/";
  for (const std::string entrance :
       {"exec?command=sh&stdout=true", "attach?stdout=true", "portforward?ports=80", "proxy/x"}) {
    for (const char* name : {"fix-agent", "by-hand"}) {
      const Answer refused = call("mallory", entrance == "proxy/x" ? "GET" : "POST",
                                  kTeam + "pods/" + name + "/" + entrance);
      EXPECT_TRUE(refused.refused()) << entrance << refused.status << refused.message();
      EXPECT_THAT(refused.message(), HasSubstr("[session-access]"));
    }
    // Past the guard there is no node yet.
    const Answer jane = call("jane", entrance == "proxy/x" ? "GET" : "POST", pod + entrance);
    EXPECT_FALSE(jane.refused()) << entrance << jane.message();
    EXPECT_GE(jane.status, 400);
  }
}

TEST_F(Guard, Bindings) {
  const auto binding = [](const char* pod, const json& labels = nullptr,
                          const json& annotations = nullptr) {
    json out{{"apiVersion", "v1"},
             {"kind", "Binding"},
             {"metadata", {{"name", pod}}},
             {"target", {{"kind", "Node"}, {"name", "n1"}}}};
    if (!labels.is_null()) out["metadata"]["labels"] = labels;
    if (!annotations.is_null()) out["metadata"]["annotations"] = annotations;
    return out;
  };
  const std::string by_hand = kTeam + "pods/by-hand/binding";
  const std::string legacy = kTeam + "bindings";
  const json zone{{"topology.kubernetes.io/zone", "z"}};
  expect_refused({
      {"by hand", "POST", by_hand, binding("by-hand"), "scheduler-binding"},
      {"legacy", "POST", legacy, binding("by-hand"), "scheduler-binding"},
      {"the operator", "POST", legacy, binding("by-hand"), "scheduler-binding", "operator"},
      {"labels", "POST", by_hand, binding("by-hand", {{"app", "web"}}), "scheduler-binding",
       "scheduler"},
      {"legacy labels", "POST", legacy, binding("by-hand", {{"app", "web"}}), "scheduler-binding",
       "scheduler"},
      {"annotations", "POST", by_hand, binding("by-hand", nullptr, {{"a", "b"}}),
       "scheduler-binding", "scheduler"},
      {"marks", "POST", by_hand, binding("by-hand", {{"palisade.dev/workspace", "fix"}}),
       "agent-identity", "scheduler"},
  });
  expect_passes({
      {"a scheduler", "POST", by_hand, binding("by-hand"), "", "scheduler"},
      {"with a zone", "POST", legacy, binding("by-hand", zone), "", "scheduler"},
  });
}

TEST_F(Guard, Marks) {
  const std::string pod = kTeam + "pods/fix-agent";
  const json unmarked{{"metadata", {{"labels", {{"palisade.dev/workspace", nullptr}}}}}};
  const json disowned{{"metadata", {{"ownerReferences", {{{"$patch", "delete"}, {"uid", uid_}}}}}}};
  const json annotated{{"metadata", {{"annotations", {{"palisade.dev/access", "{1}"}}}}}};
  const json ungated{
      {"spec",
       {{"schedulingGates", {{{"$patch", "delete"}, {"name", "palisade.dev/network-policy"}}}}}}};
  const json harmless{{"metadata", {{"annotations", {{"note", "x"}}}}}};
  json forged = pod_by_hand("forged");
  forged["metadata"]["labels"]["palisade.dev/workspace"] = "fix";
  json adopted = pod_by_hand("forged");
  adopted["metadata"]["ownerReferences"] = owned("x")["metadata"]["ownerReferences"];
  const json good = policy::testing::good_pod_with_ephemeral();
  const std::string first = good["spec"]["containers"][0]["name"];
  const json image{
      {"spec", {{"containers", {{{"name", first}, {"image", "registry.example.com/x:1"}}}}}}};
  const json debugger{{"spec", {{"ephemeralContainers", good["spec"]["ephemeralContainers"]}}}};
  expect_refused({
      {"image", "PATCH", pod, image, "agent-identity"},
      {"debugger", "PATCH", pod + "/ephemeralcontainers", debugger, "session-access"},
      {"label", "PATCH", pod, unmarked, "agent-identity"},
      {"label by status", "PATCH", pod + "/status", unmarked, "agent-identity"},
      {"label by the collector", "PATCH", pod, unmarked, "agent-identity", "collector"},
      {"owner", "PATCH", pod, disowned, "agent-identity"},
      {"owner by the collector", "PATCH", pod, disowned, "agent-identity", "collector"},
      {"annotation", "PATCH", pod, annotated, "agent-identity"},
      {"annotation by status", "PATCH", pod + "/status", annotated, "agent-identity"},
      {"gate", "PATCH", pod, ungated, "agent-identity"},
      {"forged label", "POST", kTeam + "pods", forged, "agent-identity"},
      {"forged owner", "POST", kTeam + "pods", adopted, "agent-identity"},
      {"another's labels by status",
       "PATCH",
       kTeam + "pods/by-hand/status",
       {{"metadata", {{"labels", {{"app", "other"}}}}}},
       "deny-all-network"},
      {"another's labels",
       "PATCH",
       kTeam + "pods/by-hand",
       {{"metadata", {{"labels", {{"app", "other"}}}}}},
       "deny-all-network"},
      {"uncovered", "POST", kTeam + "pods",
       [&] {
         json open = pod_by_hand("open");
         open["metadata"]["labels"] = {{"app", "other"}};
         return open;
       }(),
       "deny-all-network"},
  });
  expect_passes({
      {"the creator's debugger", "PATCH", pod + "/ephemeralcontainers", debugger, "", "jane"},
      {"a note", "PATCH", pod, harmless, ""},
      {"a note by status", "PATCH", pod + "/status", harmless, ""},
      {"the operator lifts its gate", "PATCH", pod, ungated, "", "operator"},
      {"another pod by hand", "POST", kTeam + "pods", pod_by_hand("another"), ""},
  });
}

TEST_F(Guard, ObjectsOfAWorkspace) {
  const json change{{"metadata", {{"annotations", {{"note", "x"}}}}}};
  std::vector<Attempt> attempts;
  for (const std::string object :
       {"secrets/fix-git", "configmaps/fix-agent", "serviceaccounts/fix-agent"}) {
    for (const char* user : {"mallory", "collector", "root"}) {
      attempts.push_back({"change", "PATCH", kTeam + object, change, "workspace-objects", user});
      attempts.push_back({"delete", "DELETE", kTeam + object, nullptr, "workspace-objects", user});
    }
    // Of a collection each object is judged, without a name in the review.
    attempts.push_back({"delete all", "DELETE", kTeam + object.substr(0, object.find('/')), nullptr,
                        "workspace-objects"});
    attempts.push_back({"forge", "POST", kTeam + object.substr(0, object.find('/')), owned("new"),
                        "workspace-objects"});
  }
  const std::string policy = kNetwork + "/fix-agent";
  attempts.push_back({"policy", "PATCH", policy, change, "workspace-objects"});
  attempts.push_back({"delete policy", "DELETE", policy, nullptr, "workspace-objects"});
  attempts.push_back({"delete policies", "DELETE", kNetwork, nullptr, "deny-all-network"});
  attempts.push_back({"token",
                      "POST",
                      kTeam + "serviceaccounts/fix-agent/token",
                      {{"spec", {{"audiences", {"x"}}}}},
                      "workspace-objects"});
  attempts.push_back(
      {"token for ever",
       "POST",
       kTeam + "secrets",
       {{"type", "kubernetes.io/service-account-token"},
        {"metadata",
         {{"name", "t"}, {"annotations", {{"kubernetes.io/service-account.name", "fix-agent"}}}}}},
       "workspace-objects"});
  expect_refused(attempts);
  expect_passes({
      {"the operator's change", "PATCH", kTeam + "secrets/fix-git", change, "", "operator"},
      {"the operator's deletion", "DELETE", kTeam + "secrets/fix-git", nullptr, "", "operator"},
      {"another's", "PATCH", kTeam + "configmaps/mine", change, ""},
      {"another's deletion", "DELETE", kTeam + "configmaps/mine", nullptr, ""},
  });
}

// The API server asks about what is not the volume's own life, and of that it does not.
TEST_F(Guard, TheVolumeOfAWorkspace) {
  const std::string claims = kTeam + "persistentvolumeclaims";
  const std::string own = claims + "/fix-workspace";
  const json unmarked{{"metadata", {{"labels", {{"palisade.dev/workspace", nullptr}}}}}};
  const json unwatched{{"metadata", {{"labels", {{"app.kubernetes.io/managed-by", nullptr}}}}}};
  std::vector<Attempt> attempts;
  for (const char* user : {"mallory", "collector", "root"}) {
    attempts.push_back({"unmark", "PATCH", own, unmarked, "workspace-objects", user});
    attempts.push_back(
        {"unmark by its status", "PATCH", own + "/status", unwatched, "workspace-objects", user});
    attempts.push_back({"another's",
                        "PATCH",
                        own,
                        {{"metadata", {{"annotations", {{"palisade.dev/workspace-uid", "x"}}}}}},
                        "workspace-objects",
                        user});
    attempts.push_back({"delete", "DELETE", own, nullptr, "workspace-objects", user});
  }
  attempts.push_back({"delete all", "DELETE", claims, nullptr, "workspace-objects"});
  attempts.push_back({"forge", "POST", claims, volume("new-workspace"), "workspace-objects"});
  json marked = volume("mine");
  marked["metadata"].erase("labels");
  attempts.push_back({"forge its mark", "POST", claims, marked, "workspace-objects"});
  expect_refused(attempts);
  json plain = volume("mine");
  plain["metadata"] = {{"name", "mine"}};
  const auto noted = [](const char* key) {
    return json{{"metadata", {{"annotations", {{key, "x"}}}}}};
  };
  expect_passes({
      {"the binder's name", "PATCH", own, {{"spec", {{"volumeName", "pv-1"}}}}, "", "collector"},
      {"the default class", "PATCH", own, {{"spec", {{"storageClassName", "std"}}}}, ""},
      {"where it is put", "PATCH", own, noted("volume.kubernetes.io/selected-node"), ""},
      {"what became of it", "PATCH", own + "/status", {{"status", {{"phase", "Bound"}}}}, ""},
      {"its protection", "PATCH", own, {{"metadata", {{"finalizers", nullptr}}}}, ""},
      {"the operator's deletion", "DELETE", own, nullptr, "", "operator"},
      {"somebody's own", "POST", claims, plain, ""},
  });
}

TEST_F(Guard, NetworkPolicies) {
  const json everybody = json::object();
  const json hands{{"matchLabels", {{"app", "aider"}}}};
  const json narrow = {{{"to", {{{"podSelector", {{"matchLabels", {{"app", "llm"}}}}}}}},
                        {"ports", {{{"port", 80}}}}}};
  const auto block = [](const json& cidr) {
    return json{{{"to", {{{"ipBlock", cidr}}}}, {"ports", {{{"port", 443}}}}}};
  };
  const auto made = [&](const json& selector, const json& egress) {
    return network("p",
                   {{"podSelector", selector}, {"policyTypes", {"Egress"}}, {"egress", egress}});
  };
  expect_refused({
      {"everything", "POST", kNetwork, made(hands, json::array({everybody})), "deny-all-network"},
      {"v4", "POST", kNetwork, made(hands, block({{"cidr", "0.0.0.0/0"}})), "deny-all-network"},
      {"v4 but", "POST", kNetwork,
       made(hands, block({{"cidr", "0.0.0.0/0"}, {"except", {"169.254.0.0/16"}}})),
       "deny-all-network"},
      {"v6", "POST", kNetwork, made(hands, block({{"cidr", "::/0"}})), "deny-all-network"},
      {"metadata", "POST", kNetwork, made(hands, block({{"cidr", "169.254.169.254/32"}})),
       "deny-all-network"},
      {"narrow for all", "POST", kNetwork, made(everybody, narrow), "deny-all-network"},
      {"ingress for all", "POST", kNetwork,
       network("p", {{"podSelector", everybody}, {"ingress", {everybody}}}), "deny-all-network"},
      {"the last", "DELETE", kNetwork + "/deny-hands", nullptr, "deny-all-network"},
      {"the last, emptied",
       "PATCH",
       kNetwork + "/deny-hands",
       {{"spec", {{"policyTypes", {"Ingress"}}}}},
       "deny-all-network"},
      {"the last by the collector", "DELETE", kNetwork + "/deny-hands", nullptr, "deny-all-network",
       "collector"},
  });
  expect_passes({
      {"narrow by hand", "POST", kNetwork, made(hands, narrow), ""},
      {"web", "POST", kNetwork, made({{"matchLabels", {{"app", "web"}}}}, json::array({everybody})),
       ""},
      {"all but agents", "POST", kNetwork,
       made({{"matchExpressions",
              {{{"key", "palisade.dev/agent"}, {"operator", "DoesNotExist"}},
               {{"key", "app"}, {"operator", "NotIn"}, {"values", {"aider"}}}}}},
            json::array({everybody})),
       ""},
  });
}

// Definitions as their projects have them, but for the schema.
std::string definition(const std::string& group, const std::string& plural, const std::string& kind,
                       bool namespaced) {
  std::string singular(kind);
  std::ranges::transform(singular, singular.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return json{{"apiVersion", "apiextensions.k8s.io/v1"},
              {"kind", "CustomResourceDefinition"},
              {"metadata",
               {{"name", plural + "." + group},
                {"annotations", {{"api-approved.kubernetes.io", "unapproved, for a test"}}}}},
              {"spec",
               {{"group", group},
                {"scope", namespaced ? "Namespaced" : "Cluster"},
                {"names", {{"plural", plural}, {"singular", singular}, {"kind", kind}}},
                {"versions",
                 {{{"name", "v1"},
                   {"served", true},
                   {"storage", true},
                   {"schema",
                    {{"openAPIV3Schema",
                      {{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}}}}}}}}}}}
      .dump();
}

TEST_F(Guard, NetworkPoliciesOfOtherApis) {
  struct Api {
    const char* group;
    const char* plural;
    const char* kind;
    bool namespaced;
    json opens, closes, others;  // for everybody, for everybody, for other pods
  };
  const json everybody = json::object();
  const json web{{"matchLabels", {{"app", "web"}}}};
  const auto admin = [](const json& pods, const char* action) {
    return json{
        {"subject", {{"pods", {{"namespaceSelector", json::object()}, {"podSelector", pods}}}}},
        {"egress", {{{"action", action}}}}};
  };
  const auto cilium = [](const json& pods, const char* rules) {
    return json{{"endpointSelector", pods}, {rules, {{{"toEntities", {"world"}}}}}};
  };
  const auto calico = [](const char* selector, const char* action) {
    return json{{"selector", selector}, {"egress", {{{"action", action}}}}};
  };
  const auto antrea = [](const json& pods, const char* action) {
    return json{{"appliedTo", {{{"podSelector", pods}}}}, {"egress", {{{"action", action}}}}};
  };
  const std::vector<Api> apis{
      {"policy.networking.k8s.io", "adminnetworkpolicies", "AdminNetworkPolicy", false,
       admin(everybody, "Allow"), admin(everybody, "Deny"), admin(web, "Allow")},
      {"policy.networking.k8s.io", "clusternetworkpolicies", "ClusterNetworkPolicy", false,
       admin(everybody, "Accept"), admin(everybody, "Pass"), admin(web, "Accept")},
      {"cilium.io", "ciliumnetworkpolicies", "CiliumNetworkPolicy", true,
       cilium(everybody, "egress"), cilium(everybody, "egressDeny"), cilium(web, "egress")},
      {"cilium.io", "ciliumclusterwidenetworkpolicies", "CiliumClusterwideNetworkPolicy", false,
       cilium(everybody, "egress"), cilium(everybody, "egressDeny"), cilium(web, "egress")},
      {"crd.projectcalico.org", "networkpolicies", "NetworkPolicy", true, calico("all()", "Allow"),
       calico("all()", "Deny"), calico("app == 'web'", "Allow")},
      {"crd.projectcalico.org", "globalnetworkpolicies", "GlobalNetworkPolicy", false,
       calico("all()", "Allow"), calico("all()", "Deny"), calico("app == 'web'", "Allow")},
      {"crd.antrea.io", "networkpolicies", "NetworkPolicy", true, antrea(everybody, "Allow"),
       antrea(everybody, "Drop"), antrea(web, "Allow")},
      {"crd.antrea.io", "clusternetworkpolicies", "ClusterNetworkPolicy", false,
       antrea(everybody, "Allow"), antrea(everybody, "Drop"), antrea(web, "Allow")},
  };
  std::vector<Attempt> refused;
  std::vector<Attempt> passing;
  for (const Api& api : apis) {
    const fs::path file = directory_->path() / "definition.json";
    std::ofstream(file) << definition(api.group, api.plural, api.kind, api.namespaced);
    const auto installed = env_->install_crd(file);
    ASSERT_TRUE(installed) << api.group << " " << api.plural << ": " << installed.error().text();
    const std::string path = "/apis/" + std::string(api.group) + "/v1/" +
                             (api.namespaced ? "namespaces/team-a/" : "") + api.plural;
    const auto object = [&](const char* name, const json& spec) {
      return json{{"apiVersion", std::string(api.group) + "/v1"},
                  {"kind", api.kind},
                  {"metadata", {{"name", name}}},
                  {"spec", spec}};
    };
    refused.push_back({api.kind, "POST", path, object("opens", api.opens), "deny-all-network"});
    passing.push_back({api.kind, "POST", path, object("closes", api.closes), ""});
    passing.push_back({api.kind, "POST", path, object("others", api.others), ""});
    passing.push_back({api.kind, "POST", path, object("opens", api.opens), "", "root"});
  }
  expect_refused(refused);
  expect_passes(passing);
}

TEST_F(Guard, RightsNamespacesAndPalisadesOwn) {
  const auto binding = [](const json& subject) {
    return json{
        {"metadata", {{"name", "b"}}},
        {"roleRef",
         {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", "view"}}},
        {"subjects", json::array({subject})}};
  };
  const json agent{{"kind", "ServiceAccount"}, {"name", "fix-agent"}, {"namespace", "team-a"}};
  const json user{{"kind", "User"},
                  {"apiGroup", "rbac.authorization.k8s.io"},
                  {"name", "system:serviceaccount:team-a:fix-agent"}};
  const auto group = [](const char* name) {
    return json{{"kind", "Group"}, {"apiGroup", "rbac.authorization.k8s.io"}, {"name", name}};
  };
  const std::string roles = kRbac + "namespaces/team-a/rolebindings";
  const std::string elsewhere = kRbac + "namespaces/default/rolebindings";
  const std::string cluster = kRbac + "clusterrolebindings";
  const std::string space = "/api/v1/namespaces/team-a";
  const json off{{"metadata", {{"labels", {{"palisade.dev/enforce", "off"}}}}}};
  json finalize = must("root", "GET", space);
  finalize["metadata"]["labels"]["palisade.dev/mode"] = "audit";
  const std::string definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  const json agent_policy{{"apiVersion", "palisade.dev/v1alpha1"},
                          {"kind", "AgentPolicy"},
                          {"metadata", {{"name", "p"}}},
                          {"spec", {{"requireDigests", true}}}};
  json nonsense = agent_policy;
  nonsense["spec"] = {{"maxLifetime", "soon"}};
  expect_refused({
      {"account", "POST", roles, binding(agent), "agent-rights"},
      {"account elsewhere", "POST", elsewhere, binding(agent), "agent-rights"},
      {"account everywhere", "POST", cluster, binding(agent), "agent-rights", "root"},
      {"user", "POST", roles, binding(user), "agent-rights"},
      {"group", "POST", cluster, binding(group("system:serviceaccounts:team-a")), "agent-rights"},
      {"all accounts", "POST", cluster, binding(group("system:serviceaccounts")), "agent-rights"},
      {"all users", "POST", roles, binding(group("system:authenticated")), "agent-rights"},
      {"off", "PATCH", space, off, "namespace-labels"},
      {"off by status", "PATCH", space + "/status", off, "namespace-labels"},
      {"audit by finalize", "PUT", space + "/finalize", finalize, "namespace-labels"},
      {"off from the start",
       "POST",
       "/api/v1/namespaces",
       {{"metadata", {{"name", "b"}, {"labels", {{"palisade.dev/enforce", "off"}}}}}},
       "namespace-labels"},
      {"a definition", "DELETE", definitions + "/agentworkspaces.palisade.dev", nullptr,
       "palisade-objects"},
      {"all definitions", "DELETE", definitions, nullptr, "palisade-objects"},
      {"a policy", "POST", "/apis/palisade.dev/v1alpha1/agentpolicies", agent_policy,
       "palisade-objects"},
      {"a status",
       "PATCH",
       kWorkspaces + "/fix/status",
       {{"status", {{"phase", "Failed"}}}},
       "workspace-objects"},
  });
  expect_passes({
      {"another account", "POST", roles,
       binding({{"kind", "ServiceAccount"}, {"name", "default"}, {"namespace", "team-a"}}), ""},
      {"an administrator", "PATCH", space, off, "", "root"},
      {"stricter",
       "PATCH",
       space,
       {{"metadata", {{"labels", {{"palisade.dev/enforce", "all"}}}}}},
       ""},
      {"another label", "PATCH", space, {{"metadata", {{"labels", {{"team", "a"}}}}}}, ""},
      {"an administrator's policy", "POST", "/apis/palisade.dev/v1alpha1/agentpolicies",
       agent_policy, "", "root"},
      {"the operator's status",
       "PATCH",
       kWorkspaces + "/fix/status",
       {{"status", {{"phase", "Running"}}}},
       "",
       "operator"},
  });
  const Answer refused =
      call("root", "POST", "/apis/palisade.dev/v1alpha1/agentpolicies", nonsense);
  EXPECT_GE(refused.status, 400) << refused.message();
}

TEST_F(Guard, CreatorsAreKept) {
  for (const char* name : {"mallory", "operator", "root"}) {
    const json after = must(name, "PATCH", kWorkspaces + "/fix",
                            {{"metadata", {{"annotations", {{"palisade.dev/created-by", name}}}}}});
    EXPECT_EQ(after["metadata"]["annotations"]["palisade.dev/created-by"], "jane") << name;
  }
  const json replaced =
      must("mallory", "PATCH", kWorkspaces + "/fix", {{"metadata", {{"annotations", nullptr}}}});
  EXPECT_EQ(replaced["metadata"]["annotations"]["palisade.dev/created-by"], "jane");
}

// Last: with the workspace and its pod gone, nothing of it is held up.
TEST_F(Guard, WhatIsLeftOfAWorkspaceCanGo) {
  must("operator", "DELETE", kWorkspaces + "/fix");
  // The pod still lives, so its network stays.
  expect_refused(
      {{"policy", "DELETE", kNetwork + "/fix-agent", nullptr, "workspace-objects", "collector"}});
  must("mallory", "DELETE", kTeam + "pods/fix-agent?gracePeriodSeconds=0");
  for (const std::string& path :
       {kNetwork + "/fix-agent", kTeam + "secrets/fix-git", kTeam + "serviceaccounts/fix-agent"}) {
    Answer answer;
    EXPECT_TRUE(eventually([&] {
      answer = call("collector", "DELETE", path);
      return answer.status < 300;
    })) << path
        << answer.message();
  }
  must("mallory", "DELETE", kTeam + "pods/by-hand?gracePeriodSeconds=0");
  Answer answer;
  EXPECT_TRUE(eventually([&] {
    answer = call("mallory", "DELETE", kNetwork + "/deny-hands");
    return answer.status < 300;
  })) << answer.message();
}

TEST_F(Guard, TemplatesOfWorkspaces) {
  const std::string templates =
      "/apis/palisade.dev/v1alpha1/namespaces/team-a/agentworkspacetemplates";
  const json part{
      {"agent", {{"image", "registry.example.com/aider:1"}, {"model", "claude"}}},
      {"isolation",
       {{"egress",
         {{{"to", {{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}}}}, {"ports", {{{"port", 443}}}}}}}}},
      {"lifecycle", {{"deadline", "30m"}}}};
  const auto template_of = [&](const json& overridable) {
    return json{{"apiVersion", "palisade.dev/v1alpha1"},
                {"kind", "AgentWorkspaceTemplate"},
                {"metadata", {{"name", "python"}}},
                {"spec", {{"workspace", part}, {"overridable", overridable}}}};
  };
  const auto workspace_of = [](const char* name, json spec) {
    spec["templateRef"] = {{"name", "python"}};
    spec["repository"] = {{"url", "https://git.example.com/team/app.git"}};
    return json{{"apiVersion", "palisade.dev/v1alpha1"},
                {"kind", "AgentWorkspace"},
                {"metadata", {{"name", name}}},
                {"spec", spec}};
  };
  const json own_image{{"agent", {{"image", "evil"}}}};
  expect_refused({
      {"no template", "POST", kWorkspaces, workspace_of("one", json::object()), "workspace-bounds"},
      {"overrides nothing", "POST", templates, template_of({"agent.modell"}), "workspace-bounds"},
  });
  must("root", "POST", templates, template_of({"agent.model"}));
  expect_refused({
      {"own image", "POST", kWorkspaces, workspace_of("one", own_image), "workspace-bounds"},
      {"longer", "POST", kWorkspaces, workspace_of("one", {{"lifecycle", {{"deadline", "2h"}}}}),
       "workspace-bounds"},
      {"other network", "POST", kWorkspaces,
       workspace_of("one", {{"isolation", {{"egress", json::array()}}}}), "workspace-bounds"},
  });
  const json made = must("jane", "POST", kWorkspaces,
                         workspace_of("templated", {{"agent", {{"model", "gpt-4o"}}}}));
  EXPECT_EQ(made["spec"]["agent"]["image"], "registry.example.com/aider:1");
  EXPECT_EQ(made["spec"]["agent"]["model"], "gpt-4o");
  EXPECT_EQ(made["spec"]["lifecycle"]["deadline"], "30m");
  EXPECT_EQ(made["spec"]["isolation"]["egress"][0]["to"][0]["ipBlock"]["cidr"], "203.0.113.0/24");
  const std::string annotation = made["metadata"]["annotations"]["palisade.dev/template"];
  EXPECT_TRUE(annotation.ends_with("/1")) << annotation;
  const std::string one = kWorkspaces + "/templated";
  const json other{{"spec", {{"templateRef", {{"name", "other"}}}}}};
  EXPECT_EQ(call("root", "PATCH", one, other).status, 422);
  EXPECT_EQ(call("root", "PATCH", one, {{"spec", {{"templateRef", nullptr}}}}).status, 422);
  // A template that changes, and then goes, leaves what was made.
  json next = part;
  next["agent"]["image"] = "registry.example.com/aider:2";
  must("root", "PATCH", templates + "/python", {{"spec", {{"workspace", next}}}});
  const json suspend{{"spec", {{"lifecycle", {{"suspend", true}}}}}};
  for (const bool there : {true, false}) {
    if (!there) must("root", "DELETE", templates + "/python");
    const json after = must("jane", "PATCH", one + "?dryRun=All", suspend);
    EXPECT_EQ(after["spec"]["agent"]["image"], "registry.example.com/aider:1");
    EXPECT_EQ(after["metadata"]["annotations"]["palisade.dev/template"], annotation);
    expect_refused(
        {{"own image", "PATCH", one, {{"spec", own_image}}, "workspace-bounds", "jane"}});
  }
  must("root", "DELETE", one);
}

}  // namespace
}  // namespace palisade::webhook::testing
