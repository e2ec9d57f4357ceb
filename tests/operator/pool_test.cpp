// What is decided about a pool: how many wait, what they are, and when they end.
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "operator/pool_model.h"
#include "policy/fixture.h"

namespace palisade::op::testing {
namespace {

using namespace std::chrono_literals;
using namespace kube::resources;
using policy::testing::findings_of;
using policy::testing::tell;
using ::testing::HasSubstr;

bool is_gated(const Json& pod) {
  return pod["spec"].contains("schedulingGates");
}

Workspace template_of(const PoolModel& model) {
  auto made = template_workspace(*parse_pool(model.seen.pool), *model.seen.workspace_template);
  if (!made) throw std::runtime_error(made.error());
  return std::move(*made);
}

std::set<std::string> names(const PoolModel& model) {
  std::set<std::string> out;
  for (const Json& pod : model.pods())
    out.insert(pod["metadata"]["name"]);
  return out;
}

TEST(Pool, MakesAsManyAsAreAskedForBehindOnePolicyThatStandsFirst) {
  PoolModel model(3);
  model.settle([&](const Action& action) {
    if (action.kind == ActionKind::kCreatePod) {
      EXPECT_TRUE(model.seen.network);
      EXPECT_TRUE(is_gated(action.object));
    }
  });
  EXPECT_EQ(model.pods().size(), 3U);
  EXPECT_EQ(names(model).size(), 3U);
  const Json network = *model.seen.network;
  EXPECT_EQ(network["metadata"]["name"], "warm-pool");
  EXPECT_EQ(network["spec"], Json({{"podSelector", {{"matchLabels", {{kPoolLabel, "warm"}}}}},
                                   {"policyTypes", {"Ingress", "Egress"}}}));
  for (const Json& pod : model.pods())
    EXPECT_FALSE(is_gated(pod));
  EXPECT_EQ(model.condition("Ready")["reason"], "Warming");
  model.bring_up();
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "Warm");
  EXPECT_EQ(model.status()["readyReplicas"], 3);
  EXPECT_EQ(model.status()["replicas"], 3);
  EXPECT_EQ(model.status()["selector"], "palisade.dev/pool=warm");
}

TEST(Pool, AGateStaysWhileThePolicyIsNotAsItShouldBe) {
  PoolModel model(1);
  const Plan first = model.decide();
  for (const Action& action : first.actions)
    model.carry_out(action);
  PoolModel::edit(model.seen.network, {{"spec", {{"egress", Json::array({Json::object()})}}}});
  for (const Action& action : model.decide().actions)
    EXPECT_NE(action.kind, ActionKind::kLiftGate);
  PoolModel::edit(model.seen.network, {{"metadata", {{"deletionTimestamp", "x"}}}});
  for (const Action& action : model.decide().actions)
    EXPECT_NE(action.kind, ActionKind::kLiftGate);
}

// Unclaimed it is judged as any agent's pod, and there is nothing of anybody's in it.
TEST(Pool, ItsPodIsHardenedAndKnowsNothing) {
  PoolModel model(1);
  model.settle();
  const Json pod = model.pods().at(0);
  EXPECT_TRUE(findings_of(pod, model.config.policy).empty())
      << tell(findings_of(pod, model.config.policy));
  EXPECT_EQ(pod["metadata"]["labels"]["palisade.dev/agent"], "aider");
  EXPECT_FALSE(pod["metadata"]["labels"].contains("palisade.dev/workspace"));
  EXPECT_EQ(pod["metadata"]["ownerReferences"][0]["kind"], "AgentWorkspacePool");
  const std::string text = pod.dump() + model.seen.places.at(0).config->dump();
  for (const char* word :
       {"gpt-4o-mini", "git-token", "llm-key", "repository.invalid", "--message", "hostAliases"})
    EXPECT_EQ(text.find(word), std::string::npos) << word;
  for (const char* name : {"relay", "courier", "checkout"}) {
    EXPECT_EQ(container(pod, name)["command"].back(), "--wait") << name;
    EXPECT_FALSE(container(pod, name).contains("startupProbe")) << name;
  }
  EXPECT_EQ(container(pod, "guard")["command"][3], "--preflight");
  EXPECT_EQ(container(pod, "aider")["command"],
            Json({"/palisade/bin/palisade-guard", "run", "--policy", "/palisade/policy/guard.json",
                  "--command-file", "/palisade/policy/command.json"}));
  // The node has the agent's image before anybody waits for it, and runs nothing of it.
  EXPECT_EQ(container(pod, "recorder")["image"], container(pod, "aider")["image"]);
  EXPECT_EQ(container(pod, "recorder")["command"][0], "/palisade/bin/palisade-guard");
  // The checkout is the last to start: what waits there has all else running.
  EXPECT_EQ(pod["spec"]["initContainers"].back()["name"], "checkout");
}

TEST(Pool, ScalesUpAndDownAndKeepsThoseThatWait) {
  PoolModel model(1);
  model.settle();
  model.bring_up();
  model.settle();
  const auto first = names(model);
  model.seen.pool["spec"]["replicas"] = 3;
  model.now += 1s;
  model.settle();
  EXPECT_EQ(model.pods().size(), 3U);
  // Those that still come up go first.
  model.seen.pool["spec"]["replicas"] = 1;
  model.settle();
  EXPECT_EQ(names(model), first);
  EXPECT_EQ(model.seen.places.size(), 1U);
  model.seen.pool["spec"]["replicas"] = 0;
  model.settle();
  EXPECT_TRUE(model.seen.places.empty());
  EXPECT_EQ(model.condition("Ready")["reason"], "ScaledToZero");
  EXPECT_EQ(model.condition("Ready")["status"], "True");
}

TEST(Pool, RefreshesSomeAtATimeWhenTheTemplateChanges) {
  PoolModel model(4);
  model.settle();
  model.bring_up();
  model.settle();
  const auto before = names(model);
  Json changed = usual_template();
  changed["spec"]["workspace"]["agent"]["image"] = "registry.example.com/aider:2";
  model.seen.workspace_template = std::make_shared<const Json>(changed);
  for (int step = 0; step < 4; ++step) {
    model.now += 1s;
    model.settle();
    EXPECT_LE(model.pods().size(), 5U);
    // One comes up before another goes.
    EXPECT_GE(std::ranges::count_if(model.pods(), is_warm), 4);
    model.bring_up();
  }
  model.settle();
  EXPECT_EQ(model.pods().size(), 4U);
  for (const std::string& name : names(model))
    EXPECT_FALSE(before.contains(name));
  EXPECT_EQ(model.condition("Ready")["reason"], "Warm");
}

// What a pod has not fixed is no reason to make it anew.
TEST(Pool, KeepsItsPodsWhereTheTemplateChangesWhatTheyHaveNot) {
  PoolModel model(2);
  model.settle();
  const auto before = names(model);
  Json changed = usual_template();
  changed["spec"]["workspace"]["agent"]["model"] = "other";
  changed["spec"]["workspace"]["lifecycle"]["deadline"] = "2h";
  model.seen.workspace_template = std::make_shared<const Json>(changed);
  model.settle();
  EXPECT_EQ(names(model), before);
}

TEST(Pool, OneThatWasTakenIsFollowedByAnotherAndLeftAlone) {
  PoolModel model(1);
  model.settle();
  model.bring_up();
  model.settle();
  const std::string taken = model.seen.places.at(0).name;
  // In the midst of it: the pod is a workspace's, the rest is still the pool's.
  model.seen.places.at(0).pod.reset();
  model.seen.places.at(0).taken = true;
  model.now += 1s;
  model.settle([&](const Action& action) { EXPECT_NE(action.name, taken); });
  EXPECT_EQ(model.pods().size(), 1U);
  // Nor does the pool go before that is done.
  model.seen.pool["metadata"]["deletionTimestamp"] = format_time(model.now);
  EXPECT_EQ(model.decide().requeue_after, 2s);
  model.settle([&](const Action& action) { EXPECT_NE(action.name, taken); });
  EXPECT_FALSE(model.gone);
  model.seen.places.clear();
  model.settle();
  EXPECT_TRUE(model.gone);
}

TEST(Pool, DeletionEndsItsPodsBeforeTheirPolicy) {
  PoolModel model(2);
  model.settle();
  model.seen.pool["metadata"]["deletionTimestamp"] = format_time(model.now);
  model.settle([&](const Action& action) {
    if (*action.resource == kNetworkPolicies) {
      EXPECT_TRUE(model.pods().empty());
    }
  });
  EXPECT_TRUE(model.gone);
  EXPECT_FALSE(model.seen.network);
  EXPECT_TRUE(model.seen.places.empty());
}

TEST(Pool, PodsThatEndByThemselvesAreFollowedLaterAndLater) {
  PoolModel model(1);
  model.settle();
  std::chrono::seconds before{0};
  for (int failure = 1; failure <= 7; ++failure) {
    PoolModel::edit(model.seen.places.at(0).pod,
                    {{"status",
                      {{"phase", "Failed"},
                       {"initContainerStatuses",
                        Json::array({{{"name", "guard"},
                                      {"state", {{"terminated", {{"exitCode", 122}}}}}}})}}}});
    model.settle();
    EXPECT_TRUE(model.pods().empty());
    EXPECT_EQ(model.condition("Ready")["reason"], "BackOff");
    EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(),
                HasSubstr("PreflightFailed"));
    EXPECT_EQ(model.status()["failures"], failure);
    const auto wait = *model.decide().requeue_after;
    EXPECT_GE(wait, before);
    EXPECT_LE(wait, 300s);
    before = wait;
    model.now += wait;
    model.settle();
    EXPECT_EQ(model.pods().size(), 1U);
  }
  EXPECT_EQ(before, 300s);
  model.bring_up();
  model.settle();
  EXPECT_FALSE(model.status().contains("failures"));
}

