// The guards: what no pod alone can break. They judge requests (a session, a binding, a write to
// what holds an agent in), are made by the webhook's judges, and share the controls' type, so that
// whoever tells of a control tells of them too.
#pragma once

#include <span>
#include <string_view>

#include <policy/policy.h>

namespace palisade::policy {

inline constexpr std::string_view kSessionAccess = "session-access";
inline constexpr std::string_view kSchedulerBinding = "scheduler-binding";
inline constexpr std::string_view kAgentIdentity = "agent-identity";
inline constexpr std::string_view kWorkspaceObjects = "workspace-objects";
inline constexpr std::string_view kAgentRights = "agent-rights";
inline constexpr std::string_view kNamespaceLabels = "namespace-labels";
inline constexpr std::string_view kPalisadeObjects = "palisade-objects";
inline constexpr std::string_view kWorkspaceCreator = "workspace-creator";
inline constexpr std::string_view kWorkspaceBounds = "workspace-bounds";

// Each with Control::is_guard. No HardeningException covers them; a namespace's modes do, where
// docs/guarded-objects.md does not say otherwise.
[[nodiscard]] std::span<const Control> guards();

// Whether it holds whatever a namespace's labels say: what could turn the modes off.
[[nodiscard]] constexpr bool always_enforced(std::string_view guard) {
  return guard == kNamespaceLabels || guard == kPalisadeObjects;
}

}  // namespace palisade::policy
