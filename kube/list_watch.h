// What a reflector does in one namespace, or in all: list, then watch, on a thread of its own.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include <kube/reflector.h>

namespace kube {

// What the parts of one reflector have in common.
struct Reflected {
  const std::shared_ptr<const Client> client;
  const Resource resource;
  const ReflectorOptions options;
  const EventHandler handler;
  Cache cache{options.whole};
  std::mutex telling{};  // the cache's change and its event are one step; a handler is called once
                         // at a time
};

// Thread-safe but for start() and stop().
class ListWatch {
 public:
  ListWatch(Reflected& all, std::string ns);
  ~ListWatch() { stop(); }
  ListWatch(const ListWatch&) = delete;
  ListWatch& operator=(const ListWatch&) = delete;

  void start();
  void ask_to_stop() { thread_.request_stop(); }
  void stop();
  [[nodiscard]] const std::string& ns() const { return ns_; }
  [[nodiscard]] bool has_synced() const;
  [[nodiscard]] bool wait_for_sync(std::chrono::steady_clock::time_point until,
                                   std::stop_token stop) const;
  [[nodiscard]] std::string last_error() const;
  [[nodiscard]] std::chrono::milliseconds silence() const;

 private:
  using Clock = std::chrono::steady_clock;

  void run(const std::stop_token& stop);
  void poll(const std::stop_token& stop);
  // What a list found: all keys, and what the cache does not hold like this, in the list's order.
  struct Listed {
    std::string resource_version;
    std::unordered_set<std::string> keys;
    std::vector<std::string> order;
    std::unique_ptr<Cache> changed;
  };
  [[nodiscard]] Listed nothing_listed() const;
  Result<Listed> list(const std::string& version, const std::stop_token& stop);
  Result<Listed> stream_list(const std::string& version, const std::stop_token& stop);
  void note_listed(Listed& all, Json object) const;
  void forget_listed(Listed& all, const Json& object) const;
  [[nodiscard]] bool may_stream_again(const Error& why);
  bool watch_until_relist(const std::stop_token& stop);
  WatchOptions next_watch();

  [[nodiscard]] Json kept(Json object) const;
  [[nodiscard]] bool is_ours(std::string_view key) const;
  void replace(Listed all);
  void take(WatchEvent event);
  void upsert(const ObjectPtr& object);
  void drop(const ObjectPtr& object);

  void note(std::string text);
  void note_synced();
  void pause(const Error& why, const std::stop_token& stop);
  void wait(std::chrono::milliseconds time, const std::stop_token& stop);
  [[nodiscard]] std::string explained(const Error& why) const;

  Reflected& all_;
  const std::string ns_;  // empty: all
  const bool polls_;      // namespaces themselves

  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  bool synced_ = false;
  std::string error_;
  std::atomic<Clock::time_point> heard_{Clock::now()};

  // Only the thread touches what follows.
  std::string last_version_;
  std::chrono::milliseconds backoff_{0};
  std::optional<Clock::time_point> last_failure_;
  bool unhealthy_ = false;  // error_ is not empty
  bool paged_ = true;
  bool streams_ = false;
  int stream_failures_ = 0;  // in a row
  std::minstd_rand random_{std::random_device{}()};
  std::jthread thread_;
};

}  // namespace kube
