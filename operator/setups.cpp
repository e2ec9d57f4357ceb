#include "setups.h"

#include <algorithm>
#include <condition_variable>

#include <spdlog/spdlog.h>

#include <operator/executor.h>

#include "compare.h"
#include "json_access.h"

namespace palisade::op {

namespace {

using std::chrono::seconds;

constexpr seconds kSweepEach{60};
// Who has made a claim may not have written down yet that it has.
constexpr seconds kYoung{600};
constexpr int kRefreshes = 4;  // of the time of use, within the time after which one is unused

bool uses(const Json& workspace, const std::string& ns, const std::string& claim) {
  const Json& status = child(workspace, "status");
  return text_at(child(workspace, "metadata"), "namespace") == ns &&
         text_at(child(status, "setup"), "claim") == claim &&
         !is_final_phase(text_at(status, "phase"));
}

}  // namespace

std::vector<Action> sweep_setups(const std::vector<kube::ObjectPtr>& claims,
                                 const std::vector<kube::ObjectPtr>& workspaces,
                                 std::chrono::system_clock::time_point now, seconds unused_for) {
  std::vector<Action> out;
  for (const kube::ObjectPtr& claim : claims) {
    const Json& metadata = child(*claim, "metadata");
    const std::string name = text_at(metadata, "name");
    const std::string ns = text_at(metadata, "namespace");
    if (!is_setup_claim_name(name) || terminating(*claim) ||
        annotation(*claim, kSetupKeyAnnotation).empty() ||
        text_at(child(metadata, "labels"), kManagedByLabel) != kManagedBy)
      continue;
    const bool used = std::ranges::any_of(
        workspaces, [&](const kube::ObjectPtr& one) { return uses(*one, ns, name); });
    const auto complete = parse_time(annotation(*claim, kSetupCompleteAnnotation));
    const auto last = complete
                          ? parse_time(annotation(*claim, kSetupUsedAnnotation)).value_or(*complete)
                          : parse_time(text_at(metadata, "creationTimestamp")).value_or(now);
    const seconds since = std::chrono::duration_cast<seconds>(now - last);
    if (used && complete && since > unused_for / kRefreshes) {
      out.push_back({ActionKind::kTake,
                     &volume_claims(),
                     name,
                     uid_of(*claim),
                     {{"metadata", {{"annotations", {{kSetupUsedAnnotation, format_time(now)}}}}}},
                     ns,
                     version_of(*claim)});
    } else if (!used && since > (complete ? unused_for : kYoung)) {
      out.push_back({ActionKind::kDelete,
                     &volume_claims(),
                     name,
                     uid_of(*claim),
                     {},
                     ns,
                     version_of(*claim)});
    }
  }
  return out;
}

std::vector<std::string> setup_waiters(const Json& claim,
                                       const std::vector<kube::ObjectPtr>& workspaces) {
  const std::string name = text_at(child(claim, "metadata"), "name");
  std::vector<std::string> out;
  for (const kube::ObjectPtr& workspace : workspaces) {
    const Json& setup = child(child(*workspace, "status"), "setup");
    if (text_at(setup, "claim") == name && text_at(setup, "phase") != "Ready")
      out.push_back(kube::object_key(*workspace));
  }
  return out;
}

SetupCollector::SetupCollector(std::shared_ptr<const kube::Client> client,
                               std::shared_ptr<Known> known, const kube::Cache& claims,
                               const kube::Cache& workspaces, seconds unused_for,
                               std::function<std::chrono::system_clock::time_point()> now)
    : client_(std::move(client)),
      known_(std::move(known)),
      claims_(claims),
      workspaces_(workspaces),
      unused_for_(unused_for),
      now_(std::move(now)) {}

void SetupCollector::work(const std::stop_token& stop) const {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    never.wait_for(lock, stop, kSweepEach, [] { return false; });
    if (!stop.stop_requested()) sweep(stop);
  }
}

void SetupCollector::sweep(const std::stop_token& stop) const {
  const auto claims = claims_.all();
  std::vector<kube::ObjectPtr> users;
  if (!claims.empty()) {
    workspaces_.visit([&](const kube::ObjectPtr& workspace) {
      if (child(*workspace, "status").contains("setup")) users.push_back(workspace);
    });
  }
  for (Action& action : sweep_setups(claims, users, now_(), unused_for_)) {
    const Json subject{{"metadata", {{"name", action.name}, {"namespace", action.ns}}}};
    const std::string what = action.ns + "/" + action.name;
    const bool removes = action.kind == ActionKind::kDelete;
    Plan plan;
    plan.actions.push_back(std::move(action));
    std::string error;
    // What somebody has changed since is looked at again.
    const auto done = execute(*client_, subject, plan, *known_, error, stop);
    if (!done) {
      spdlog::warn("setup {}: {}", what, done.error().text());
    } else if (removes) {
      spdlog::info("setup {}: removed, nobody uses it", what);
    }
  }
}

}  // namespace palisade::op
