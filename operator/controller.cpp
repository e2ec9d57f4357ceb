#include <algorithm>
#include <atomic>
#include <thread>

#include <spdlog/spdlog.h>

#include <kube/events.h>
#include <kube/log.h>
#include <kube/reflector.h>
#include <kube/workqueue.h>
#include <operator/controller.h>
#include <operator/reconciler.h>
#include <operator/tokens/keeper.h>
#include <operator/turns.h>

#include "cached.h"
#include "json_access.h"
#include "metrics.h"
#include "pools/worker.h"
#include "setups.h"

namespace palisade::op {

namespace {

using Steady = std::chrono::steady_clock;

// Each call has its deadline of half a minute, and a look makes some twenty.
constexpr auto kLongestLook = std::chrono::minutes(15);
// Of those that wait for a turn, so many are looked at when one may have come free; the others see
// their new place when they are looked at anyway.
constexpr std::size_t kWoken = 16;
// Of each kind in its cache: what the workers look at and what changes now. The others are packed.
constexpr std::size_t kWholeObjects = 64;
// Of several namespaces one may not be known yet, or not be open to us: its workspaces wait.
constexpr auto kUntilKnown = std::chrono::milliseconds(500);

}  // namespace

struct Controller::Impl {
  std::shared_ptr<const kube::Client> client;
  ControllerOptions options;
  Metrics metrics;
  kube::WorkQueue queue{queue_options()};
  const std::shared_ptr<Known> known = std::make_shared<Known>();
  std::unique_ptr<kube::Reflector> workspaces_watch, pods, service_accounts, config_maps,
      network_policies, claims, namespaces, policies;
  std::unique_ptr<Reconciler> reconciler;
  std::unique_ptr<PoolWorker> pool_worker;
  std::unique_ptr<SetupCollector> setup_collector;
  std::unique_ptr<kube::EventRecorder> events;
  std::unique_ptr<tokens::Keeper> keeper;
  Turns turns{
      [this](const std::string& ns) { return peers(ns); },
      [this](const std::string& ns, const std::stop_token& stop) { return living(ns, stop); }};
  std::mutex starting;
  bool stopped = false;  // guarded by starting
  std::vector<std::jthread> workers;
  // Nobody queues what nobody works on.
  std::atomic<bool> leading = false;
  std::atomic<bool> synced = false;
  std::atomic<std::uint64_t> looks = 0;  // their numbers tell a log's lines apart

  explicit Impl(prometheus::Registry& registry) : metrics(registry) {}

  kube::WorkQueueOptions queue_options() {
    kube::WorkQueueOptions out;
    out.waited = [this](std::chrono::nanoseconds since_due) { metrics.waited(since_due); };
    return out;
  }

  std::unique_ptr<kube::Reflector> watch(const kube::Resource& resource, bool owned) {
    kube::ReflectorOptions watching;
    watching.namespaces = options.namespaces;
    if (owned) watching.label_selector = std::string(kManagedByLabel) + "=" + kManagedBy;
    watching.transform = [resource](Json object) { return lean(resource, std::move(object)); };
    // Each object is made lean as it comes: no page of whole ones is ever held.
    watching.streaming_list = true;
    watching.whole = kWholeObjects;
    if (resource == workspaces()) watching.indexes[kByNamespace] = namespace_index;
    if (owned) watching.indexes[kByPool] = pool_index;
    if (resource == kube::resources::kPods) watching.indexes[kByWorkspace] = workspace_index;
    const auto enqueue = [this, owned](const kube::ObjectPtr& object) {
      const std::string key = owned ? owner_key(*object) : kube::object_key(*object);
      // The first list is no change.
      if (!key.empty() && leading)
        queue.add(key, synced ? kube::Priority::kFresh : kube::Priority::kRoutine);
    };
    // What a pool is told of by watches of everybody's.
    const bool of_pools =
        resource == kube::resources::kPods || resource == kube::resources::kNetworkPolicies;
    kube::EventHandler handler;
    handler.on_add = [this, resource, of_pools, enqueue](const kube::ObjectPtr& object) {
      if (of_pools) pool_worker->touched(*object);
      if (reconciler->noticed(resource, nullptr, object)) enqueue(object);
    };
    handler.on_update = [this, resource, of_pools, enqueue](const kube::ObjectPtr& before,
                                                            const kube::ObjectPtr& after) {
      if (resource == workspaces() && peer_of(*before, false) != peer_of(*after, false))
        wake(kube::split_key(kube::object_key(*after)).first);
      measured(resource, before, after);
      // One that was taken is no longer the pool's.
      if (of_pools) pool_worker->touched(*before);
      if (resource == volume_claims()) setup_changed(*after);
      if (reconciler->noticed(resource, before, after)) enqueue(after);
    };
    handler.on_delete = [this, resource, of_pools, enqueue](const kube::ObjectPtr& object) {
      measured(resource, object, nullptr);
      if (of_pools) pool_worker->touched(*object);
      if (resource == volume_claims()) setup_changed(*object);
      if (reconciler->noticed(resource, object, nullptr)) enqueue(object);
      if (resource == workspaces() || resource == kube::resources::kPods)
        wake(kube::split_key(kube::object_key(*object)).first);
    };
    return std::make_unique<kube::Reflector>(client, resource, watching, std::move(handler));
  }

