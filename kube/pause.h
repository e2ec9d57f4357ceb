#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace kube {

// Waits for `length`; false where `stop` has ended it early.
inline bool pause(const std::stop_token& stop, std::chrono::steady_clock::duration length) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  never.wait_for(lock, stop, length, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace kube
