// A proxy in front of the API server that misbehaves: it cuts and holds watches, answers 409, 429,
// 500 and 504 of its own, loses requests and answers, and stops at the n-th request so that the
// operator can be killed right there.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <kube/transport.h>

namespace palisade::op::testing {

// Plain HTTP on a loopback port of its own; what it forwards goes with the rights of `upstream`.
class ChaosProxy {
 public:
  ChaosProxy(std::shared_ptr<kube::Transport> upstream, std::uint64_t seed);
  ~ChaosProxy();
  ChaosProxy(const ChaosProxy&) = delete;
  ChaosProxy& operator=(const ChaosProxy&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  // Shares of requests, in percent: refused with an error; carried out or not, and never answered.
  void trouble(int refused, int lost);
  void cut();               // ends every connection, watches too
  void hold(bool watches);  // events stay away meanwhile
  // The n-th write from now is held, before it is forwarded or after it; of those whose method and
  // target begin with `of`. For a minute, or until release().
  void stop_at(int write, bool forwarded, const std::string& of = "");
  [[nodiscard]] bool await_stop(std::chrono::milliseconds patience);
  void release();
  // What the API server said to a write that was held before it was forwarded; 0: nothing yet.
  [[nodiscard]] int held_answer() const { return held_answer_; }
  [[nodiscard]] int misdeeds() const { return misdeeds_; }
  // Leases alone: neither counted nor troubled, but for this: while they are not let through,
  // nobody is answered.
  void leases(bool through);
  // When a write, of a Lease or not, was asked for here: at first and at last.
  struct Asked {
    std::size_t times = 0;
    std::chrono::steady_clock::time_point first, last;
  };
  [[nodiscard]] Asked writes() const;
  [[nodiscard]] Asked lease_writes() const;

 private:
  void serve(int socket);
  [[nodiscard]] bool answer(int socket, const kube::Request& request);
  void watch(int socket, const kube::Request& request);
  [[nodiscard]] bool answer_lease(int socket, const kube::Request& request);
  void note(Asked& asked);
  // True: it was held.
  bool wait_here(bool forwarded, const kube::Request& request);
  int pick(int below);

  const std::shared_ptr<kube::Transport> upstream_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<bool> ended_ = false;
  std::atomic<bool> held_ = false;
  std::atomic<int> refused_ = 0;
  std::atomic<int> lost_ = 0;
  std::atomic<int> misdeeds_ = 0;
  std::atomic<int> held_answer_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937_64 random_;  // what follows is guarded by mutex_
  bool leases_ = true;
  Asked writes_, lease_writes_;
  std::set<int> open_;
  std::stop_source watches_;
  int writes_left_ = 0;  // 0: none is waited for
  bool stop_when_forwarded_ = false;
  std::string stop_of_;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
  std::thread accepting_;
};

}  // namespace palisade::op::testing
