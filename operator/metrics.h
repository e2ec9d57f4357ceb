// What the operator counts, as docs/metrics.md says it.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <prometheus/registry.h>

#include <kube/api_metrics.h>
#include <kube/cache.h>
#include <kube/reflector.h>
#include <kube/workqueue.h>
#include <operator/decide.h>

namespace palisade::op {

// Thread-safe. The registry outlives it.
class Metrics {
 public:
  explicit Metrics(prometheus::Registry& registry);

  // This process works from now on: until then it counts nothing of what becomes of workspaces.
  void lead();
  void reconciled(bool ok, std::chrono::nanoseconds took);
  void waited(std::chrono::nanoseconds since_due);
  // What a watch tells of an AgentWorkspace; `before` is null for what is new, `after` for what has
  // gone. What it was when the operator started is no change and not counted.
  void changed(const kube::ObjectPtr& before, const kube::ObjectPtr& after,
               std::chrono::system_clock::time_point now);

  // A workspace whose template has pools got its first pod: with kOffered one that waited. `took`:
  // from its choice until all that the session is was there, where that is known.
  void claimed(WarmPods pods, std::optional<std::chrono::nanoseconds> took);

  // Sets what is measured and not counted. `workspaces`: null where another process tells of them.
  void show(const kube::Cache* workspaces, const std::vector<kube::ObjectPtr>& pools,
            const kube::WorkQueueSnapshot& queue, std::span<const kube::Reflector* const> watches);

 private:
  // The series of a family, by label.
  struct Looks {
    explicit Looks(prometheus::Family<prometheus::Counter>& looks);
    prometheus::Counter& succeeded;
    prometheus::Counter& failed;
  };
  struct Waiting {
    explicit Waiting(prometheus::Family<prometheus::Gauge>& depth);
    prometheus::Gauge& fresh;
    prometheus::Gauge& routine;
  };
  struct Refused {
    explicit Refused(prometheus::Family<prometheus::Counter>& refused);
    prometheus::Counter& programs;
    prometheus::Counter& connections;
    prometheus::Counter& others;
  };
  struct Claims {
    explicit Claims(prometheus::Family<prometheus::Counter>& claims);
    prometheus::Counter& taken;
    prometheus::Counter& none;
    prometheus::Counter& unfit;
  };
  struct Setups {
    explicit Setups(prometheus::Family<prometheus::Counter>& setups);
    prometheus::Counter& installed;
    prometheus::Counter& cached;
    prometheus::Counter& failed;
  };
  void show_pools(const std::vector<kube::ObjectPtr>& pools);
  void show_workspaces(const kube::Cache* workspaces);
  // Of the workspaces whose guard refused most: how often, and their keys.
  void show_refusals(std::vector<std::pair<double, std::string>> most);

  std::atomic<bool> leading_ = false;
  prometheus::Gauge& leader_;
  Looks looks_;
  prometheus::Histogram& duration_;
  Waiting waiting_;
  prometheus::Gauge& delayed_;
  prometheus::Gauge& failing_;
  prometheus::Gauge& longest_wait_;
  prometheus::Gauge& longest_look_;
  prometheus::Histogram& latency_;
  prometheus::Family<prometheus::Gauge>& phases_;
  prometheus::Family<prometheus::Gauge>& conditions_;
  prometheus::Gauge& unisolated_;
  prometheus::Histogram& time_to_ready_;
  prometheus::Counter& execs_;
  Refused refused_;
  prometheus::Counter& findings_;
  prometheus::Family<prometheus::Gauge>& workspace_refusals_;
  std::map<std::string, prometheus::Gauge*> shown_refusals_;  // by key; guarded by showing_
  std::mutex showing_;
  std::mutex mutex_;
  std::set<std::string> resumed_;  // UIDs that were suspended once; guarded by mutex_
  prometheus::Family<prometheus::Gauge>& pools_;
  prometheus::Family<prometheus::Gauge>& warm_pods_;
  Claims claims_;
  prometheus::Histogram& claim_time_;
  Setups setups_;
  kube::WatchMetrics watches_;
};

}  // namespace palisade::op
