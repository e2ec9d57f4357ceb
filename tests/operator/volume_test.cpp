// spec.storage and spec.lifecycle.retain: a volume of the workspace's own.
#include <set>

#include <gmock/gmock.h>

#include <policy/policy.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using ::testing::HasSubstr;

Json stored(Json storage = Json::object(), const char* retain = "Delete") {
  Json workspace = usual_workspace();
  workspace["spec"]["storage"] = std::move(storage);
  workspace["spec"]["lifecycle"]["retain"] = retain;
  return workspace;
}

Model running(const char* retain = "Delete") {
  Model model(stored(Json::object(), retain));
  model.settle();
  model.edit(&Observed::volume, {{"status", {{"phase", "Bound"}}}});
  model.run();
  model.settle();
  return model;
}

const Json& metadata(const kube::ObjectPtr& object) {
  return (*object)["metadata"];
}

std::vector<policy::Finding> judged(const Json& pod) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(pod.dump());
  return policy::evaluate(parser.parse(text).value(), policy::Settings());
}

TEST(Volume, FieldsAreReadStrictly) {
  const struct {
    const char* storage;
    const char* size;  // nullptr: refused
    const char* storage_class;
  } rows[] = {
      {"{}", "5Gi", nullptr},
      {R"({"size": "20Gi", "storageClassName": "fast"})", "20Gi", "fast"},
      {R"({"size": 1073741824})", "1073741824", nullptr},
      {R"({"size": "1.5Ti", "storageClassName": ""})", "1.5Ti", ""},
      {R"({"size": "5e9"})", "5e9", nullptr},
      {R"({"size": "+5Gi"})", "+5Gi", nullptr},
      {R"({"size": "1n"})", "1n", nullptr},
      {R"({"size": ".5Gi"})", ".5Gi", nullptr},
      {R"({"size": "1E+3"})", "1E+3", nullptr},
      {R"({"size": "-0"})", nullptr, nullptr},
      {R"({"size": "1e3m"})", nullptr, nullptr},
      {R"({"size": "5gi"})", nullptr, nullptr},
      {R"({"size": "000000000000000000000000000005Gi"})", "000000000000000000000000000005Gi",
       nullptr},
      {R"({"size": "0000000000000000000000000000005Gi"})", nullptr, nullptr},
      {R"({"size": "0"})", nullptr, nullptr},
      {R"({"size": "0.0Gi"})", nullptr, nullptr},
      {R"({"size": "-1Gi"})", nullptr, nullptr},
      {R"({"size": "5GiB"})", nullptr, nullptr},
      {R"({"size": "5e"})", nullptr, nullptr},
      {R"({"size": "1.2.3"})", nullptr, nullptr},
      {R"({"size": ""})", nullptr, nullptr},
      {R"({"size": ["5Gi"]})", nullptr, nullptr},
      {R"({"storageClassName": "Fast"})", nullptr, nullptr},
      {R"({"storageClassName": "a/b"})", nullptr, nullptr},
      {R"({"storageClassName": 1})", nullptr, nullptr},
      {R"("5Gi")", nullptr, nullptr},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.storage);
    const auto read = parse_workspace(stored(Json::parse(row.storage)));
    ASSERT_EQ(read.has_value(), row.size != nullptr) << read.error();
    if (!read) {
      EXPECT_THAT(read.error(), HasSubstr("spec.storage"));
      continue;
    }
    ASSERT_TRUE(read->storage);
    EXPECT_EQ(read->storage->size, row.size);
    EXPECT_EQ(read->storage->storage_class.has_value(), row.storage_class != nullptr);
    if (row.storage_class != nullptr) {
      EXPECT_EQ(*read->storage->storage_class, row.storage_class);
    }
  }
  EXPECT_FALSE(parsed(usual_workspace()).storage);
  const auto wrong = parse_workspace(stored(Json::object(), "Keep"));
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error(), HasSubstr("spec.lifecycle.retain"));
}

TEST(Volume, ClaimSaysWhoseItIsAndHasAnOwnerOnlyWhereItEndsWithIt) {
  const Workspace deleted = parsed(stored({{"size", "20Gi"}, {"storageClassName", "fast"}}));
  EXPECT_EQ(desired_volume_claim(deleted)["spec"],
            Json::parse(R"({"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
                            "resources": {"requests": {"storage": "20Gi"}}})"));
  const Json metadata = desired_volume_claim(deleted)["metadata"];
  EXPECT_EQ(metadata["name"], "fix-login-workspace");
  EXPECT_EQ(metadata["annotations"]["palisade.dev/workspace-uid"], kUid);
  EXPECT_EQ(metadata["ownerReferences"][0]["uid"], kUid);
  const Json retained = desired_volume_claim(parsed(stored(Json::object(), "Retain")));
  EXPECT_FALSE(retained["metadata"].contains("ownerReferences"));
  EXPECT_EQ(retained["metadata"]["annotations"], metadata["annotations"]);
  EXPECT_EQ(retained["metadata"]["labels"], metadata["labels"]);
  EXPECT_FALSE(retained["spec"].contains("storageClassName"));
}

