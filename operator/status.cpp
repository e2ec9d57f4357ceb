#include "status.h"

#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace palisade::op {

std::string format_time(std::chrono::system_clock::time_point at) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(at)));
}

std::optional<std::chrono::system_clock::time_point> parse_time(const std::string& text) {
  std::tm parts{};
  if (text.size() != 20 || strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &parts) == nullptr)
    return std::nullopt;
  return std::chrono::system_clock::from_time_t(timegm(&parts));
}

StatusBuilder::StatusBuilder(const Json& last, const Workspace& workspace,
                             std::chrono::system_clock::time_point now)
    : last_(last.is_object() ? last : Json::object()),
      now_(format_time(now)),
      generation_(workspace.generation) {
  next_["observedGeneration"] = workspace.generation;
  next_["conditions"] = Json::array();
}

void StatusBuilder::phase(const std::string& phase) {
  next_["phase"] = phase;
  if (last_.value("phase", "") != phase) {
    const bool bad = phase == "Failed" || phase == "Expired";
    events_.push_back({bad, phase, "the session is " + phase});
  }
}

const Json* StatusBuilder::last_condition(const char* type) const {
  const auto list = last_.find("conditions");
  if (list == last_.end() || !list->is_array()) return nullptr;
  for (const Json& entry : *list) {
    if (entry.is_object() && entry.value("type", "") == type) return &entry;
  }
  return nullptr;
}

void StatusBuilder::condition(const char* type, const char* status, const std::string& reason,
                              const std::string& message, bool quiet) {
  const Json* before = last_condition(type);
  const bool same_status = before != nullptr && before->value("status", "") == status;
  const bool same_reason = same_status && before->value("reason", "") == reason;
  next_["conditions"].push_back(
      {{"type", type},
       {"status", status},
       {"reason", reason},
       {"message", message},
       {"observedGeneration", generation_},
       {"lastTransitionTime", same_status ? before->value("lastTransitionTime", now_) : now_}});
  if (!same_reason && !quiet)
    events_.push_back(
        {std::string_view(status) == "False", reason, fmt::format("{}: {}", type, message)});
}

void StatusBuilder::set(const char* field, Json value) {
  next_[field] = std::move(value);
}

void StatusBuilder::drop(const char* field) {
  next_.erase(field);
}

void StatusBuilder::keep(const char* field) {
  if (const auto found = last_.find(field); found != last_.end()) next_[field] = *found;
}

void StatusBuilder::finish(Plan& plan) const {
  if (next_ == last_) return;
  plan.actions.push_back({ActionKind::kStatus, &workspaces(), {}, {}, next_});
  plan.events.insert(plan.events.end(), events_.begin(), events_.end());
}

}  // namespace palisade::op
