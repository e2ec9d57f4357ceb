// A work queue of keys as controllers need it: a key is in it once, is never processed by two
// workers at a time, and a key added while it is being processed runs again afterwards.
// Rate-limited adds back off per key: base * 2^failures up to max, and draw from one bucket of all.
// Fresh changes go before what is only looked at again, and namespaces take turns, so that none
// starves another. Shape: k8s.io/client-go/util/workqueue.
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

namespace kube {

struct WorkQueueOptions {
  std::chrono::milliseconds backoff_base{5};
  std::chrono::milliseconds backoff_max{1'000'000};
  // Of all rate-limited adds together, above `burst` at once; 0: no limit but each key's own.
  double rate_per_second = 0;
  std::size_t burst = 100;
  // How long a key that is taken has waited since it was added or came due. Called by get() with
  // the queue locked: it must be quick and leave the queue alone. May be empty.
  std::function<void(std::chrono::nanoseconds)> waited = nullptr;
};

enum class Priority : std::uint8_t {
  kFresh,    // somebody changed something
  kRoutine,  // a resync, the first list, a timer
};

// What a queue holds, for people.
struct WorkQueueSnapshot {
  struct Processing {
    std::string key;
    std::chrono::milliseconds since;
  };
  struct Delayed {
    std::string key;
    std::chrono::milliseconds due;
    std::size_t failures;
  };
  std::size_t fresh = 0, routine = 0, delayed_total = 0, failing = 0;
  std::chrono::milliseconds longest_wait{0};  // of those that are due
  std::vector<Processing> processing;
  std::vector<Delayed> delayed;  // the earliest
};

// Thread-safe. Time is std::chrono::steady_clock.
class WorkQueue {
 public:
  using Clock = std::chrono::steady_clock;
  explicit WorkQueue(WorkQueueOptions options = {});

  // A waiting key that is added as fresh is fresh from then on, never the other way round.
  void add(const std::string& key, Priority priority = Priority::kFresh);
  // The earliest of several delayed adds of one key wins; an immediate add makes the key due now.
  // What comes due is routine.
  void add_after(const std::string& key, std::chrono::milliseconds delay);
  void add_rate_limited(const std::string& key);
  void forget(const std::string& key);  // after a success: back-off starts over
  [[nodiscard]] std::size_t failures(const std::string& key) const;

  // Blocks for the next key; nullopt once shut down or stopped. Each key got must be given to
  // done(). One of nine is a routine one as long as there are any.
  [[nodiscard]] std::optional<std::string> get(std::stop_token stop);
  void done(const std::string& key);

  void shut_down();                        // get() returns nullopt at once; later adds are ignored
  [[nodiscard]] std::size_t size() const;  // due and waiting to be taken (delayed ones not counted)
  // At most `limit` of the delayed ones.
  [[nodiscard]] WorkQueueSnapshot snapshot(std::size_t limit = 100) const;
  // A key that has been processed for longer than `limit`, or "".
  [[nodiscard]] std::string stuck(std::chrono::milliseconds limit) const;

 private:
  struct Due {
    Priority priority;
    Clock::time_point since;
  };
  // The waiting keys of one priority. A key that is no longer due here is skipped when its turn
  // comes.
  struct Lane {
    std::deque<std::string> turns;  // namespaces with keys
    std::unordered_map<std::string, std::deque<std::string>> keys;
  };
  void move_due_locked(Clock::time_point now);
  void add_locked(const std::string& key, Priority priority);
  void enqueue_locked(const std::string& key, Priority priority);
  [[nodiscard]] std::optional<std::string> take_locked(Priority priority);
  void undelay_locked(const std::string& key);
  [[nodiscard]] std::chrono::milliseconds reserve_locked(Clock::time_point now);

  const WorkQueueOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable_any ready_;
  std::array<Lane, 2> lanes_;
  std::unordered_map<std::string, Due> dirty_;
  std::unordered_map<std::string, Clock::time_point> processing_;
  std::size_t waiting_ = 0;  // dirty and not processing
  unsigned fresh_in_a_row_ = 0;
  std::multimap<Clock::time_point, std::string> delayed_;
  std::unordered_map<std::string, Clock::time_point> delayed_at_;
  std::unordered_map<std::string, std::size_t> failures_;
  Clock::time_point bucket_empty_until_{};
  bool shut_down_ = false;
};

}  // namespace kube