// The same pod but for the one volume, mounted where the scratch space was.
TEST(Volume, PodDiffersInOneVolumeAlone) {
  Json scratch = pod_of(usual_workspace())["spec"];
  const Json pod = pod_of(stored());
  const Json claim{{"name", "workspace"},
                   {"persistentVolumeClaim", {{"claimName", "fix-login-workspace"}}}};
  EXPECT_EQ(named(pod["spec"]["volumes"], "workspace"), claim);
  ASSERT_EQ(scratch["volumes"][0]["name"], "workspace");
  scratch["volumes"][0] = claim;
  EXPECT_EQ(pod["spec"], scratch);
  const auto findings = judged(pod);
  EXPECT_TRUE(findings.empty()) << policy::explain(findings);
}

TEST(Volume, PolicyTakesNoOtherClaimInAWorkspacesPod) {
  for (const char* name :
       {"fix-login", "other-workspace", "fix-login-workspace2", "", "fix-login-Workspace"}) {
    SCOPED_TRACE(name);
    Json pod = pod_of(stored());
    pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = name;
    const auto findings = judged(pod);
    ASSERT_EQ(findings.size(), 1U) << policy::explain(findings);
    EXPECT_EQ(findings[0].control, "volume-types");
    EXPECT_EQ(findings[0].field, "spec.volumes[0].persistentVolumeClaim.claimName");
  }
}

TEST(Volume, ComesBeforeThePodAndGoesAfterIt) {
  Model model(stored());
  model.settle([&](const Action& action) {
    if (action.kind == ActionKind::kCreatePod) {
      EXPECT_TRUE(model.seen.volume);
    }
  });
  model.run();
  model.settle();
  model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T13:00:00Z";
  const auto alive = [&](const Action&) {
    if (model.seen.pod) {
      EXPECT_TRUE(model.seen.volume);
    }
  };
  model.settle(alive);
  ASSERT_TRUE(model.seen.volume) << "the pod has not gone yet";
  model.let_go();
  model.settle(alive);
  EXPECT_FALSE(model.seen.volume);
  EXPECT_TRUE(model.gone);
}

TEST(Volume, SurvivesSuspensionLossAndAChangedSpec) {
  Model model = running();
  const Json before = metadata(model.seen.volume);
  model.spec()["lifecycle"]["suspend"] = true;
  model.settle();
  model.let_go();
  model.settle();
  EXPECT_EQ(model.phase(), "Suspended");
  EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(), HasSubstr("volume holds"));
  EXPECT_FALSE(model.seen.pod);
  ASSERT_TRUE(model.seen.volume);
  model.spec()["lifecycle"]["suspend"] = false;
  model.settle();
  model.run();
  model.settle();
  EXPECT_EQ(model.phase(), "Running");
  model.end("Failed", "",
            {{"reason", "Evicted"}, {"message", "The node was low on resource: memory."}});
  model.settle();
  model.run();
  model.settle();
  EXPECT_EQ(model.phase(), "Running");
  EXPECT_EQ(model.seen.workspace["status"]["restarts"], 1);
  model.spec()["agent"]["model"] = "other";
  model.settle();
  model.let_go();
  model.settle();
  EXPECT_EQ(metadata(model.seen.volume), before);
  // A session that has ended keeps it as long as the workspace is there.
  model.run();
  model.end("Succeeded", R"({"commits": 1, "pushed": true})");
  model.settle();
  EXPECT_EQ(model.phase(), "Succeeded");
  EXPECT_TRUE(model.seen.volume);
}

TEST(Volume, RetainedOneLosesItsOwnerAndStays) {
  Model model = running("Retain");
  EXPECT_FALSE(metadata(model.seen.volume).contains("ownerReferences"));
  // Said late.
  model.spec()["lifecycle"]["retain"] = "Delete";
  model.settle();
  EXPECT_EQ(metadata(model.seen.volume)["ownerReferences"][0]["uid"], kUid);
  EXPECT_EQ(model.phase(), "Running") << "no pod ends for it";
  model.spec()["lifecycle"]["retain"] = "Retain";
  model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T13:00:00Z";
  model.settle();
  model.let_go();
  model.settle();
  EXPECT_TRUE(model.gone);
  ASSERT_TRUE(model.seen.volume);
  EXPECT_FALSE(metadata(model.seen.volume).contains("ownerReferences"));
}

