// Rights, namespaces, Palisade's own objects, and who created a workspace.
#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

Review binding(const json& subjects, const json& before = nullptr, const std::string& ns = "team-a",
               const std::string& user = "mallory", const std::vector<std::string>& groups = {}) {
  const auto object = [&](const json& list) {
    return json{{"metadata", {{"name", "b"}}},
                {"roleRef", {{"kind", "ClusterRole"}, {"name", "view"}}},
                {"subjects", list}};
  };
  return {.operation = before.is_null() ? "CREATE" : "UPDATE",
          .resource = ns.empty() ? "clusterrolebindings" : "rolebindings",
          .group = "rbac.authorization.k8s.io",
          .ns = ns,
          .name = "b",
          .user = user,
          .groups = groups,
          .object = object(subjects),
          .old_object = before.is_null() ? before : object(before)};
}

json account(const std::string& name, const std::string& ns = "team-a") {
  return {{"kind", "ServiceAccount"}, {"name", name}, {"namespace", ns}};
}
json user(const std::string& name) {
  return {{"kind", "User"}, {"apiGroup", "rbac.authorization.k8s.io"}, {"name", name}};
}
json group(const std::string& name) {
  return {{"kind", "Group"}, {"apiGroup", "rbac.authorization.k8s.io"}, {"name", name}};
}

TEST(RoleBindings, GiveNoRightsToAgents) {
  FakeCluster cluster;
  cluster.workspace("fix").workspace("leaving", "jane", true);
  cluster.pod("orphan-agent", {}, "orphan");
  struct Case {
    json subject;
    bool refused;
  };
  for (const Case& c : {
           Case{account("fix-agent"), true},
           Case{account("orphan-agent"), true},
           Case{user("system:serviceaccount:team-a:fix-agent"), true},
           Case{group("system:serviceaccounts:team-a"), true},
           Case{group("system:serviceaccounts"), true},
           Case{group("system:authenticated"), true},
           Case{account("fix-agent", "team-b"), false},
           Case{account("leaving-agent"), false},
           Case{account("default"), false},
           Case{account("fix"), false},
           Case{account("-agent"), false},
           Case{user("jane"), false},
           Case{user("fix-agent"), false},
           Case{user("system:serviceaccount:team-a"), false},
           Case{user("system:serviceaccount:team-b:fix-agent"), false},
           Case{group("system:serviceaccounts:team-b"), false},
           Case{group("oncall"), false},
           Case{{{"kind", "Robot"}, {"name", "fix-agent"}, {"namespace", "team-a"}}, false},
           Case{{{"kind", 1}}, false},
       }) {
    for (const char* ns : {"team-a", "team-b", ""}) {
      SCOPED_TRACE(c.subject.dump() + " in " + ns);
      const Judgement judged = binding(json::array({account("default"), c.subject}), nullptr, ns)
                                   .ask(judge_role_binding, cluster);
      expect_refused(
          judged, "agent-rights",
          c.refused ? std::vector<std::string>{"subjects[1]"} : std::vector<std::string>{});
      // The modes of another namespace do not count.
      const bool own = std::string(ns) == "team-a" &&
                       c.subject.value("/name"_json_pointer, json("")) != "system:authenticated" &&
                       c.subject.value("/name"_json_pointer, json("")) != "system:serviceaccounts";
      EXPECT_EQ(judged.always, c.refused && !own);
    }
  }
}

TEST(RoleBindings, AnUpdateMayKeepAndTakeAwayWhatWasThere) {
  FakeCluster cluster;
  cluster.workspace("fix");
  const json agent = account("fix-agent");
  const json other = account("default");
  const auto ask = [&](const json& before, const json& now) {
    return binding(now, before).ask(judge_role_binding, cluster);
  };
  expect_passes(ask({agent, other}, {agent, other}));
  expect_passes(ask({agent, other}, {other, agent}));
  expect_passes(ask({agent, other}, json::array({other})));
  expect_passes(ask({agent, other}, json::array({agent})));
  expect_passes(ask({agent, other}, nullptr));
  expect_refused(ask(json::array({other}), {other, agent}), "agent-rights", {"subjects[1]"});
  expect_refused(ask(json::array({account("fix-agent", "team-b")}), json::array({agent})),
                 "agent-rights", {"subjects[0]"});
  expect_refused(ask(json::array(), {agent, agent}), "agent-rights",
                 {"subjects[0]", "subjects[1]"});
}