TEST(Pool, OneThatNoNodeTakesStaysAndSaysSo) {
  PoolModel model(1);
  model.settle();
  const auto before = names(model);
  PoolModel::edit(model.seen.places.at(0).pod,
                  {{"status",
                    {{"phase", "Pending"},
                     {"conditions", Json::array({{{"type", "PodScheduled"},
                                                  {"status", "False"},
                                                  {"reason", "Unschedulable"},
                                                  {"message", "0/1 nodes"}}})}}}});
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "Unschedulable");
  model.now += 1h;
  EXPECT_EQ(model.settle(), 0);
  EXPECT_EQ(names(model), before);
}

TEST(Pool, AnOldPodGoesBeforeItIsTooOldForASession) {
  PoolModel model(1);
  model.settle();
  model.bring_up();
  model.settle();
  const auto before = names(model);
  const auto lifetime = std::chrono::seconds(model.config.policy.max_lifetime_seconds);
  model.now += lifetime - 1h - 6min;
  EXPECT_EQ(model.settle(), 0);
  model.now += 2min;
  model.settle();
  model.bring_up();
  model.settle();
  EXPECT_NE(names(model), before);
  EXPECT_EQ(model.pods().size(), 1U);
}

TEST(Pool, WhatSomebodyMayHaveTouchedEnds) {
  for (const char* what : {"debugged", "account", "config", "data", "binary", "image", "label",
                           "unmarked", "no seal"}) {
    SCOPED_TRACE(what);
    PoolModel model(1);
    model.settle();
    model.bring_up();
    model.settle();
    const auto before = names(model);
    WarmPlace& place = model.seen.places.at(0);
    if (what == std::string("debugged"))
      PoolModel::edit(place.pod,
                      {{"spec", {{"ephemeralContainers", Json::array({{{"name", "d"}}})}}}});
    if (what == std::string("account")) place.account.reset();
    if (what == std::string("config")) place.config.reset();
    // Written before the webhook knew the pod: its containers may have read it.
    if (what == std::string("data"))
      PoolModel::edit(place.config, {{"data", {{"relay.json", "{}"}}}});
    if (what == std::string("binary"))
      PoolModel::edit(place.config, {{"binaryData", {{"repo.bundle", "IyB2MiBnaXQ="}}}});
    if (what == std::string("image")) {
      Json images = (*place.pod)["spec"]["initContainers"];
      images[2]["image"] = "registry.example.com/relay:theirs";
      PoolModel::edit(place.pod, {{"spec", {{"initContainers", images}}}});
    }
    if (what == std::string("label"))
      PoolModel::edit(place.pod, {{"metadata", {{"labels", {{kWorkspaceLabel, "other"}}}}}});
    if (what == std::string("unmarked"))
      PoolModel::edit(place.pod, {{"metadata", {{"labels", {{kAgentLabel, nullptr}}}}}});
    if (what == std::string("no seal"))
      PoolModel::edit(place.pod, {{"metadata", {{"annotations", {{kConfigAnnotation, nullptr}}}}}});
    const Json wanted = desired_warm_pod({"team-a", "warm", kPoolUid, {}, {}}, template_of(model),
                                         model.config.defaults);
    EXPECT_FALSE(place.config && place.account &&
                 may_be_taken(*place.pod, *place.config, wanted, kPoolUid));
    model.now += 1s;
    model.settle();
    EXPECT_EQ(model.pods().size(), 1U);
    EXPECT_NE(names(model), before);
  }
}

