// A record that is kept in memory.
#pragma once

#include <atomic>
#include <mutex>
#include <variant>
#include <vector>

#include "guard/event.h"

namespace palisade::guard {

class Events : public Recorder {
 public:
  bool put(const Event& event) override {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
    return !broken;
  }
  void left_out(std::uint64_t events) override { dropped += events; }
  template <typename T>
  std::vector<T> all() const {
    std::lock_guard lock(mutex_);
    std::vector<T> found;
    for (const auto& event : events_) {
      if (const T* one = std::get_if<T>(&event)) found.push_back(*one);
    }
    return found;
  }
  std::atomic<bool> broken = false;
  std::atomic<std::uint64_t> dropped = 0;

 private:
  mutable std::mutex mutex_;
  std::vector<Event> events_;
};

}  // namespace palisade::guard