  // The workspaces of a namespace, for Turns.
  std::vector<Peer> peers(const std::string& ns) const {
    std::vector<Peer> out;
    const auto listed = workspaces_watch->cache().by_index(kByNamespace, ns);
    for (const kube::ObjectPtr& cached : listed) {
      const std::string name = kube::split_key(kube::object_key(*cached)).second;
      const std::string pod = pod_name_of(*cached);
      out.push_back(peer_of(
          *known->newest(workspaces(), ns, name, cached),
          known->newest(kube::resources::kPods, ns, pod, pods->cache().get(ns, pod)) != nullptr));
    }
    return out;
  }

  std::optional<std::vector<std::string>> living(const std::string& ns,
                                                 const std::stop_token& stop) const {
    kube::ListOptions list;
    list.ns = ns;
    list.label_selector = std::string(kManagedByLabel) + "=" + kManagedBy;
    const auto found = client->list(kube::resources::kPods, list, stop);
    if (!found) {
      if (!stop.stop_requested())
        spdlog::warn("{}: its pods cannot be listed: {}", ns, found.error().text());
      return std::nullopt;
    }
    std::vector<std::string> out;
    for (const Json& pod : found->items) {
      if (std::string key = owner_key(pod); !key.empty()) out.push_back(std::move(key));
    }
    return out;
  }

  void setup_changed(const Json& claim) {
    const auto [ns, name] = kube::split_key(kube::object_key(claim));
    if (!leading || !is_setup_claim_name(name)) return;
    for (const std::string& key :
         setup_waiters(claim, workspaces_watch->cache().by_index(kByNamespace, ns)))
      queue.add(key);
  }

  // A turn may have come free.
  void wake(const std::string& ns) {
    for (const std::string& key : turns.waiting(ns, kWoken))
      queue.add(key);
  }

  // Labels alone: AgentPolicies select by them.
  std::unique_ptr<kube::Reflector> watch_namespaces() {
    kube::ReflectorOptions watching;
    watching.namespaces = options.namespaces;
    watching.transform = [](const Json& object) {
      Json out = Json::object();
      const Json metadata = object.value("metadata", Json::object());
      out["metadata"]["labels"] = metadata.value("labels", Json::object());
      return out;
    };
    kube::EventHandler handler;
    handler.on_update = [this](const kube::ObjectPtr& before, const kube::ObjectPtr& after) {
      if ((*before)["metadata"]["labels"] == (*after)["metadata"]["labels"]) return;
      enqueue_all((*after)["metadata"]["name"]);
      pool_worker->look_at_all();
    };
    return std::make_unique<kube::Reflector>(client, kube::resources::kNamespaces, watching,
                                             std::move(handler));
  }

  std::unique_ptr<kube::Reflector> watch_policies() {
    kube::EventHandler handler;
    handler.on_add = [this](const kube::ObjectPtr&) {
      enqueue_all("");
      pool_worker->look_at_all();
    };
    handler.on_update = [add = handler.on_add](const kube::ObjectPtr&,
                                               const kube::ObjectPtr& after) { add(after); };
    handler.on_delete = handler.on_add;
    return std::make_unique<kube::Reflector>(client, agent_policies(), kube::ReflectorOptions{},
                                             std::move(handler));
  }

