// AgentPolicies bound the sessions of the namespaces that they select, from the moment that they
// are there.
#include <gmock/gmock.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using ::testing::HasSubstr;

class BoundsTest : public ControllerTest {
 protected:
  void TearDown() override {
    if (made_) {
      EXPECT_TRUE(admin_->remove(agent_policies(), "", name()));
    }
  }
  [[nodiscard]] std::string name() const { return "bound-" + ns_; }
  // Selects namespaces by a label of this test.
  void bound(const Json& permissions) {
    const auto made = admin_->create(agent_policies(), "",
                                     {{"apiVersion", agent_policies().api_version()},
                                      {"kind", agent_policies().kind},
                                      {"metadata", {{"name", name()}}},
                                      {"spec",
                                       {{"namespaceSelector", {{"matchLabels", {{"bound", ns_}}}}},
                                        {"permissions", {{"agent", permissions}}}}}});
    ASSERT_TRUE(made) << made.error().text();
    made_ = true;
  }
  void label(const Json& value) {
    const auto patched = admin_->patch(kNamespaces, "", ns_, kube::PatchType::kMerge,
                                       {{"metadata", {{"labels", {{"bound", value}}}}}});
    ASSERT_TRUE(patched) << patched.error().text();
  }
  bool made_ = false;
};

TEST_F(BoundsTest, RefusesWithTheDifferenceAndAcceptsWhenTheBoundIsWidened) {
  label(ns_);
  bound({"filesystem.rw"});
  make_secret();
  // Once this one is refused the operator knows the policy.
  make(workspace("first"));
  await_condition("Accepted", "False", "ExceedsPermissions", "first");
  make(workspace());
  await_condition("Accepted", "False", "ExceedsPermissions");
  EXPECT_THAT(condition("Accepted")["message"].get<std::string>(), HasSubstr("aider: git.api: "));
  EXPECT_EQ(condition("Ready")["status"], "False");
  EXPECT_TRUE(pod().is_null());
  EXPECT_TRUE(find(kNetworkPolicies, "fix-login-agent").is_null());
  eventually("an event tells of it", [&] { return told("ExceedsPermissions"); });

  const auto widened =
      admin_->patch(agent_policies(), "", name(), kube::PatchType::kMerge,
                    {{"spec", {{"permissions", {{"agent", {"filesystem.rw", "git.api"}}}}}}});
  ASSERT_TRUE(widened) << widened.error().text();
  await_pod();
  await_condition("Accepted", "True", "Accepted");
}

TEST_F(BoundsTest, NamespacesComeUnderAPolicyByTheirLabels) {
  bound({"filesystem.rw"});
  make_secret();
  make(workspace());
  await_pod();
  label(ns_);
  await_condition("Accepted", "False", "ExceedsPermissions");
  EXPECT_FALSE(pod().is_null());  // a live session is told of, not ended
  label(nullptr);
  await_condition("Accepted", "True", "Accepted");
}

}  // namespace
}  // namespace palisade::op::testing
