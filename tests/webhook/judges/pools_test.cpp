// Pods that wait in a pool: as strictly an agent's as any, nobody's to enter, and the operator's
// alone to give to a workspace.
#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPool = R"(metadata.labels["palisade.dev/pool"])";
constexpr const char* kPoolOwner = "metadata.ownerReferences[0]";

json owned_by_pool() {
  json out = owned_by("warm");
  out[0]["kind"] = "AgentWorkspacePool";
  return out;
}

json warm_pod() {
  return {{"metadata",
           {{"name", "warm-0123456789-agent"},
            {"namespace", "team-a"},
            {"labels", {{"palisade.dev/pool", "warm"}, {"palisade.dev/agent", "aider"}}},
            {"annotations", {{"palisade.dev/shape", "1"}}},
            {"ownerReferences", owned_by_pool()}}},
          {"spec", {{"containers", {{{"name", "aider"}, {"image", "aider"}}}}}}};
}

// As the operator gives it to workspace fix.
json taken_pod() {
  json out = warm_pod();
  out["metadata"]["labels"].erase("palisade.dev/pool");
  out["metadata"]["labels"]["palisade.dev/workspace"] = "fix";
  out["metadata"]["ownerReferences"] = owned_by("fix");
  return out;
}

FakeCluster pool_cluster() {
  FakeCluster cluster;
  cluster.workspace("fix");
  cluster.pods_.push_back({"team-a",
                           "warm-0123456789-agent",
                           "pod-warm",
                           "",
                           "uid-warm",
                           {{"palisade.dev/pool", "warm"}, {"palisade.dev/agent", "aider"}},
                           "the label palisade.dev/agent is set",
                           "warm"});
  cluster.policy("warm-pool", {{"podSelector", {{"matchLabels", {{"palisade.dev/pool", "warm"}}}}},
                               {"policyTypes", {"Ingress", "Egress"}}});
  return cluster;
}

Judgement metadata_only(const Request& request, const ClusterView& cluster) {
  Judgement out;
  out.subject = "pod";
  out.reason = "test";
  out.findings = pod_metadata_findings(request, cluster);
  return out;
}

TEST(PoolPods, OnlyTheOperatorMakesThem) {
  const FakeCluster cluster = pool_cluster();
  const auto create = [&](const json& pod, const char* user) {
    return Review{.resource = "pods", .user = user, .object = pod}.ask(metadata_only, cluster);
  };
  expect_passes(create(warm_pod(), kOperator));
  expect_refused(create(warm_pod(), "mallory"), "agent-identity", {kPool, kPoolOwner});
}

TEST(PoolPods, OnlyTheOperatorGivesOneToAWorkspace) {
  const FakeCluster cluster = pool_cluster();
  const auto update = [&](const json& before, const json& now, const char* user) {
    return Review{.operation = "UPDATE",
                  .resource = "pods",
                  .name = "warm-0123456789-agent",
                  .user = user,
                  .object = now,
                  .old_object = before}
        .ask(metadata_only, cluster);
  };
  expect_passes(update(warm_pod(), taken_pod(), kOperator));
  expect_refused(update(warm_pod(), taken_pod(), "mallory"), "agent-identity",
                 {kPool, R"(metadata.labels["palisade.dev/workspace"])", "metadata.ownerReferences",
                  kPoolOwner});
  // Nor back, nor a mark of it.
  EXPECT_FALSE(update(taken_pod(), warm_pod(), "mallory").findings.empty());
  json marked = warm_pod();
  marked["metadata"]["annotations"]["palisade.dev/shape"] = "2";
  expect_refused(update(warm_pod(), marked, "mallory"), "agent-identity",
                 {R"(metadata.annotations["palisade.dev/shape"])"});
}

TEST(PoolPods, NeedTheirPolicyBeforeTheyAreThere) {
  FakeCluster cluster = pool_cluster();
  const auto network = [](const Request& request, const ClusterView& view) {
    Judgement out;
    out.subject = "pod";
    out.reason = "test";
    auto found = pod_network_findings(request, view);
    if (!found) return Judgement::unsure(found.error());
    out.findings = *std::move(found);
    return out;
  };
  const Review create{.resource = "pods", .user = kOperator, .object = warm_pod()};
  expect_passes(create.ask(network, cluster));
  // Taken before the workspace's own policy stands, it would be open.
  const Review take{.operation = "UPDATE",
                    .resource = "pods",
                    .user = kOperator,
                    .object = taken_pod(),
                    .old_object = warm_pod()};
  EXPECT_FALSE(take.ask(network, cluster).findings.empty());
  cluster.policy("fix-agent",
                 {{"podSelector", {{"matchLabels", {{"palisade.dev/workspace", "fix"}}}}},
                  {"policyTypes", {"Ingress", "Egress"}}});
  expect_passes(take.ask(network, cluster));
  cluster.network_.clear();
  EXPECT_FALSE(create.ask(network, cluster).findings.empty());
}

TEST(PoolPods, NobodyEntersOneWhomeverTheSettingsName) {
  FakeCluster cluster = pool_cluster();
  cluster.rules_["team-a"].settings.session_users = {"root-jane"};
  for (const char* user : {"root-jane", "jane", "mallory", kOperator}) {
    for (const char* subresource : {"exec", "attach", "portforward", "proxy"}) {
      const Review review{.operation = "CONNECT",
                          .resource = std::string("pods/") + subresource,
                          .name = "warm-0123456789-agent",
                          .user = user,
                          .object = {{"kind", "PodExecOptions"}, {"command", {"sh"}}}};
      const Judgement refused = review.ask(judge_connect, cluster);
      expect_refused(refused, "session-access", {"userInfo.username"});
      EXPECT_THAT(refused.findings[0].message, HasSubstr("pool warm"));
    }
  }
}

TEST(PoolPods, WhatGoesWithThemIsTheOperatorsWhileTheyLive) {
  FakeCluster cluster = pool_cluster();
  json config{{"metadata",
               {{"name", "warm-0123456789-agent"},
                {"namespace", "team-a"},
                {"labels", {{"palisade.dev/pool", "warm"}}},
                {"ownerReferences", owned_by_pool()}}},
              {"data", {{"guard.json", "{}"}}}};
  json changed = config;
  changed["data"]["relay.json"] = "{}";
  const auto write = [&](const char* operation, const json& before, const json& now,
                         const char* user) {
    return Review{.operation = operation,
                  .resource = "configmaps",
                  .user = user,
                  .object = now,
                  .old_object = before}
        .ask(judge_owned_object, cluster);
  };
  expect_passes(write("UPDATE", config, changed, kOperator));
  expect_refused(write("UPDATE", config, changed, "mallory"), "workspace-objects", {kPoolOwner});
  expect_refused(write("DELETE", config, nullptr, "mallory"), "workspace-objects", {kPoolOwner});
  expect_refused(write("CREATE", nullptr, config, "mallory"), "workspace-objects",
                 {kPool, kPoolOwner});
  const Review token{.resource = "serviceaccounts/token", .name = "warm-0123456789-agent"};
  expect_refused(token.ask(judge_token_request, cluster), "workspace-objects", {"metadata.name"});
  // What is left once no pod of it lives holds nothing up.
  cluster.pods_.clear();
  expect_passes(write("DELETE", config, nullptr, "mallory"));
  expect_passes(token.ask(judge_token_request, cluster));
}

}  // namespace
}  // namespace palisade::webhook::testing
