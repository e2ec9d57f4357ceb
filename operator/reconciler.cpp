#include <algorithm>
#include <array>

#include <spdlog/spdlog.h>

#include <operator/reconciler.h>

#include "compare.h"
#include "json_access.h"

namespace palisade::op {

namespace {

constexpr int kMostRounds = 6;

// Whether anything but the status differs: what the user asks for.
bool wishes_differ(const Json& before, const Json& after) {
  const Json& a = child(before, "metadata");
  const Json& b = child(after, "metadata");
  return std::ranges::any_of(
      std::array{"uid", "generation", "annotations", "labels", "finalizers", "deletionTimestamp"},
      [&](const char* field) { return child(a, field) != child(b, field); });
}

// A plan whose writes are all answered with what they made: the next look needs no watch.
bool answered(const Plan& plan) {
  return std::ranges::all_of(plan.actions, [](const Action& action) {
    return action.kind == ActionKind::kAddFinalizer || action.kind == ActionKind::kApply ||
           action.kind == ActionKind::kStrip || action.kind == ActionKind::kFence ||
           action.kind == ActionKind::kCreatePod || action.kind == ActionKind::kLiftGate ||
           action.kind == ActionKind::kTake;
  });
}

bool takes_pod(const Plan& plan) {
  return std::ranges::any_of(plan.actions, [](const Action& action) {
    return action.kind == ActionKind::kTake && *action.resource == kube::resources::kPods &&
           !action.version.empty();
  });
}

bool ends_pod(const Plan& plan) {
  return std::ranges::any_of(plan.actions, [](const Action& action) {
    return action.kind == ActionKind::kDelete && *action.resource == kube::resources::kPods;
  });
}

// A pod is to be made, taken or ended for a workspace of which a cache alone has told: it may have
// ended, lost another pod, or been given this one since. The finalizer is written with the version
// that was looked at.
bool acts_unheard(const Plan& plan, const Json& workspace, Known& known) {
  const auto has = [&plan](ActionKind kind) {
    return std::ranges::any_of(plan.actions, [kind](const Action& a) { return a.kind == kind; });
  };
  return (has(ActionKind::kCreatePod) || takes_pod(plan) || ends_pod(plan)) &&
         !has(ActionKind::kAddFinalizer) && !known.is_answer(workspaces(), workspace);
}

void log(const std::string& key, const Action& action) {
  spdlog::info("{}: {} {} {}", key, action_name(action.kind), action.resource->kind, action.name);
}

}  // namespace

Reconciler::Reconciler(std::shared_ptr<const kube::Client> client,
                       std::shared_ptr<Gatherer> gatherer, std::shared_ptr<Known> known,
                       Config config, std::function<std::chrono::system_clock::time_point()> now,
                       Hooks hooks)
    : client_(std::move(client)),
      gatherer_(std::move(gatherer)),
      known_(std::move(known)),
      config_(std::move(config)),
      now_(std::move(now)),
      hooks_(std::move(hooks)) {}

bool Reconciler::noticed(const kube::Resource& resource, const kube::ObjectPtr& before,
                         const kube::ObjectPtr& after) {
  const Json& object = after ? *after : *before;
  const bool workspace = resource == workspaces();
  const std::string key = kube::object_key(object);
  // Whoever else touches a workspace has its Secrets looked at, too.
  if (workspace && before &&
      (!after || (wishes_differ(*before, *after) && !known_->is_settled(resource, *after))))
    known_->forget_secrets(key);
  // While the cache had none, what came for it was dropped: it is looked at, however old it is.
  if (workspace && !before) return true;
  if (after) return known_->is_news(resource, *after);
  known_->gone(resource, *before);
  return true;
}

void Reconciler::forget(const std::string& key) {
  create_errors_.forget(key);
}

// The status is written once, at the end, where nothing has to be told first; each round sees it as
// if it had been.
Reconciler::Outcome Reconciler::reconcile(const kube::ObjectPtr& cached,
                                          const std::stop_token& stop) {
  Look look{kube::object_key(*cached), *cached};
  const auto& key = look.key;
  const auto [ns, name] = kube::split_key(key);
  Outcome& outcome = look.outcome;
  look.workspace = known_->newest(workspaces(), ns, name, cached);
  std::optional<Observed> before;
  for (int round = 1;; ++round) {
    auto seen = gatherer_->gather(look.workspace, stop, before ? &*before : nullptr);
    if (!seen) {
      if (!stop.stop_requested()) spdlog::warn("{}: not looked at: {}", key, seen.error().text());
      outcome.ok = false;
      outcome.after = seen.error().retry_after;
      break;
    }
    // Of a pod that does not fit to what the cache says of the workspace the API server itself is
    // asked: what it said counts, and not what was decided by the cache.
    if (auto newer = known_->newest(workspaces(), ns, name, look.workspace);
        version_of(*newer) != version_of(*look.workspace)) {
      look.workspace = std::move(newer);
      look.status.reset();
      look.events.clear();
      before.reset();
      outcome.ok = round < kMostRounds;
      if (outcome.ok) continue;
      break;
    }
    seen->create_error = create_errors_.of(key);
    if (before) seen->draft = before->draft;
    if (hooks_.complete) hooks_.complete(*seen, key);
    const auto decide_now = [&] {
      Plan made = decide(*seen, config_, now_());
      if (made.draft) seen->draft = made.draft;
      return made;
    };
    Plan plan = decide_now();
    if (plan.asks_turn && hooks_.turn) {
      hooks_.turn(*seen, key, stop);
      plan = decide_now();
    }
    while (plan.chooses_offer && hooks_.choose && !hooks_.choose(*seen))
      plan = decide_now();
    if (auto status = take_status(plan)) look.status = std::move(status);
    std::ranges::move(plan.events, std::back_inserter(look.events));
    if (!tell_first(look, plan, stop)) break;
    std::string create_error;
    const auto done = execute(*client_, *look.workspace, plan, *known_, create_error, stop);
    create_errors_.learn(key, create_error);
    for (const Action& action : plan.actions)
      log(key, action);
    if (!done) {
      if (!stop.stop_requested()) spdlog::warn("{}: {}", key, done.error().text());
      // The next round tells the new error in the status.
      outcome.ok = false;
      outcome.after = done.error().retry_after;
      break;
    }
    if (hooks_.carried_out) hooks_.carried_out(*seen, plan, key);
    outcome.after = plan.requeue_after;
    // As the last write left it.
    look.workspace = known_->newest(workspaces(), ns, name, look.workspace);
    if (plan.actions.empty() || !answered(plan)) break;
    if (round == kMostRounds) {
      outcome.ok = false;
      break;
    }
    if (look.status) look.workspace = with_status(*look.workspace, *look.status);
    before = std::move(*seen);
  }
  if (look.status) static_cast<void>(write(look, stop));
  tell(look);
  return outcome;
}

// That the operator ends a pod itself is told first: whoever comes after one that died in between
// takes it for no loss, and one that has ended is not begun again.
// Before a pod is made or ended of what a cache has, the API server is asked, by the status's
// version: a process that led before may have told of the session's end, or of a loss, or be about
// to; and a watch may be late.
bool Reconciler::tell_first(Look& look, const Plan& plan, const std::stop_token& stop) {
  const bool unheard = acts_unheard(plan, *look.workspace, *known_);
  const bool ends = look.status && ends_pod(plan);
  // Which pod is taken stands in the status before it is.
  const bool takes = look.status && takes_pod(plan);
  const bool first = look.status && plan.tells_first;
  if (!unheard && !ends && !takes && !first) return true;
  if (look.status) {
    const auto written = write(look, stop);
    if (!written) {
      // One that the schema refuses holds nothing up.
      if (written.error().is_invalid()) return true;
      look.status.reset();
      return false;
    }
    look.status.reset();
    tell(look);
    // What it owned goes with it.
    if (*written) look.workspace = *written;
    return *written != nullptr;
  }
  const auto [ns, name] = kube::split_key(look.key);
  auto live = client_->get(workspaces(), ns, name, stop);
  look.outcome.ok = live && version_of(*live) == version_of(*look.workspace);
  if (!live) {
    if (!stop.stop_requested()) spdlog::warn("{}: {}", look.key, live.error().text());
    look.outcome.after = live.error().retry_after;
    return false;
  }
  known_->learn(workspaces(), std::make_shared<const Json>(std::move(*live)));
  return look.outcome.ok;
}

void Reconciler::tell(Look& look) const {
  if (hooks_.tell && !look.events.empty()) hooks_.tell(look.cached, look.events);
  look.events.clear();
}

kube::Result<kube::ObjectPtr> Reconciler::write(Look& look, const std::stop_token& stop) {
  auto written = write_status(*client_, *look.workspace, *look.status, *known_, stop);
  if (written) {
    spdlog::info("{}: {}", look.key, text_at(*look.status, "phase"));
    return written;
  }
  if (!stop.stop_requested()) spdlog::warn("{}: {}", look.key, written.error().text());
  look.outcome.ok = false;
  look.outcome.after = written.error().retry_after;
  // Who looked at what is no longer so tells nobody of it; the next look does.
  if (written.error().is_conflict()) look.events.clear();
  return written;
}

}  // namespace palisade::op
