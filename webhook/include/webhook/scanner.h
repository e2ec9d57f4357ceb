// Existing pods: a watch of all of them judges each as a review would, keeps the verdict instead of
// the pod, reports it, and tells the judges which agent pods live in a namespace. It never changes
// or evicts a pod.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include <kube/client.h>
#include <kube/reflector.h>
#include <policy/network.h>
#include <webhook/cluster_view.h>

namespace prometheus {
class Registry;
}

namespace palisade::webhook {

// What the scanner needs to know of the rest of the program. All are called on its threads and
// rules() on those of agent_pods() too; none may block.
struct ScannerContext {
  // Cluster::known_rules: an error where a namespace is not known yet.
  std::function<Lookup<std::shared_ptr<const NamespaceRules>>(std::string_view ns)> rules;
  // The namespace's NetworkPolicies as they are watched.
  std::function<Lookup<std::vector<std::shared_ptr<const policy::NetworkPolicy>>>(
      std::string_view ns)>
      network_policies;
  // The token of this process' leadership (kube::LeaderElector::term); none where another leads.
  std::function<std::optional<std::stop_token>()> term;
};

struct ScannerOptions {
  // What happens in a namespace within this time is one report.
  std::chrono::milliseconds debounce{2'000};
  // Exceptions expire without an event: every report is made again that often, and written if it
  // differs.
  std::chrono::milliseconds recheck{30'000};
  // The report APIs are looked for, and all reports read again, that often.
  std::chrono::milliseconds discovery{600'000};
};

// One report for each namespace that has live agent pods, written by the leader alone and only when
// it differs: `palisade` of reports.openreports.io/v1alpha1 where that API is served, else of
// policyreports.wgpolicyk8s.io/v1alpha2, else none. The metrics palisade_scan_pods{verdict} and
// palisade_scan_findings{control} are the leader's too, and zero elsewhere.
//
// Rights: list and watch of pods; get, list, create, update and delete of both report kinds.
// Thread-safe.
class Scanner {
 public:
  Scanner(std::shared_ptr<const kube::Client> client, ScannerContext context,
          prometheus::Registry& registry, ScannerOptions options = {});
  ~Scanner();  // stop()
  Scanner(const Scanner&) = delete;
  Scanner& operator=(const Scanner&) = delete;

  void start();  // once; after Cluster::start()
  void stop();   // idempotent

  // The rules or the NetworkPolicies of a namespace may have changed ("": of all). Cheap; any
  // thread; before start() too.
  void rules_changed(std::string_view ns);

  // The pods of a namespace ("": of every one) that count as agents and have not ended, terminating
  // ones too; all of its pods where it enforces all or how it is guarded is not known yet (then
  // `reason` may be "").
  // An error before the first list is complete.
  [[nodiscard]] Lookup<std::vector<AgentPod>> agent_pods(std::string_view ns) const;

  // Why the pods are not known yet, for readiness; "" when they are.
  [[nodiscard]] std::string not_synced() const;
  [[nodiscard]] const kube::Reflector& watch() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::webhook
