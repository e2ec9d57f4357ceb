// The volume of a workspace with spec.storage: the operator's, but for what volumes' own
// controllers write.
#include <functional>

#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kLabel = R"(metadata.labels["palisade.dev/workspace"])";
constexpr const char* kUid = R"(metadata.annotations["palisade.dev/workspace-uid"])";
constexpr const char* kOwner = "metadata.ownerReferences[0]";

// As the operator makes it; with lifecycle.retain it has no owner.
json claim(bool retained = false, const std::string& uid = "uid-fix") {
  json out{
      {"metadata",
       {{"name", "fix-workspace"},
        {"namespace", "team-a"},
        {"labels",
         {{"palisade.dev/workspace", "fix"}, {"app.kubernetes.io/managed-by", "palisade"}}},
        {"annotations", {{"palisade.dev/workspace-uid", uid}}},
        {"finalizers", {"kubernetes.io/pvc-protection"}}}},
      {"spec",
       {{"accessModes", {"ReadWriteOnce"}}, {"resources", {{"requests", {{"storage", "5Gi"}}}}}}},
      {"status", {{"phase", "Pending"}}}};
  if (!retained) out["metadata"]["ownerReferences"] = owned_by("fix", uid);
  return out;
}

json plain() {
  json out = claim(true);
  out["metadata"].erase("labels");
  out["metadata"].erase("annotations");
  return out;
}

Review write(const char* operation, const json& before, const json& now,
             const std::string& user = "mallory",
             const std::string& resource = "persistentvolumeclaims") {
  return {.operation = operation,
          .resource = resource,
          .user = user,
          .object = now,
          .old_object = before};
}

json with(json object, const char* pointer, const json& value) {
  object[json::json_pointer(pointer)] = value;
  return object;
}
json without(json object, const char* parent, const char* member) {
  object[json::json_pointer(parent)].erase(member);
  return object;
}

constexpr std::array kOthers{"mallory", "root",
                             "system:serviceaccount:kube-system:persistent-volume-binder",
                             "system:serviceaccount:kube-system:generic-garbage-collector",
                             "system:serviceaccount:kube-system:namespace-controller"};

TEST(VolumeClaims, OfALiveWorkspaceAreTheOperators) {
  FakeCluster cluster;
  cluster.workspace("fix");
  struct Row {
    const char* field;
    std::function<json(json)> change;
  };
  const Row rows[] = {
      {kLabel,
       [](json c) { return without(std::move(c), "/metadata/labels", "palisade.dev/workspace"); }},
      {R"(metadata.labels["app.kubernetes.io/managed-by"])",
       [](json c) {
         return without(std::move(c), "/metadata/labels", "app.kubernetes.io/managed-by");
       }},
      {kUid,
       [](json c) {
         return with(std::move(c), "/metadata/annotations/palisade.dev~1workspace-uid", "x");
       }},
      {kUid, [](json c) { return without(std::move(c), "/metadata", "annotations"); }},
      {"metadata.ownerReferences",
       [](json c) {
         return with(std::move(c), "/metadata/ownerReferences",
                     json::array({{{"kind", "ConfigMap"}, {"uid", "u"}}}));
       }},
      {"spec.resources",
       [](json c) { return with(std::move(c), "/spec/resources/requests/storage", "500Gi"); }},
      {"spec.volumeAttributesClassName",
       [](json c) { return with(std::move(c), "/spec/volumeAttributesClassName", "gold"); }},
  };
  for (const bool retained : {false, true}) {
    for (const Row& row : rows) {
      SCOPED_TRACE(row.field);
      const json before = claim(retained);
      const json now = row.change(before);
      for (const char* user : kOthers) {
        expect_refused(write("UPDATE", before, now, user).ask(judge_volume_claim, cluster),
                       "workspace-objects", {row.field});
      }
      expect_passes(write("UPDATE", before, now, kOperator).ask(judge_volume_claim, cluster));
    }
    for (const char* user : kOthers) {
      const Judgement refused =
          write("DELETE", claim(retained), nullptr, user).ask(judge_volume_claim, cluster);
      expect_refused(refused, "workspace-objects", {"metadata.name"});
      EXPECT_THAT(refused.findings[0].message, HasSubstr("spec.lifecycle.retain"));
    }
    expect_passes(
        write("DELETE", claim(retained), nullptr, kOperator).ask(judge_volume_claim, cluster));
    expect_passes(
        write("CREATE", nullptr, claim(retained), kOperator).ask(judge_volume_claim, cluster));
  }
  // Nor by its status, which takes labels along.
  expect_refused(write("UPDATE", claim(), without(claim(), "/metadata", "labels"), "mallory",
                       "persistentvolumeclaims/status")
                     .ask(judge_volume_claim, cluster),
                 "workspace-objects", {R"(metadata.labels["app.kubernetes.io/managed-by"])"});
}

