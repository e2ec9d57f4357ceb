// What to do about a pool. Its NetworkPolicy stands before its first pod and goes after its last;
// each pod is made with a scheduling gate that is lifted once the policy has been read back. A pod
// that is not as it should be, or that somebody may have touched, ends; it is never mended, and
// never one that a workspace has taken.
#include <algorithm>
#include <array>
#include <tuple>

#include <fmt/format.h>

#include <operator/pool.h>

#include "compare.h"
#include "json_access.h"
#include "judge.h"
#include "pools/pool_decision.h"
#include "waiting.h"

namespace palisade::op {

namespace {

using std::chrono::seconds;

constexpr int kMostAtOnce = 10;
constexpr seconds kAtRest{60};
constexpr seconds kWarming{10};
constexpr seconds kTakenAgain{2};
constexpr seconds kFirstWait{10};
constexpr seconds kLongestWait{300};
constexpr std::size_t kLongestName = 40;  // of a pool's, in its pods' names
constexpr const char* kFailures = "failures";
constexpr const char* kLastFailure = "lastFailure";

bool is_gated(const Json& pod) {
  return !child(child(pod, "spec"), "schedulingGates").empty();
}

bool has_ended(const Json& pod) {
  const std::string phase = text_at(child(pod, "status"), "phase");
  return phase == "Failed" || phase == "Succeeded";
}

const Json& init_status(const Json& pod, std::string_view name) {
  const Json& statuses = child(child(pod, "status"), "initContainerStatuses");
  if (statuses.is_array()) {
    for (const Json& entry : statuses) {
      if (text_at(entry, "name") == name) return entry;
    }
  }
  return kNothing;
}

// Why it ended, as far as it says.
std::pair<std::string, std::string> why_ended(const Json& pod) {
  const Json& status = child(pod, "status");
  if (const std::string reason = text_at(status, "reason"); !reason.empty())
    return {reason, printable(text_at(status, "message"))};
  const Json& guard = child(child(init_status(pod, "guard"), "state"), "terminated");
  const Json& code = child(guard, "exitCode");
  if (code == 122)
    return {"PreflightFailed",
            "the network is open where it must be closed; the cluster's network plugin must "
            "enforce NetworkPolicies (kubectl logs POD -c guard says what answered)"};
  for (const char* name : {"guard", "recorder", "relay", "courier", "checkout"}) {
    const Json& end = child(child(init_status(pod, name), "state"), "terminated");
    if (child(end, "exitCode").is_number_integer() && end["exitCode"] != 0)
      return {"ContainerFailed", fmt::format("container {} ended with exit code {}", name,
                                             end["exitCode"].get<std::int64_t>())};
  }
  return {"PodEnded", "the pod ended before anybody took it"};
}

// Why it does not come up; "" where it only takes its time.
std::pair<std::string, std::string> trouble_of(const Json& pod) {
  const Json& scheduled = condition_of(child(pod, "status"), "PodScheduled");
  if (text_at(scheduled, "status") == "False" && text_at(scheduled, "reason") == "Unschedulable")
    return {"Unschedulable", "no node takes pod " + text_at(child(pod, "metadata"), "name") + ": " +
                                 printable(text_at(scheduled, "message"))};
  const auto waiting = waiting_container(child(pod, "status"));
  if (!waiting) return {};
  return {waiting->reason,
          fmt::format("pod {}, container {}: {}", text_at(child(pod, "metadata"), "name"),
                      waiting->container, printable(waiting->message))};
}

seconds pause_after(int failures) {
  seconds out = kFirstWait;
  for (int i = 1; i < failures && out < kLongestWait; ++i)
    out = std::min(out * 2, kLongestWait);
  return out;
}

}  // namespace

bool is_warm(const Json& pod) {
  if (terminating(pod) || is_gated(pod) || has_ended(pod)) return false;
  return std::ranges::all_of(
      std::array{"recorder", "relay", "courier", "checkout"}, [&](const char* name) {
        return !child(child(init_status(pod, name), "state"), "running").empty();
      });
}

bool may_be_taken(const Json& pod, const Json& config_map, const Json& wanted,
                  const std::string& pool_uid) {
  const Json& owners = child(child(pod, "metadata"), "ownerReferences");
  return is_warm(pod) && owners.is_array() && owners.size() == 1 &&
         text_at(owners[0], "kind") == kPoolApiKind && text_at(owners[0], "uid") == pool_uid &&
         is_untouched(pod, config_map, wanted);
}

void seal(Json& pod, const Json& config_map) {
  pod["metadata"]["annotations"][kConfigAnnotation] = hash_text(child(config_map, "data").dump());
}

bool is_untouched(const Json& pod, const Json& config_map, const Json& wanted) {
  return annotation(pod, kConfigAnnotation) == hash_text(child(config_map, "data").dump()) &&
         child(config_map, "binaryData").empty() && !tampered(pod, wanted) &&
         !child(child(pod, "metadata"), "labels").contains(kWorkspaceLabel);
}

PoolDecision::PoolDecision(const PoolObserved& observed, const Config& config,
                           Clock::time_point now, Pool pool)
    : seen_(observed),
      config_(config),
      now_(now),
      pool_(std::move(pool)),
      last_(child(observed.pool, "status")),
      status_(last_, generation_of(pool_), now) {
  const Json& counted = child(last_, kFailures);
  failures_ = counted.is_number_integer() ? counted.get<int>() : 0;
  last_failure_ = child(last_, kLastFailure);
}

Workspace PoolDecision::generation_of(const Pool& pool) {
  Workspace out;
  out.generation = pool.generation;
  return out;
}

Plan PoolDecision::make() {
  if (pool_.deleting) {
    tear_down();
    return std::move(plan_);
  }
  if (!pool_.has_finalizer)
    plan_.actions.push_back({ActionKind::kAddFinalizer, &pools(), pool_.name, pool_.uid, {}});
  plan_.requeue_after = kAtRest;
  if (seen_.network && !of_pool(*seen_.network)) {
    refuse({"NameConflict",
            fmt::format("NetworkPolicy {} is there already and belongs to someone else; remove or "
                        "rename it, or rename this pool",
                        pool_network_name(pool_.name))});
  } else if (auto workspace = wanted()) {
    status_.condition("Accepted", "True", "Accepted", "the pool is accepted");
    keep(*workspace);
  } else {
    refuse(workspace.error());
  }
  sweep();
  finish();
  return std::move(plan_);
}

std::expected<Workspace, Problem> PoolDecision::wanted() {
  if (!seen_.workspace_template)
    return std::unexpected(Problem{
        "TemplateNotFound", fmt::format("there is no AgentWorkspaceTemplate {} in this namespace",
                                        pool_.template_name)});
  auto workspace = template_workspace(pool_, *seen_.workspace_template);
  if (!workspace)
    return std::unexpected(
        Problem{"TemplateUnusable", "the template alone makes no pod: " + workspace.error()});
  if (config_.defaults.gateway && pool_.ns == config_.defaults.gateway->ns)
    return std::unexpected(Problem{"NamespaceReserved",
                                   "this namespace is the gateway's and holds "
                                   "its keys; no session runs there"});
  const auto gateway = seen_.gateways.find(workspace->gateway);
  if (const std::string why =
          no_warm_pod(*workspace, config_.defaults,
                      gateway == seen_.gateways.end() ? std::string() : gateway->second);
      !why.empty())
    return std::unexpected(Problem{"GatewayRequired", "no pod of it can wait: " + why});
  if (!seen_.policies) return std::unexpected(seen_.policies.error());
  const policy::Settings bounds = bounds_of(config_, *seen_.policies);
  place_.lifetime = seconds(bounds.max_lifetime_seconds);
  reserve_ = std::min(workspace->deadline + std::chrono::minutes(5), place_.lifetime / 2);
  const Json pod = desired_warm_pod(place("x"), *workspace, config_.defaults);
  if (const std::string offence = judge_pod(pod, bounds); !offence.empty())
    return std::unexpected(
        Problem{"PolicyViolation", "the administrator's policy refuses its pods: " + offence});
  shape_ = annotation(pod, kShapeAnnotation);
  model_ = pod;
  return std::move(*workspace);
}

PoolPlace PoolDecision::place(const std::string& name) const {
  return {pool_.ns, pool_.name, pool_.uid, name, place_.lifetime};
}

bool PoolDecision::of_pool(const Json& object) const {
  const Json& owners = child(child(object, "metadata"), "ownerReferences");
  return owners.is_array() && std::ranges::any_of(owners, [&](const Json& owner) {
           return text_at(owner, "uid") == pool_.uid;
         });
}

// As it was looked at: a workspace may take it at this moment.
void PoolDecision::remove(const kube::Resource& resource, const kube::ObjectPtr& object) {
  if (!object || terminating(*object) || !of_pool(*object)) return;
  plan_.actions.push_back({ActionKind::kDelete,
                           &resource,
                           text_at(child(*object, "metadata"), "name"),
                           uid_of(*object),
                           {},
                           {},
                           version_of(*object)});
}

// Its lifetime runs from its start: what is left must do for a session.
bool PoolDecision::outdated(const Json& pod) const {
  if (annotation(pod, kShapeAnnotation) != shape_) return true;
  const Json& given = child(child(pod, "spec"), "activeDeadlineSeconds");
  if (!given.is_number_integer() || given > place_.lifetime.count()) return true;
  const auto began = parse_time(text_at(child(pod, "status"), "startTime"));
  return began && *began + seconds(given.get<std::int64_t>()) - reserve_ < now_;
}

// One of another shape goes anyway, as soon as there is another.
bool PoolDecision::touched(const WarmPlace& one) const {
  if (!one.account || !one.config) return true;
  if (annotation(*one.pod, kShapeAnnotation) == shape_)
    return !is_untouched(*one.pod, *one.config, model_);
  return !child(child(*one.pod, "spec"), "ephemeralContainers").empty();
}

void PoolDecision::count_failure(const Json& pod) {
  if (text_at(last_failure_, "podUID") == uid_of(pod)) return;
  const auto [reason, message] = why_ended(pod);
  ++failures_;
  last_failure_ = {{"podUID", uid_of(pod)},
                   {"time", format_time(now_)},
                   {"reason", reason},
                   {"message", message}};
  status_.event(true, reason, message);
}

void PoolDecision::sort() {
  for (const WarmPlace& one : seen_.places) {
    if (!one.pod || one.taken || terminating(*one.pod)) continue;
    if (has_ended(*one.pod)) {
      count_failure(*one.pod);
      remove(kube::resources::kPods, one.pod);
    } else if (touched(one)) {
      if (one.account && one.config)
        status_.event(true, "PodTouched",
                      fmt::format("somebody had a hand in pod {} or its ConfigMap: it ends, and "
                                  "another is made",
                                  one.name));
      remove(kube::resources::kPods, one.pod);
    } else {
      (outdated(*one.pod) ? outdated_ : current_).push_back(one.pod);
    }
  }
  // Those to keep come first: what waits already, then what has come furthest.
  const auto rank = [](const kube::ObjectPtr& pod) {
    return std::tuple(!is_warm(*pod), is_gated(*pod),
                      text_at(child(*pod, "metadata"), "creationTimestamp"),
                      text_at(child(*pod, "metadata"), "name"));
  };
  std::ranges::sort(current_, {}, rank);
  std::ranges::sort(outdated_, {}, rank);
  warm_ = static_cast<std::size_t>(
      std::ranges::count_if(current_, [](const auto& pod) { return is_warm(*pod); }));
}

void PoolDecision::keep(const Workspace& workspace) {
  sort();
  const auto want = static_cast<std::size_t>(pool_.replicas);
  const Json network = desired_pool_network(place({}));
  repair(plan_, kube::resources::kNetworkPolicies, seen_.network, network, "spec");
  if (same_network(seen_.network, network)) {
    for (const kube::ObjectPtr& pod : current_) {
      if (is_gated(*pod))
        plan_.actions.push_back({ActionKind::kLiftGate,
                                 &kube::resources::kPods,
                                 text_at(child(*pod, "metadata"), "name"),
                                 uid_of(*pod),
                                 {}});
    }
  }
  // A refresh rolls: some more than asked for, so that there is always one to take.
  while (!outdated_.empty() && outdated_.size() > want - std::min(want, warm_)) {
    remove(kube::resources::kPods, outdated_.back());
    outdated_.pop_back();
  }
  while (current_.size() > want) {
    remove(kube::resources::kPods, current_.back());
    warm_ -= is_warm(*current_.back()) ? 1 : 0;
    current_.pop_back();
  }
  if (want > 0 && warm_ >= want) failures_ = 0;
  if (const auto due = pause_until(); due && current_.size() < want) {
    plan_.requeue_after = std::chrono::ceil<seconds>(*due - now_);
    tell_ready("BackOff",
               fmt::format("{}: {}; the next pod is made at {}", text_at(last_failure_, "reason"),
                           text_at(last_failure_, "message"), format_time(*due)));
    return;
  }
  const std::size_t surge = outdated_.empty() ? 0 : (want + 3) / 4;
  for (int i = 0; i < kMostAtOnce && current_.size() < want &&
                  current_.size() + outdated_.size() < want + surge;
       ++i)
    current_.push_back(start(workspace, i));
  tell(want);
}

kube::ObjectPtr PoolDecision::start(const Workspace& workspace, int number) {
  using namespace kube::resources;
  const std::string token =
      hash_text(fmt::format("{}/{}/{}", pool_.uid, now_.time_since_epoch().count(), number));
  std::string stem = pool_.name.substr(0, kLongestName);
  while (stem.ends_with('-'))
    stem.pop_back();
  const PoolPlace at = place(stem + "-" + token.substr(0, 10) + "-agent");
  const auto make = [&](ActionKind kind, const kube::Resource& resource, Json object) {
    plan_.actions.push_back({kind, &resource, at.name, {}, std::move(object)});
  };
  make(ActionKind::kApply, kServiceAccounts, desired_warm_account(at));
  const Json config = desired_warm_config(at, workspace, seen_.unreachable);
  Json pod = desired_warm_pod(at, workspace, config_.defaults);
  seal(pod, config);
  make(ActionKind::kApply, kConfigMaps, config);
  make(ActionKind::kCreatePod, kPods, std::move(pod));
  return std::make_shared<const Json>(plan_.actions.back().object);
}

std::optional<Clock::time_point> PoolDecision::pause_until() const {
  const auto at = parse_time(text_at(last_failure_, "time"));
  if (failures_ == 0 || !at) return std::nullopt;
  const auto due = *at + pause_after(failures_);
  return due > now_ ? std::optional<Clock::time_point>(due) : std::nullopt;
}

void PoolDecision::tell(std::size_t want) {
  if (warm_ >= want) {
    status_.condition("Ready", "True", want == 0 ? "ScaledToZero" : "Warm",
                      fmt::format("{} pod(s) wait for a workspace", warm_));
    return;
  }
  plan_.requeue_after = kWarming;
  if (!seen_.create_error.empty()) {
    tell_ready("PodNotCreated", "the API server refuses what its pods need: " + seen_.create_error +
                                    ". It is tried again by itself");
    return;
  }
  for (const kube::ObjectPtr& pod : current_) {
    const auto [reason, message] = trouble_of(*pod);
    if (reason.empty()) continue;
    tell_ready(reason, message + ". It goes on by itself once it can");
    plan_.requeue_after = kAtRest;
    return;
  }
  const bool refreshes = !outdated_.empty();
  status_.condition(
      "Ready", "False", refreshes ? "Refreshing" : "Warming",
      fmt::format("{} of {} pod(s) wait for a workspace{}", warm_, want,
                  refreshes ? fmt::format(", and {} of what the template was", outdated_.size())
                            : std::string()),
      true);
}

void PoolDecision::tell_ready(const std::string& reason, const std::string& message) {
  status_.condition("Ready", "False", reason, message);
}

// Nothing can wait here: what does is not what it should be.
void PoolDecision::refuse(const Problem& problem) {
  for (const WarmPlace& one : seen_.places) {
    if (!one.taken) remove(kube::resources::kPods, one.pod);
  }
  status_.condition("Accepted", "False", problem.reason, problem.message);
  status_.condition("Ready", "False", problem.reason, problem.message, true);
}

// What was named after a pod that is no more.
void PoolDecision::sweep() {
  for (const WarmPlace& one : seen_.places) {
    if (one.pod || one.taken) continue;
    remove(kube::resources::kConfigMaps, one.config);
    remove(kube::resources::kServiceAccounts, one.account);
  }
}

void PoolDecision::tear_down() {
  if (!pool_.has_finalizer) return;
  bool left = false;
  for (const WarmPlace& one : seen_.places) {
    left = left || one.pod || one.taken;
    if (!one.taken) remove(kube::resources::kPods, one.pod);
  }
  sweep();
  if (left) {
    plan_.requeue_after = kTakenAgain;
    return;
  }
  remove(kube::resources::kNetworkPolicies, seen_.network);
  plan_.actions.push_back({ActionKind::kRemoveFinalizer, &pools(), pool_.name, pool_.uid, {}});
}

void PoolDecision::finish() {
  status_.set("selector", std::string(kPoolLabel) + "=" + pool_.name);
  status_.set("replicas", current_.size() + outdated_.size());
  status_.set("readyReplicas", warm_);
  status_.set("updatedReplicas", current_.size());
  if (failures_ > 0) {
    status_.set(kFailures, failures_);
    status_.set(kLastFailure, last_failure_);
  }
  status_.finish(plan_);
}

Plan decide_pool(const PoolObserved& observed, const Config& config, Clock::time_point now) {
  auto pool = parse_pool(observed.pool);
  if (pool) return PoolDecision(observed, config, now, std::move(*pool)).make();
  Workspace bare;
  StatusBuilder status(child(observed.pool, "status"), bare, now);
  status.condition("Accepted", "False", "InvalidSpec", pool.error());
  Plan plan;
  status.finish(plan);
  return plan;
}

}  // namespace palisade::op
