// Pods that a session loses to its surroundings (eviction, a drained or vanished node, somebody's
// delete): each is put on record by its UID, counted once, and made anew within
// spec.lifecycle.maxRestarts. What the operator ends itself, and an agent that ended, is no loss.
#include <algorithm>

#include <fmt/format.h>

#include "compare.h"
#include "decide/decision.h"

namespace palisade::op {

namespace {

using std::chrono::seconds;

constexpr seconds kFirstPause{10};  // before the second restart; the first is made at once
constexpr seconds kLongestPause{300};

seconds pause_before(int restart) {
  seconds out{0};
  for (int i = 1; i < restart; ++i)
    out = out.count() == 0 ? kFirstPause : std::min(out * 2, kLongestPause);
  return out;
}

}  // namespace

std::string Decision::pod_uid() const {
  return text_at(last_, kPodUid);
}

int Decision::restarts() const {
  const Json& counted = child(last_, kRestarts);
  return counted.is_number_integer() ? counted.get<int>() : 0;
}

bool Decision::grant(const std::string& uid, const Loss& loss) {
  const bool allowed = restarts() < w_.max_restarts;
  if (text_at(child(last_, kLastLoss), kPodUid) != uid) {
    status_.set(kLastLoss, {{kPodUid, uid},
                            {"time", format_time(now_)},
                            {"reason", loss.reason},
                            {"message", loss.message}});
    status_.event(true, "PodLost",
                  allowed ? fmt::format("{}: {}; restart {} of {}", loss.reason, loss.message,
                                        restarts() + 1, w_.max_restarts)
                          : fmt::format("{}: {}; all {} restarts are used up", loss.reason,
                                        loss.message, w_.max_restarts));
  }
  if (!allowed) return false;
  status_.set(kRestarts, restarts() + 1);
  status_.drop(kPodUid);
  return true;
}

bool Decision::may_recreate() {
  const Json& last_loss = child(last_, kLastLoss);
  Loss loss{text_at(last_loss, "reason"), text_at(last_loss, "message")};
  int restart = restarts();
  auto lost_at = parse_time(text_at(last_loss, "time")).value_or(now_);
  if (const std::string uid = pod_uid(); !uid.empty()) {
    if (text_at(last_loss, kPodUid) != uid) {
      loss = {"PodDeleted", "somebody deleted it"};
      lost_at = now_;
    }
    if (!grant(uid, loss)) {
      give_up(loss);
      return false;
    }
    ++restart;
  }
  // The pause belongs to the pod that was lost last, and to no other that has ended since.
  if (restart == 0 || text_at(last_, "podName").empty()) return true;
  const auto due = lost_at + pause_before(restart);
  if (due <= now_) return true;
  waiting("BackOff",
          fmt::format("the pod was lost ({}: {}); a new one is made at {} (restart {} of {})",
                      loss.reason, loss.message, format_time(due), restart, w_.max_restarts),
          true);
  plan_.requeue_after = std::chrono::ceil<seconds>(due - now_);
  return false;
}

void Decision::ending(const Json& wanted, const Session& session) {
  if (pod_uid() != uid_of(*seen_.pod)) {
    waiting("Replacing", "the former pod is ending", false);
    return;
  }
  // The operator's own delete, of which nothing was written down.
  if (outdated(wanted, session) != nullptr) {
    status_.drop(kPodUid);
    waiting("Replacing", "the former pod is ending", false);
    return;
  }
  const Loss loss = read_loss(*seen_.pod);
  static_cast<void>(grant(pod_uid(), loss));
  waiting("Replacing", "the former pod is ending", false);
}

void Decision::lose() {
  const std::string uid = uid_of(*seen_.pod);
  const Loss loss = read_loss(*seen_.pod);
  const bool noted = text_at(child(last_, kLastLoss), kPodUid) == uid;
  if ((!noted || pod_uid() == uid) && !grant(uid, loss)) {
    give_up(loss);
    return;
  }
  remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
  waiting("Replacing",
          fmt::format("the pod was lost ({}: {}); a new one is made", loss.reason, loss.message),
          false);
}

void Decision::give_up(const Loss& loss) {
  // Not one that has ended: what it says can still be read.
  if (seen_.pod && text_at(child(*seen_.pod, "status"), "phase") != "Failed")
    remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
  end_without_pod(
      "Failed", "RestartBudgetSpent",
      fmt::format("the pod was lost ({}: {}) and spec.lifecycle.maxRestarts ({}) allows no other; "
                  "what was pushed is on branch {}",
                  loss.reason, loss.message, w_.max_restarts, w_.branch));
}

}  // namespace palisade::op
