#include "status.h"

#include <fmt/format.h>

#include <kube/rfc3339.h>

#include "json_access.h"

namespace palisade::op {

std::string format_time(std::chrono::system_clock::time_point at) {
  return kube::rfc3339(at);
}

std::optional<std::chrono::system_clock::time_point> parse_time(const std::string& text) {
  return kube::parse_rfc3339(text);
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
  const std::string last = text_at(last_, "phase");
  // That it begins is no news: it was asked for a moment ago.
  if (last != phase && !(last.empty() && phase == "Pending")) {
    const bool bad = phase == "Failed" || phase == "Expired";
    events_.push_back({bad, phase, "the session is " + phase});
  }
}

void StatusBuilder::condition(const char* type, const char* status, const std::string& reason,
                              const std::string& message, bool quiet) {
  const Json& before = condition_of(last_, type);
  const bool same_status = text_at(before, "status") == status;
  const bool same_reason = same_status && text_at(before, "reason") == reason;
  const std::string since = same_status ? text_at(before, "lastTransitionTime") : std::string();
  next_["conditions"].push_back({{"type", type},
                                 {"status", status},
                                 {"reason", reason},
                                 {"message", message},
                                 {"observedGeneration", generation_},
                                 {"lastTransitionTime", since.empty() ? now_ : since}});
  // Each event is a write to the API server: what goes well is told by the phase alone.
  const bool well =
      std::string_view(status) == "True" && reason != "BroadToken" && reason != "RenewalFailing";
  if (!same_reason && !quiet && !well)
    events_.push_back(
        {std::string_view(status) == "False", reason, fmt::format("{}: {}", type, message)});
}

void StatusBuilder::event(bool warning, const std::string& reason, const std::string& note) {
  events_.push_back({warning, reason, note});
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
