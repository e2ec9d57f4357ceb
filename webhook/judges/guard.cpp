#include "judges/guard.h"

#include <algorithm>

namespace palisade::webhook {

using simdjson::dom::element;

namespace {

element metadata_of(const element& object, bool& found) {
  element out;
  found = object_at(object, "metadata", out);
  return out;
}

}  // namespace

std::string own_policy(const policy::Labels& labels, std::string_view workspace,
                       std::string_view pool) {
  if (!pool.empty()) return std::string(pool) + std::string(kPoolSuffix);
  if (workspace.empty()) return {};
  const bool sets_up = labels.contains(std::string(kSetupLabel));
  return std::string(workspace) + std::string(sets_up ? kSetupSuffix : kAgentSuffix);
}

std::vector<WorkspaceOwner> workspace_owners(const element& object) {
  std::vector<WorkspaceOwner> out;
  bool found = false;
  const element metadata = metadata_of(object, found);
  simdjson::dom::array owners;
  if (!found || metadata["ownerReferences"].get(owners) != simdjson::SUCCESS) return out;
  std::size_t index = 0;
  for (const element owner : owners) {
    const std::string_view kind = text_at(owner, "kind");
    const bool pool = kind == "AgentWorkspacePool";
    if ((pool || kind == "AgentWorkspace") &&
        text_at(owner, "apiVersion").starts_with(kOwnPrefix)) {
      out.push_back({text_at(owner, "name"), text_at(owner, "uid"), index, pool});
    }
    ++index;
  }
  return out;
}

Texts metadata_texts(const element& object, std::string_view field) {
  Texts out;
  bool found = false;
  const element metadata = metadata_of(object, found);
  simdjson::dom::object members;
  if (!found || metadata[field].get(members) != simdjson::SUCCESS) return out;
  for (const auto [key, value] : members) {
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS || value.is_null()) out.emplace_back(key, text);
  }
  return out;
}

std::optional<std::string_view> find_text(const Texts& texts, std::string_view key) {
  const auto found = std::ranges::find(texts, key, &Texts::value_type::first);
  return found == texts.end() ? std::nullopt : std::optional(found->second);
}

std::string path_of(std::string_view field, std::string_view key) {
  return "metadata." + std::string(field) + "[\"" + clipped(key) + "\"]";
}

std::string shown(std::optional<std::string_view> value) {
  return value ? "\"" + clipped(*value) + "\"" : "(absent)";
}

bool by_operator(const Request& request, const ClusterView& cluster) {
  const std::string& user = cluster.principals().operator_user;
  return !user.empty() && request.user.name == user;
}

bool by_administrator(const Request& request, const ClusterView& cluster) {
  return is_administrator(cluster.principals(), request.user.name, request.user.groups);
}

Lookup<bool> guarded(const ClusterView& cluster, std::string_view ns, const WorkspaceOwner& owner) {
  const std::string_view name = owner.name;
  const std::string_view uid = owner.uid;
  if (owner.pool) {
    const auto pods = cluster.agent_pods(ns);
    if (!pods) return std::unexpected(pods.error());
    return std::ranges::any_of(*pods, [&](const AgentPod& pod) {
      return pod.pool == name && (uid.empty() || pod.workspace_uid == uid);
    });
  }
  const auto workspace = cluster.workspace(ns, name);
  if (!workspace) return std::unexpected(workspace.error());
  if (*workspace && !(*workspace)->deleting && (uid.empty() || (*workspace)->uid == uid))
    return true;
  const auto pods = cluster.agent_pods(ns);
  if (!pods) return std::unexpected(pods.error());
  return std::ranges::any_of(*pods, [&](const AgentPod& pod) {
    return pod.workspace == name &&
           (uid.empty() || pod.workspace_uid.empty() || pod.workspace_uid == uid);
  });
}

Lookup<bool> guarded_account(const ClusterView& cluster, std::string_view ns,
                             std::string_view workspace) {
  const auto live = guarded(cluster, ns, WorkspaceOwner{workspace, {}, 0, false});
  if (!live || *live) return live;
  const auto pods = cluster.agent_pods(ns);
  if (!pods) return std::unexpected(pods.error());
  const std::string name = std::string(workspace) + std::string(kAgentSuffix);
  return std::ranges::any_of(*pods, [&](const AgentPod& pod) { return pod.name == name; });
}

std::string_view workspace_of_agent_object(std::string_view name) {
  return name.size() > kAgentSuffix.size() && name.ends_with(kAgentSuffix)
             ? name.substr(0, name.size() - kAgentSuffix.size())
             : std::string_view();
}

}  // namespace palisade::webhook
