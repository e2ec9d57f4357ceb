#include <mutex>
#include <thread>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <kube/events.h>
#include <kube/reflector.h>
#include <kube/workqueue.h>
#include <operator/controller.h>
#include <operator/executor.h>

namespace palisade::op {

namespace {

using Steady = std::chrono::steady_clock;

// The workspace that an object belongs to, as a key; "" where it belongs to none.
std::string owner_key(const Json& object) {
  const Json metadata = object.value("metadata", Json::object());
  for (const Json& owner : metadata.value("ownerReferences", Json::array())) {
    if (owner.is_object() && owner.value("kind", "") == kKind &&
        owner.value("apiVersion", "").starts_with("palisade.dev/")) {
      return kube::object_key(metadata.value("namespace", ""), owner.value("name", ""));
    }
  }
  return {};
}

}  // namespace

struct Controller::Impl {
  std::shared_ptr<const kube::Client> client;
  ControllerOptions options;
  kube::WorkQueue queue;
  std::unique_ptr<kube::Reflector> workspaces_watch, pods, service_accounts, config_maps,
      network_policies;
  std::unique_ptr<Gatherer> gatherer;
  std::unique_ptr<kube::EventRecorder> events;
  std::vector<std::jthread> workers;
  std::mutex mutex;
  std::map<std::string, std::string> create_errors;  // by key; guarded by mutex

  prometheus::Family<prometheus::Counter>* reconciles = nullptr;
  prometheus::Family<prometheus::Gauge>* phases = nullptr;
  prometheus::Gauge* depth = nullptr;
  prometheus::Histogram* duration = nullptr;

  std::unique_ptr<kube::Reflector> watch(const kube::Resource& resource, bool owned) {
    kube::ReflectorOptions watching;
    if (owned) watching.label_selector = std::string(kManagedByLabel) + "=" + kManagedBy;
    const auto enqueue = [this, owned](const kube::ObjectPtr& object) {
      const std::string key = owned ? owner_key(*object) : kube::object_key(*object);
      if (!key.empty()) queue.add(key);
    };
    kube::EventHandler handler;
    handler.on_add = enqueue;
    handler.on_update = [enqueue](const kube::ObjectPtr&, const kube::ObjectPtr& after) {
      enqueue(after);
    };
    handler.on_delete = enqueue;
    return std::make_unique<kube::Reflector>(client, resource, watching, std::move(handler));
  }

  [[nodiscard]] std::vector<kube::Reflector*> watches() const {
    return {workspaces_watch.get(), pods.get(), service_accounts.get(), config_maps.get(),
            network_policies.get()};
  }

  void work(const std::stop_token& stop) {
    for (const kube::Reflector* reflector : watches()) {
      while (!reflector->wait_for_sync(std::chrono::seconds(5), stop)) {
        if (stop.stop_requested()) return;
      }
    }
    while (auto key = queue.get(stop)) {
      const auto begun = Steady::now();
      const bool ok = reconcile(*key, stop);
      duration->Observe(std::chrono::duration<double>(Steady::now() - begun).count());
      reconciles->Add({{"result", ok ? "success" : "error"}}).Increment();
      if (ok) {
        queue.forget(*key);
      } else if (!stop.stop_requested()) {
        queue.add_rate_limited(*key);
      }
      queue.done(*key);
      depth->Set(static_cast<double>(queue.size()));
    }
  }

  // False: to be tried again with back-off.
  bool reconcile(const std::string& key, const std::stop_token& stop) {
    const kube::ObjectPtr workspace = workspaces_watch->cache().get(key);
    if (!workspace) {
      const std::scoped_lock lock(mutex);
      create_errors.erase(key);
      return true;
    }
    try {
      auto seen = gatherer->gather(workspace, stop);
      if (!seen) {
        if (!stop.stop_requested()) spdlog::warn("{}: not looked at: {}", key, seen.error().text());
        return false;
      }
      {
        const std::scoped_lock lock(mutex);
        seen->create_error = create_errors[key];
      }
      const Plan plan = decide(*seen, options.config, std::chrono::system_clock::now());
      std::string create_error = seen->create_error;
      const auto done = execute(*client, *workspace, plan, create_error, stop);
      {
        const std::scoped_lock lock(mutex);
        create_errors[key] = create_error;
      }
      for (const PlannedEvent& event : plan.events) {
        events->record(*workspace,
                       event.warning ? kube::EventType::kWarning : kube::EventType::kNormal,
                       event.reason, "Reconcile", event.note);
      }
      for (const Action& action : plan.actions)
        log(key, action);
      if (!done) {
        if (!stop.stop_requested()) spdlog::warn("{}: {}", key, done.error().text());
        // The next round tells the new error in the status.
        return false;
      }
      if (plan.requeue_after)
        queue.add_after(key,
                        std::chrono::duration_cast<std::chrono::milliseconds>(*plan.requeue_after));
      return true;
    } catch (const std::exception& error) {
      spdlog::error("{}: {}", key, error.what());
      return false;
    }
  }