  // Every workspace of a namespace; of all where it is empty.
  void enqueue_all(const std::string& ns, kube::Priority priority = kube::Priority::kFresh) {
    if (!leading) return;
    const kube::Cache& cache = workspaces_watch->cache();
    const auto listed = ns.empty() ? cache.keys() : cache.keys_by_index(kByNamespace, ns);
    for (const std::string& workspace : listed)
      queue.add(workspace, priority);
  }

  [[nodiscard]] std::vector<kube::Reflector*> watches() const {
    return {workspaces_watch.get(), pods.get(),   service_accounts.get(), config_maps.get(),
            network_policies.get(), claims.get(), namespaces.get(),       policies.get()};
  }

  [[nodiscard]] std::vector<kube::Reflector*> all_watches() const {
    std::vector<kube::Reflector*> out = watches();
    std::ranges::copy(pool_worker->watches(), std::back_inserter(out));
    return out;
  }

  void work(const std::stop_token& stop) {
    for (const kube::Reflector* reflector : watches()) {
      if (reflector != policies.get() && !options.namespaces.empty()) continue;
      while (!reflector->wait_for_sync(std::chrono::seconds(5), stop)) {
        if (stop.stop_requested()) return;
      }
    }
    synced = true;
    while (auto key = queue.get(stop)) {
      const auto begun = Steady::now();
      const bool ok = reconcile(*key, stop);
      metrics.reconciled(ok, Steady::now() - begun);
      if (ok) {
        queue.forget(*key);
      } else if (!stop.stop_requested()) {
        queue.add_rate_limited(*key);
      }
      queue.done(*key);
    }
  }

  // Whether all that a decision in this namespace goes by has been told.
  [[nodiscard]] bool knows(const std::string& ns) const {
    return std::ranges::all_of(watches(), [&](const kube::Reflector* reflector) {
      return reflector == policies.get() ? reflector->has_synced() : reflector->has_synced(ns);
    });
  }

  // False: to be tried again with back-off.
  bool reconcile(const std::string& key, const std::stop_token& stop) {
    const auto [ns, name] = kube::split_key(key);
    if (!knows(ns)) {
      queue.add_after(key, kUntilKnown);
      return true;
    }
    const std::string look = std::to_string(++looks);
    const kube::LogFields fields{{"namespace", ns}, {"workspace", name}, {"look", look}};
    const kube::ObjectPtr workspace = workspaces_watch->cache().get(key);
    if (!workspace) {
      reconciler->forget(key);
      keeper->forget(key);
      if (turns.give_back(key)) wake(kube::split_key(key).first);
      return true;
    }
    kube::Span span = look_span(ns, name, look);
    const kube::CurrentSpan current(span);
    try {
      const Reconciler::Outcome outcome = reconciler->reconcile(workspace, stop);
      span.set("palisade.look.again", outcome.after.has_value());
      if (!outcome.ok) span.fail("not carried out; the log says why");
      if (outcome.after)
        queue.add_after(key, std::chrono::duration_cast<std::chrono::milliseconds>(*outcome.after));
      // A server that says when is not asked before.
      return outcome.ok || outcome.after;
    } catch (const std::exception& error) {
      spdlog::error("{}: {}", key, error.what());
      span.fail("failed; the log says why");
      return false;
    }
  }

  // `look` stands in the log's lines, too.
  [[nodiscard]] kube::Span look_span(const std::string& ns, const std::string& name,
                                     const std::string& look) const {
    if (!options.tracer) return {};
    kube::Span span = options.tracer->begin("reconcile", kube::SpanKind::kInternal);
    span.set("k8s.namespace.name", ns);
    span.set("palisade.workspace", name);
    span.set("palisade.look", look);
    return span;
  }

