// spec.setup: installed before the agent exists, by a pod that has neither token nor way out but to
// the mirrors; kept by its inputs' hash; never again after that.
#include <gmock/gmock.h>

#include "operator/setup_world.h"

namespace palisade::op::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Setup, ComesBeforeTheAgentAndEachStepAfterTheOneThatItNeeds) {
  SetupWorld world;
  const auto order = [&](const Action& action) {
    if (action.kind == ActionKind::kCreatePod && action.name == "fix-login-setup") {
      EXPECT_TRUE(world.seen.setup_network);
      EXPECT_TRUE(world.seen.setup_claim);
      EXPECT_TRUE(world.seen.config_map);
    }
    if (action.kind == ActionKind::kLiftGate && action.name == "fix-login-setup") {
      EXPECT_TRUE(world.seen.setup_network);
    }
    EXPECT_FALSE(world.seen.pod && world.seen.setup_pod) << "both pods are there";
    if (world.seen.pod) {
      EXPECT_EQ(world.record()["phase"], "Ready");
    }
  };
  world.settle(order);
  ASSERT_TRUE(world.seen.setup_pod);
  EXPECT_FALSE((*world.seen.setup_pod)["spec"].contains("schedulingGates"));
  EXPECT_EQ(world.reason(), "Running");
  EXPECT_EQ(world.condition("Ready")["reason"], "SettingUp");
  world.begin_setup();
  world.settle(order);
  EXPECT_FALSE(world.seen.pod);
  world.end_setup("Succeeded");
  world.settle(order);
  ASSERT_TRUE(world.seen.pod);
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.setup_network);
  const std::string claim = setup_claim_name(world.key());
  EXPECT_EQ(world.record()["claim"], claim);
  EXPECT_EQ(world.record()["cached"], false);
  EXPECT_FALSE(world.record()["usedAt"].get<std::string>().empty());
  EXPECT_EQ(world.reason(), "Installed");
  const Json& pod = *world.seen.pod;
  EXPECT_EQ(named(pod["spec"]["volumes"], "setup")["persistentVolumeClaim"],
            (Json{{"claimName", claim}, {"readOnly", true}}));
  const Json& mounts = container(pod, "aider")["volumeMounts"];
  EXPECT_EQ(named(mounts, "setup"),
            (Json{{"name", "setup"}, {"mountPath", "/opt/setup"}, {"readOnly", true}}));
  const Json guard = Json::parse((*world.seen.config_map)["data"]["guard.json"].get<std::string>());
  EXPECT_EQ(guard["exec"]["folders"], Json::array({"/opt/setup/bin"}));
}

// A process that ends just after leaves to the next that the pod may have written to the claim.
TEST(Setup, ItsPodAndItsUseAreOnRecordBeforeTheyBegin) {
  SetupWorld world;
  int told = 0;
  for (int rounds = 0; rounds < 40; ++rounds) {
    if (world.seen.setup_pod && !(*world.seen.setup_pod)["spec"].contains("schedulingGates"))
      world.end_setup("Succeeded");
    const Plan plan = world.decide();
    Json status = world.seen.workspace.value("status", Json::object());
    for (const Action& action : plan.actions) {
      if (action.kind == ActionKind::kStatus) status = action.object;
    }
    for (const Action& action : plan.actions) {
      if (action.kind == ActionKind::kLiftGate && action.name == "fix-login-setup") {
        EXPECT_TRUE(plan.tells_first);
        EXPECT_EQ(status["setup"]["podUID"], action.uid);
        ++told;
      }
      if (action.kind == ActionKind::kCreatePod && action.name == "fix-login-agent") {
        EXPECT_TRUE(plan.tells_first);
        EXPECT_FALSE(status["setup"]["usedAt"].get<std::string>().empty());
        ++told;
      }
      world.carry_out(action);
    }
    if (plan.actions.empty()) world.let_go();
  }
  EXPECT_EQ(told, 2);
}

// The workspace sends its git elsewhere while a setup fetches by the gateway.
TEST(Setup, NoTokenGoesBeforeThePodThatUsesIt) {
  SetupWorld world;
  world.settle();
  world.begin_setup();
  world.settle();
  ASSERT_TRUE(world.seen.gateway_secret);
  world.spec()["repository"]["via"] = "Direct";
  world.seen.access->git = access().git;
  world.seen.access->git_url.clear();
  world.settle([&](const Action& action) {
    const bool takes_token =
        action.kind == ActionKind::kDelete && *action.resource == kube::resources::kSecrets;
    EXPECT_FALSE(takes_token && world.seen.setup_pod);
  });
  world.let_go();
  world.settle();
  EXPECT_FALSE(world.seen.gateway_secret);
}

