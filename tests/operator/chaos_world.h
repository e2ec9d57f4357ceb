// Around the chaos and the leader test: the operator as a process that can be killed, a kubelet,
// and a watcher that judges the orders at every state that the API server has had.
#pragma once

#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <kube/envtest.h>
#include <kube/reflector.h>
#include <operator/decide.h>

#include "operator/chaos_proxy.h"

namespace palisade::op::testing {

class OperatorProcess;

// A real etcd and API server with the definitions, the namespace kNs and the git token's Secret.
// What cannot be made throws.
class Stage {
 public:
  static constexpr const char* kNs = "team-a";
  Stage();
  // In front of the API server, with an administrator's rights.
  [[nodiscard]] std::unique_ptr<ChaosProxy> proxy(std::uint64_t seed) const;
  // The operator's program behind `proxy`; what it prints is appended to operator.log.
  [[nodiscard]] std::unique_ptr<OperatorProcess> program(const ChaosProxy& proxy,
                                                         const std::vector<std::string>& more,
                                                         std::uint16_t metrics_port = 0) const;
  // Why the cluster is not as the workspaces' specs say, or "".
  [[nodiscard]] std::string wrong() const;
  [[nodiscard]] std::string log() const;
  // A path beside the operator's log.
  [[nodiscard]] std::string file(const std::string& name) const { return directory_ / name; }

  std::unique_ptr<kube::EnvTest> env;
  std::shared_ptr<const kube::Client> admin;

 private:
  std::filesystem::path directory_;
};

// A workspace of Stage's that is lost as often as may be; not made yet.
[[nodiscard]] kube::Json stage_workspace(const std::string& name);
[[nodiscard]] std::string slurp(const std::string& path);

// The operator's program. It dies with the thread that started it.
class OperatorProcess {
 public:
  // What it prints is appended to `log`.
  OperatorProcess(std::vector<std::string> arguments, std::string log)
      : arguments_(std::move(arguments)), log_(std::move(log)) {}
  ~OperatorProcess() { static_cast<void>(kill()); }
  OperatorProcess(const OperatorProcess&) = delete;
  OperatorProcess& operator=(const OperatorProcess&) = delete;
  void start();
  // SIGKILL. Returns when it is gone: false where it had ended by itself.
  [[nodiscard]] bool kill();
  void signal(int number) const;
  // Its exit status once it has ended by itself; -1 where it has not in time, or was killed.
  [[nodiscard]] int await_end(std::chrono::milliseconds patience);

 private:
  const std::vector<std::string> arguments_;
  const std::string log_;
  int pid_ = -1;
};

// Runs what may run, a pool's pod up to where it waits, and lets go of what is to end.
class Kubelet {
 public:
  explicit Kubelet(std::shared_ptr<const kube::Client> client);

 private:
  void look(const kube::Json& pod, const std::stop_token& stop) const;
  const std::shared_ptr<const kube::Client> client_;
  std::jthread thread_;
};

// Its own watches of pods, NetworkPolicies and Secrets, put in the order of the store. While the
// API server lives a watch that breaks goes on where it stopped, so that no state is missed. Make
// it while nobody writes.
class Watcher {
 public:
  explicit Watcher(std::shared_ptr<const kube::Client> client);
  ~Watcher();
  // What was broken, or "". Call it when nothing changes any more.
  [[nodiscard]] std::string verdict() const;
  [[nodiscard]] std::size_t seen() const;

 private:
  struct Change {
    std::string kind;
    bool gone = false;
    kube::ObjectPtr object;
  };
  void note(const std::string& kind, bool gone, const kube::ObjectPtr& object);
  mutable std::mutex mutex_;
  std::multimap<std::uint64_t, Change> changes_;  // by version; 0 is what was there already
  std::atomic<bool> begun_ = false;
  std::vector<std::unique_ptr<kube::Reflector>> watches_;
};

}  // namespace palisade::op::testing
