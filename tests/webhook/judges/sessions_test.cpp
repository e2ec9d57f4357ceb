// Who may enter an agent pod, and who may put it on a node.
#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

FakeCluster sessions_cluster() {
  FakeCluster cluster;
  cluster.workspace("fix", "jane").workspace("old", "");
  cluster.pod("fix-agent", {{"palisade.dev/workspace", "fix"}}, "fix");
  cluster.pod("old-agent", {}, "old");
  cluster.pod("orphan-agent", {}, "gone");
  cluster.pod("by-hand", {{"app", "aider"}});
  cluster.pod("web", {{"app", "web"}}, "", "");
  cluster.rules_["team-a"].settings.session_users = {"root-jane"};
  cluster.rules_["team-a"].settings.session_groups = {"oncall"};
  cluster.rules_["team-a"].settings.allowed_token_audiences = {};
  return cluster;
}

Review connect(const std::string& pod, const std::string& user,
               const std::vector<std::string>& groups = {"system:authenticated"},
               const std::string& subresource = "exec") {
  return {.operation = "CONNECT",
          .resource = "pods/" + subresource,
          .name = pod,
          .user = user,
          .groups = groups,
          .object = {{"kind", "PodExecOptions"}, {"command", {"sh"}}}};
}

TEST(Connect, IsForTheCreatorAndWhomTheSettingsName) {
  const FakeCluster cluster = sessions_cluster();
  for (const char* subresource : {"exec", "attach", "portforward", "proxy"}) {
    expect_passes(connect("fix-agent", "jane", {}, subresource).ask(judge_connect, cluster));
    expect_passes(connect("fix-agent", "root-jane", {}, subresource).ask(judge_connect, cluster));
    expect_passes(
        connect("fix-agent", "joe", {"x", "oncall"}, subresource).ask(judge_connect, cluster));
    const Judgement refused = connect("fix-agent", "mallory", {"system:masters"}, subresource)
                                  .ask(judge_connect, cluster);
    expect_refused(refused, "session-access", {"userInfo.username"});
    EXPECT_THAT(refused.findings[0].message, HasSubstr("jane"));
    EXPECT_THAT(refused.subject, HasSubstr(subresource));
    EXPECT_FALSE(refused.always);
    EXPECT_TRUE(refused.is_agent);
  }
}

TEST(Connect, OtherPodsPassAtOnce) {
  const FakeCluster cluster = sessions_cluster();
  expect_passes(connect("web", "mallory").ask(judge_connect, cluster));
  expect_passes(connect("not-there", "mallory").ask(judge_connect, cluster));
}

TEST(Connect, NobodyCreatedWhatWasMadeByHandOrBeforeTheGuard) {
  const FakeCluster cluster = sessions_cluster();
  for (const char* pod : {"by-hand", "old-agent", "orphan-agent"}) {
    for (const char* user : {"mallory", "jane", ""})
      expect_refused(connect(pod, user).ask(judge_connect, cluster), "session-access",
                     {"userInfo.username"});
    expect_passes(connect(pod, "root-jane").ask(judge_connect, cluster));
  }
}

TEST(Connect, TheCreatorOfANamesakeIsNotThePodsCreator) {
  FakeCluster cluster = sessions_cluster();
  cluster.workspaces_[0] = {"team-a", "fix", "another-uid", "mallory", false};
  expect_refused(connect("fix-agent", "mallory").ask(judge_connect, cluster), "session-access",
                 {"userInfo.username"});
  cluster.workspaces_[0] = {"team-b", "fix", "uid-fix", "mallory", false};
  expect_refused(connect("fix-agent", "mallory").ask(judge_connect, cluster), "session-access",
                 {"userInfo.username"});
}

TEST(Connect, ANamespaceThatEnforcesAllHasNoOtherPods) {
  FakeCluster cluster = sessions_cluster();
  cluster.rules_["team-a"].mode = Mode::kAll;
  expect_refused(connect("web", "mallory").ask(judge_connect, cluster), "session-access",
                 {"userInfo.username"});
  expect_passes(connect("web", "root-jane").ask(judge_connect, cluster));
}

TEST(Connect, DeniesWhatItCannotTell) {
  FakeCluster cluster = sessions_cluster();
  expect_needs(judge_connect, connect("fix-agent", "jane"), cluster, {"rules", "pod", "workspace"});
  cluster.rules_["team-a"].problem = "AgentPolicy x cannot be read";
  expect_unsure(connect("fix-agent", "jane").ask(judge_connect, cluster), "AgentPolicy x");
  expect_passes(connect("web", "jane").ask(judge_connect, cluster));
  Review odd = connect("fix-agent", "jane");
  odd.operation = "CREATE";
  expect_unsure(odd.ask(judge_connect, cluster), "operation \"CREATE\"");
  expect_unsure(connect("", "jane").ask(judge_connect, cluster), "names no pod");
}

Judgement debug_only(const Request& request, const ClusterView& cluster) {
  const auto rules = cluster.rules(request.ns);
  auto found = debug_findings(request, cluster, **rules);
  if (!found) return Judgement::unsure(found.error());
  Judgement out;
  out.subject = "pod";
  out.reason = "test";
  out.findings = *std::move(found);
  return out;
}

