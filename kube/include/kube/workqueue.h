// A work queue of keys as controllers need it: a key is in it once, is never processed by two
// workers at a time, and a key added while it is being processed runs again afterwards.
// Rate-limited adds back off per key: base * 2^failures up to max. Shape:
// k8s.io/client-go/util/workqueue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <unordered_set>

namespace kube {

struct WorkQueueOptions {
  std::chrono::milliseconds backoff_base{5};
  std::chrono::milliseconds backoff_max{1'000'000};
};

// Thread-safe. Time is std::chrono::steady_clock.
class WorkQueue {
 public:
  using Clock = std::chrono::steady_clock;
  explicit WorkQueue(WorkQueueOptions options = {});

  void add(const std::string& key);
  // The earliest of several delayed adds of one key wins; an immediate add makes the key due now.
  void add_after(const std::string& key, std::chrono::milliseconds delay);
  void add_rate_limited(const std::string& key);
  void forget(const std::string& key);  // after a success: back-off starts over
  [[nodiscard]] std::size_t failures(const std::string& key) const;

  // Blocks for the next key; nullopt once shut down or stopped. Each key got must be given to
  // done().
  [[nodiscard]] std::optional<std::string> get(std::stop_token stop);
  void done(const std::string& key);

  void shut_down();                        // get() returns nullopt at once; later adds are ignored
  [[nodiscard]] std::size_t size() const;  // due and waiting to be taken (delayed ones not counted)

 private:
  void move_due_locked(Clock::time_point now);
  void add_locked(const std::string& key);

  const WorkQueueOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable_any ready_;
  std::deque<std::string> queue_;
  std::unordered_set<std::string> dirty_;
  std::unordered_set<std::string> processing_;
  std::multimap<Clock::time_point, std::string> delayed_;
  std::unordered_map<std::string, Clock::time_point> delayed_at_;
  std::unordered_map<std::string, std::size_t> failures_;
  bool shut_down_ = false;
};

}  // namespace kube