TEST(RoleBindings, GroupsOfEveryAccountAreForAdministrators) {
  FakeCluster cluster;
  for (const char* name : {"system:authenticated", "system:serviceaccounts"}) {
    const json subjects = json::array({group(name)});
    expect_passes(binding(subjects).ask(judge_role_binding, cluster));
    cluster.workspace("fix");
    expect_passes(binding(subjects, nullptr, "", "system:apiserver", {"system:masters"})
                      .ask(judge_role_binding, cluster));
    expect_refused(binding(subjects, nullptr, "").ask(judge_role_binding, cluster), "agent-rights",
                   {"subjects[0]"});
    cluster.workspaces_.clear();
  }
  // An agent itself gets none from anybody.
  cluster.workspace("fix");
  expect_refused(
      binding(json::array({account("fix-agent")}), nullptr, "", "root", {"system:masters"})
          .ask(judge_role_binding, cluster),
      "agent-rights", {"subjects[0]"});
}

TEST(RoleBindings, DenyWhatTheyCannotTell) {
  FakeCluster cluster;
  cluster.workspace("fix", "jane", true);
  expect_needs(judge_role_binding, binding(json::array({account("fix-agent")})), cluster,
               {"workspace", "agent_pods"});
  expect_needs(judge_role_binding, binding(json::array({group("system:serviceaccounts:team-a")})),
               cluster, {"workspaces"});
  Review odd = binding(json::array({account("x")}));
  odd.operation = "UPDATE";
  expect_unsure(odd.ask(judge_role_binding, cluster), "without the old object");
  odd.operation = "DELETE";
  expect_unsure(odd.ask(judge_role_binding, cluster), "operation");
  odd.operation = "CREATE";
  odd.object = nullptr;
  expect_unsure(odd.ask(judge_role_binding, cluster), "holds no object");
  cluster.lookups_ = 0;
  expect_passes(
      binding(json::array({account("default"), user("jane")})).ask(judge_role_binding, cluster));
  EXPECT_EQ(cluster.lookups_, 0);
}

Review ns_labels(const json& before, const json& now,
                 const std::vector<std::string>& groups = {"system:authenticated"},
                 const std::string& resource = "namespaces") {
  const auto object = [](const json& labels) {
    return json{{"metadata", {{"name", "team-a"}, {"labels", labels}}}};
  };
  return {.operation = before == "none" ? "CREATE" : "UPDATE",
          .resource = resource,
          .name = "team-a",
          .groups = groups,
          .object = object(now),
          .old_object = before == "none" ? json() : object(before)};
}

