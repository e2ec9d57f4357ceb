// The pools' part of the controller: two watches, a queue, one thread. Nothing of a workspace waits
// for it: without it none is taken from a pool.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <kube/reflector.h>
#include <kube/workqueue.h>
#include <operator/controller.h>
#include <operator/pools.h>

#include "metrics.h"

namespace palisade::op {

// Thread-safe, but for the order of its life: watch(), lead(), stop().
class PoolWorker {
 public:
  // `knows`: whether all that a look goes by has been told of a namespace.
  PoolWorker(std::shared_ptr<const kube::Client> client, std::shared_ptr<Gatherer> gatherer,
             std::shared_ptr<Known> known, const Caches& caches, const ControllerOptions& options,
             std::function<bool(const std::string& ns)> knows, Pools::Hooks hooks,
             Metrics& metrics);

  void watch();
  void lead();
  void stop_working();   // joins
  void stop_watching();  // joins

  // The watch of pods tells of it. What else a pool makes it need not hear of: where no pod can be
  // made, the rest comes and goes with each try.
  void touched(const Json& object);
  void look_at_all();
  // Pools::offer, where pools are known yet.
  void offer(Observed& seen);
  // The plan takes what was offered. False: another was quicker, and what is offered now, if
  // anything, is another pod.
  [[nodiscard]] bool choose(Observed& seen);
  // A round's plan has been carried out: what became of an offer, counted.
  void carried_out(const Observed& seen, const Plan& plan);
  [[nodiscard]] std::vector<kube::ObjectPtr> listed() const { return pools_watch_->cache().all(); }
  [[nodiscard]] std::vector<kube::Reflector*> watches() const {
    return {pools_watch_.get(), templates_watch_.get()};
  }

 private:
  [[nodiscard]] std::unique_ptr<kube::Reflector> watch_pools();
  [[nodiscard]] std::unique_ptr<kube::Reflector> watch_templates();
  [[nodiscard]] bool has_synced(const std::string& ns) const;
  void work(const std::stop_token& stop);
  void look_at(const std::string& key, const std::stop_token& stop);

  const std::shared_ptr<const kube::Client> client_;
  const std::shared_ptr<Known> known_;
  const std::vector<std::string> namespaces_;
  const std::function<bool(const std::string& ns)> knows_;
  Metrics& metrics_;
  std::atomic<bool> leading_ = false;
  kube::WorkQueue queue_;
  std::unique_ptr<kube::Reflector> pools_watch_, templates_watch_;
  std::unique_ptr<Pools> pools_;
  std::jthread worker_;
};

}  // namespace palisade::op
