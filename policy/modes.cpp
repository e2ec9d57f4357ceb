#include <policy/modes.h>

namespace palisade::policy {

std::optional<Mode> parse_mode(std::string_view label) {
  if (label == "agents") return Mode::kAgents;
  if (label == "all") return Mode::kAll;
  if (label == "off") return Mode::kOff;
  return std::nullopt;
}

std::string_view mode_name(Mode mode) {
  switch (mode) {
    case Mode::kAgents:
      return "agents";
    case Mode::kAll:
      return "all";
    case Mode::kOff:
      return "off";
  }
  return "all";
}

std::optional<Action> parse_action(std::string_view label) {
  if (label == "enforce") return Action::kEnforce;
  if (label == "warn") return Action::kWarn;
  if (label == "audit") return Action::kAudit;
  return std::nullopt;
}

std::string_view action_name(Action action) {
  switch (action) {
    case Action::kEnforce:
      return "enforce";
    case Action::kWarn:
      return "warn";
    case Action::kAudit:
      return "audit";
  }
  return "enforce";
}

Action Modes::action_of(std::string_view control) const {
  if (actions.empty()) return action;
  const auto own = actions.find(control);
  return own == actions.end() ? action : own->second;
}

Modes modes_of(const Labels& labels) {
  Modes out;
  if (const auto label = labels.find(kEnforceLabel); label != labels.end())
    out.mode = parse_mode(label->second).value_or(Mode::kAll);
  if (const auto label = labels.find(kModeLabel); label != labels.end())
    out.action = parse_action(label->second).value_or(Action::kEnforce);
  for (const auto& [key, value] : labels) {
    if (key.starts_with(kControlLabelPrefix)) {
      out.actions.insert_or_assign(key.substr(kControlLabelPrefix.size()),
                                   parse_action(value).value_or(Action::kEnforce));
    }
  }
  return out;
}

}  // namespace palisade::policy
