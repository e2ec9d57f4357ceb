// Coroutines run to their end by a test's own thread.
#pragma once

#include <chrono>
#include <functional>
#include <thread>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_future.hpp>
#include <gateway/http/task.h>

namespace palisade::gateway::testing {

template <class T>
T result_of(Task<T> task) {
  boost::asio::io_context io(1);
  auto future = boost::asio::co_spawn(io, std::move(task), boost::asio::use_future);
  io.run();
  return future.get();
}

// True as soon as `what` holds; false after `patience`.
inline bool eventually(const std::function<bool()>& what,
                       std::chrono::seconds patience = std::chrono::seconds(30)) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (std::chrono::steady_clock::now() < deadline) {
    if (what()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return what();
}

}  // namespace palisade::gateway::testing
