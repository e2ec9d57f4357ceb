// The PersistentVolumeClaim of a workspace with spec.storage. It outlives the pods of its
// workspace: who deletes it takes what the agent has not pushed, who takes its marks off has the
// operator make another, and who makes one with the marks has an agent begin with what they left
// there.
//
// And those that the setups of workspaces (spec.setup) write, by their names: any workspace of the
// namespace may mount what is there, so nobody else makes, changes or, while one uses it, deletes
// one.
//
// Its life has more writers than the operator: what binds, places, resizes and protects volumes
// writes the name of the volume, the default class, annotations, finalizers and the status. These
// are left alone, whoever writes them. The garbage collector and the namespace controller are not
// exempt, as with anything else that a workspace owns (owned_objects.cpp): they try again.
#include <algorithm>

#include <policy/setup_claims.h>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

using policy::Finding;
using simdjson::dom::element;

// Of a claim that is to outlive its workspace this and the label are all that say whose it is.
constexpr std::string_view kUidAnnotation = "palisade.dev/workspace-uid";
// What the operator watches by.
constexpr std::string_view kManagedBy = "app.kubernetes.io/managed-by";

std::vector<WorkspaceOwner> owners_of_claim(const element& claim) {
  std::vector<WorkspaceOwner> out = workspace_owners(claim);
  const auto name = find_text(metadata_texts(claim, "labels"), kWorkspaceLabel);
  const auto uid = find_text(metadata_texts(claim, "annotations"), kUidAnnotation);
  if (!name || name->empty() || !uid || uid->empty()) return out;
  const WorkspaceOwner marked{*name, *uid, 0, false};
  if (std::ranges::find(out, marked) == out.end()) out.push_back(marked);
  return out;
}

// "" where there is none.
std::string minified(const element& object, std::string_view pointer) {
  element part;
  return object.at_pointer(pointer).get(part) == simdjson::SUCCESS
             ? std::string(simdjson::minify(part))
             : std::string();
}

bool is_guarded_mark(std::string_view field, std::string_view key) {
  return key.starts_with(kOwnPrefix) || (field == "labels" && key == kManagedBy);
}

// The first field of ours that differs; nullopt where none does.
std::optional<Finding> changed_mark(const element& before, const element& now,
                                    std::string_view field) {
  const Texts had = metadata_texts(before, field);
  const Texts has = metadata_texts(now, field);
  for (const Texts* const one : {&had, &has}) {
    for (const auto& [key, value] : *one) {
      if (is_guarded_mark(field, key) && find_text(had, key) != find_text(has, key))
        return Finding{
            policy::kWorkspaceObjects, path_of(field, key), shown(find_text(has, key)), {}};
    }
  }
  return std::nullopt;
}

// A claim without a volume is given one, and one without a class the default, each once.
bool is_binding(const element& before, std::string_view member) {
  const std::string had = minified(before, "/spec/" + std::string(member));
  return (member == "volumeName" && (had.empty() || had == "\"\"")) ||
         (member == "storageClassName" && had.empty());
}

std::optional<Finding> changed_spec(const element& before, const element& now) {
  for (const element* const one : {&before, &now}) {
    simdjson::dom::object members;
    if (one->at_pointer("/spec").get(members) != simdjson::SUCCESS) continue;
    for (const auto [key, value] : members) {
      const std::string at = "/spec/" + std::string(key);
      if (minified(before, at) == minified(now, at) || is_binding(before, key)) continue;
      const std::string found = minified(now, at);
      return Finding{policy::kWorkspaceObjects,
                     "spec." + clipped(key),
                     found.empty() ? "(absent)" : clipped(found),
                     {}};
    }
  }
  return std::nullopt;
}

std::optional<Finding> changed(const element& before, const element& now) {
  for (const char* const field : {"labels", "annotations"}) {
    if (auto found = changed_mark(before, now, field)) return found;
  }
  const std::string owners = minified(now, "/metadata/ownerReferences");
  if (minified(before, "/metadata/ownerReferences") != owners)
    return Finding{policy::kWorkspaceObjects,
                   "metadata.ownerReferences",
                   owners.empty() ? "(absent)" : clipped(owners),
                   {}};
  return changed_spec(before, now);
}

