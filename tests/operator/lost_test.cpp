// Pods that a session loses to its surroundings: counted once, made anew within the budget, with
// pauses; an agent that ended by itself is never started again.
#include <gmock/gmock.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

Model running(int most = 3) {
  Json workspace = usual_workspace();
  workspace["spec"]["lifecycle"]["maxRestarts"] = most;
  Model model(std::move(workspace));
  model.settle();
  model.run();
  model.settle();
  return model;
}

Json disruption(const char* reason) {
  return Json::array({{{"type", "DisruptionTarget"},
                       {"status", "True"},
                       {"reason", reason},
                       {"message", "of the test"}}});
}

// The agent's container as the kubelet tells of its end.
Json ended(int code, const char* guard_says = "", const char* reason = "Error") {
  Json end{{"exitCode", code}, {"reason", reason}};
  if (*guard_says != '\0')
    end["message"] =
        R"({"guard": "palisade.dev/guard/v1", "ended": ")" + std::string(guard_says) + R"("})";
  return Json::array({{{"name", "aider"}, {"state", {{"running", nullptr}, {"terminated", end}}}}});
}

std::string uid_of_pod(const Model& model) {
  return model.seen.pod ? (*model.seen.pod)["metadata"]["uid"].get<std::string>() : std::string();
}

int restarts(const Model& model) {
  return model.seen.workspace["status"].value("restarts", 0);
}

bool tells(const Plan& plan, const std::string& reason) {
  return std::ranges::any_of(
      plan.events, [&](const auto& event) { return event.reason == reason && event.warning; });
}

// Somebody (kubectl, a drain, the scheduler) deletes the pod.
void delete_pod(Model& model, Json status = Json::object()) {
  model.edit(&Observed::pod, {{"metadata", {{"deletionTimestamp", "2026-01-01T12:00:00Z"}}},
                              {"status", std::move(status)}});
}