// What binds, places, resizes and protects volumes is not held up, whoever it is in a cluster.
TEST(VolumeClaims, LiveTheLifeOfAnyVolume) {
  FakeCluster cluster;
  cluster.workspace("fix");
  const json bound = with(claim(), "/spec/volumeName", "pv-1");
  const std::pair<json, json> changes[] = {
      {claim(), bound},
      {with(claim(), "/spec/volumeName", ""), bound},
      {claim(), with(claim(), "/spec/storageClassName", "standard")},
      {claim(), with(claim(), "/metadata/annotations/pv.kubernetes.io~1bind-completed", "yes")},
      {claim(),
       with(claim(), "/metadata/annotations/volume.kubernetes.io~1selected-node", "node-1")},
      {with(claim(), "/metadata/annotations/volume.kubernetes.io~1selected-node", "node-1"),
       claim()},
      {claim(), without(claim(), "/metadata", "finalizers")},
      {claim(), with(claim(), "/metadata/finalizers",
                     {"kubernetes.io/pvc-protection", "snapshot.storage.kubernetes.io/source"})},
      {claim(), with(claim(), "/metadata/labels/velero.io~1backup", "nightly")},
      {bound, with(bound, "/status", {{"phase", "Bound"}, {"capacity", {{"storage", "5Gi"}}}})},
  };
  for (const char* user : kOthers) {
    for (const auto& [before, now] : changes)
      expect_passes(write("UPDATE", before, now, user).ask(judge_volume_claim, cluster));
  }
  EXPECT_EQ(cluster.lookups_, 0);
  // Once each.
  expect_refused(write("UPDATE", bound, with(bound, "/spec/volumeName", "pv-2"))
                     .ask(judge_volume_claim, cluster),
                 "workspace-objects", {"spec.volumeName"});
  expect_refused(write("UPDATE", with(claim(), "/spec/storageClassName", ""),
                       with(claim(), "/spec/storageClassName", "theirs"))
                     .ask(judge_volume_claim, cluster),
                 "workspace-objects", {"spec.storageClassName"});
}

// Nothing is held up by a workspace that has gone, or whose volume has.
TEST(VolumeClaims, OfAWorkspaceThatIsGoneHoldNothingUp) {
  FakeCluster cluster;
  cluster.workspace("fix", "jane", true);
  for (const bool retained : {false, true}) {
    expect_passes(write("DELETE", claim(retained), nullptr).ask(judge_volume_claim, cluster));
    expect_passes(write("UPDATE", claim(retained),
                        with(claim(retained), "/spec/resources/requests/storage", "9Gi"))
                      .ask(judge_volume_claim, cluster));
  }
  // Its pod still writes there.
  cluster.pod("fix-agent", {}, "fix");
  for (const bool retained : {false, true})
    expect_refused(write("DELETE", claim(retained), nullptr).ask(judge_volume_claim, cluster),
                   "workspace-objects", {"metadata.name"});
  FakeCluster lost;
  lost.workspace("fix").workspace("other");
  expect_passes(write("DELETE", with(claim(), "/status/phase", "Lost"), nullptr)
                    .ask(judge_volume_claim, lost));
  // An earlier workspace's, kept for people to look into.
  expect_passes(write("DELETE", claim(true, "uid-older"), nullptr).ask(judge_volume_claim, lost));
}

TEST(VolumeClaims, AreNotForged) {
  FakeCluster cluster;
  cluster.workspace("fix");
  const auto ask = [&](const char* operation, const json& before, const json& now) {
    return write(operation, before, now).ask(judge_volume_claim, cluster);
  };
  expect_refused(ask("CREATE", nullptr, claim()), "workspace-objects", {kLabel, kOwner, kUid});
  // The annotation alone is what the operator knows its volume by.
  const json marked =
      with(plain(), "/metadata/annotations", {{"palisade.dev/workspace-uid", "uid-fix"}});
  expect_refused(ask("CREATE", nullptr, marked), "workspace-objects", {kUid});
  expect_refused(ask("UPDATE", plain(), marked), "workspace-objects", {kUid});
  expect_passes(ask("UPDATE", marked, marked));
  expect_passes(ask("UPDATE", marked, plain()));
  for (const char* operation : {"CREATE", "UPDATE", "DELETE"})
    expect_passes(ask(operation, plain(), plain()));
}

TEST(VolumeClaims, DenyWhatTheyCannotTell) {
  FakeCluster cluster;
  cluster.workspace("fix", "jane", true);
  expect_needs(judge_volume_claim, write("DELETE", claim(), nullptr), cluster,
               {"workspace", "agent_pods"});
  for (const char* operation : {"UPDATE", "DELETE"})
    expect_unsure(write(operation, nullptr, plain()).ask(judge_volume_claim, cluster),
                  "no old object");
  for (const char* operation : {"CREATE", "UPDATE"})
    expect_unsure(write(operation, plain(), nullptr).ask(judge_volume_claim, cluster),
                  "holds no object");
  expect_unsure(write("CONNECT", nullptr, nullptr).ask(judge_volume_claim, cluster), "operation");
}

}  // namespace
}  // namespace palisade::webhook::testing
