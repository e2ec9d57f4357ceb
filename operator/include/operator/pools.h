// Looks at pools, one after the other on one thread, and offers their pods to workspaces.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include <operator/executor.h>
#include <operator/gather.h>
#include <operator/pool.h>

namespace palisade::op {

// The index of pods, ServiceAccounts and ConfigMaps by what pool_index() says; that of pools by
// namespace.
inline constexpr const char* kByPool = "pool";
inline constexpr const char* kByNamespace = "namespace";
// NAMESPACE/POOL by an object's label; none where it has no such label.
[[nodiscard]] std::vector<std::string> pool_index(const Json& object);

// Thread-safe.
class Pools {
 public:
  using Steady = std::chrono::steady_clock;
  struct Watched {
    const kube::Cache* pools = nullptr;
    const kube::Cache* templates = nullptr;
    const kube::Cache* pods = nullptr;
    const kube::Cache* service_accounts = nullptr;
    const kube::Cache* config_maps = nullptr;
  };
  struct Hooks {
    std::function<void(const Json& pool, const std::vector<PlannedEvent>& events)> tell;
  };
  struct Outcome {
    bool ok = true;  // false: to be tried again with back-off
    std::optional<std::chrono::seconds> after;
  };

  Pools(std::shared_ptr<const kube::Client> client, std::shared_ptr<Gatherer> gatherer,
        std::shared_ptr<Known> known, Watched watched, Config config,
        std::map<std::string, std::string> gateways,
        std::function<std::chrono::system_clock::time_point()> now, Hooks hooks,
        std::function<Steady::time_point()> steady = Steady::now);

  // One look at the pool of that key, in rounds until only the world can say more.
  [[nodiscard]] Outcome reconcile(const std::string& key, const std::stop_token& stop);

  // Sets Observed::offer and warm_pods of a workspace that has no pod yet: a pod that waits, has
  // its shape, and is nobody's choice. Several may be offered the same.
  void offer(Observed& seen);
  // The workspace is about to take what it was offered. False: another was quicker. Holds for some
  // seconds; the write by which the pod is taken decides all the same.
  [[nodiscard]] bool choose(const std::string& pod_uid, const std::string& workspace_uid);
  // The same for Observed::offer. False: what is offered now, if anything, is another pod.
  [[nodiscard]] bool choose(Observed& seen);
  // All that goes with the pod is the workspace's. The time since it was chosen, where this process
  // did so.
  [[nodiscard]] std::optional<std::chrono::nanoseconds> taken(const std::string& pod_uid);
  // Pools of a namespace that take their pods from that template.
  [[nodiscard]] std::vector<std::string> of_template(const std::string& ns,
                                                     const std::string& name) const;

 private:
  [[nodiscard]] kube::ObjectPtr offer(const Workspace& workspace,
                                      const std::vector<std::string>& from, bool& fits);
  [[nodiscard]] kube::Result<PoolObserved> gather(const kube::ObjectPtr& pool,
                                                  const std::stop_token& stop);
  [[nodiscard]] kube::Result<void> find_places(PoolObserved& seen, const Pool& pool,
                                               const std::stop_token& stop);
  void remember_made(const std::string& key, const Plan& plan);

  const std::shared_ptr<const kube::Client> client_;
  const std::shared_ptr<Gatherer> gatherer_;
  const std::shared_ptr<Known> known_;
  const Watched watched_;
  const Config config_;
  const std::map<std::string, std::string> gateways_;
  const std::function<std::chrono::system_clock::time_point()> now_;
  const Hooks hooks_;
  const std::function<Steady::time_point()> steady_;
  CreateErrors create_errors_;  // by pool
  std::mutex mutex_;
  // All that follows is guarded by mutex_.
  // What was made a moment ago and no cache may know yet: by pool, names and when.
  std::map<std::string, std::map<std::string, Steady::time_point>> made_;
  struct Choice {
    std::string by;  // the workspace's uid
    Steady::time_point at;
  };
  std::map<std::string, Choice> chosen_;  // by the pod's uid
};

}  // namespace palisade::op