TEST(Lost, PodIsMadeAnewWithWhatTheClusterSays) {
  const struct {
    const char* name;
    Json status;
    const char* reason;
  } rows[] = {
      {"node pressure",
       {{"reason", "Evicted"},
        {"message", "The node was low on resource: memory."},
        {"conditions", disruption("TerminationByKubelet")}},
       "TerminationByKubelet"},
      {"node pressure, an older kubelet",
       {{"reason", "Evicted"}, {"message", "The node was low on resource: memory."}},
       "Evicted"},
      {"collected after its node",
       {{"conditions", disruption("DeletionByPodGC")}},
       "DeletionByPodGC"},
      {"taints", {{"conditions", disruption("DeletionByTaintManager")}}, "DeletionByTaintManager"},
      {"preempted", {{"conditions", disruption("PreemptionByScheduler")}}, "PreemptionByScheduler"},
      {"drained", {{"conditions", disruption("EvictionByEvictionAPI")}}, "EvictionByEvictionAPI"},
      {"node shut down",
       {{"reason", "Terminated"}, {"message", "imminent node shutdown"}},
       "Terminated"},
      {"not admitted",
       {{"reason", "UnexpectedAdmissionError"}, {"message", "no"}},
       "UnexpectedAdmissionError"},
      {"no room on the node", {{"reason", "OutOfcpu"}, {"message", "no"}}, "OutOfcpu"},
      {"node lost", {{"reason", "NodeLost"}, {"message", "gone"}}, "NodeLost"},
      {"stopped while at work",
       {{"conditions", disruption("EvictionByEvictionAPI")},
        {"containerStatuses", ended(143, "terminated")}},
       "EvictionByEvictionAPI"},
      {"killed while at work",
       {{"conditions", disruption("TerminationByKubelet")}, {"containerStatuses", ended(137)}},
       "TerminationByKubelet"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Model model = running();
    const std::string before = uid_of_pod(model);
    EXPECT_EQ(model.seen.workspace["status"]["podUID"], before);
    model.end("Failed", "", row.status);
    const Plan plan = model.decide();
    EXPECT_TRUE(tells(plan, "PodLost"));
    model.settle();
    ASSERT_TRUE(model.seen.pod);
    EXPECT_NE(uid_of_pod(model), before);
    EXPECT_EQ(model.phase(), "Pending");
    EXPECT_EQ(restarts(model), 1);
    EXPECT_EQ(model.seen.workspace["status"]["lastLoss"]["reason"], row.reason);
    EXPECT_EQ(model.seen.workspace["status"]["lastLoss"]["podUID"], before);
    EXPECT_TRUE(model.seen.secret) << "the next pod needs it";
    model.run();
    model.settle();
    EXPECT_EQ(model.phase(), "Running");
    EXPECT_EQ(restarts(model), 1);
    model.end("Succeeded", R"({"commits": 1, "pushed": true})");
    model.settle();
    EXPECT_EQ(model.phase(), "Succeeded");
  }
}

TEST(Lost, AgentThatEndedByItselfIsNeverStartedAgain) {
  const struct {
    const char* name;
    Json status;
    const char* reason;
  } rows[] = {
      {"its own exit", {{"containerStatuses", ended(1, "exited")}}, "AiderFailed"},
      {"its own exit, then the node went",
       {{"containerStatuses", ended(1, "exited")},
        {"conditions", disruption("TerminationByKubelet")}},
       "AiderFailed"},
      {"its own exit without guard's word, then the node went",
       {{"containerStatuses", ended(3)}, {"conditions", disruption("DeletionByPodGC")}},
       "AiderFailed"},
      {"out of its own memory, then the node went",
       {{"containerStatuses", ended(137, "", "OOMKilled")},
        {"conditions", disruption("DeletionByPodGC")}},
       "OOMKilled"},
      {"its own limit of disk",
       {{"reason", "Evicted"},
        {"message",
         "Pod ephemeral local storage usage exceeds the total limit of containers 4Gi. "}},
       "Evicted"},
      {"the deadline, on a node that goes",
       {{"reason", "DeadlineExceeded"}, {"conditions", disruption("DeletionByPodGC")}},
       "DeadlineExceeded"},
      {"idle", {{"containerStatuses", ended(124, "idle")}}, "IdleTimeout"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    Model model = running();
    const std::string before = uid_of_pod(model);
    model.end("Failed", "", row.status);
    model.settle();
    EXPECT_EQ(model.condition("Ready")["reason"], row.reason);
    EXPECT_EQ(model.seen.workspace["status"]["result"]["reason"], row.reason);
    EXPECT_EQ(uid_of_pod(model), before) << "its log can still be read";
    EXPECT_EQ(restarts(model), 0);
    EXPECT_FALSE(model.seen.workspace["status"].contains("lastLoss"));
  }
}

TEST(Lost, EndThatWasReadWhileThePodIsDeletedIsTheSessions) {
  Model model = running();
  delete_pod(model);
  model.end("Succeeded", R"({"commits": 2, "pushed": true})");
  model.settle();
  EXPECT_EQ(model.phase(), "Succeeded");
  EXPECT_EQ(model.seen.workspace["status"]["commits"], 2);
  model.let_go();
  model.settle();
  EXPECT_FALSE(model.seen.pod);
}

// A deleted pod ends as Failed although nothing of the agent's ever ran in it, or was stopped.
TEST(Lost, DeletedPodThatWasStoppedIsNoEndOfTheSession) {
  const struct {
    const char* name;
    Json status;
  } rows[] = {
      {"before the agent had begun", {{"phase", "Failed"}}},
      {"the agent was told to stop",
       {{"phase", "Failed"}, {"containerStatuses", ended(143, "terminated")}}},
      {"the agent was killed", {{"phase", "Failed"}, {"containerStatuses", ended(137)}}},
  };
  for (const auto& [name, status] : rows) {
    SCOPED_TRACE(name);
    Model model = running();
    delete_pod(model, status);
    model.settle();
    EXPECT_THAT(model.phase(), ::testing::AnyOf("Pending", "Running"));
  }
}

TEST(Lost, DeletedPodIsCountedOnceHoweverOftenItIsLookedAt) {
  Model model = running();
  const std::string before = uid_of_pod(model);
  delete_pod(model, {{"conditions", disruption("EvictionByEvictionAPI")}});
  EXPECT_TRUE(tells(model.decide(), "PodLost"));
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "Replacing");
  EXPECT_EQ(restarts(model), 1);
  model.now += seconds(30);
  EXPECT_FALSE(tells(model.decide(), "PodLost"));
  model.settle();
  EXPECT_EQ(restarts(model), 1);
  EXPECT_EQ(uid_of_pod(model), before) << "two pods at once";
  model.let_go();
  model.settle();
  EXPECT_NE(uid_of_pod(model), before);
  EXPECT_EQ(restarts(model), 1);
  EXPECT_EQ(model.seen.workspace["status"]["lastLoss"]["reason"], "EvictionByEvictionAPI");
}

TEST(Lost, PodThatVanishedUnseenIsCountedOnceEvenIfItsSuccessorIsThere) {
  for (const bool seen_gone : {true, false}) {
    SCOPED_TRACE(seen_gone);
    Model model = running();
    const std::string before = uid_of_pod(model);
    if (seen_gone) {
      model.seen.pod.reset();
    } else {
      // The operator made the next one and was killed before it wrote that down.
      model.edit(&Observed::pod, {{"metadata", {{"uid", "the-next"}}}});
    }
    model.settle();
    EXPECT_EQ(restarts(model), 1);
    EXPECT_EQ(model.seen.workspace["status"]["lastLoss"]["podUID"], before);
    EXPECT_EQ(model.seen.workspace["status"]["podUID"], uid_of_pod(model));
    EXPECT_NE(uid_of_pod(model), before);
    model.settle();
    EXPECT_EQ(restarts(model), 1);
  }
}

TEST(Lost, WhatTheOperatorEndsItselfIsNoLoss) {
  const std::pair<const char*, std::function<void(Model&)>> rows[] = {
      {"another model", [](Model& m) { m.spec()["agent"]["model"] = "other"; }},
      {"a wider network",
       [](Model& m) {
         m.spec()["isolation"]["egress"] =
             Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}}})}}});
       }},
      {"suspended",
       [](Model& m) {
         m.spec()["lifecycle"]["suspend"] = true;
         m.settle();
         m.let_go();
         m.settle();
         m.spec()["lifecycle"]["suspend"] = false;
       }},
  };
  for (const bool written : {true, false}) {
    for (const auto& [name, change] : rows) {
      SCOPED_TRACE(std::string(name) + (written ? "" : ", killed before the status was written"));
      Model model = running();
      const std::string before = uid_of_pod(model);
      change(model);
      const Plan plan = model.decide();
      for (const Action& action : plan.actions) {
        if (written || action.kind != ActionKind::kStatus) model.carry_out(action);
      }
      model.settle();
      model.let_go();
      model.settle();
      EXPECT_NE(uid_of_pod(model), before);
      EXPECT_EQ(restarts(model), 0);
    }
  }
}