// Offered is what waits, belongs to the pool alone, and is as it was made.
TEST(Pool, OffersWhatNobodyTouched) {
  PoolModel model(1);
  model.settle();
  const WarmPlace& place = model.seen.places.at(0);
  const Json wanted = desired_warm_pod({"team-a", "warm", kPoolUid, {}, {}}, template_of(model),
                                       model.config.defaults);
  EXPECT_FALSE(may_be_taken(*place.pod, *place.config, wanted, kPoolUid)) << "it still comes up";
  model.bring_up();
  EXPECT_TRUE(may_be_taken(*place.pod, *place.config, wanted, kPoolUid));
  EXPECT_FALSE(may_be_taken(*place.pod, *place.config, wanted, "another")) << "a namesake's";
  Json shared = *place.pod;
  shared["metadata"]["ownerReferences"].push_back(
      {{"apiVersion", kApiVersion}, {"kind", kKind}, {"name", "fix-login"}, {"uid", kUid}});
  EXPECT_FALSE(may_be_taken(shared, *place.config, wanted, kPoolUid));
  // What the API server and the scheduler add is no touch.
  Json placed = *place.pod;
  placed["metadata"]["labels"]["topology.kubernetes.io/zone"] = "a";
  placed["spec"]["nodeName"] = "node-1";
  EXPECT_TRUE(may_be_taken(placed, *place.config, wanted, kPoolUid));
}

