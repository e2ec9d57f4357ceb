// What a watch's event of a workspace makes the operator forget.
#include <gtest/gtest.h>

#include <operator/reconciler.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

constexpr const char* kSecret = "fix-login-git";

kube::ObjectPtr at(int version, const Json& patch = Json::object()) {
  Json workspace = usual_workspace();
  workspace["metadata"]["resourceVersion"] = std::to_string(version);
  workspace.merge_patch(patch);
  return std::make_shared<const Json>(std::move(workspace));
}

class Noticed : public ::testing::Test {
 protected:
  // Whether what was read of its Secrets is still believed once this has been told.
  bool believed_after(const kube::ObjectPtr& before, const kube::ObjectPtr& after) {
    const std::string key = kube::object_key(*before);
    known_->learn_secret(key, kSecret, nullptr);
    static_cast<void>(reconciler_.noticed(workspaces(), before, after));
    return known_->secret(key, kSecret).has_value();
  }
  std::shared_ptr<Known> known_ = std::make_shared<Known>();
  Reconciler reconciler_{nullptr, nullptr, known_, {}, std::chrono::system_clock::now, {}};
  const Json finalizer_{{"metadata", {{"finalizers", {"palisade.dev/x"}}}}};
};

TEST_F(Noticed, TheOperatorsOwnWriteMakesNobodyReadTheSecretsAgain) {
  known_->wrote(workspaces(), at(10, finalizer_));
  EXPECT_TRUE(believed_after(at(9), at(10, finalizer_)));
}

TEST_F(Noticed, WhoeverElseTouchesAWorkspaceHasItsSecretsReadAgain) {
  const Json touch{{"metadata", {{"annotations", {{"look", "again"}}}}}};
  known_->wrote(workspaces(), at(10, finalizer_));
  EXPECT_FALSE(believed_after(at(10, finalizer_), at(11, touch)));
  // Read live, and not written by the operator.
  known_->learn(workspaces(), at(12, finalizer_));
  EXPECT_FALSE(believed_after(at(11, touch), at(12, finalizer_)));
  // Touched just before the operator wrote.
  known_->wrote(workspaces(), at(14, touch));
  EXPECT_FALSE(believed_after(at(12, finalizer_), at(13, touch)));
  EXPECT_FALSE(believed_after(at(14), nullptr));
}

// A status is no wish.
TEST_F(Noticed, AStatusMakesNobodyReadTheSecretsAgain) {
  EXPECT_TRUE(believed_after(at(9), at(10, {{"status", {{"phase", "Running"}}}})));
}

}  // namespace
}  // namespace palisade::op::testing
