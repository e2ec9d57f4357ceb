// A workspace takes a pod that waited in a pool: once, in an order that can stop anywhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "operator/model.h"
#include "operator/pool_model.h"
#include "policy/fixture.h"

namespace palisade::op::testing {
namespace {

using namespace std::chrono_literals;
using namespace kube::resources;
using policy::testing::findings_of;
using policy::testing::tell;

Json templated_workspace() {
  Json out = usual_workspace();
  out["metadata"]["annotations"]["palisade.dev/template"] = "uid/1";
  out["spec"]["templateRef"] = {{"name", "python"}};
  out["spec"].merge_patch(usual_template()["spec"]["workspace"]);
  return out;
}

class Warm : public ::testing::Test {
 protected:
  Warm() {
    pool.settle();
    pool.bring_up();
    pool.settle();
    model.now = pool.now + 10min;
    place = &pool.seen.places.at(0);
    offer();
  }
  void offer() { model.seen.offer = place->pod; }

  // What gather() and the API server do between two looks: the status names the place.
  void look() {
    const auto warm = warm_pod_of(model.seen.workspace);
    const bool chosen = warm && warm->name == place->name && !model.seen.pod;
    model.seen.warm_pod = chosen ? place->pod : nullptr;
    model.seen.warm_account = warm && !model.seen.service_account ? place->account : nullptr;
    model.seen.warm_config = warm && !model.seen.config_map ? place->config : nullptr;
  }
  void carry_out(const Action& action) {
    look();
    model.carry_out(action);
    // What is taken is the pool's no more.
    const auto owned = [&](const kube::ObjectPtr& object) {
      return object && (*object)["metadata"]["name"] == place->name &&
             (*object)["metadata"]["ownerReferences"][0]["kind"] == kKind;
    };
    if (owned(model.seen.pod)) place->pod.reset();
    if (owned(model.seen.service_account) && model.seen.warm_account == nullptr)
      place->account.reset();
    if (owned(model.seen.config_map) && model.seen.warm_config == nullptr) place->config.reset();
  }
  int settle(const std::function<void(const Action&)>& after_each = [](const Action&) {}) {
    for (int round = 0; round < 20; ++round) {
      look();
      const Plan plan = model.decide();
      if (plan.actions.empty()) return round;
      for (const Action& action : plan.actions) {
        carry_out(action);
        after_each(action);
      }
    }
    throw std::runtime_error("it never settles: " + testing::tell(model.decide()));
  }
  [[nodiscard]] std::string pod_name() const {
    return model.seen.pod ? (*model.seen.pod)["metadata"]["name"].get<std::string>() : "";
  }
  [[nodiscard]] Json status() const { return model.seen.workspace.value("status", Json::object()); }