TEST(Debug, ContainersInAWorkspacesPodAreSessions) {
  FakeCluster cluster = sessions_cluster();
  const json debugger = json::array({{{"name", "debug"}, {"image", "busybox"}}});
  const auto ask = [&](const std::string& user, const json& owners, const json& before,
                       const json& now) {
    const auto pod = [&](const json& list) {
      return json{{"metadata", {{"name", "fix-agent"}, {"ownerReferences", owners}}},
                  {"spec", {{"ephemeralContainers", list}}}};
    };
    return Review{.operation = "UPDATE",
                  .resource = "pods/ephemeralcontainers",
                  .name = "fix-agent",
                  .user = user,
                  .object = pod(now),
                  .old_object = pod(before)}
        .ask(debug_only, cluster);
  };
  const json fix = owned_by("fix");
  expect_refused(ask("mallory", fix, nullptr, debugger), "session-access", {"userInfo.username"});
  expect_refused(ask("mallory", owned_by("fix", "older"), nullptr, debugger), "session-access",
                 {"userInfo.username"});
  expect_refused(ask("jane", owned_by("fix", "older"), nullptr, debugger), "session-access",
                 {"userInfo.username"});
  for (const char* user : {"jane", "root-jane", kOperator})
    expect_passes(ask(user, fix, nullptr, debugger));
  // Nothing is added, and a pod made by hand is whose it is.
  expect_passes(ask("mallory", fix, debugger, debugger));
  expect_passes(ask("mallory", fix, nullptr, json::array()));
  expect_passes(ask("mallory", nullptr, nullptr, debugger));
  cluster.broken_ = "workspace";
  expect_unsure(ask("jane", fix, nullptr, debugger), "does not answer");
}

Review binding(const std::string& pod, const std::string& user, const json& metadata = {},
               bool legacy = false) {
  json object{{"apiVersion", "v1"},
              {"kind", "Binding"},
              {"metadata", {{"name", pod}}},
              {"target", {{"kind", "Node"}, {"name", "n1"}}}};
  object["metadata"].update(metadata.is_null() ? json::object() : metadata);
  return {.resource = legacy ? "bindings" : "pods/binding",
          .name = legacy ? "" : pod,
          .user = user,
          .object = object};
}

TEST(Binding, OfAnAgentPodIsASchedulers) {
  FakeCluster cluster = sessions_cluster();
  for (const bool legacy : {false, true}) {
    for (const char* pod : {"fix-agent", "by-hand"}) {
      expect_passes(binding(pod, "system:kube-scheduler", {}, legacy).ask(judge_binding, cluster));
      for (const char* user : {"mallory", kOperator, "system:kube-scheduler2", ""})
        expect_refused(binding(pod, user, {}, legacy).ask(judge_binding, cluster),
                       "scheduler-binding", {"userInfo.username"});
    }
    expect_passes(binding("web", "mallory", {}, legacy).ask(judge_binding, cluster));
    expect_passes(binding("nothing", "mallory", {}, legacy).ask(judge_binding, cluster));
  }
  cluster.principals_.scheduler_users = {"system:serviceaccount:volcano:scheduler", ""};
  expect_passes(
      binding("fix-agent", "system:serviceaccount:volcano:scheduler").ask(judge_binding, cluster));
  expect_refused(binding("fix-agent", "").ask(judge_binding, cluster), "scheduler-binding",
                 {"userInfo.username"});
}

TEST(Binding, ChangesNothingButTheNode) {
  const FakeCluster cluster = sessions_cluster();
  const auto bind = [&](const char* pod, const json& metadata) {
    return binding(pod, "system:kube-scheduler", metadata).ask(judge_binding, cluster);
  };
  expect_passes(bind("fix-agent", {{"labels",
                                    {{"topology.kubernetes.io/zone", "z"},
                                     {"topology.kubernetes.io/region", "r"}}}}));
  expect_passes(bind("fix-agent", {{"labels", nullptr}, {"annotations", json::object()}}));
  expect_refused(bind("fix-agent", {{"labels", {{"app", "web"}}}}), "scheduler-binding",
                 {R"(metadata.labels["app"])"});
  expect_refused(bind("fix-agent", {{"annotations", {{"topology.kubernetes.io/zone", "z"}}}}),
                 "scheduler-binding", {R"(metadata.annotations["topology.kubernetes.io/zone"])"});
  expect_passes(bind("web", {{"labels", {{"app", "web"}}}, {"annotations", {{"a", "b"}}}}));
  // Nobody's pod becomes a workspace's this way.
  for (const char* pod : {"web", "fix-agent", "nothing"}) {
    expect_refused(bind(pod, {{"labels", {{"palisade.dev/workspace", "fix"}}}}), "agent-identity",
                   {R"(metadata.labels["palisade.dev/workspace"])"});
    expect_refused(bind(pod, {{"annotations", {{"palisade.dev/access", "{}"}}}}), "agent-identity",
                   {R"(metadata.annotations["palisade.dev/access"])"});
  }
}

TEST(Binding, DeniesWhatItCannotTell) {
  FakeCluster cluster = sessions_cluster();
  expect_needs(judge_binding, binding("fix-agent", "system:kube-scheduler"), cluster,
               {"rules", "pod"});
  Review odd = binding("fix-agent", "system:kube-scheduler");
  odd.object = nullptr;
  expect_unsure(odd.ask(judge_binding, cluster), "holds no object");
  odd = binding("", "system:kube-scheduler", {}, true);
  expect_unsure(odd.ask(judge_binding, cluster), "names no pod");
  odd = binding("fix-agent", "system:kube-scheduler");
  odd.operation = "DELETE";
  expect_unsure(odd.ask(judge_binding, cluster), "operation");
}

}  // namespace
}  // namespace palisade::webhook::testing
