// Threads that do jobs on tokens, so that a git host that is slow or gone holds up no reconcile:
// decide() says what is to be done, the keeper does it and has the workspace looked at again.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <operator/tokens/steward.h>

namespace palisade::op::tokens {

struct KeeperOptions {
  int threads = 4;
  int per_namespace = 2;  // jobs of one namespace at once: its slow host is its own matter
  // NAMESPACE/NAME of a workspace whose job is done. Called on the keeper's threads; must not
  // block.
  std::function<void(const std::string& key)> done;
};

// Thread-safe.
class Keeper {
 public:
  Keeper(std::unique_ptr<const Steward> steward, KeeperOptions options);
  ~Keeper();  // stop()
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  void start();
  // Ends what runs within seconds (an intent stays where a mint was cut off), and forgets the rest.
  void stop();

  // One job a workspace at a time: dropped while there is one, since the workspace is looked at
  // again when that is done.
  void submit(Job job);
  // Of the workspace with that UID: an earlier one's of the same name is forgotten.
  [[nodiscard]] Memory recall(const std::string& key, const std::string& uid);
  void forget(const std::string& key);
  // Takes Memory::lost, which was told.
  void told(const std::string& key);

  [[nodiscard]] const std::string& process() const { return steward_->process(); }

 private:
  struct Entry {
    std::string uid;
    Memory memory;
    bool forgotten = false;  // while busy
  };
  void work(const std::stop_token& stop);

  const std::unique_ptr<const Steward> steward_;
  const KeeperOptions options_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Job> waiting_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, int> running_;  // by namespace
  std::vector<std::jthread> threads_;
};

// 8 hexadecimal digits, random.
[[nodiscard]] std::string new_process_id();

}  // namespace palisade::op::tokens
