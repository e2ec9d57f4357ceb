// How many workspaces of a namespace run at a time (spec.limits.maxRunning of AgentPolicies), and
// those that wait for it.
#include <fmt/format.h>

#include "decide/decision.h"

namespace palisade::op {

std::optional<RunningLimit> running_limit(const Observed& observed) {
  if (!observed.policies) return std::nullopt;
  std::optional<RunningLimit> out;
  for (const policy::AgentPolicy& policy : *observed.policies) {
    if (policy.max_running && (!out || *policy.max_running < out->most))
      out = {*policy.max_running, policy.name};
  }
  return out;
}

bool Decision::may_run() {
  const auto limit = running_limit(seen_);
  if (!limit || (seen_.turn && seen_.turn->granted)) return true;
  plan_.asks_turn = !seen_.turn;
  const Turn turn = seen_.turn.value_or(Turn{});
  std::string message =
      fmt::format("AgentPolicy {} lets {} workspace(s) of this namespace run at a time",
                  limit->policy, limit->most);
  if (turn.position > 0) {
    message += fmt::format("; this one is number {} of {} that wait", turn.position, turn.of);
    status_.set("queue", {{"position", turn.position}, {"of", turn.of}});
  }
  message += ". It starts by itself once it is its turn";
  status_.condition("Accepted", "True", "Accepted", "the workspace is accepted");
  waiting("Queued", message, true);
  if (text_at(condition_of(last_, "Ready"), "reason") != "Queued" && seen_.turn)
    status_.event(false, "Queued", message);
  plan_.requeue_after = kRefresh / 2;
  return false;
}

}  // namespace palisade::op
