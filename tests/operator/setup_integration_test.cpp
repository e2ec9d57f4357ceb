// spec.setup with a real API server; what runs pods and binds claims, the test does.
#include <gmock/gmock.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using ::testing::HasSubstr;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";

class SetupTest : public ControllerTest {
 protected:
  void SetUp() override {
    ControllerTest::SetUp();
    make_secret();
    const auto made = admin_->create(
        agent_policies(), "",
        {{"apiVersion", kApiVersion},
         {"kind", "AgentPolicy"},
         {"metadata", {{"name", "mirrors-of-" + ns_}}},
         {"spec",
          {{"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", ns_}}}}},
           {"setup",
            {{"mirrors", Json::array({{{"name", "pypi.example.com"},
                                       {"addresses", Json::array({"192.0.2.40"})}}})}}}}}});
    ASSERT_TRUE(made) << made.error().text();
  }
  void TearDown() override {
    EXPECT_TRUE(admin_->remove(agent_policies(), "", "mirrors-of-" + ns_));
    ControllerTest::TearDown();
  }
  Json wanting(const std::string& name = "fix-login", const std::string& ref = kCommit) const {
    Json out = workspace(name);
    out["spec"]["setup"] = {
        {"command", {"make", "deps"}}, {"inputs", Json::array({"requirements.txt"})}, {"ref", ref}};
    return out;
  }
  Json record(const std::string& name = "fix-login") const {
    return status(name).value("setup", Json::object());
  }
  // Free to be scheduled, with the way to the mirror: the operator may hear of that a moment late.
  Json await_setup(const std::string& name = "fix-login") {
    const std::string object = name + "-setup";
    eventually("the mirror may be reached", [&] {
      const Json network = find(kNetworkPolicies, object);
      return !network.is_null() && network["spec"]["egress"].size() == 2 &&
             !pod(object).is_null() && !pod(object)["metadata"].contains("deletionTimestamp");
    });
    return await_pod(object);
  }
  // The status is written last.
  std::string claim_of(const std::string& name = "fix-login") {
    eventually("the status names the claim", [&] { return record(name).contains("claim"); });
    return record(name).value("claim", "");
  }
  void finish(const std::string& pod, const std::string& phase, Json more = Json::object()) {
    more["phase"] = phase;
    bind(pod);
    set_status({{"phase", "Running"}}, pod);
    set_status(more, pod);
  }
  // Of a claim that is being deleted.
  void unprotect(const std::string& claim) {
    patch(volume_claims(), claim, {{"metadata", {{"finalizers", nullptr}}}});
  }
};

