// What a namespace's labels say of how it is guarded. Values that are not known count as the
// strictest, so that a typing error opens nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include <policy/selector.h>

namespace palisade::policy {

inline constexpr std::string_view kEnforceLabel = "palisade.dev/enforce";
inline constexpr std::string_view kModeLabel = "palisade.dev/mode";
inline constexpr std::string_view kControlLabelPrefix = "control.palisade.dev/";

// palisade.dev/enforce: which pods are judged. agents where the label is absent.
enum class Mode : std::uint8_t { kAgents, kAll, kOff };
// nullopt for a value that is none of agents, all, off.
[[nodiscard]] std::optional<Mode> parse_mode(std::string_view label);
[[nodiscard]] std::string_view mode_name(Mode mode);  // agents, all, off

// What a finding does: palisade.dev/mode, and control.palisade.dev/ID for one control or guard.
// Strictest first; enforce where the labels are absent.
enum class Action : std::uint8_t { kEnforce, kWarn, kAudit };
[[nodiscard]] std::optional<Action> parse_action(std::string_view label);
[[nodiscard]] std::string_view action_name(Action action);  // enforce, warn, audit

struct Modes {
  Mode mode = Mode::kAgents;
  Action action = Action::kEnforce;
  std::map<std::string, Action, std::less<>> actions;  // of single controls

  [[nodiscard]] Action action_of(std::string_view control) const;
};
[[nodiscard]] Modes modes_of(const Labels& labels);

}  // namespace palisade::policy
