// Volumes of workspaces with a real API server; what binds and protects claims, the test does.
#include <gmock/gmock.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using ::testing::HasSubstr;

constexpr const char* kClaim = "fix-login-workspace";

class VolumeTest : public ControllerTest {
 protected:
  Json stored(const char* retain = "Delete") const {
    Json out = workspace();
    out["spec"]["storage"] = {{"size", "2Gi"}, {"storageClassName", "fast"}};
    out["spec"]["lifecycle"]["retain"] = retain;
    return out;
  }
  Json claim() const { return find(volume_claims(), kClaim); }
  void bind_claim() {
    patch(volume_claims(), kClaim, {{"status", {{"phase", "Bound"}}}}, "status");
  }
  // What kube-controller-manager does once no pod uses it.
  void unprotect() { patch(volume_claims(), kClaim, {{"metadata", {{"finalizers", nullptr}}}}); }
  void suspend(bool yes) {
    patch(workspaces(), "fix-login", {{"spec", {{"lifecycle", {{"suspend", yes}}}}}});
  }
  void lose_pod() {
    eventually("the pod ends", [&] {
      const Json found = pod();
      return found.is_null() || found["metadata"].contains("deletionTimestamp");
    });
    if (!pod().is_null()) remove(kPods, "fix-login-agent", true);
    eventually("the pod has gone", [&] { return pod().is_null(); });
  }
};