TEST(NamespaceLabels, GetLaxerByAnAdministratorsHandOnly) {
  const FakeCluster cluster;
  const json none = json::object();
  const auto enforce = [](const char* value) { return json{{"palisade.dev/enforce", value}}; };
  const auto mode = [](const char* value) { return json{{"palisade.dev/mode", value}}; };
  const auto control = [](const char* value) {
    return json{{"control.palisade.dev/run-as-non-root", value}};
  };
  const auto together = [](json a, const json& b) {
    a.update(b);
    return a;
  };
  const std::string enforce_field = R"(metadata.labels["palisade.dev/enforce"])";
  const std::string mode_field = R"(metadata.labels["palisade.dev/mode"])";
  const std::string control_field = R"(metadata.labels["control.palisade.dev/run-as-non-root"])";
  struct Case {
    json before, now;
    std::vector<std::string> fields;
  };
  for (const Case& c : {
           Case{none, {{"team", "a"}}, {}},
           Case{{{"team", "a"}}, none, {}},
           Case{none, enforce("agents"), {}},
           Case{none, enforce("all"), {}},
           Case{none, enforce("of"), {}},  // a typing error enforces all
           Case{none, enforce("OFF"), {}},
           Case{none, enforce("off"), {enforce_field}},
           Case{"none", enforce("off"), {enforce_field}},
           Case{"none", enforce("all"), {}},
           Case{"none", none, {}},
           Case{enforce("agents"), none, {}},
           Case{enforce("off"), none, {}},
           Case{enforce("off"), enforce("agents"), {}},
           Case{enforce("all"), none, {enforce_field}},
           Case{enforce("all"), enforce("agents"), {enforce_field}},
           Case{enforce("al"), none, {enforce_field}},
           Case{enforce("al"), enforce("all"), {}},
           Case{enforce("all"), enforce("xx"), {}},
           Case{none, mode("enforce"), {}},
           Case{none, mode("Warn"), {}},
           Case{none, mode("warn"), {mode_field}},
           Case{"none", mode("audit"), {mode_field}},
           Case{mode("warn"), mode("audit"), {mode_field}},
           Case{mode("audit"), mode("warn"), {}},
           Case{mode("audit"), none, {}},
           Case{none, control("enforce"), {}},
           Case{none, control("nonsense"), {}},
           Case{none, control("warn"), {control_field}},
           Case{"none", control("audit"), {control_field}},
           Case{control("warn"), control("audit"), {control_field}},
           Case{control("audit"), none, {}},
           // Without its own label the control follows the namespace's mode.
           Case{together(mode("audit"), control("enforce")), mode("audit"), {control_field}},
           Case{together(mode("audit"), control("warn")), mode("warn"), {}},
           Case{mode("warn"), together(mode("warn"), control("enforce")), {}},
           Case{mode("warn"), control("warn"), {}},
           Case{none, together(mode("warn"), control("enforce")), {mode_field}},
           Case{none, together(mode("warn"), control("audit")), {mode_field, control_field}},
           Case{control("enforce"), mode("warn"), {mode_field, control_field}},
           // An AgentPolicy may select by these.
           Case{none, {{"palisade.dev/tier", "1"}}, {R"(metadata.labels["palisade.dev/tier"])"}},
           Case{{{"palisade.dev/tier", "1"}}, none, {R"(metadata.labels["palisade.dev/tier"])"}},
           Case{{{"palisade.dev/tier", "1"}},
                {{"palisade.dev/tier", ""}},
                {R"(metadata.labels["palisade.dev/tier"])"}},
       }) {
    SCOPED_TRACE(c.before.dump() + " to " + c.now.dump());
    const Judgement judged = ns_labels(c.before, c.now).ask(judge_namespace, cluster);
    expect_refused(judged, "namespace-labels", c.fields);
    EXPECT_TRUE(judged.always || judged.findings.empty());
    expect_passes(ns_labels(c.before, c.now, {"system:masters"}).ask(judge_namespace, cluster));
    if (c.before != "none") {
      // These subresources can write labels too.
      expect_refused(
          ns_labels(c.before, c.now, {}, "namespaces/finalize").ask(judge_namespace, cluster),
          "namespace-labels", c.fields);
    }
  }
}

TEST(NamespaceLabels, AdministratorsAreWhomTheChartNames) {
  FakeCluster cluster;
  cluster.principals_.administrator_groups = {"platform"};
  cluster.principals_.administrator_users = {"root"};
  Review review = ns_labels(json::object(), {{"palisade.dev/enforce", "off"}}, {"system:masters"});
  EXPECT_FALSE(review.ask(judge_namespace, cluster).findings.empty());
  review.groups = {"x", "platform"};
  expect_passes(review.ask(judge_namespace, cluster));
  review.groups = {};
  review.user = "root";
  expect_passes(review.ask(judge_namespace, cluster));
  EXPECT_EQ(cluster.lookups_, 0);
  review.old_object = nullptr;
  expect_unsure(review.ask(judge_namespace, cluster), "without the old object");
  review.object = nullptr;
  expect_unsure(review.ask(judge_namespace, cluster), "holds no object");
  review.operation = "DELETE";
  expect_unsure(review.ask(judge_namespace, cluster), "operation");
}

const json kAgentPolicy{{"metadata", {{"name", "p"}}}, {"spec", {{"requireDigests", true}}}};

json exception_object() {
  return {{"metadata", {{"name", "e"}}},
          {"spec",
           {{"namespaces", {"team-a"}},
            {"controls", {"run-as-non-root"}},
            {"reason", "r"},
            {"ticket", "T-1"},
            {"approver", "jane"},
            {"expires", "2030-01-01T00:00:00Z"}}}};
}

TEST(OwnObjects, AreAnAdministrators) {
  const FakeCluster cluster;
  struct Kind {
    const char* resource;
    Judge judge;
    json object;
  };
  for (const Kind& kind : {
           Kind{"customresourcedefinitions",
                judge_own_crd,
                {{"metadata", {{"name", "agentworkspaces.palisade.dev"}}}}},
           Kind{"agentpolicies", judge_agent_policy, kAgentPolicy},
           Kind{"hardeningexceptions", judge_hardening_exception, exception_object()},
       }) {
    for (const char* operation : {"CREATE", "UPDATE", "DELETE"}) {
      SCOPED_TRACE(std::string(operation) + kind.resource);
      Review review{.operation = operation, .resource = kind.resource, .ns = ""};
      if (std::string(operation) != "DELETE") review.object = kind.object;
      if (std::string(operation) != "CREATE") review.old_object = kind.object;
      const Judgement refused = review.ask(kind.judge, cluster);
      expect_refused(refused, "palisade-objects", {"userInfo.username"});
      EXPECT_TRUE(refused.always);
      review.user = kOperator;
      expect_refused(review.ask(kind.judge, cluster), "palisade-objects", {"userInfo.username"});
      review.groups = {"system:masters"};
      expect_passes(review.ask(kind.judge, cluster));
    }
  }
}