// Its volume is gone for good, and the operator asks people to delete it.
bool is_lost(const element& claim) {
  element status;
  return object_at(claim, "status", status) && text_at(status, "phase") == "Lost";
}

Lookup<std::vector<Finding>> setup_findings(const Request& request, const ClusterView& cluster) {
  std::vector<Finding> out;
  const std::string name(request.object_name());
  if (request.operation == Operation::kCreate) {
    out.push_back({policy::kWorkspaceObjects, "metadata.name", shown(name),
                   "so are the volumes called that setups of AgentWorkspaces write, which only the "
                   "operator makes: choose another name"});
  } else if (request.operation == Operation::kUpdate) {
    if (auto what = changed(*request.old_object, *request.object)) {
      what->message =
          "setups of AgentWorkspaces share this volume, and only the operator changes "
          "it: leave it as it is";
      out.push_back(std::move(*what));
    }
  } else if (!is_lost(*request.old_object)) {
    const auto workspaces = cluster.workspaces(request.ns);
    if (!workspaces) return std::unexpected(workspaces.error());
    const auto user = std::ranges::find_if(*workspaces, [&](const WorkspaceFacts& one) {
      return one.setup_claim == name && !one.deleting;
    });
    if (user != workspaces->end())
      out.push_back({policy::kWorkspaceObjects, "metadata.name", shown(name),
                     "workspace " + clipped(user->name) +
                         " uses what a setup has made there: delete that AgentWorkspace first, and "
                         "the operator removes the volume once nobody has used it for a while"});
  }
  return out;
}

Lookup<std::vector<Finding>> claim_findings(const Request& request, const ClusterView& cluster) {
  std::vector<Finding> out;
  if (by_operator(request, cluster)) return out;
  const bool removes = request.operation == Operation::kDelete;
  const bool creates = request.operation == Operation::kCreate;
  if (!creates && !request.old_object) return std::unexpected("the review holds no old object");
  if (!removes && !request.object) return std::unexpected("the review holds no object");
  if (policy::is_setup_claim(request.object_name())) return setup_findings(request, cluster);
  std::optional<Finding> what;
  if (removes && !is_lost(*request.old_object)) {
    what = Finding{policy::kWorkspaceObjects, "metadata.name", shown(request.object_name()), {}};
  } else if (!removes && !creates) {
    what = changed(*request.old_object, *request.object);
  }
  if (what) {
    for (const WorkspaceOwner& owner : owners_of_claim(*request.old_object)) {
      const auto live = guarded(cluster, request.ns, owner);
      if (!live) return std::unexpected(live.error());
      if (!*live) continue;
      what->message = "this is the volume of workspace " + clipped(owner.name) +
                      ", which lives: only the operator " +
                      (removes ? "deletes it. Delete the AgentWorkspace instead; its "
                                 "spec.lifecycle.retain says what becomes of the volume"
                               : "changes it: leave it as it is");
      out.push_back(std::move(*what));
      return out;
    }
  }
  if (removes) return out;
  const element* const before = creates ? nullptr : &*request.old_object;
  refuse_claims(*request.object, before, out);
  const auto uid = find_text(metadata_texts(*request.object, "annotations"), kUidAnnotation);
  const auto old_uid = before != nullptr
                           ? find_text(metadata_texts(*before, "annotations"), kUidAnnotation)
                           : std::nullopt;
  if (uid && uid != old_uid)
    out.push_back({policy::kWorkspaceObjects, path_of("annotations", kUidAnnotation), shown(uid),
                   "only the operator makes the volume of an AgentWorkspace: leave the annotation "
                   "out"});
  return out;
}

}  // namespace

Judgement judge_volume_claim(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate &&
      request.operation != Operation::kDelete) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  auto findings = claim_findings(request, cluster);
  if (!findings) return Judgement::unsure(findings.error());
  if (findings->empty()) return Judgement::pass("of no workspace, or its volume's own life");
  Judgement out;
  out.findings = *std::move(findings);
  out.subject =
      std::string(request.operation == Operation::kDelete ? "deletion of " : "write to ") +
      clipped(request.resource);
  out.reason = "it is a workspace's, or would seem so";
  return out;
}

}  // namespace palisade::webhook