TEST(Setup, ABranchIsResolvedByAPodThatMountsNothing) {
  SetupWorld world(wanting({{"ref", "main"}}));
  world.settle();
  ASSERT_TRUE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.setup_claim);
  EXPECT_EQ(world.record()["phase"], "Resolving");
  EXPECT_EQ((*world.seen.setup_pod)["spec"]["containers"][0]["name"], "resolved");
  EXPECT_THAT((*world.seen.setup_pod)["spec"]["volumes"].dump(),
              Not(HasSubstr("persistentVolumeClaim")));
  const auto say = [&](const std::string& text) {
    world.begin_setup();
    world.settle();
    world.end_setup(
        "Succeeded",
        {{"initContainerStatuses",
          Json::array({{{"name", "fetch"}, {"state", {{"terminated", {{"message", text}}}}}}})}});
    world.settle();
    world.let_go();
  };
  // What it says is data.
  say(R"({"commit": "main; rm -rf /", "digest": "x"})");
  EXPECT_EQ(world.record()["attempts"], 1);
  EXPECT_FALSE(world.record().contains("commit"));
  world.now += std::chrono::minutes(2);
  world.settle();
  say(Json{{"commit", kCommit}, {"digest", kDigest}}.dump());
  EXPECT_EQ(world.record()["commit"], kCommit);
  EXPECT_EQ(world.record()["inputs"], kDigest);
  ASSERT_TRUE(world.seen.setup_claim);
  ASSERT_TRUE(world.seen.setup_pod);
  EXPECT_EQ((*world.seen.setup_pod)["spec"]["initContainers"].size(), 1U);
  // Another commit with the same files is the same result.
  const Workspace w = parsed(world.seen.workspace);
  EXPECT_EQ(setup_key(w, gateway_defaults(), {{mirror()}, kCommit, kDigest}),
            setup_key(w, gateway_defaults(), {{mirror()}, std::string(40, '1'), kDigest}));
}

TEST(Setup, WhatIsCompleteIsTakenAtOnceAndMarkedAsUsed) {
  SetupWorld world;
  world.offer_claim(kOther, true);
  bool pod_of_setup = false;
  bool marked = false;
  world.settle([&](const Action& action) {
    pod_of_setup = pod_of_setup || world.seen.setup_pod;
    marked = marked || (action.kind == ActionKind::kTake && *action.resource == volume_claims() &&
                        action.version == "70");
  });
  EXPECT_FALSE(pod_of_setup);
  EXPECT_TRUE(marked);
  ASSERT_TRUE(world.seen.pod);
  EXPECT_EQ(world.record()["cached"], true);
  EXPECT_EQ(world.reason(), "Cached");
}

TEST(Setup, WhatAnotherMakesIsWaitedForUntilThatOneGoes) {
  SetupWorld world;
  world.offer_claim(kOther, false);
  world.settle();
  EXPECT_EQ(world.reason(), "Sharing");
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.pod);
  EXPECT_LE(world.decide().requeue_after, std::chrono::seconds(3));
  world.seen.setup_writer_lives = false;
  world.settle([&](const Action& action) {
    if (action.kind == ActionKind::kDelete && *action.resource == volume_claims()) {
      EXPECT_EQ(action.version, "70");
    }
  });
  ASSERT_TRUE(world.seen.setup_claim);
  EXPECT_EQ((*world.seen.setup_claim)["metadata"]["annotations"][kSetupByAnnotation],
            std::string("fix-login/") + kUid);
  EXPECT_TRUE(world.seen.setup_pod);
}

TEST(Setup, AClaimOfThatNameThatIsNoSetupsIsNotTaken) {
  SetupWorld world;
  world.offer_claim(kOther, true);
  world.edit(&Observed::setup_claim,
             {{"metadata", {{"annotations", {{kSetupKeyAnnotation, nullptr}}}}}});
  world.settle();
  EXPECT_EQ(world.reason(), "NameConflict");
  EXPECT_FALSE(world.seen.pod);
}

TEST(Setup, FailsThreeTimesWithItsLastWordsAndLeavesNothing) {
  SetupWorld world;
  for (int attempt = 1; attempt <= 3; ++attempt) {
    SCOPED_TRACE(attempt);
    world.settle();
    ASSERT_TRUE(world.seen.setup_pod);
    world.begin_setup();
    world.settle();
    world.end_setup(
        "Failed",
        {{"containerStatuses",
          Json::array(
              {{{"name", "setup"},
                {"state",
                 {{"terminated", {{"exitCode", 2}, {"message", "no such package\x1b[31m"}}}}}}})}});
    world.settle();
    EXPECT_FALSE(world.seen.setup_claim) << "half of a result is left";
    EXPECT_EQ(world.record()["attempts"], attempt);
    EXPECT_THAT(world.record()["lastFailure"].get<std::string>(),
                HasSubstr("exit code 2: no such package?[31m"));
    if (attempt == 1) {
      EXPECT_EQ(world.decide().requeue_after, std::chrono::seconds(15));
    }
    world.now += std::chrono::minutes(5);
  }
  world.settle();
  EXPECT_EQ(world.phase(), "Failed");
  EXPECT_EQ(world.condition("Ready")["reason"], "SetupFailed");
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.setup_network);
  EXPECT_FALSE(world.seen.pod);
}