TEST(OwnObjects, OtherDefinitionsPass) {
  const FakeCluster cluster;
  for (const char* name : {"pods.example.com", "palisade.dev", "x.notpalisade.dev"}) {
    const Review review{.operation = "DELETE",
                        .resource = "customresourcedefinitions",
                        .ns = "",
                        .old_object = {{"metadata", {{"name", name}}}}};
    expect_passes(review.ask(judge_own_crd, cluster));
  }
  FakeCluster others;
  others.principals_.administrator_groups = {"platform"};
  Review status{.operation = "UPDATE",
                .resource = "customresourcedefinitions/status",
                .ns = "",
                .name = "agentpolicies.palisade.dev",
                .user = "system:apiserver",
                .groups = {"system:masters"},
                .object = json::object()};
  expect_passes(status.ask(judge_own_crd, others));
  status.resource = "customresourcedefinitions";
  EXPECT_FALSE(status.ask(judge_own_crd, others).findings.empty());
  const Review nameless{.resource = "customresourcedefinitions", .object = json::object()};
  expect_unsure(nameless.ask(judge_own_crd, cluster), "names no CustomResourceDefinition");
}

TEST(OwnObjects, WhatSaysNothingIsRefusedToAdministratorsToo) {
  const FakeCluster cluster;
  const auto ask = [&](Judge judge, const char* operation, const json& object) {
    return Review{.operation = operation,
                  .resource = "x",
                  .ns = "",
                  .groups = {"system:masters"},
                  .object = object}
        .ask(judge, cluster);
  };
  json policy = kAgentPolicy;
  policy["spec"]["requireDigest"] = true;
  json exception = exception_object();
  exception["spec"]["controls"] = {"no-such-control"};
  for (const char* operation : {"CREATE", "UPDATE"}) {
    const Judgement refused = ask(judge_agent_policy, operation, policy);
    expect_refused(refused, "palisade-objects", {"spec"});
    EXPECT_THAT(refused.findings[0].message, HasSubstr("requireDigest"));
    expect_refused(ask(judge_hardening_exception, operation, exception), "palisade-objects",
                   {"spec"});
    expect_unsure(ask(judge_agent_policy, operation, nullptr), "holds no object");
  }
  expect_passes(ask(judge_agent_policy, "DELETE", nullptr));
  policy["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  expect_passes(ask(judge_agent_policy, "UPDATE", policy));
}

json workspace(const json& annotations) {
  json out{{"metadata", {{"name", "fix"}, {"namespace", "team-a"}}}, {"spec", json::object()}};
  if (annotations != "absent") out["metadata"]["annotations"] = annotations;
  return out;
}
const json kNone = "absent";
json by(const std::string& name) {
  return {{"palisade.dev/created-by", name}};
}

Judgement creators(const Request& request, const ClusterView& /*cluster*/) {
  auto found = creator_findings(request);
  if (!found) return Judgement::unsure(found.error());
  Judgement out;
  out.subject = "AgentWorkspace";
  out.reason = "test";
  out.findings = *std::move(found);
  return out;
}

Review workspace_review(const json& before, const json& now, const std::string& user = "jane") {
  return {.operation = before.is_null() ? "CREATE" : "UPDATE",
          .resource = "agentworkspaces",
          .group = "palisade.dev",
          .name = "fix",
          .user = user,
          .object = now,
          .old_object = before};
}

TEST(Creators, AreWhoAskedAndStay) {
  const FakeCluster cluster;
  const std::vector<std::string> refused{R"(metadata.annotations["palisade.dev/created-by"])"};
  struct Case {
    json before, now;
    bool passes;
  };
  for (const Case& c : {
           Case{nullptr, workspace(by("jane")), true},
           Case{nullptr, workspace(by("joe")), false},
           Case{nullptr, workspace(by("Jane")), false},
           Case{nullptr, workspace(by("")), false},
           Case{nullptr, workspace(kNone), false},
           Case{nullptr, workspace(nullptr), false},
           Case{nullptr, workspace({{"palisade.dev/created-by", nullptr}}), false},
           Case{nullptr, workspace({{"palisade.dev/created-by", 1}}), false},
           Case{workspace(by("joe")), workspace(by("joe")), true},
           Case{workspace(kNone), workspace(kNone), true},
           Case{workspace(kNone), workspace({{"a", "b"}}), true},
           Case{workspace(by("joe")), workspace(by("jane")), false},
           Case{workspace(by("joe")), workspace(kNone), false},
           Case{workspace(kNone), workspace(by("jane")), false},
           Case{workspace(kNone), workspace(by("")), false},
       }) {
    SCOPED_TRACE(c.before.dump() + " to " + c.now.dump());
    expect_refused(workspace_review(c.before, c.now).ask(creators, cluster), "workspace-creator",
                   c.passes ? std::vector<std::string>() : refused);
    if (!c.before.is_null() && !c.passes) {
      expect_refused(workspace_review(c.before, c.now, kOperator).ask(creators, cluster),
                     "workspace-creator", refused);
    }
  }
  expect_unsure(workspace_review(nullptr, workspace(by("")), "").ask(creators, cluster),
                "who asks");
  Review odd = workspace_review(workspace(kNone), workspace(kNone));
  odd.old_object = nullptr;
  expect_unsure(odd.ask(creators, cluster), "without the old object");
  odd.object = nullptr;
  expect_unsure(odd.ask(creators, cluster), "no object");
}

// What the API server makes of the patch must pass the validating side.
TEST(Creators, AreWrittenWhateverWasSent) {
  const FakeCluster cluster;
  for (const std::string user : {"jane", "system:serviceaccount:ci:bot", "o'\"\\\n\x01\xc3\xa9"}) {
    for (const json& sent : {kNone, json(nullptr), json::object(), by("joe"), by(user),
                             json{{"other", "x"}}, json{{"palisade.dev/created-by", nullptr}}}) {
      SCOPED_TRACE(user + sent.dump());
      const json object = workspace(sent);
      const Judgement judged =
          workspace_review(nullptr, object, user).ask(mutate_workspace, cluster);
      expect_passes(judged);
      ASSERT_FALSE(judged.patch.empty());
      const json patched = object.patch(json::parse(judged.patch));
      EXPECT_EQ(patched["metadata"]["annotations"]["palisade.dev/created-by"], user);
      EXPECT_EQ(patched["metadata"]["annotations"].contains("other"), sent.contains("other"));
      expect_passes(workspace_review(nullptr, patched, user).ask(creators, cluster));
    }
  }
  expect_unsure(workspace_review(nullptr, workspace(kNone), "").ask(mutate_workspace, cluster),
                "who asks");
  expect_unsure(workspace_review(nullptr, workspace({1})).ask(mutate_workspace, cluster),
                "metadata.annotations");
  expect_unsure(workspace_review(nullptr, json::object()).ask(mutate_workspace, cluster),
                "no object");
}

TEST(Creators, AReplacedManifestKeepsThem) {
  const FakeCluster cluster;
  const auto patched = [&](const json& before, const json& now) {
    const Judgement judged = workspace_review(before, now, "joe").ask(mutate_workspace, cluster);
    expect_passes(judged);
    return judged.patch.empty() ? now : now.patch(json::parse(judged.patch));
  };
  for (const json& now : {kNone, json(nullptr), json{{"other", "x"}}, by("joe"), by("jane")}) {
    const json after = patched(workspace(by("jane")), workspace(now));
    EXPECT_EQ(after["metadata"]["annotations"]["palisade.dev/created-by"], "jane");
    expect_passes(workspace_review(workspace(by("jane")), after, "joe").ask(creators, cluster));
  }
  EXPECT_EQ(patched(workspace(kNone), workspace(by("joe"))), workspace(by("joe")));
  Review odd = workspace_review(workspace(kNone), workspace(kNone));
  odd.old_object = nullptr;
  expect_unsure(odd.ask(mutate_workspace, cluster), "without the old object");
}

TEST(WorkspaceStatus, IsTheOperators) {
  const FakeCluster cluster;
  Review review = workspace_review(workspace(by("jane")), workspace(by("jane")));
  expect_refused(review.ask(judge_workspace_status, cluster), "workspace-objects",
                 {"userInfo.username"});
  review.user = kOperator;
  expect_passes(review.ask(judge_workspace_status, cluster));
  review.object = workspace(by("joe"));
  expect_refused(review.ask(judge_workspace_status, cluster), "workspace-creator",
                 {R"(metadata.annotations["palisade.dev/created-by"])"});
}

}  // namespace
}  // namespace palisade::webhook::testing
