#include "pools/worker.h"

#include <spdlog/spdlog.h>

#include "cached.h"
#include "compare.h"
#include "json_access.h"

namespace palisade::op {

namespace {

// Of several namespaces one may not be known yet, or not be open to us: its pools wait.
constexpr auto kPoolUntilKnown = std::chrono::milliseconds(500);

}  // namespace

PoolWorker::PoolWorker(std::shared_ptr<const kube::Client> client,
                       std::shared_ptr<Gatherer> gatherer, std::shared_ptr<Known> known,
                       const Caches& caches, const ControllerOptions& options,
                       std::function<bool(const std::string& ns)> knows, Pools::Hooks hooks,
                       Metrics& metrics)
    : client_(std::move(client)),
      known_(std::move(known)),
      namespaces_(options.namespaces),
      knows_(std::move(knows)),
      metrics_(metrics),
      pools_watch_(watch_pools()),
      templates_watch_(watch_templates()),
      pools_(std::make_unique<Pools>(
          client_, std::move(gatherer), known_,
          Pools::Watched{&pools_watch_->cache(), &templates_watch_->cache(), caches.pods,
                         caches.service_accounts, caches.config_maps},
          options.config, options.gateways, options.now, std::move(hooks))) {}

std::unique_ptr<kube::Reflector> PoolWorker::watch_pools() {
  kube::ReflectorOptions watching;
  watching.namespaces = namespaces_;
  watching.indexes[kByNamespace] = namespace_index;
  kube::EventHandler handler;
  // While the cache had none, what came for it was dropped: it is looked at, however old it is.
  handler.on_add = [this](const kube::ObjectPtr& pool) {
    if (leading_) queue_.add(kube::object_key(*pool));
  };
  handler.on_update = [this](const kube::ObjectPtr&, const kube::ObjectPtr& after) {
    if (leading_ && known_->is_news(pools(), *after)) queue_.add(kube::object_key(*after));
  };
  handler.on_delete = [this](const kube::ObjectPtr& pool) {
    known_->gone(pools(), *pool);
    if (leading_) queue_.add(kube::object_key(*pool));
  };
  return std::make_unique<kube::Reflector>(client_, pools(), watching, std::move(handler));
}

std::unique_ptr<kube::Reflector> PoolWorker::watch_templates() {
  kube::ReflectorOptions watching;
  watching.namespaces = namespaces_;
  kube::EventHandler handler;
  handler.on_add = [this](const kube::ObjectPtr& changed) {
    if (!leading_) return;
    const auto [ns, name] = kube::split_key(kube::object_key(*changed));
    for (const std::string& key : pools_->of_template(ns, name))
      queue_.add(key);
  };
  handler.on_update = [add = handler.on_add](const kube::ObjectPtr&, const kube::ObjectPtr& after) {
    add(after);
  };
  handler.on_delete = handler.on_add;
  return std::make_unique<kube::Reflector>(client_, workspace_templates(), watching,
                                           std::move(handler));
}

void PoolWorker::watch() {
  for (kube::Reflector* const watch : watches())
    watch->start();
}

void PoolWorker::lead() {
  leading_ = true;
  look_at_all();
  worker_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

void PoolWorker::stop_working() {
  queue_.shut_down();
  worker_ = {};
}

void PoolWorker::stop_watching() {
  for (kube::Reflector* const watch : watches())
    watch->stop();
}

void PoolWorker::touched(const Json& object) {
  if (!leading_) return;
  for (const std::string& key : pool_index(object))
    queue_.add(key);
}

void PoolWorker::look_at_all() {
  if (!leading_) return;
  const auto all = pools_watch_->cache().all();
  for (const kube::ObjectPtr& pool : all)
    queue_.add(kube::object_key(*pool));
}

bool PoolWorker::has_synced(const std::string& ns) const {
  return pools_watch_->has_synced(ns) && templates_watch_->has_synced(ns);
}

void PoolWorker::offer(Observed& seen) {
  if (has_synced(text_at(child(seen.workspace, "metadata"), "namespace"))) pools_->offer(seen);
}

bool PoolWorker::choose(Observed& seen) {
  return pools_->choose(seen);
}

void PoolWorker::carried_out(const Observed& seen, const Plan& plan) {
  for (const Action& action : plan.actions) {
    if (action.kind == ActionKind::kTake && *action.resource == kube::resources::kConfigMaps) {
      const auto took = seen.pod ? pools_->taken(uid_of(*seen.pod)) : std::nullopt;
      metrics_.claimed(WarmPods::kOffered, took);
    } else if (action.kind == ActionKind::kCreatePod && seen.warm_pods != WarmPods::kNoPool) {
      // Which had something to offer, but for a shorter session.
      metrics_.claimed(seen.offer ? WarmPods::kUnfit : seen.warm_pods, std::nullopt);
    }
  }
}

void PoolWorker::work(const std::stop_token& stop) {
  while (auto key = queue_.get(stop)) {
    look_at(*key, stop);
    queue_.done(*key);
  }
}

void PoolWorker::look_at(const std::string& key, const std::stop_token& stop) {
  const std::string ns = kube::split_key(key).first;
  if (!knows_(ns) || !has_synced(ns)) {
    queue_.add_after(key, kPoolUntilKnown);
    return;
  }
  Pools::Outcome outcome{false, std::nullopt};
  try {
    outcome = pools_->reconcile(key, stop);
  } catch (const std::exception& error) {
    spdlog::error("pool {}: {}", key, error.what());
  }
  if (outcome.ok) queue_.forget(key);
  if (outcome.after) {
    queue_.add_after(key, std::chrono::duration_cast<std::chrono::milliseconds>(*outcome.after));
  } else if (!outcome.ok && !stop.stop_requested()) {
    queue_.add_rate_limited(key);
  }
}

}  // namespace palisade::op
