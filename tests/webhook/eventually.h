// Waiting in tests.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace palisade::webhook::testing {

using Clock = std::chrono::steady_clock;

// True as soon as `what` holds; false after `patience`.
inline bool eventually(const std::function<bool()>& what,
                       std::chrono::seconds patience = std::chrono::seconds(30)) {
  for (const auto deadline = Clock::now() + patience; Clock::now() < deadline;
       std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    if (what()) return true;
  }
  return what();
}

}  // namespace palisade::webhook::testing