TEST(Pool, SaysWhyNothingCanWait) {
  struct Row {
    const char* reason;
    std::function<void(PoolModel&)> breaks;
  };
  const auto with = [](const Json& patch) {
    return [patch](PoolModel& model) {
      Json changed = *model.seen.workspace_template;
      changed["spec"]["workspace"].merge_patch(patch);
      model.seen.workspace_template = std::make_shared<const Json>(changed);
    };
  };
  const Row rows[] = {
      {"TemplateNotFound", [](PoolModel& model) { model.seen.workspace_template.reset(); }},
      {"TemplateUnusable", with({{"repository", {{"mount", "ReadOnly"}}}})},
      {"GatewayRequired", with({{"llm", {{"gateway", "other"}}}})},
      {"GatewayRequired", [](PoolModel& model) { model.config.defaults.gateway.reset(); }},
      {"PolicyViolation", with({{"isolation", {{"userNamespace", false}}}})},
      {"AgentPolicyInvalid",
       [](PoolModel& model) {
         model.seen.policies = std::unexpected(Problem{"AgentPolicyInvalid", "cannot be read"});
       }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.reason);
    PoolModel model(1);
    model.config.policy.require_user_namespace = true;
    model.settle();
    EXPECT_EQ(model.pods().size(), 1U);
    row.breaks(model);
    model.settle();
    EXPECT_EQ(model.condition("Accepted")["reason"], row.reason);
    EXPECT_TRUE(model.pods().empty());
    EXPECT_TRUE(model.seen.places.empty());
  }
}

TEST(Pool, TouchesNoPolicyOfSomebodyElse) {
  PoolModel model(1);
  model.seen.network = std::make_shared<const Json>(
      Json{{"metadata", {{"name", "warm-pool"}, {"namespace", "team-a"}, {"uid", "foreign"}}},
           {"spec", {{"podSelector", Json::object()}}}});
  model.settle([](const Action& action) { EXPECT_NE(action.resource, &kNetworkPolicies); });
  EXPECT_EQ(model.condition("Accepted")["reason"], "NameConflict");
  EXPECT_TRUE(model.pods().empty());
}

}  // namespace
}  // namespace palisade::op::testing