TEST_F(VolumeTest, IsKeptOverSuspensionAndGoesAfterThePod) {
  make_secret();
  make(stored());
  const Json made = await_pod();
  EXPECT_EQ(made["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"], kClaim);
  const Json first = claim();
  ASSERT_FALSE(first.is_null());
  EXPECT_EQ(first["spec"]["resources"]["requests"]["storage"], "2Gi");
  EXPECT_EQ(first["spec"]["storageClassName"], "fast");
  EXPECT_EQ(first["metadata"]["ownerReferences"][0]["name"], "fix-login");
  await_condition("Ready", "False", "VolumePending");
  EXPECT_THAT(condition("Ready")["message"].get<std::string>(), HasSubstr("storage class fast"));
  bind_claim();
  await_condition("Ready", "False", "Starting");
  bind();
  run();
  await_condition("Ready", "True", "Working");

  suspend(true);
  lose_pod();
  eventually("suspended", [&] { return status().value("phase", "") == "Suspended"; });
  EXPECT_EQ(claim()["metadata"]["uid"], first["metadata"]["uid"]);
  suspend(false);
  await_pod();
  EXPECT_EQ(claim()["metadata"]["uid"], first["metadata"]["uid"]);
  bind();
  run();
  await_condition("Ready", "True", "Working");

  remove(workspaces(), "fix-login");
  eventually("the pod is deleted first", [&] {
    const Json found = pod();
    return found.is_null() || found["metadata"].contains("deletionTimestamp");
  });
  if (!pod().is_null()) {
    EXPECT_FALSE(claim()["metadata"].contains("deletionTimestamp"));
    remove(kPods, "fix-login-agent", true);
  }
  eventually("then the claim", [&] {
    const Json found = claim();
    return found.is_null() || found["metadata"].contains("deletionTimestamp");
  });
  EXPECT_TRUE(pod().is_null());
  if (!claim().is_null()) unprotect();
  eventually("the workspace has gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  EXPECT_TRUE(claim().is_null());
}

TEST_F(VolumeTest, RetainedOneStaysWithoutAnOwnerAndIsNobodysLater) {
  make_secret();
  make(stored());
  await_pod();
  // The wish comes late, and holds.
  patch(workspaces(), "fix-login", {{"spec", {{"lifecycle", {{"retain", "Retain"}}}}}});
  eventually("the claim has no owner",
             [&] { return !claim()["metadata"].contains("ownerReferences"); });
  const std::string uid = claim()["metadata"]["uid"];
  remove(workspaces(), "fix-login");
  eventually("the workspace has gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  ASSERT_FALSE(claim().is_null());
  EXPECT_EQ(claim()["metadata"]["uid"], uid);
  EXPECT_FALSE(claim()["metadata"].contains("deletionTimestamp"));
  // A namesake does not get what another one left.
  make(stored());
  await_condition("Accepted", "False", "NameConflict");
  EXPECT_THAT(condition("Accepted")["message"].get<std::string>(), HasSubstr(kClaim));
  EXPECT_TRUE(pod().is_null());
  remove(workspaces(), "fix-login");
  eventually("the workspace has gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  EXPECT_EQ(claim()["metadata"]["uid"], uid);
}

TEST_F(VolumeTest, ForeignOneIsRefusedAndUsedOnceItIsOutOfTheWay) {
  make_secret();
  make(volume_claims(), {{"apiVersion", "v1"},
                         {"kind", "PersistentVolumeClaim"},
                         {"metadata", {{"name", kClaim}}},
                         {"spec",
                          {{"accessModes", {"ReadWriteMany"}},
                           {"resources", {{"requests", {{"storage", "1Gi"}}}}}}}});
  const Json theirs = claim();
  make(stored());
  await_condition("Accepted", "False", "NameConflict");
  EXPECT_TRUE(pod().is_null());
  EXPECT_EQ(claim(), theirs);
  remove(volume_claims(), kClaim);
  unprotect();
  nudge();
  await_pod();
  EXPECT_EQ(claim()["spec"]["accessModes"], Json::array({"ReadWriteOnce"}));
  EXPECT_NE(claim()["metadata"]["uid"], theirs["metadata"]["uid"]);
}

TEST_F(VolumeTest, MarksThatSomebodyTakesOffAreputBack) {
  make_secret();
  make(stored());
  await_pod();
  patch(volume_claims(), kClaim,
        {{"metadata", {{"ownerReferences", nullptr}, {"labels", {{"extra", "theirs"}}}}}});
  eventually("the owner is back", [&] { return claim()["metadata"].contains("ownerReferences"); });
  EXPECT_EQ(claim()["metadata"]["labels"]["extra"], "theirs");
}

TEST_F(VolumeTest, StorageIsImmutableAndChecked) {
  make(stored());
  for (const char* change :
       {R"({"spec": {"storage": null}})", R"({"spec": {"storage": {"size": "3Gi"}}})",
        R"({"spec": {"storage": {"storageClassName": "slow"}}})"}) {
    const auto changed =
        admin_->patch(workspaces(), ns_, "fix-login", kube::PatchType::kMerge, Json::parse(change));
    ASSERT_FALSE(changed) << change;
    EXPECT_THAT(changed.error().text(), HasSubstr("storage is immutable")) << change;
  }
  for (const char* storage :
       {R"({"size": "0"})", R"({"size": "-1Gi"})", R"({"size": "5GiB"})", R"({"size": 0})",
        R"({"storageClassName": "A"})", R"({"size": "5Gi", "storageClassName": "-a"})"}) {
    Json bad = stored();
    bad["metadata"]["name"] = "bad";
    bad["spec"]["storage"] = Json::parse(storage);
    EXPECT_FALSE(admin_->create(workspaces(), ns_, bad)) << storage;
  }
  // What the schema takes the operator takes too, and nothing else.
  for (const char* size : {"5Gi",  "+5Gi", "-5Gi", ".5Gi",  "5.Gi",
                           ".Gi",  "1n",   "1u",   "1500m", "1e3",
                           "1E+3", "1e-3", "1e",   "1e3m",  "5gi",
                           "5K",   "5k",   "0x10", " 5Gi",  "0",
                           "-0",   "0.0",  "0e9",  "1.2.3", "99999999999999999999Ei"}) {
    Json asked = stored();
    asked["metadata"]["name"] = "asked";
    asked["spec"]["storage"] = {{"size", size}};
    const auto made = admin_->create_strictly(workspaces(), ns_, asked, {"", true});
    EXPECT_EQ(made.has_value(), parse_workspace(asked).has_value()) << size;
  }
  Json bad = stored("Keep");
  bad["metadata"]["name"] = "bad";
  EXPECT_FALSE(admin_->create(workspaces(), ns_, bad));
  for (const char* storage :
       {"{}", R"({"size": 1073741824})", R"({"size": "1e9", "storageClassName": "a.b-c"})",
        R"({"storageClassName": ""})"}) {
    Json good = stored();
    good["metadata"]["name"] = "good";
    good["spec"]["storage"] = Json::parse(storage);
    const auto made = admin_->create(workspaces(), ns_, good);
    ASSERT_TRUE(made) << storage << made.error().text();
    EXPECT_TRUE(parse_workspace(*made)) << storage;
    remove(workspaces(), "good");
    eventually("it has gone", [&] { return find(workspaces(), "good").is_null(); });
    if (const Json left = find(volume_claims(), "good-workspace"); !left.is_null())
      patch(volume_claims(), "good-workspace", {{"metadata", {{"finalizers", nullptr}}}});
  }
}

}  // namespace
}  // namespace palisade::op::testing