  static void log(const std::string& key, const Action& action) {
    static constexpr const char* kNames[] = {
        "add finalizer", "remove finalizer", "apply",  "strip foreign fields of",
        "create",        "lift the gate of", "delete", "status"};
    if (action.kind == ActionKind::kStatus) {
      spdlog::info("{}: {}", key, action.object.value("phase", ""));
    } else {
      spdlog::info("{}: {} {} {}", key, kNames[static_cast<std::size_t>(action.kind)],
                   action.resource->kind, action.name);
    }
  }

  void count_phases() const {
    std::map<std::string, int> counts{{"Pending", 0}, {"Running", 0},   {"Succeeded", 0},
                                      {"Failed", 0},  {"Suspended", 0}, {"Expired", 0}};
    for (const kube::ObjectPtr& workspace : workspaces_watch->cache().all())
      ++counts[workspace->value("status", Json::object()).value("phase", "Pending")];
    for (const auto& [phase, count] : counts)
      phases->Add({{"phase", phase}}).Set(count);
  }
};

Controller::Controller(std::shared_ptr<const kube::Client> client, ControllerOptions options,
                       prometheus::Registry& registry)
    : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  impl.client = std::move(client);
  impl.options = std::move(options);
  impl.reconciles = &prometheus::BuildCounter()
                         .Name("palisade_operator_reconciles_total")
                         .Help("Reconciliations by result.")
                         .Register(registry);
  impl.phases = &prometheus::BuildGauge()
                     .Name("palisade_operator_workspaces")
                     .Help("AgentWorkspaces by phase.")
                     .Register(registry);
  impl.depth = &prometheus::BuildGauge()
                    .Name("palisade_operator_queue_depth")
                    .Help("Workspaces that wait for a worker.")
                    .Register(registry)
                    .Add({});
  impl.duration = &prometheus::BuildHistogram()
                       .Name("palisade_operator_reconcile_duration_seconds")
                       .Help("Time of one reconciliation.")
                       .Register(registry)
                       .Add({}, prometheus::Histogram::BucketBoundaries{0.005, 0.01, 0.025, 0.05,
                                                                        0.1, 0.25, 0.5, 1, 5, 30});
  using namespace kube::resources;
  impl.workspaces_watch = impl.watch(workspaces(), false);
  impl.pods = impl.watch(kPods, true);
  impl.service_accounts = impl.watch(kServiceAccounts, true);
  impl.config_maps = impl.watch(kConfigMaps, true);
  impl.network_policies = impl.watch(kNetworkPolicies, true);
  const Caches caches{&impl.service_accounts->cache(), &impl.config_maps->cache(),
                      &impl.network_policies->cache(), &impl.pods->cache()};
  impl.gatherer =
      std::make_unique<Gatherer>(impl.client, caches, impl.options.gateways, impl.options.resolver);
}

Controller::~Controller() {
  stop();
}

void Controller::start() {
  Impl& impl = *impl_;
  impl.events = std::make_unique<kube::EventRecorder>(impl.client, "palisade.dev/operator",
                                                      impl.options.instance);
  for (kube::Reflector* reflector : impl.watches())
    reflector->start();
  for (int i = 0; i < std::max(1, impl.options.workers); ++i) {
    impl.workers.emplace_back([&impl](const std::stop_token& stop) { impl.work(stop); });
  }
}

void Controller::stop() {
  Impl& impl = *impl_;
  impl.queue.shut_down();
  for (std::jthread& worker : impl.workers)
    worker.request_stop();
  impl.workers.clear();  // joins
  for (kube::Reflector* reflector : impl.watches())
    reflector->stop();
  impl.events.reset();
}

bool Controller::ready() const {
  for (const kube::Reflector* reflector : impl_->watches()) {
    if (!reflector->has_synced()) return false;
  }
  impl_->count_phases();
  return true;
}

std::string Controller::trouble() const {
  for (const kube::Reflector* reflector : impl_->watches()) {
    if (std::string error = reflector->last_error(); !error.empty()) return error;
  }
  return {};
}

}  // namespace palisade::op