  Reconciler::Hooks hooks() {
    Reconciler::Hooks out;
    out.complete = [this](Observed& seen, const std::string& key) {
      seen.memory = keeper->recall(key, text_at(child(seen.workspace, "metadata"), "uid"));
      seen.process = keeper->process();
      if (!peer_of(seen.workspace, false).active) turns.give_back(key);
      if (!seen.pod && !seen.warm_pod) pool_worker->offer(seen);
    };
    out.turn = [this](Observed& seen, const std::string& key, const std::stop_token& stop) {
      if (const auto limit = running_limit(seen)) seen.turn = turns.ask(key, limit->most, stop);
    };
    out.choose = [this](Observed& seen) { return pool_worker->choose(seen); };
    out.carried_out = [this](const Observed& seen, const Plan& plan, const std::string& key) {
      pool_worker->carried_out(seen, plan);
      if (plan.tokens_told) keeper->told(key);
      if (plan.token_job) keeper->submit(*plan.token_job);
      if (plan.gives_turn_back && turns.give_back(key)) wake(kube::split_key(key).first);
    };
    out.tell = [this](const Json& workspace, const std::vector<PlannedEvent>& told) {
      tell(workspace, told);
    };
    return out;
  }

  void tell(const Json& regarding, const std::vector<PlannedEvent>& told) {
    for (const PlannedEvent& event : told) {
      events->record(regarding,
                     event.warning ? kube::EventType::kWarning : kube::EventType::kNormal,
                     event.reason, "Reconcile", event.note);
    }
  }

