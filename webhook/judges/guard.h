// What the judges of Palisade's objects share: whose an object is, and how a refusal is made. Views
// are into the review, as Request's.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <policy/guards.h>

#include "judges/judge.h"

namespace palisade::webhook {

inline constexpr std::string_view kWorkspaceLabel = "palisade.dev/workspace";
inline constexpr std::string_view kAgentLabel = "palisade.dev/agent";
inline constexpr std::string_view kPoolLabel = "palisade.dev/pool";
inline constexpr std::string_view kSetupLabel = "palisade.dev/setup";
inline constexpr std::string_view kOwnPrefix = "palisade.dev/";  // of labels and annotations
// The operator's names for what a workspace owns: Pod, ServiceAccount, ConfigMap, NetworkPolicy.
inline constexpr std::string_view kAgentSuffix = "-agent";

// And for a pool's NetworkPolicy. What else a pool owns is named as a workspace's.
inline constexpr std::string_view kPoolSuffix = "-pool";

// And for the Pod and the NetworkPolicy of a workspace's setup.
inline constexpr std::string_view kSetupSuffix = "-setup";

// The name of the NetworkPolicy that the operator writes for a pod with these labels, of that
// workspace or pool; "" where it is of neither.
[[nodiscard]] std::string own_policy(const policy::Labels& labels, std::string_view workspace,
                                     std::string_view pool);

// A reference of metadata.ownerReferences to an AgentWorkspace, or to an AgentWorkspacePool whose
// pods wait for one.
struct WorkspaceOwner {
  std::string_view name;
  std::string_view uid;
  std::size_t index = 0;
  bool pool = false;
  bool operator==(const WorkspaceOwner& other) const {
    return name == other.name && uid == other.uid && pool == other.pool;
  }
  [[nodiscard]] std::string_view kind() const {
    return pool ? "AgentWorkspacePool" : "AgentWorkspace";
  }
};
[[nodiscard]] std::vector<WorkspaceOwner> workspace_owners(const simdjson::dom::element& object);

// What `now` claims to be that `before` (null on a create) did not: a workspace's, or a pool's.
void refuse_claims(const simdjson::dom::element& now, const simdjson::dom::element* before,
                   std::vector<policy::Finding>& out);

using Texts = std::vector<std::pair<std::string_view, std::string_view>>;
// metadata.labels or metadata.annotations; null values are empty, as Kubernetes reads them.
[[nodiscard]] Texts metadata_texts(const simdjson::dom::element& object, std::string_view field);
[[nodiscard]] std::optional<std::string_view> find_text(const Texts& texts, std::string_view key);

// metadata.labels["palisade.dev/workspace"]
[[nodiscard]] std::string path_of(std::string_view field, std::string_view key);
// A value as a finding shows it: quoted and clipped, or "(absent)".
[[nodiscard]] std::string shown(std::optional<std::string_view> value);

[[nodiscard]] bool by_operator(const Request& request, const ClusterView& cluster);
[[nodiscard]] bool by_administrator(const Request& request, const ClusterView& cluster);

// Whether what a workspace owns is guarded: it lives, or its pod still does. Neither a namesake
// that was made later, nor a workspace on its way out whose pod is gone, holds up the deletion of
// what is left of it. Of what a pool owns: whether a pod of it lives.
[[nodiscard]] Lookup<bool> guarded(const ClusterView& cluster, std::string_view ns,
                                   const WorkspaceOwner& owner);
// Of the ServiceAccount `workspace`-agent, which may also be that of a pod of that name that waits
// in a pool, or did.
[[nodiscard]] Lookup<bool> guarded_account(const ClusterView& cluster, std::string_view ns,
                                           std::string_view workspace);

// "fix-login" of "fix-login-agent" where the name ends so; else "".
[[nodiscard]] std::string_view workspace_of_agent_object(std::string_view name);

}  // namespace palisade::webhook
