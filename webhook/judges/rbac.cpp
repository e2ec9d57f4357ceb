// RoleBindings and ClusterRoleBindings: an agent's ServiceAccount gets no rights, by its own name
// or by a group that it is in. An update that adds no such subject passes.
#include <algorithm>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

using simdjson::dom::element;

constexpr std::string_view kAccountUser = "system:serviceaccount:";
constexpr std::string_view kAccountGroup = "system:serviceaccounts:";

struct BoundSubject {
  std::string_view kind, ns, name;
  bool operator==(const BoundSubject&) const = default;
};

std::vector<BoundSubject> subjects_of(const element& binding) {
  std::vector<BoundSubject> out;
  simdjson::dom::array list;
  if (binding["subjects"].get(list) != simdjson::SUCCESS) return out;
  for (const element subject : list)
    out.push_back(
        {text_at(subject, "kind"), text_at(subject, "namespace"), text_at(subject, "name")});
  return out;
}

// Which workspaces the subject gives rights to: those of `ns` ("": of any) with `account` ("":
// all).
struct Reach {
  std::string_view ns;
  std::string_view workspace;
};

std::optional<Reach> reach_of(const BoundSubject& subject, std::string_view binding_ns) {
  std::string_view ns = subject.ns;
  std::string_view account = subject.name;
  if (subject.kind == "User" && subject.name.starts_with(kAccountUser)) {
    const std::string_view rest = subject.name.substr(kAccountUser.size());
    const auto colon = rest.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    ns = rest.substr(0, colon);
    account = rest.substr(colon + 1);
  } else if (subject.kind == "Group") {
    if (subject.name.starts_with(kAccountGroup))
      return Reach{subject.name.substr(kAccountGroup.size()), {}};
    // Every account there is.
    if (subject.name == "system:serviceaccounts" || subject.name == "system:authenticated")
      return Reach{};
    return std::nullopt;
  } else if (subject.kind != "ServiceAccount") {
    return std::nullopt;
  }
  if (ns.empty()) ns = binding_ns;
  const std::string_view workspace = workspace_of_agent_object(account);
  if (ns.empty() || workspace.empty()) return std::nullopt;
  return Reach{ns, workspace};
}

// The workspace that gets the rights; "" for none.
Lookup<std::string> reached(const ClusterView& cluster, const Reach& reach) {
  if (!reach.workspace.empty()) {
    const auto live = guarded_account(cluster, reach.ns, reach.workspace);
    if (!live) return std::unexpected(live.error());
    return *live ? std::string(reach.ns) + "/" + std::string(reach.workspace) : std::string();
  }
  const auto all = cluster.workspaces(reach.ns);
  if (!all) return std::unexpected(all.error());
  return all->empty() ? std::string() : all->front().ns + "/" + all->front().name;
}

}  // namespace

Judgement judge_role_binding(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (!request.object) return Judgement::not_understood("the review holds no object");
  std::vector<BoundSubject> had;
  if (request.operation == Operation::kUpdate) {
    if (!request.old_object) return Judgement::not_understood("an update without the old object");
    had = subjects_of(*request.old_object);
  }
  Judgement out;
  out.subject = clipped(request.resource == "rolebindings" ? "RoleBinding" : "ClusterRoleBinding");
  out.reason = "no agent gets rights";
  std::size_t index = 0;
  for (const BoundSubject& subject : subjects_of(*request.object)) {
    const std::string at = "subjects[" + std::to_string(index++) + "]";
    if (std::ranges::find(had, subject) != had.end()) continue;
    const auto reach = reach_of(subject, request.ns);
    if (!reach) continue;
    // The API server writes its own bindings for all of these when it starts.
    if (reach->ns.empty() && by_administrator(request, cluster)) continue;
    const auto workspace = reached(cluster, *reach);
    if (!workspace) return Judgement::unsure(workspace.error());
    if (workspace->empty()) continue;
    out.reason = "it gives rights to the agent of workspace " + clipped(*workspace);
    // The modes are those of the binding's namespace, and the workspace may live in another.
    if (reach->ns.empty() || reach->ns != request.ns) out.always = true;
    out.findings.push_back(
        {policy::kAgentRights, at, shown(subject.name),
         reach->workspace.empty()
             ? "this group takes in the agent's ServiceAccount of workspace " +
                   clipped(*workspace) +
                   ", which gets no rights: name the accounts that need them one by one"
             : "an agent's ServiceAccount gets no rights: leave it out"});
  }
  return out;
}

}  // namespace palisade::webhook