TEST(Lost, PausesGrow) {
  Model model = running(10);
  int expected = 0;  // seconds
  for (int restart = 1; restart <= 8; ++restart) {
    SCOPED_TRACE(restart);
    model.end("Failed", "", {{"reason", "NodeLost"}});
    model.settle();
    EXPECT_EQ(restarts(model), restart);
    if (expected != 0) {
      EXPECT_FALSE(model.seen.pod);
      EXPECT_EQ(model.condition("Ready")["reason"], "BackOff");
      EXPECT_EQ(model.decide().requeue_after, seconds(expected));
      model.now += seconds(expected - 1);
      EXPECT_EQ(tell(model.decide()), "");
      model.now += seconds(1);
      model.settle();
    }
    ASSERT_TRUE(model.seen.pod);
    model.run();
    model.settle();
    expected = restart == 1 ? 10 : std::min(expected * 2, 300);
  }
}

TEST(Lost, SpentBudgetIsTheEnd) {
  for (const int most : {0, 1}) {
    for (const char* how : {"failed", "deleted", "vanished"}) {
      SCOPED_TRACE(std::to_string(most) + " " + how);
      Model model = running(most);
      for (int i = 0; i < most; ++i) {
        model.end("Failed", "", {{"reason", "NodeLost"}});
        model.settle();
        model.now += seconds(300);
        model.settle();
        model.run();
        model.settle();
        ASSERT_EQ(model.phase(), "Running");
      }
      if (how == std::string_view("failed")) model.end("Failed", "", {{"reason", "NodeLost"}});
      if (how == std::string_view("vanished")) model.seen.pod.reset();
      if (how == std::string_view("deleted")) {
        delete_pod(model, {{"conditions", disruption("PreemptionByScheduler")}});
        model.settle();
        EXPECT_EQ(model.phase(), "Pending") << "it may still end by itself";
        model.let_go();
      }
      model.settle();
      EXPECT_EQ(model.phase(), "Failed");
      EXPECT_EQ(model.condition("Ready")["reason"], "RestartBudgetSpent");
      EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(),
                  HasSubstr("spec.lifecycle.maxRestarts (" + std::to_string(most) + ")"));
      if (how == std::string_view("deleted")) {
        EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(),
                    HasSubstr("PreemptionByScheduler"));
      }
      EXPECT_EQ(model.seen.workspace["status"]["result"]["reason"], "RestartBudgetSpent");
      EXPECT_EQ(restarts(model), most);
      EXPECT_FALSE(model.seen.secret);
      EXPECT_TRUE(model.seen.workspace["status"].contains("finishedAt"));
      EXPECT_EQ(tell(model.decide()), "");
    }
  }
}