  PoolModel pool{1};
  Model model{templated_workspace(), true};
  WarmPlace* place = nullptr;
};

TEST_F(Warm, TakesThePodInAnOrderThatKeepsThePromises) {
  const std::string name = place->name;
  const std::string uid = (*place->pod)["metadata"]["uid"];
  settle([&](const Action& action) {
    if (action.kind != ActionKind::kTake) return;
    // The status names it, and its policy stands, before the pod is anybody's.
    EXPECT_EQ(warm_pod_of(model.seen.workspace)->uid, uid);
    ASSERT_TRUE(model.seen.network_policy);
    EXPECT_EQ((*model.seen.network_policy)["metadata"]["name"], "fix-login-agent");
    // Nothing of the session is anywhere near before the pod is the workspace's.
    if (*action.resource == kConfigMaps) {
      EXPECT_TRUE(model.seen.pod);
    }
  });
  ASSERT_EQ(pod_name(), name);
  const Json& pod = *model.seen.pod;
  EXPECT_EQ(pod["metadata"]["uid"], uid);
  EXPECT_EQ(pod["metadata"]["ownerReferences"].size(), 1U);
  EXPECT_EQ(pod["metadata"]["ownerReferences"][0]["uid"], kUid);
  EXPECT_EQ(pod["metadata"]["labels"]["palisade.dev/workspace"], "fix-login");
  EXPECT_FALSE(pod["metadata"]["labels"].contains("palisade.dev/pool"));
  for (const kube::ObjectPtr& object : {model.seen.service_account, model.seen.config_map}) {
    ASSERT_TRUE(object);
    EXPECT_EQ((*object)["metadata"]["name"], name);
    EXPECT_EQ((*object)["metadata"]["ownerReferences"][0]["uid"], kUid);
    EXPECT_FALSE((*object)["metadata"]["labels"].contains("palisade.dev/pool"));
  }
  const Json& data = (*model.seen.config_map)["data"];
  for (const char* key : {"relay.json", "courier.json", "guard.json", "gitconfig", "command.json"})
    EXPECT_TRUE(data.contains(key)) << key;
  const Json command = Json::parse(data["command.json"].get<std::string>());
  EXPECT_EQ(command[0], "/palisade/bin/palisade-guard");
  EXPECT_NE(command.dump().find("Make the login form accept spaces"), std::string::npos);
  EXPECT_EQ(status()["podName"], name);
  EXPECT_EQ(status()["warmPod"]["pool"], "warm");
  // Only later, and smaller: it had waited for ten minutes.
  EXPECT_EQ(pod["spec"]["activeDeadlineSeconds"], 600 + 3600 + 60);
  EXPECT_TRUE(findings_of(pod, model.config.policy).empty())
      << policy::testing::tell(findings_of(pod, model.config.policy));
  // The kubelet is told once all is there.
  const std::string told = pod["metadata"]["annotations"]["palisade.dev/delivered"];
  EXPECT_TRUE(told.starts_with(
      pod["metadata"]["annotations"]["palisade.dev/spec-hash"].get<std::string>() + "/"));
}

// A session that was suspended had a pod of its own: what went with that one would be known to
// nobody.
TEST_F(Warm, WhatWentWithAnEarlierPodGoesFirst) {
  model.seen.offer.reset();
  settle();
  model.spec()["lifecycle"]["suspend"] = true;
  settle();
  model.let_go();
  settle();
  ASSERT_EQ((*model.seen.config_map)["metadata"]["name"], "fix-login-agent");
  model.spec()["lifecycle"]["suspend"] = false;
  offer();
  bool taken = false;
  settle([&](const Action& action) {
    if (action.kind == ActionKind::kStatus && action.object.contains("warmPod") && !taken) {
      EXPECT_FALSE(model.seen.config_map);
      EXPECT_FALSE(model.seen.service_account);
    }
    taken = taken || action.kind == ActionKind::kTake;
  });
  EXPECT_TRUE(taken);
  EXPECT_EQ(pod_name(), place->name);
  EXPECT_EQ((*model.seen.config_map)["metadata"]["name"], place->name);
}

// The same command as in a pod that was made for it.
TEST_F(Warm, StartsWhatAPodOfItsOwnWouldStart) {
  settle();
  const Json own = desired_pod(parsed(templated_workspace()), gateway_defaults(), gateway_access(),
                               "secret-token");
  Json command = container(own, "aider")["command"];
  while (command.at(0) != "--")
    command.erase(0);
  command.erase(0);
  EXPECT_EQ(Json::parse((*model.seen.config_map)["data"]["command.json"].get<std::string>()),
            command);
}

TEST_F(Warm, RunsEndsAndGoesLikeAnyOther) {
  settle();
  model.run();
  settle();
  EXPECT_EQ(model.phase(), "Running");
  // What it had waited is not the session's time.
  EXPECT_EQ(status()["startedAt"], format_time(model.now));
  EXPECT_EQ(status()["expiresAt"], format_time(model.now + 1h));
  model.end("Succeeded", R"({"commits":1,"head":"","pushed":true,"error":""})");
  settle();
  EXPECT_EQ(model.phase(), "Succeeded");
  model.seen.workspace["metadata"]["deletionTimestamp"] = format_time(model.now);
  settle();
  EXPECT_TRUE(model.gone);
  EXPECT_FALSE(model.seen.pod);
  EXPECT_FALSE(model.seen.service_account);
  EXPECT_FALSE(model.seen.config_map);
}

// Whoever comes after an operator that died goes on from any point.
TEST_F(Warm, IsFinishedFromWhereverItStopped) {
  const std::string name = place->name;
  std::size_t steps = 0;
  settle([&](const Action&) { ++steps; });
  for (std::size_t stop = 0; stop < steps; ++stop) {
    SCOPED_TRACE(stop);
    PoolModel fresh_pool{1};
    fresh_pool.settle();
    fresh_pool.bring_up();
    fresh_pool.settle();
    pool = std::move(fresh_pool);
    place = &pool.seen.places.at(0);
    model = Model(templated_workspace(), true);
    model.now = pool.now + 10min;
    offer();
    std::size_t done = 0;
    try {
      settle([&](const Action&) {
        if (done++ == stop) throw stop;
      });
    } catch (const std::size_t) {
    }
    model.now += 5s;
    model.seen.offer = nullptr;
    settle();
    // Before the status names it nothing has been taken: a pod of its own does as well.
    const bool named = warm_pod_of(model.seen.workspace).has_value();
    EXPECT_EQ(pod_name(), named ? place->name : "fix-login-agent");
    EXPECT_EQ(model.seen.pod->at("metadata")["ownerReferences"][0]["uid"], kUid);
  }
}

TEST_F(Warm, ChoosesOnlyWhatFits) {
  struct Row {
    const char* what;
    Json patch;
    bool fits;
  };
  const Row rows[] = {
      {"as the template says", Json::object(), true},
      {"another model", {{"agent", {{"model", "gpt-4o"}}}}, true},
      {"a shorter deadline", {{"lifecycle", {{"deadline", "10m"}}}}, true},
      {"an allowed program", {{"isolation", {{"exec", {{"allow", {"/usr/bin/make"}}}}}}}, true},
      {"another image", {{"agent", {{"image", "registry.example.com/other:1"}}}}, false},
      {"more memory", {{"agent", {{"resources", {{"limits", {{"memory", "3Gi"}}}}}}}}, false},
      {"another runtime", {{"isolation", {{"runtimeClassName", "kata"}}}}, false},
      {"another mount", {{"repository", {{"mount", "GitDirOnly"}}}}, false},
      {"a deadline that the pod will not see", {{"lifecycle", {{"deadline", "24h"}}}}, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    model = Model(templated_workspace(), true);
    model.spec().merge_patch(row.patch);
    model.now = pool.now + 10min;
    offer();
    look();
    for (const Action& action : model.decide().actions) {
      if (action.kind != ActionKind::kStatus) continue;
      EXPECT_EQ(action.object.contains("warmPod"), row.fits);
    }
  }
}

TEST_F(Warm, GivesUpOneThatAnotherTook) {
  look();
  for (const Action& action : model.decide().actions)
    carry_out(action);
  ASSERT_TRUE(warm_pod_of(model.seen.workspace));
  // Another workspace was faster: the pod is there, and somebody else's.
  Json theirs = *place->pod;
  theirs["metadata"]["ownerReferences"][0] = {{"apiVersion", kApiVersion},
                                              {"kind", kKind},
                                              {"name", "other"},
                                              {"uid", "o"},
                                              {"controller", true}};
  model.put(&Observed::pod, theirs);
  for (const Action& action : model.decide().actions) {
    EXPECT_NE(action.kind, ActionKind::kDelete);
    EXPECT_NE(action.kind, ActionKind::kTake);
    model.carry_out(action);
  }
  EXPECT_FALSE(warm_pod_of(model.seen.workspace));
  model.seen.pod.reset();
  model.seen.offer.reset();
  settle();
  EXPECT_EQ(pod_name(), "fix-login-agent");
}

TEST_F(Warm, GivesUpOneThatHasGoneOrWaitsForTooLong) {
  for (const char* what : {"gone", "another of that name", "ending", "account", "late", "changed",
                           "its command", "image", "debugged", "marked", "evicted", "stopped"}) {
    SCOPED_TRACE(what);
    PoolModel fresh_pool{1};
    fresh_pool.settle();
    fresh_pool.bring_up();
    pool = std::move(fresh_pool);
    place = &pool.seen.places.at(0);
    model = Model(templated_workspace(), true);
    model.now = pool.now + 10min;
    offer();
    look();
    for (const Action& action : model.decide().actions)
      carry_out(action);
    ASSERT_TRUE(warm_pod_of(model.seen.workspace));
    model.seen.offer.reset();
    const std::string is = what;
    if (is == "gone") place->pod.reset();
    if (is == "another of that name") PoolModel::edit(place->pod, {{"metadata", {{"uid", "n"}}}});
    if (is == "ending") PoolModel::edit(place->pod, {{"metadata", {{"deletionTimestamp", "x"}}}});
    if (is == "account") place->account.reset();
    if (is == "late") model.now += 2min;
    if (is == "changed")
      PoolModel::edit(place->pod,
                      {{"metadata", {{"annotations", {{"palisade.dev/shape", "other"}}}}}});
    // Whoever had a hand in it before the webhook knew it would have the session.
    if (is == "its command")
      PoolModel::edit(place->config, {{"data", {{"command.json", R"(["sh"])"}}}});
    if (is == "image") {
      Json containers = (*place->pod)["spec"]["containers"];
      containers[0]["image"] = "registry.example.com/theirs:1";
      PoolModel::edit(place->pod, {{"spec", {{"containers", containers}}}});
    }
    if (is == "debugged")
      PoolModel::edit(place->pod,
                      {{"spec", {{"ephemeralContainers", Json::array({{{"name", "d"}}})}}}});
    if (is == "marked")
      PoolModel::edit(place->pod, {{"metadata", {{"labels", {{kWorkspaceLabel, "fix-login"}}}}}});
    // Of one that has ended since it was chosen the session would have the end, or the loss.
    if (is == "evicted")
      PoolModel::edit(place->pod, {{"status", {{"phase", "Failed"}, {"reason", "Evicted"}}}});
    if (is == "stopped")
      PoolModel::edit(place->pod, {{"status", {{"initContainerStatuses", Json::array()}}}});
    if (is == "gone") {
      look();
      EXPECT_TRUE(model.decide().tells_first)
          << "the next pod has another name than the status has";
    }
    settle([](const Action& action) { EXPECT_NE(action.kind, ActionKind::kTake); });
    EXPECT_EQ(pod_name(), "fix-login-agent");
    EXPECT_FALSE(status().contains("warmPod"));
  }
}

TEST_F(Warm, OneThatIsSuspendedBeforeItTookItsPodLeavesItToThePool) {
  look();
  carry_out(model.decide().actions.at(0));
  model.seen.workspace["status"]["warmPod"] = {{"name", (*place->pod)["metadata"]["name"]},
                                               {"uid", (*place->pod)["metadata"]["uid"]},
                                               {"pool", "warm"},
                                               {"since", "2026-01-01T12:00:00Z"},
                                               {"lifetimeSeconds", 3600}};
  ASSERT_TRUE(warm_pod_of(model.seen.workspace));
  model.spec()["lifecycle"]["suspend"] = true;
  settle([](const Action& action) { EXPECT_NE(action.kind, ActionKind::kDelete); });
  EXPECT_EQ(model.phase(), "Suspended");
  EXPECT_FALSE(status().contains("warmPod"));
}

// A process that led before may have sent the write by which a pod is taken, and another has given
// that pod up by the time it comes. No session is in it, and none may have two.
TEST_F(Warm, APodThatATakingWriteBroughtTooLateEnds) {
  model.seen.offer.reset();
  settle();
  model.run();
  settle();
  ASSERT_EQ(pod_name(), "fix-login-agent");
  Json late = *place->pod;
  late["metadata"]["ownerReferences"][0] = (*model.seen.pod)["metadata"]["ownerReferences"][0];
  late["metadata"]["labels"] = (*model.seen.pod)["metadata"]["labels"];
  const auto ends = [&](const Json& pod) {
    model.seen.strays = {std::make_shared<const Json>(pod)};
    std::size_t deletes = 0;
    for (const Action& action : model.decide().actions) {
      if (action.kind != ActionKind::kDelete || *action.resource != kPods) continue;
      EXPECT_EQ(pod["metadata"]["name"], action.name);
      EXPECT_EQ(pod["metadata"]["uid"], action.uid);
      ++deletes;
    }
    return deletes == 1;
  };
  EXPECT_TRUE(ends(late));
  EXPECT_EQ(model.phase(), "Running");
  Json ending = late;
  ending["metadata"]["deletionTimestamp"] = format_time(model.now);
  EXPECT_FALSE(ends(ending));
  Json foreign = late;
  foreign["metadata"]["ownerReferences"][0]["uid"] = "another";
  EXPECT_FALSE(ends(foreign));
  // A workspace that goes, goes after it: what closes its network goes with the workspace.
  model.seen.workspace["metadata"]["deletionTimestamp"] = format_time(model.now);
  model.seen.pod.reset();
  EXPECT_TRUE(ends(late));
  model.seen.strays = {std::make_shared<const Json>(ending)};
  for (const Action& action : model.decide().actions)
    EXPECT_NE(action.kind, ActionKind::kRemoveFinalizer);
  model.seen.strays.clear();
  settle();
  EXPECT_TRUE(model.gone);
}

// What was a session's name before may be somebody else's by now: it has ended all the same.
TEST_F(Warm, OneThatHasEndedStaysSoWhoeverHasItsPodsName) {
  settle();
  model.run();
  settle();
  model.end("Succeeded", R"({"commits":1,"head":"","pushed":true,"error":""})");
  settle();
  ASSERT_EQ(model.phase(), "Succeeded");
  Json theirs = *model.seen.pod;
  theirs["metadata"]["ownerReferences"][0]["uid"] = "another";
  model.put(&Observed::pod, theirs);
  settle([](const Action& action) { EXPECT_NE(action.kind, ActionKind::kDelete); });
  EXPECT_EQ(model.phase(), "Succeeded");
}

// An administrator takes the gateway out while sessions are in pods that need it.
TEST_F(Warm, WithoutAGatewayNoPodOfAPoolIsTaken) {
  look();
  for (const Action& action : model.decide().actions)
    carry_out(action);
  ASSERT_TRUE(warm_pod_of(model.seen.workspace));
  model.seen.offer.reset();
  model.config.defaults.gateway.reset();
  model.seen.gateway_secret.reset();  // whose namespace is known no more
  model.seen.access = access();
  settle([](const Action& action) { EXPECT_NE(action.kind, ActionKind::kTake); });
  EXPECT_FALSE(status().contains("warmPod"));
}

// It was the session's once: it is counted as any loss, and the next pod is its own.
TEST_F(Warm, ALostOneIsMadeAnewAndWhatWasNamedAfterItGoes) {
  settle();
  model.run();
  settle();
  const std::string warm = pod_name();
  model.seen.pod.reset();
  settle();
  EXPECT_EQ(pod_name(), "fix-login-agent");
  EXPECT_EQ(status()["restarts"], 1);
  EXPECT_EQ((*model.seen.service_account)["metadata"]["name"], "fix-login-agent");
  EXPECT_EQ((*model.seen.config_map)["metadata"]["name"], "fix-login-agent");
  EXPECT_FALSE((*model.seen.config_map)["data"].contains("command.json"));
}

TEST_F(Warm, AChangeOfTheSpecMakesAPodOfItsOwn) {
  settle();
  model.run();
  settle();
  model.spec()["task"]["message"] = "Something else";
  settle();
  model.let_go();
  settle();
  EXPECT_EQ(pod_name(), "fix-login-agent");
}

TEST_F(Warm, TheKubeletIsToldAgainWhereItDidNotLook) {
  settle();
  const std::string first = (*model.seen.pod)["metadata"]["annotations"]["palisade.dev/delivered"];
  EXPECT_EQ(model.decide().requeue_after, 3s);
  model.now += 3s;
  settle();
  EXPECT_NE((*model.seen.pod)["metadata"]["annotations"]["palisade.dev/delivered"], first);
  // Once it runs, or for good after a minute, no more.
  model.now += 2min;
  EXPECT_EQ(settle(), 0);
}

}  // namespace
}  // namespace palisade::op::testing
