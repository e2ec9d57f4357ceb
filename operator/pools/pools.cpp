#include <algorithm>
#include <set>

#include <spdlog/spdlog.h>

#include <operator/pools.h>

#include "compare.h"
#include "json_access.h"

namespace palisade::op {

namespace {

using namespace kube::resources;

constexpr int kMostLooks = 4;
// Who chose a pod has it to himself for so long: its status is written next.
constexpr std::chrono::seconds kChosenFor{10};
constexpr std::chrono::minutes kForgottenAfter{5};  // one that was chosen and never taken

bool owned_by_pool(const Json& object, const std::string& uid) {
  const Json& owners = child(child(object, "metadata"), "ownerReferences");
  return owners.is_array() && std::ranges::any_of(owners, [&](const Json& owner) {
           return text_at(owner, "uid") == uid;
         });
}

}  // namespace

std::vector<std::string> pool_index(const Json& object) {
  const Json& metadata = child(object, "metadata");
  const std::string pool = text_at(child(metadata, "labels"), kPoolLabel);
  if (pool.empty()) return {};
  return {kube::object_key(text_at(metadata, "namespace"), pool)};
}

Pools::Pools(std::shared_ptr<const kube::Client> client, std::shared_ptr<Gatherer> gatherer,
             std::shared_ptr<Known> known, Watched watched, Config config,
             std::map<std::string, std::string> gateways,
             std::function<std::chrono::system_clock::time_point()> now, Hooks hooks,
             std::function<Steady::time_point()> steady)
    : client_(std::move(client)),
      gatherer_(std::move(gatherer)),
      known_(std::move(known)),
      watched_(watched),
      config_(std::move(config)),
      gateways_(std::move(gateways)),
      now_(std::move(now)),
      hooks_(std::move(hooks)),
      steady_(std::move(steady)) {}

std::vector<std::string> Pools::of_template(const std::string& ns, const std::string& name) const {
  std::vector<std::string> out;
  const auto listed = watched_.pools->by_index(kByNamespace, ns);
  for (const kube::ObjectPtr& pool : listed) {
    if (text_at(child(child(*pool, "spec"), "templateRef"), "name") == name)
      out.push_back(kube::object_key(*pool));
  }
  return out;
}

void Pools::offer(Observed& seen) {
  const Json& asked = seen.workspace;
  const Json& status = child(asked, "status");
  // A session that had a pod before has the next one made for it.
  if (warm_pod_of(asked) || is_final_phase(text_at(status, "phase")) ||
      !text_at(status, "startedAt").empty() || !child(status, "restarts").empty())
    return;
  const auto parsed = parse_workspace(asked);
  if (!parsed || parsed->template_name.empty() || parsed->deleting || parsed->suspend) return;
  const auto from = of_template(parsed->ns, parsed->template_name);
  if (from.empty()) return;
  const auto gateway = gateways_.find(parsed->gateway);
  // One with a terminal would need a pod that has one.
  bool fits = parsed->task && gateway != gateways_.end() &&
              no_warm_pod(*parsed, config_.defaults, gateway->second).empty();
  if (fits) seen.offer = offer(*parsed, from, fits);
  seen.warm_pods = seen.offer ? WarmPods::kOffered : fits ? WarmPods::kNone : WarmPods::kUnfit;
}

// `fits`: false where there are pods, and none has its shape.
kube::ObjectPtr Pools::offer(const Workspace& workspace, const std::vector<std::string>& from,
                             bool& fits) {
  const std::string& ns = workspace.ns;
  const std::string shape = warm_shape(workspace, config_.defaults);
  const auto now = steady_();
  bool any = false;
  bool same = false;
  const std::scoped_lock lock(mutex_);
  for (const std::string& key : from) {
    const auto pool = watched_.pools->get(key);
    if (!pool || terminating(*pool)) continue;
    const std::string uid = uid_of(*pool);
    const Json wanted = desired_warm_pod({ns, kube::split_key(key).second, uid, {}, {}}, workspace,
                                         config_.defaults);
    const auto waiting = watched_.pods->by_index(kByPool, key);
    for (const kube::ObjectPtr& cached : waiting) {
      const std::string name = text_at(child(*cached, "metadata"), "name");
      const auto pod = known_->newest(kPods, ns, name, cached);
      if (!pod) continue;
      any = true;
      if (annotation(*pod, kShapeAnnotation) != shape) continue;
      same = true;
      const auto find = [&](const kube::Resource& resource, const kube::Cache* cache) {
        auto object = known_->newest(resource, ns, name, cache->get(ns, name));
        return object && owned_by_pool(*object, uid) ? object : nullptr;
      };
      const auto config = find(kConfigMaps, watched_.config_maps);
      if (!config || !find(kServiceAccounts, watched_.service_accounts) ||
          !may_be_taken(*pod, *config, wanted, uid))
        continue;
      const auto chosen = chosen_.find(uid_of(*pod));
      if (chosen == chosen_.end() || chosen->second.by == workspace.uid ||
          now - chosen->second.at > kChosenFor)
        return pod;
    }
  }
  fits = same || !any;
  return nullptr;
}

bool Pools::choose(const std::string& pod_uid, const std::string& workspace_uid) {
  const auto now = steady_();
  const std::scoped_lock lock(mutex_);
  std::erase_if(chosen_,
                [&](const auto& entry) { return now - entry.second.at > kForgottenAfter; });
  const auto [entry, free] = chosen_.try_emplace(pod_uid, Choice{workspace_uid, now});
  if (free || entry->second.by == workspace_uid) return true;
  if (now - entry->second.at <= kChosenFor) return false;
  entry->second = {workspace_uid, now};
  return true;
}

bool Pools::choose(Observed& seen) {
  if (choose(uid_of(*seen.offer), uid_of(seen.workspace))) return true;
  seen.offer = nullptr;
  offer(seen);
  return false;
}

std::optional<std::chrono::nanoseconds> Pools::taken(const std::string& pod_uid) {
  const std::scoped_lock lock(mutex_);
  const auto found = chosen_.find(pod_uid);
  if (found == chosen_.end()) return std::nullopt;
  const auto took = steady_() - found->second.at;
  chosen_.erase(found);
  return took;
}

kube::Result<void> Pools::find_places(PoolObserved& seen, const Pool& pool,
                                      const std::stop_token& stop) {
  const std::string key = kube::object_key(pool.ns, pool.name);
  std::set<std::string> names;
  {
    const std::scoped_lock lock(mutex_);
    auto& made = made_[key];
    const auto now = steady_();
    std::erase_if(made, [&](const auto& entry) { return now - entry.second > Known::kEchoWithin; });
    for (const auto& entry : made)
      names.insert(entry.first);
    if (made.empty()) made_.erase(key);
  }
  for (const kube::Cache* cache :
       {watched_.pods, watched_.service_accounts, watched_.config_maps}) {
    const auto found = cache->by_index(kByPool, key);
    for (const kube::ObjectPtr& object : found)
      names.insert(text_at(child(*object, "metadata"), "name"));
  }
  for (const std::string& name : names) {
    WarmPlace place{name};
    const auto find = [&](const kube::Resource& resource, const kube::Cache* cache) {
      return known_->newest(resource, pool.ns, name, cache->get(pool.ns, name));
    };
    place.account = find(kServiceAccounts, watched_.service_accounts);
    place.config = find(kConfigMaps, watched_.config_maps);
    place.pod = find(kPods, watched_.pods);
    for (kube::ObjectPtr* const named : {&place.account, &place.config}) {
      if (*named && !owned_by_pool(**named, pool.uid)) named->reset();
    }
    // Nothing is cleared away on a cache's word: the pod that it goes with may be a workspace's.
    if (!place.pod && (place.account || place.config)) {
      auto live = gatherer_->read(kPods, pool.ns, name, stop);
      if (!live) return std::unexpected(std::move(live.error()));
      place.pod = std::move(*live);
    }
    if (place.pod && !owned_by_pool(*place.pod, pool.uid)) {
      place.taken = true;
      place.pod.reset();
    }
    // One that is a workspace's wholly, or somebody else's.
    if (!place.pod && !place.account && !place.config) continue;
    seen.places.push_back(std::move(place));
  }
  return {};
}

kube::Result<PoolObserved> Pools::gather(const kube::ObjectPtr& object,
                                         const std::stop_token& stop) {
  PoolObserved seen;
  seen.pool = *object;
  seen.pool["kind"] = kPoolApiKind;
  seen.gateways = gateways_;
  seen.policies = std::vector<policy::AgentPolicy>();
  const auto pool = parse_pool(*object);
  if (!pool) return seen;
  if (auto done = find_places(seen, *pool, stop); !done)
    return std::unexpected(std::move(done.error()));
  auto network = gatherer_->read(kNetworkPolicies, pool->ns, pool_network_name(pool->name), stop);
  if (!network) return std::unexpected(std::move(network.error()));
  seen.network = std::move(*network);
  seen.create_error = create_errors_.of(kube::object_key(*object));
  if (pool->deleting) return seen;
  seen.workspace_template = watched_.templates->get(pool->ns, pool->template_name);
  auto off = gatherer_->off_limits(stop);
  if (!off) return std::unexpected(std::move(off.error()));
  seen.unreachable = std::move(off->targets);
  auto bounds = gatherer_->policies(pool->ns, stop);
  if (!bounds) return std::unexpected(std::move(bounds.error()));
  seen.policies = std::move(*bounds);
  return seen;
}

void Pools::remember_made(const std::string& key, const Plan& plan) {
  const std::scoped_lock lock(mutex_);
  for (const Action& action : plan.actions) {
    if (action.kind == ActionKind::kCreatePod) made_[key][action.name] = steady_();
  }
}

Pools::Outcome Pools::reconcile(const std::string& key, const std::stop_token& stop) {
  const auto [ns, name] = kube::split_key(key);
  Outcome outcome;
  auto cached = watched_.pools->get(key);
  if (!cached) {
    create_errors_.forget(key);
    const std::scoped_lock lock(mutex_);
    made_.erase(key);
    return outcome;
  }
  kube::ObjectPtr object = known_->newest(pools(), ns, name, cached);
  std::optional<Json> status;
  std::vector<PlannedEvent> events;
  for (int round = 1;; ++round) {
    auto seen = gather(object, stop);
    if (!seen) {
      if (!stop.stop_requested())
        spdlog::warn("pool {}: not looked at: {}", key, seen.error().text());
      return {false, seen.error().retry_after};
    }
    Plan plan = decide_pool(*seen, config_, now_());
    if (auto next = take_status(plan)) status = std::move(next);
    std::ranges::move(plan.events, std::back_inserter(events));
    outcome.after = plan.requeue_after;
    if (plan.actions.empty()) break;
    remember_made(key, plan);
    std::string create_error;
    const auto done = execute(*client_, seen->pool, plan, *known_, create_error, stop);
    create_errors_.learn(key, create_error);
    for (const Action& action : plan.actions)
      spdlog::info("pool {}: {} {}", key, action_name(action.kind),
                   action.resource->kind + " " + action.name);
    if (!done) {
      if (!stop.stop_requested()) spdlog::warn("pool {}: {}", key, done.error().text());
      outcome.ok = false;
      outcome.after = done.error().retry_after;
      break;
    }
    object = known_->newest(pools(), ns, name, object);
    if (round == kMostLooks) {
      outcome.after = std::chrono::seconds(1);
      break;
    }
    if (status) object = with_status(*object, *status);
  }
  Json said = *object;
  said["kind"] = kPoolApiKind;
  said["apiVersion"] = kApiVersion;
  if (status) {
    const auto written = write_status(*client_, said, *status, *known_, stop);
    if (!written) {
      if (!stop.stop_requested()) spdlog::warn("pool {}: {}", key, written.error().text());
      outcome.ok = false;
      if (written.error().is_conflict()) events.clear();
    }
  }
  if (!events.empty() && hooks_.tell) hooks_.tell(said, events);
  return outcome;
}

}  // namespace palisade::op