  // Counts what becomes of workspaces, whoever is to look at them.
  void measured(const kube::Resource& resource, const kube::ObjectPtr& before,
                const kube::ObjectPtr& after) {
    if (resource == workspaces()) metrics.changed(before, after, options.now());
  }
};

Controller::Controller(std::shared_ptr<const kube::Client> client, ControllerOptions options,
                       prometheus::Registry& registry)
    : impl_(std::make_unique<Impl>(registry)) {
  Impl& impl = *impl_;
  impl.client = std::move(client);
  impl.options = std::move(options);
  using namespace kube::resources;
  impl.workspaces_watch = impl.watch(workspaces(), false);
  impl.pods = impl.watch(kPods, true);
  impl.service_accounts = impl.watch(kServiceAccounts, true);
  impl.config_maps = impl.watch(kConfigMaps, true);
  impl.network_policies = impl.watch(kNetworkPolicies, true);
  impl.claims = impl.watch(volume_claims(), true);
  impl.namespaces = impl.watch_namespaces();
  impl.policies = impl.watch_policies();
  const Caches caches{&impl.service_accounts->cache(), &impl.config_maps->cache(),
                      &impl.network_policies->cache(), &impl.pods->cache(), &impl.claims->cache(),
                      // Those that are read by turns may be some seconds old: too old to start by.
                      impl.options.namespaces.empty() ? &impl.namespaces->cache() : nullptr,
                      &impl.policies->cache()};
  auto gatherer = std::make_shared<Gatherer>(
      impl.client, caches, impl.options.gateways, impl.options.config.defaults.gateway,
      impl.options.unreachable, impl.options.resolver, impl.known);
  impl.pool_worker = std::make_unique<PoolWorker>(
      impl.client, gatherer, impl.known, caches, impl.options,
      [&impl](const std::string& ns) { return impl.knows(ns); },
      Pools::Hooks{[&impl](const Json& pool, const std::vector<PlannedEvent>& told) {
        impl.tell(pool, told);
      }},
      impl.metrics);
  impl.setup_collector = std::make_unique<SetupCollector>(
      impl.client, impl.known, impl.claims->cache(), impl.workspaces_watch->cache(),
      impl.options.setup_unused, impl.options.now);
  impl.reconciler =
      std::make_unique<Reconciler>(impl.client, std::move(gatherer), impl.known,
                                   impl.options.config, impl.options.now, impl.hooks());
}

Controller::~Controller() {
  stop();
}

void Controller::watch() {
  for (kube::Reflector* reflector : impl_->watches())
    reflector->start();
  impl_->pool_worker->watch();
}

void Controller::lead() {
  Impl& impl = *impl_;
  const std::scoped_lock lock(impl.starting);
  if (impl.stopped || impl.leading) return;
  impl.events = std::make_unique<kube::EventRecorder>(impl.client, "palisade.dev/operator",
                                                      impl.options.instance);
  tokens::KeeperOptions keeping;
  keeping.done = [&impl](const std::string& key) {
    impl.known->forget_secrets(key);
    impl.queue.add(key);
  };
  auto transports = impl.options.transports
                        ? impl.options.transports
                        : tokens::usual_transports(impl.options.config.defaults.git_ca);
  impl.keeper = std::make_unique<tokens::Keeper>(
      std::make_unique<tokens::Steward>(impl.client, std::move(transports),
                                        tokens::new_process_id(), impl.options.now),
      std::move(keeping));
  impl.keeper->start();
  impl.metrics.lead();
  // Whatever a watch tells from here on is queued; what it has told before is in the cache.
  impl.leading = true;
  impl.enqueue_all("", kube::Priority::kRoutine);
  for (int i = 0; i < std::max(1, impl.options.workers); ++i) {
    impl.workers.emplace_back([&impl](const std::stop_token& stop) { impl.work(stop); });
  }
  impl.workers.emplace_back(
      [&impl](const std::stop_token& stop) { impl.setup_collector->work(stop); });
  impl.pool_worker->lead();
}

void Controller::stop() {
  Impl& impl = *impl_;
  {
    const std::scoped_lock lock(impl.starting);
    impl.stopped = true;
  }
  impl.queue.shut_down();
  impl.pool_worker->stop_working();
  for (std::jthread& worker : impl.workers)
    worker.request_stop();
  if (impl.keeper) impl.keeper->stop();  // a worker may still hand it jobs, which nobody does
  impl.workers.clear();                  // joins
  for (kube::Reflector* reflector : impl.watches())
    reflector->stop();
  impl.pool_worker->stop_watching();
  impl.events.reset();
}

bool Controller::has(const std::string& workspace, const std::string& uid) const {
  const kube::ObjectPtr known = impl_->workspaces_watch->cache().get(workspace);
  return known && uid_of(*known) == uid;
}

bool Controller::ready() const {
  for (const kube::Reflector* reflector : impl_->watches()) {
    if (!reflector->has_synced()) return false;
  }
  return true;
}

void Controller::measure() {
  const auto watches = impl_->watches();
  const std::vector<const kube::Reflector*> seen(watches.begin(), watches.end());
  // Of two processes the one that leads tells of them.
  impl_->metrics.show(
      impl_->leading ? &impl_->workspaces_watch->cache() : nullptr,
      impl_->leading ? impl_->pool_worker->listed() : std::vector<kube::ObjectPtr>(),
      impl_->queue.snapshot(0), seen);
}

std::string Controller::stuck() const {
  for (const kube::Reflector* reflector : impl_->watches()) {
    if (reflector->silence() > reflector->longest_silence())
      return "the watch of " + reflector->resource().plural + " is silent";
  }
  if (const std::string key = impl_->queue.stuck(kLongestLook); !key.empty())
    return "workspace " + key + " has been looked at for too long";
  return {};
}

std::string Controller::debug() const {
  const kube::WorkQueueSnapshot queue = impl_->queue.snapshot();
  Json processing = Json::array();
  for (const auto& entry : queue.processing)
    processing.push_back({{"key", entry.key}, {"forMs", entry.since.count()}});
  Json delayed = Json::array();
  for (const auto& entry : queue.delayed) {
    delayed.push_back(
        {{"key", entry.key}, {"dueInMs", entry.due.count()}, {"failures", entry.failures}});
  }
  Json watches = Json::array();
  for (const kube::Reflector* reflector : impl_->all_watches()) {
    watches.push_back({{"resource", reflector->resource().plural},
                       {"objects", reflector->cache().size()},
                       {"synced", reflector->has_synced()},
                       {"silentForMs", reflector->silence().count()},
                       {"error", reflector->last_error()}});
  }
  return Json{{"leading", impl_->leading.load()},
              {"queued", {{"fresh", queue.fresh}, {"routine", queue.routine}}},
              {"processing", processing},
              {"delayed", {{"total", queue.delayed_total}, {"earliest", delayed}}},
              {"failing", queue.failing},
              {"watches", watches}}
             .dump(1) +
         "\n";
}

std::string Controller::trouble() const {
  for (const kube::Reflector* reflector : impl_->watches()) {
    if (std::string error = reflector->last_error(); !error.empty()) return error;
  }
  return {};
}

}  // namespace palisade::op