TEST(Setup, APodThatSomebodyDeletesLeavesNoHalfResult) {
  SetupWorld world;
  world.settle();
  world.begin_setup();
  world.settle();
  world.seen.setup_pod.reset();
  world.settle();
  EXPECT_EQ(world.record()["attempts"], 1);
  EXPECT_FALSE(world.seen.setup_claim);
}

// Of the plan that told of the failure no more was carried out than the telling.
TEST(Setup, WhatAFailedAttemptLeftGoesBeforeAnotherBegins) {
  SetupWorld world;
  world.settle();
  world.begin_setup();
  world.settle();
  const Json half = (*world.seen.setup_claim)["metadata"]["uid"];
  world.end_setup("Failed");
  for (const Action& action : world.decide().actions) {
    if (action.kind == ActionKind::kStatus) world.carry_out(action);
  }
  ASSERT_EQ(world.record()["phase"], "Failed");
  ASSERT_TRUE(world.seen.setup_claim);
  world.seen.setup_pod.reset();
  world.now += std::chrono::minutes(5);
  world.settle([&](const Action& action) {
    if (action.kind == ActionKind::kCreatePod) {
      EXPECT_NE((*world.seen.setup_claim)["metadata"]["uid"], half);
    }
  });
  EXPECT_TRUE(world.seen.setup_pod);
}

TEST(Setup, NothingOpensUnderAPodThatIsThere) {
  SetupWorld world;
  world.settle();
  world.begin_setup();
  world.settle();
  const Json before = (*world.seen.setup_network)["spec"];
  world.name_mirrors({mirror(), mirror("npm.example.com", "192.0.2.41")});
  bool widened = false;
  world.settle([&](const Action&) {
    const bool alive = world.seen.setup_pod != nullptr;
    widened = widened ||
              (alive && world.seen.setup_network &&
               (*world.seen.setup_network)["spec"]["egress"].size() > before["egress"].size() &&
               !(*world.seen.setup_pod)["spec"].contains("schedulingGates"));
  });
  EXPECT_FALSE(widened);
}

TEST(Setup, SuspensionDeletionAndTheEndTakeItAlong) {
  SetupWorld world;
  world.settle();
  world.begin_setup();
  world.settle();
  world.spec()["lifecycle"]["suspend"] = true;
  world.settle();
  world.let_go();
  world.settle();
  EXPECT_EQ(world.phase(), "Suspended");
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.setup_claim);
  EXPECT_FALSE(world.seen.setup_network);
  world.spec()["lifecycle"]["suspend"] = false;
  world.settle();
  ASSERT_TRUE(world.seen.setup_pod) << world.condition("SetupReady").dump();
  EXPECT_FALSE(world.record().contains("attempts"));
  world.begin_setup();
  world.settle();
  world.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T13:00:00Z";
  world.settle();
  EXPECT_FALSE(world.gone) << "its pod is still there";
  EXPECT_TRUE(world.seen.setup_network) << "its pod is still there";
  world.let_go();
  world.settle();
  EXPECT_TRUE(world.gone);
  EXPECT_FALSE(world.seen.setup_claim);
  EXPECT_FALSE(world.seen.setup_network);
}

TEST(Setup, NeverRunsAgainOnceAnAgentHasRun) {
  SetupWorld world;
  world.succeed();
  ASSERT_TRUE(world.seen.pod);
  world.run();
  world.settle();
  // A lost pod is made anew with the same volume, whatever mirrors there are by then.
  const Json claim = world.record()["claim"];
  world.seen.policies = std::vector<policy::AgentPolicy>{};
  world.seen.pod.reset();
  world.settle();
  ASSERT_TRUE(world.seen.pod) << world.condition("Ready").dump();
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_EQ(
      named((*world.seen.pod)["spec"]["volumes"], "setup")["persistentVolumeClaim"]["claimName"],
      claim);
  world.run();
  world.settle();
  world.seen.pod.reset();
  world.seen.setup_claim.reset();
  world.settle();
  world.now += std::chrono::minutes(5);
  world.settle();
  EXPECT_EQ(world.phase(), "Failed");
  EXPECT_EQ(world.condition("Ready")["reason"], "SetupLost");
  EXPECT_FALSE(world.seen.setup_pod);
}

}  // namespace
}  // namespace palisade::op::testing
