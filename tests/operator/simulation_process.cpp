// An operator's process, as the controller puts it together: caches, what is due, one look at a
// time of each worker. What looks and decides is the operator's own.
#include <algorithm>

#include "cached.h"
#include "operator/fixture.h"
#include "operator/simulation_world.h"

namespace palisade::op::testing {

using namespace kube::resources;

namespace {

constexpr std::chrono::minutes kUnusedFor{20};
constexpr std::chrono::seconds kSweepEach{60};

std::string text_of(const Json& object, const char* field) {
  return object["metadata"].value(field, "");
}

}  // namespace

struct Process::Wire : kube::Transport {
  Wire(World& around, Process& of) : world(around), process(of) {}
  kube::Result<kube::Response> send(const kube::Request& request, std::stop_token) override {
    return world.exchange(process, request);
  }
  kube::Result<kube::Response> stream(const kube::Request&, const ChunkSink&,
                                      std::chrono::milliseconds, std::stop_token) override {
    throw std::logic_error("nothing is streamed here");
  }
  World& world;
  Process& process;
};

Process::Process(World& world, int made) : number(made), world_(world) {
  const auto wire = std::make_shared<Wire>(world, *this);
  const auto client =
      std::make_shared<const kube::Client>(kube::Config{}, wire, wire, std::chrono::seconds(1));
  known_ = std::make_shared<Known>([&world] { return world.clock_; });
  for (const kube::Resource* resource : world.watched_) {
    kube::Cache& cache = caches_[resource->plural];
    if (*resource == kPods) cache.add_index(kByWorkspace, workspace_index);
    if (*resource == pools()) cache.add_index(kByNamespace, namespace_index);
    if (*resource == kPods || *resource == kServiceAccounts || *resource == kConfigMaps)
      cache.add_index(kByPool, pool_index);
  }
  const Caches caches{&caches_["serviceaccounts"],
                      &caches_["configmaps"],
                      &caches_["networkpolicies"],
                      &caches_["pods"],
                      &caches_["persistentvolumeclaims"],
                      nullptr,
                      nullptr};
  std::map<std::string, std::string> gateways{{"default", "http://192.0.2.77:8080/v1"}};
  if (world.own_gateway_) gateways["default"] = gateway().llm_url();
  auto gatherer =
      std::make_shared<Gatherer>(client, caches, gateways, world.config_.defaults.gateway,
                                 std::vector<std::string>{}, resolve_host, known_);
  // No two looks are at the very same moment.
  const auto now = [&world] { return world.api_.now += std::chrono::microseconds(1); };
  if (world.has_pools_) {
    pools_ = std::make_unique<Pools>(
        client, gatherer, known_,
        Pools::Watched{&caches_["agentworkspacepools"], &caches_["agentworkspacetemplates"],
                       caches.pods, caches.service_accounts, caches.config_maps},
        world.config_, gateways, now, Pools::Hooks{}, [&world] { return world.clock_; });
  }
  if (world.has_setups_) {
    collector_ = std::make_unique<SetupCollector>(client, known_, *caches.volume_claims,
                                                  caches_["agentworkspaces"], kUnusedFor, now);
  }
  swept_ = world.clock_;
  reconciler_ = std::make_unique<Reconciler>(client, std::move(gatherer), known_, world.config_,
                                             now, hooks());
  for (std::size_t kind = 0; kind < kinds(); ++kind)
    relist(kind);
}

Process::~Process() = default;

std::size_t Process::kinds() const {
  return world_.watched_.size();
}

// As kube::Reflector tells of what a watch tells.
void Process::upsert(const kube::Resource& resource, const kube::ObjectPtr& object) {
  kube::Cache& cache = caches_[resource.plural];
  const kube::ObjectPtr before = cache.get(kube::object_key(*object));
  if (before && text_of(*before, "uid") != text_of(*object, "uid")) {
    cache.remove(kube::object_key(*object));
    told(resource, before, nullptr);
  } else if (before) {
    if (text_of(*before, "resourceVersion") == text_of(*object, "resourceVersion")) return;
    cache.put(object);
    told(resource, before, object);
    return;
  }
  cache.put(object);
  told(resource, nullptr, object);
}

void Process::drop(const kube::Resource& resource, const kube::ObjectPtr& object) {
  kube::Cache& cache = caches_[resource.plural];
  const kube::ObjectPtr before = cache.get(kube::object_key(*object));
  if (!before || text_of(*before, "uid") != text_of(*object, "uid")) return;
  cache.remove(kube::object_key(*object));
  told(resource, object, nullptr);
}

// As the controller and its worker of pools do.
Reconciler::Hooks Process::hooks() {
  Reconciler::Hooks out;
  if (!pools_) return out;
  out.complete = [this](Observed& seen, const std::string&) {
    if (!seen.pod && !seen.warm_pod) pools_->offer(seen);
  };
  out.choose = [this](Observed& seen) { return pools_->choose(seen); };
  out.carried_out = [this](const Observed& seen, const Plan& plan, const std::string&) {
    for (const Action& action : plan.actions) {
      if (action.kind == ActionKind::kTake && *action.resource == kConfigMaps && seen.pod)
        static_cast<void>(pools_->taken((*seen.pod)["metadata"]["uid"]));
    }
  };
  return out;
}

// As the controller does.
void Process::told(const kube::Resource& resource, const kube::ObjectPtr& before,
                   const kube::ObjectPtr& after) {
  if (resource == pools() || resource == workspace_templates())
    return told_of_pools(resource, before, after);
  if ((resource == kPods || resource == kNetworkPolicies) && leads_ && pools_) {
    for (const std::string& key : pool_index(before ? *before : *after))
      due_.insert({Task::kPool, key});
  }
  if (resource == volume_claims()) told_of_claim(before, after);
  if (!reconciler_->noticed(resource, before, after) || !leads_) return;
  const Json& object = after ? *after : *before;
  const std::string key = resource == workspaces() ? kube::object_key(object) : owner_key(object);
  if (!key.empty()) due_.insert({Task::kWorkspace, key});
}

void Process::told_of_pools(const kube::Resource& resource, const kube::ObjectPtr& before,
                            const kube::ObjectPtr& after) {
  const std::string key = kube::object_key(after ? *after : *before);
  if (resource == workspace_templates()) {
    const auto [ns, name] = kube::split_key(key);
    for (const std::string& pool : pools_->of_template(ns, name)) {
      if (leads_) due_.insert({Task::kPool, pool});
    }
    return;
  }
  if (!after) known_->gone(resource, *before);
  if (leads_ && (!before || !after || known_->is_news(resource, *after)))
    due_.insert({Task::kPool, key});
}

void Process::told_of_claim(const kube::ObjectPtr& before, const kube::ObjectPtr& after) {
  if (!leads_ || !before) return;
  const Json& claim = after ? *after : *before;
  for (const std::string& key : setup_waiters(claim, caches_["agentworkspaces"].all()))
    due_.insert({Task::kWorkspace, key});
}

bool Process::hear(std::size_t kind) {
  const kube::Resource& resource = *world_.watched_[kind];
  const auto& log = world_.api_.log(resource.plural);
  std::size_t& at = heard_[resource.plural];
  if (at == log.size()) return false;
  const StoreEvent event = log[at++];
  if (world_.tell_)
    world_.note("operator " + std::to_string(number) + " hears: " + resource.plural + " " +
                text_of(*event.object, "name") + (event.gone ? " gone" : "") + ", version " +
                text_of(*event.object, "resourceVersion"));
  if (event.gone) {
    drop(resource, event.object);
  } else {
    upsert(resource, event.object);
  }
  return true;
}

void Process::hear_again(std::size_t kind) {
  const kube::Resource& resource = *world_.watched_[kind];
  const std::size_t at = heard_[resource.plural];
  if (at == 0) return;
  const StoreEvent event = world_.api_.log(resource.plural)[at - 1];
  if (event.gone) {
    drop(resource, event.object);
  } else {
    upsert(resource, event.object);
  }
}

void Process::relist(std::size_t kind) {
  const kube::Resource& resource = *world_.watched_[kind];
  world_.note("operator " + std::to_string(number) + " lists " + resource.plural);
  const auto listed = world_.api_.list(resource.plural);
  std::set<std::string> there;
  for (const auto& object : listed)
    there.insert(kube::object_key(*object));
  const auto held = caches_[resource.plural].all();
  for (const auto& object : held) {
    if (there.contains(kube::object_key(*object))) continue;
    caches_[resource.plural].remove(kube::object_key(*object));
    Json last = *object;
    last["metadata"]["resourceVersion"] = world_.api_.version();
    told(resource, std::make_shared<const Json>(std::move(last)), nullptr);
  }
  for (const auto& object : listed)
    upsert(resource, object);
  heard_[resource.plural] = world_.api_.log(resource.plural).size();
}

void Process::hear_all() {
  for (std::size_t kind = 0; kind < kinds(); ++kind) {
    while (hear(kind)) {
    }
  }
}

void Process::lead() {
  leads_ = true;
  world_.note("operator " + std::to_string(number) + " leads");
  for (const auto& [resource, kind] :
       {std::pair{&workspaces(), Task::kWorkspace}, std::pair{&pools(), Task::kPool}}) {
    const auto all = caches_[resource->plural].all();
    for (const auto& object : all)
      due_.insert({kind, kube::object_key(*object)});
  }
}

// Several workers look at workspaces, one at pools, one at claims.
bool Process::is_free(const Task& task) const {
  if (task.kind == Task::kWorkspace) return !busy_.contains(task);
  return std::ranges::find(busy_, task.kind, &Task::kind) == busy_.end();
}

bool Process::work() {
  std::vector<Task> free;
  for (const Task& task : due_) {
    if (is_free(task)) free.push_back(task);
  }
  if (free.empty()) return false;
  const Task task = free[static_cast<std::size_t>(world_.pick(static_cast<int>(free.size())))];
  due_.erase(task);
  later_.erase(task);
  busy_.insert(task);
  const Reconciler::Outcome outcome = look_at(task);
  busy_.erase(task);
  if (outcome.after && outcome.after->count() > 0) {
    later_[task] = world_.clock_ + *outcome.after;
  } else if (outcome.after) {
    due_.insert(task);
  } else if (!outcome.ok) {
    due_.insert(task);
  }
  return true;
}

Reconciler::Outcome Process::look_at(const Task& task) {
  if (task.kind == Task::kPool) {
    world_.note("operator " + std::to_string(number) + " looks at pool " + task.key);
    const Pools::Outcome outcome = pools_->reconcile(task.key, {});
    return {outcome.ok, outcome.after};
  }
  if (task.kind == Task::kSweep) {
    world_.note("operator " + std::to_string(number) + " looks at claims");
    collector_->sweep({});
    return {};
  }
  const auto workspace = caches_["agentworkspaces"].get(task.key);
  if (!workspace) {
    reconciler_->forget(task.key);
    return {};
  }
  world_.note("operator " + std::to_string(number) + " looks at " + task.key);
  return reconciler_->reconcile(workspace, {});
}

void Process::timers() {
  for (auto at = later_.begin(); at != later_.end();) {
    if (at->second > world_.clock_) {
      ++at;
      continue;
    }
    due_.insert(at->first);
    at = later_.erase(at);
  }
  if (!collector_ || !leads_ || world_.clock_ - swept_ < kSweepEach) return;
  swept_ = world_.clock_;
  due_.insert({Task::kSweep, {}});
}

}  // namespace palisade::op::testing
