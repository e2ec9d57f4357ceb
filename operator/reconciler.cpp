#include <algorithm>
#include <array>

#include <spdlog/spdlog.h>

#include <operator/reconciler.h>

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
           action.kind == ActionKind::kStrip || action.kind == ActionKind::kCreatePod ||
           action.kind == ActionKind::kLiftGate;
  });
}

bool ends_pod(const Plan& plan) {
  return std::ranges::any_of(plan.actions, [](const Action& action) {
    return action.kind == ActionKind::kDelete && *action.resource == kube::resources::kPods;
  });
}

void log(const std::string& key, const Action& action) {
  static constexpr const char* kNames[] = {
      "add finalizer", "remove finalizer", "apply",  "strip foreign fields of",
      "create",        "lift the gate of", "delete", "status"};
  spdlog::info("{}: {} {} {}", key, kNames[static_cast<std::size_t>(action.kind)],
               action.resource->kind, action.name);
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
  // Whoever touches a workspace has its Secrets looked at, too.
  if (workspace && before && (!after || wishes_differ(*before, *after)))
    known_->forget_secrets(key);
  if (after) return known_->is_news(resource, *after);
  known_->gone(resource, *before);
  return true;
}

void Reconciler::forget(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  create_errors_.erase(key);
}

// The status is written once, at the end, unless a pod is to be ended; each round sees it as if it
// had been.
Reconciler::Outcome Reconciler::reconcile(const kube::ObjectPtr& cached,
                                          const std::stop_token& stop) {
  const std::string key = kube::object_key(*cached);
  const auto [ns, name] = kube::split_key(key);
  kube::ObjectPtr workspace = known_->newest(workspaces(), ns, name, cached);
  std::optional<Json> status;
  std::vector<PlannedEvent> told;
  Outcome outcome;
  for (int round = 1;; ++round) {
    auto seen = gatherer_->gather(workspace, stop);
    if (!seen) {
      if (!stop.stop_requested()) spdlog::warn("{}: not looked at: {}", key, seen.error().text());
      outcome.ok = false;
      outcome.after = seen.error().retry_after;
      break;
    }
    {
      const std::scoped_lock lock(mutex_);
      if (const auto held = create_errors_.find(key); held != create_errors_.end())
        seen->create_error = held->second;
    }
    if (hooks_.complete) hooks_.complete(*seen, key);
    Plan plan = decide(*seen, config_, now_());
    if (plan.asks_turn && hooks_.turn) {
      hooks_.turn(*seen, key, stop);
      plan = decide(*seen, config_, now_());
    }
    std::erase_if(plan.actions, [&](Action& action) {
      if (action.kind != ActionKind::kStatus) return false;
      status = std::move(action.object);
      return true;
    });
    std::ranges::move(plan.events, std::back_inserter(told));
    // That the operator ends a pod itself is told first: whoever comes after one that died in
    // between takes it for no loss. A session that has ended is told so last: nobody looks for its
    // pod again.
    if (status && ends_pod(plan) && !is_final_phase(text_at(*status, "phase"))) {
      const auto written = write(key, *workspace, *status, outcome, stop);
      // One that the schema refuses holds no end up.
      if (!written && !written.error().is_invalid()) {
        status.reset();
        break;
      }
      if (written) {
        status.reset();
        if (*written) workspace = *written;
      }
    }
    std::string create_error;
    const auto done = execute(*client_, *workspace, plan, *known_, create_error, stop);
    {
      const std::scoped_lock lock(mutex_);
      if (create_error.empty()) {
        create_errors_.erase(key);
      } else {
        create_errors_[key] = create_error;
      }
    }
    for (const Action& action : plan.actions)
      log(key, action);
    if (!done) {
      if (!stop.stop_requested()) spdlog::warn("{}: {}", key, done.error().text());
      // The next round tells the new error in the status.
      outcome.ok = false;
      outcome.after = done.error().retry_after;
      break;
    }
    if (hooks_.carried_out) hooks_.carried_out(plan, key);
    outcome.after = plan.requeue_after;
    if (plan.actions.empty() || !answered(plan)) break;
    if (round == kMostRounds) {
      outcome.ok = false;
      break;
    }
    workspace = next_look(workspace, status);
  }
  tell(key, *workspace, *cached, status, told, outcome, stop);
  return outcome;
}

// The workspace as the last write left it, with the status that is to be.
kube::ObjectPtr Reconciler::next_look(const kube::ObjectPtr& workspace,
                                      const std::optional<Json>& status) const {
  const auto [ns, name] = kube::split_key(kube::object_key(*workspace));
  const kube::ObjectPtr newest = known_->newest(workspaces(), ns, name, workspace);
  if (!status) return newest;
  Json out = *newest;
  out["status"] = *status;
  return std::make_shared<const Json>(std::move(out));
}

void Reconciler::tell(const std::string& key, const Json& workspace, const Json& cached,
                      const std::optional<Json>& status, const std::vector<PlannedEvent>& told,
                      Outcome& outcome, const std::stop_token& stop) {
  if (hooks_.tell && !told.empty()) hooks_.tell(cached, told);
  if (status) static_cast<void>(write(key, workspace, *status, outcome, stop));
}

kube::Result<kube::ObjectPtr> Reconciler::write(const std::string& key, const Json& workspace,
                                                const Json& status, Outcome& outcome,
                                                const std::stop_token& stop) {
  auto written = write_status(*client_, workspace, status, *known_, stop);
  if (!written) {
    if (!stop.stop_requested()) spdlog::warn("{}: {}", key, written.error().text());
    outcome.ok = false;
    outcome.after = written.error().retry_after;
    return written;
  }
  spdlog::info("{}: {}", key, text_at(status, "phase"));
  // Its echo is no news: what came in between is looked at now.
  if (*written && wishes_differ(**written, workspace)) outcome.again = true;
  return written;
}

}  // namespace palisade::op