TEST(Lost, HigherBudgetSavesAPodThatIsStillEnding) {
  Model model = running(0);
  delete_pod(model);
  model.settle();
  model.spec()["lifecycle"]["maxRestarts"] = 1;
  model.let_go();
  model.settle();
  EXPECT_TRUE(model.seen.pod);
  EXPECT_EQ(restarts(model), 1);
}

TEST(Lost, NodeThatDoesNotAnswerIsShown) {
  Model model = running();
  const auto conditions = [](const char* ready, const char* containers) {
    return Json{
        {"status",
         {{"conditions", Json::array({{{"type", "Ready"}, {"status", ready}},
                                      {{"type", "ContainersReady"}, {"status", containers}}})}}}};
  };
  model.edit(&Observed::pod, conditions("False", "True"));
  model.settle();
  EXPECT_EQ(model.phase(), "Running");
  EXPECT_EQ(model.condition("Ready")["reason"], "NodeNotReady");
  EXPECT_EQ(model.condition("Ready")["status"], "False");
  EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(), HasSubstr("node-1"));
  model.edit(&Observed::pod, conditions("False", "False"));
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "Working") << "a sidecar that starts again";
  model.edit(&Observed::pod, conditions("True", "True"));
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "Working");
}

TEST(Lost, ResultIsOfTheAgentsContainer) {
  Model model = running();
  model.end("Failed", "", {{"containerStatuses", ended(7, "exited")}});
  model.settle();
  EXPECT_EQ(model.seen.workspace["status"]["result"],
            Json({{"reason", "AiderFailed"}, {"exitCode", 7}}));
  Model done = running();
  done.end("Succeeded", R"({"commits": 0, "pushed": false})",
           {{"containerStatuses", ended(0, "exited", "Completed")}});
  done.settle();
  EXPECT_EQ(done.seen.workspace["status"]["result"],
            Json({{"reason", "Succeeded"}, {"exitCode", 0}}));
}

}  // namespace
}  // namespace palisade::op::testing
