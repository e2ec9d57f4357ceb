// The threads on which handlers wait, so that none of those that serve everybody does.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "http_loop.h"

namespace kube {

class HttpWaiters {
 public:
  HttpWaiters(HttpShared& shared, int threads, std::size_t max_queue);
  ~HttpWaiters();  // waits for the handlers that run
  HttpWaiters(const HttpWaiters&) = delete;
  HttpWaiters& operator=(const HttpWaiters&) = delete;

  // False, and `job` is as it was, where the queue is full or so long that its turn would come too
  // late.
  bool submit(HttpJob& job);

 private:
  void run(const std::stop_token& stop);

  HttpShared& shared_;
  const std::size_t max_queue_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<HttpJob> queue_;
  std::chrono::nanoseconds usual_{0};  // what a handler takes, a moving average
  std::vector<std::jthread> threads_;  // last: they use the others
};

}  // namespace kube
