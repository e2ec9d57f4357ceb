// Lost pods with a real API server: what the cluster does to a pod, the test does.
#include <gmock/gmock.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using ::testing::HasSubstr;

Json disrupted(const char* reason) {
  return {{"phase", "Failed"},
          {"reason", "Evicted"},
          {"message", "The node was low on resource: memory."},
          {"conditions", Json::array({{{"type", "DisruptionTarget"},
                                       {"status", "True"},
                                       {"reason", reason},
                                       {"message", "of the test"}}})}};
}

TEST_F(ControllerTest, EvictedAndDeletedPodsAreMadeAnewAndTheSessionEndsWell) {
  make_secret();
  make(workspace());
  const std::string first = await_pod()["metadata"]["uid"];
  bind();
  run();
  await_condition("Ready", "True", "Working");
  EXPECT_EQ(status()["podUID"], first);
  set_status(disrupted("TerminationByKubelet"));
  // A bound pod goes when the kubelet says so.
  eventually("the evicted pod is deleted", [&] {
    const Json found = pod();
    return found.is_null() || found["metadata"]["uid"] != first ||
           found["metadata"].contains("deletionTimestamp");
  });
  if (const Json left = pod(); !left.is_null() && left["metadata"]["uid"] == first)
    remove(kPods, "fix-login-agent", true);
  const std::string second = await_pod("fix-login-agent", first)["metadata"]["uid"];
  EXPECT_EQ(status()["restarts"], 1);
  EXPECT_EQ(status()["lastLoss"]["reason"], "TerminationByKubelet");
  EXPECT_EQ(status()["lastLoss"]["podUID"], first);
  eventually("an event tells of it", [&] { return told("PodLost"); });
  EXPECT_FALSE(find(kSecrets, "fix-login-git").is_null());

  run();
  await_condition("Ready", "True", "Working");
  remove(kPods, "fix-login-agent", true);
  eventually("the deleted pod is counted", [&] { return status()["restarts"] == 2; });
  await_condition("Ready", "False", "BackOff");
  EXPECT_THAT(condition("Ready")["message"].get<std::string>(), HasSubstr("restart 2 of 3"));
  EXPECT_TRUE(pod().is_null());
  // By itself, after ten seconds.
  await_pod("fix-login-agent", second);
  run();
  end("Succeeded", R"({"commits": 1, "pushed": true})");
  await_condition("Ready", "False", "Succeeded");
  EXPECT_EQ(status()["phase"], "Succeeded");
  EXPECT_EQ(status()["restarts"], 2);
  EXPECT_EQ(status()["result"]["reason"], "Succeeded");
}

TEST_F(ControllerTest, SpentRestartBudgetIsTold) {
  make_secret();
  Json once = workspace();
  once["spec"]["lifecycle"]["maxRestarts"] = 0;
  make(once);
  await_pod();
  run();
  await_condition("Ready", "True", "Working");
  set_status(disrupted("EvictionByEvictionAPI"));
  await_condition("Ready", "False", "RestartBudgetSpent");
  EXPECT_EQ(status()["phase"], "Failed");
  EXPECT_EQ(status()["result"]["reason"], "RestartBudgetSpent");
  eventually("an event tells of it", [&] { return told("RestartBudgetSpent"); });
  eventually("the token is gone", [&] { return find(kSecrets, "fix-login-git").is_null(); });
}

}  // namespace
}  // namespace palisade::op::testing
