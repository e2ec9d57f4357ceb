// What the operator makes for a workspace beside its pod: Secret, ConfigMap, ServiceAccount (and
// its tokens) and NetworkPolicy. While the workspace or its pod lives only the operator changes or
// deletes them, and nobody else makes what calls itself a workspace's.
//
// Whose an object is its owner reference says, with the uid: a namesake's leftovers are nobody's
// and hold nothing up. No controller is exempt: the garbage collector and the namespace controller
// try again, and by then the pod is gone.
#include <algorithm>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

using policy::Finding;
using simdjson::dom::element;

constexpr std::string_view kTokenType = "kubernetes.io/service-account-token";
constexpr std::string_view kTokenAccount = "kubernetes.io/service-account.name";

// A Secret that the token controller fills with a token that never ends.
Lookup<void> refuse_token_secret(const Request& request, const ClusterView& cluster,
                                 std::vector<Finding>& out) {
  if (request.resource != "secrets" || text_at(*request.object, "type") != kTokenType) return {};
  const auto account = find_text(metadata_texts(*request.object, "annotations"), kTokenAccount);
  const std::string_view workspace = workspace_of_agent_object(account.value_or(""));
  if (workspace.empty()) return {};
  const auto live = guarded_account(cluster, request.ns, workspace);
  if (!live) return std::unexpected(live.error());
  if (*live) {
    out.push_back({policy::kWorkspaceObjects, path_of("annotations", kTokenAccount), shown(account),
                   "this ServiceAccount is an agent's, which has no token: leave it without one"});
  }
  return {};
}

}  // namespace

void refuse_claims(const element& now, const element* before, std::vector<Finding>& out) {
  for (const std::string_view mark : {kWorkspaceLabel, kPoolLabel, kSetupLabel}) {
    const auto label = find_text(metadata_texts(now, "labels"), mark);
    const auto old_label =
        before != nullptr ? find_text(metadata_texts(*before, "labels"), mark) : std::nullopt;
    if (!label || label == old_label) continue;
    out.push_back({policy::kWorkspaceObjects, path_of("labels", mark), shown(label),
                   "only the operator makes objects of an AgentWorkspace: leave the label out"});
  }
  const auto had = before != nullptr ? workspace_owners(*before) : std::vector<WorkspaceOwner>();
  for (const WorkspaceOwner& owner : workspace_owners(now)) {
    if (std::ranges::find(had, owner) != had.end()) continue;
    out.push_back(
        {policy::kWorkspaceObjects, "metadata.ownerReferences[" + std::to_string(owner.index) + "]",
         shown(owner.name),
         "only the operator makes objects of an AgentWorkspace: leave the reference out"});
  }
}

Lookup<std::vector<Finding>> owned_findings(const Request& request, const ClusterView& cluster) {
  std::vector<Finding> out;
  if (by_operator(request, cluster)) return out;
  if (request.operation != Operation::kCreate) {
    if (!request.old_object) return std::unexpected("the review holds no old object");
    for (const WorkspaceOwner& owner : workspace_owners(*request.old_object)) {
      const auto live = guarded(cluster, request.ns, owner);
      if (!live) return std::unexpected(live.error());
      if (!*live) continue;
      out.push_back(
          {policy::kWorkspaceObjects,
           "metadata.ownerReferences[" + std::to_string(owner.index) + "]", shown(owner.name),
           owner.pool ? "belongs to a pool whose pods live, and only the operator changes "
                        "or deletes it: scale or delete the AgentWorkspacePool instead"
                      : "belongs to a workspace that lives, and only the operator changes "
                        "or deletes it: change or delete the AgentWorkspace instead"});
      return out;
    }
  }
  if (request.operation == Operation::kDelete) return out;
  if (!request.object) return std::unexpected("the review holds no object");
  const element* const before =
      request.operation == Operation::kUpdate ? &*request.old_object : nullptr;
  refuse_claims(*request.object, before, out);
  if (auto done = refuse_token_secret(request, cluster, out); !done)
    return std::unexpected(done.error());
  return out;
}

Judgement judge_owned_object(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate &&
      request.operation != Operation::kDelete) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  auto findings = owned_findings(request, cluster);
  if (!findings) return Judgement::unsure(findings.error());
  if (findings->empty()) return Judgement::pass("of no workspace, or its operator's doing");
  Judgement out;
  out.findings = *std::move(findings);
  out.subject =
      std::string(request.operation == Operation::kDelete ? "deletion of " : "write to ") +
      clipped(request.resource);
  out.reason = "it is a workspace's, or would seem so";
  return out;
}

Judgement judge_token_request(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kCreate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (request.name.empty()) return Judgement::unsure("the review names no ServiceAccount");
  const std::string_view workspace = workspace_of_agent_object(request.name);
  if (workspace.empty()) return Judgement::pass("no workspace's ServiceAccount");
  // A kubelet asks for what a pod's volume says, and NodeRestriction lets it ask for pods of its
  // own node only; which audiences such a volume may name is a control of the pod.
  element bound;
  if (request.user.in_group("system:nodes") && request.object &&
      request.object->at_pointer("/spec/boundObjectRef").get(bound) == simdjson::SUCCESS &&
      text_at(bound, "kind") == "Pod") {
    return Judgement::pass("a kubelet's, for a pod of its node");
  }
  const auto live = guarded_account(cluster, request.ns, workspace);
  if (!live) return Judgement::unsure(live.error());
  if (!*live) return Judgement::pass("no workspace's ServiceAccount");
  Judgement out;
  out.subject = "token";
  out.reason = "the ServiceAccount is that of workspace " + clipped(workspace);
  out.findings.push_back({policy::kWorkspaceObjects, "metadata.name", shown(request.name),
                          "this ServiceAccount is an agent's, which has no token: ask for one of "
                          "another account"});
  return out;
}

}  // namespace palisade::webhook