TEST(Volume, ForeignOneIsNeverAdopted) {
  for (const char* of : {"", "another-uid"}) {
    SCOPED_TRACE(of);
    Model model(stored());
    Json claim = desired_volume_claim(parsed(stored()));
    claim["metadata"]["uid"] = "theirs";
    claim["metadata"]["annotations"]["palisade.dev/workspace-uid"] = of;
    model.put(&Observed::volume, claim);
    model.settle();
    EXPECT_FALSE(model.seen.pod);
    EXPECT_EQ(model.condition("Accepted")["reason"], "NameConflict");
    EXPECT_THAT(model.condition("Accepted")["message"].get<std::string>(),
                HasSubstr("PersistentVolumeClaim fix-login-workspace"));
    model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T13:00:00Z";
    model.settle();
    EXPECT_TRUE(model.gone);
    ASSERT_TRUE(model.seen.volume);
    EXPECT_EQ(*model.seen.volume, claim);
  }
}

TEST(Volume, WhatKeepsThePodWaitingIsTold) {
  Model model(stored({{"storageClassName", "fast"}}));
  model.settle();
  model.edit(&Observed::volume, {{"status", {{"phase", "Pending"}}}});
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "VolumePending");
  EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(),
              HasSubstr("storage class fast"));
  model.edit(
      &Observed::pod,
      {{"status",
        {{"phase", "Pending"},
         {"conditions", Json::array({{{"type", "PodScheduled"},
                                      {"status", "False"},
                                      {"reason", "Unschedulable"},
                                      {"message", "pod has unbound PersistentVolumeClaims"}}})}}}});
  const Plan plan = model.decide();
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "VolumePending");
  EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(),
              HasSubstr("unbound PersistentVolumeClaims"));
  EXPECT_EQ(model.phase(), "Pending");
  // Bound, it is the scheduler's word again.
  model.edit(&Observed::volume, {{"status", {{"phase", "Bound"}}}});
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "Unschedulable");
}

TEST(Volume, NoPodIsMadeOnALostOrEndingOne) {
  const struct {
    Json change;
    const char* reason;
  } rows[] = {{{{"status", {{"phase", "Lost"}}}}, "VolumeLost"},
              {{{"metadata", {{"deletionTimestamp", "2026-01-01T12:00:00Z"}}}}, "VolumeEnding"}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.reason);
    Model model = running();
    model.spec()["lifecycle"]["suspend"] = true;
    model.settle();
    model.let_go();
    model.settle();
    model.edit(&Observed::volume, row.change);
    model.spec()["lifecycle"]["suspend"] = false;
    model.settle();
    EXPECT_FALSE(model.seen.pod);
    EXPECT_EQ(model.condition("Ready")["reason"], row.reason);
    // Gone, a new one is made.
    model.seen.volume.reset();
    model.settle();
    EXPECT_TRUE(model.seen.volume);
    EXPECT_TRUE(model.seen.pod);
  }
}

TEST(Volume, APodThatRunsIsLeftInPeaceWhateverBecomesOfTheClaim) {
  for (const Json& change : {Json{{"status", {{"phase", "Lost"}}}},
                             Json{{"metadata", {{"deletionTimestamp", "2026-01-01T12:00:00Z"}}}}}) {
    SCOPED_TRACE(change.dump());
    Model model = running();
    model.edit(&Observed::volume, change);
    model.settle();
    EXPECT_EQ(model.phase(), "Running");
    EXPECT_EQ(model.condition("Ready")["reason"], "Working");
    std::set<std::string> types;
    for (const Json& condition : model.seen.workspace["status"]["conditions"])
      EXPECT_TRUE(types.insert(condition["type"]).second) << condition;
  }
}

// What cannot be read any more is let go, with its volume as it is.
TEST(Volume, UnreadableWorkspaceLeavesItAlone) {
  Model model = running();
  model.spec()["storage"] = "garbled";
  model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T13:00:00Z";
  const Json before = *model.seen.volume;
  model.settle();
  model.let_go();
  model.settle();
  EXPECT_TRUE(model.gone);
  EXPECT_EQ(*model.seen.volume, before);
}

}  // namespace
}  // namespace palisade::op::testing