TEST_F(SetupTest, ComesFirstIsSharedAndKept) {
  const Recorder recorder(admin_, ns_);
  make(wanting());
  await_setup();
  EXPECT_TRUE(pod().is_null()) << "the agent's pod waits";
  const Json network = find(kNetworkPolicies, "fix-login-setup");
  ASSERT_FALSE(network.is_null());
  EXPECT_EQ(network["spec"]["egress"][1]["to"][0]["ipBlock"]["cidr"], "192.0.2.40/32");
  const std::string claim = claim_of();
  ASSERT_TRUE(is_setup_claim_name(claim)) << claim;
  EXPECT_FALSE(
      find(volume_claims(), claim)["metadata"]["annotations"].contains(kSetupCompleteAnnotation));
  // One that wants the same waits for it.
  make(wanting("another"));
  await_condition("SetupReady", "False", "Sharing", "another");
  EXPECT_TRUE(pod("another-setup").is_null());
  finish("fix-login-setup", "Succeeded");
  const Json agent = await_pod();
  EXPECT_TRUE(pod("fix-login-setup").is_null());
  EXPECT_TRUE(find(kNetworkPolicies, "fix-login-setup").is_null());
  await_condition("SetupReady", "True", "Installed");
  EXPECT_EQ(named(agent["spec"]["volumes"], "setup")["persistentVolumeClaim"],
            (Json{{"claimName", claim}, {"readOnly", true}}));
  await_pod("another-agent");
  await_condition("SetupReady", "True", "Cached", "another");
  EXPECT_EQ(claim_of("another"), claim);
  // A third finds it at once.
  make(wanting("third"));
  await_pod("third-agent");
  EXPECT_EQ(record("third")["cached"], true);
  for (const char* name : {"another", "third"}) {
    const std::string pod = std::string(name) + "-setup";
    EXPECT_EQ(recorder.first("Pod", kube::WatchEventType::kAdded,
                             [&](const Json& one) { return one["metadata"]["name"] == pod; }),
              0U)
        << name;
  }
  // The network before the pod, the pod's end before the agent's pod.
  const auto named_so = [](const char* name) {
    return [name](const Json& one) { return one["metadata"]["name"] == name; };
  };
  const auto closed =
      recorder.first("NetworkPolicy", kube::WatchEventType::kAdded, named_so("fix-login-setup"));
  const auto made =
      recorder.first("Pod", kube::WatchEventType::kAdded, named_so("fix-login-setup"));
  const auto gone =
      recorder.first("Pod", kube::WatchEventType::kDeleted, named_so("fix-login-setup"));
  const auto begun =
      recorder.first("Pod", kube::WatchEventType::kAdded, named_so("fix-login-agent"));
  EXPECT_LT(0U, closed);
  EXPECT_LT(closed, made);
  EXPECT_LT(made, gone);
  EXPECT_LT(gone, begun);
  // Workspaces go, the result stays.
  for (const char* name : {"fix-login", "another", "third"})
    remove(workspaces(), name);
  eventually("they have gone", [&] {
    return find(workspaces(), "fix-login").is_null() && find(workspaces(), "another").is_null() &&
           find(workspaces(), "third").is_null();
  });
  EXPECT_FALSE(find(volume_claims(), claim)["metadata"].contains("deletionTimestamp"));
}

TEST_F(SetupTest, ABranchIsLookedUpByAPodOfItsOwn) {
  make(wanting("fix-login", "main"));
  const Json looks = await_setup();
  await_condition("SetupReady", "False", "Resolving");
  EXPECT_EQ(looks["spec"]["containers"][0]["name"], "resolved");
  const std::string said = Json{{"commit", kCommit}, {"digest", std::string(40, 'd')}}.dump();
  finish("fix-login-setup", "Succeeded",
         {{"initContainerStatuses",
           Json::array({{{"name", "fetch"},
                         {"image", "i"},
                         {"imageID", "i"},
                         {"ready", false},
                         {"restartCount", 0},
                         {"state", {{"terminated", {{"exitCode", 0}, {"message", said}}}}}}})}});
  const Json installs = await_pod("fix-login-setup", looks["metadata"]["uid"].get<std::string>());
  EXPECT_EQ(installs["spec"]["initContainers"].size(), 1U);
  EXPECT_EQ(record()["commit"], kCommit);
  finish("fix-login-setup", "Succeeded");
  await_pod();
  EXPECT_EQ(record()["phase"], "Ready");
}

TEST_F(SetupTest, AFailureLeavesNothingAndADeletionTakesAllAlong) {
  make(wanting());
  await_setup();
  const std::string claim = claim_of();
  finish(
      "fix-login-setup", "Failed",
      {{"containerStatuses",
        Json::array(
            {{{"name", "setup"},
              {"image", "i"},
              {"imageID", "i"},
              {"ready", false},
              {"restartCount", 0},
              {"state", {{"terminated", {{"exitCode", 3}, {"message", "no such package"}}}}}}})}});
  eventually("the attempt is counted", [&] { return record().value("attempts", 0) == 1; });
  EXPECT_THAT(record()["lastFailure"].get<std::string>(),
              HasSubstr("exit code 3: no such package"));
  EXPECT_TRUE(told("SetupFailed"));
  eventually("half of a result goes", [&] {
    const Json found = find(volume_claims(), claim);
    return found.is_null() || found["metadata"].contains("deletionTimestamp");
  });
  EXPECT_TRUE(pod().is_null());
  remove(workspaces(), "fix-login");
  if (!find(volume_claims(), claim).is_null()) unprotect(claim);
  eventually("it has gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  EXPECT_TRUE(pod("fix-login-setup").is_null());
  EXPECT_TRUE(find(kNetworkPolicies, "fix-login-setup").is_null());
}

}  // namespace
}  // namespace palisade::op::testing
