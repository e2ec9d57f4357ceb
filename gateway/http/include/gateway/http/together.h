// Two coroutines at the same time, on one thread: a request's body on its way while its answer may
// come already.
#pragma once

#include <exception>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gateway/http/task.h>

namespace palisade::gateway {

// Runs both on the caller's executor and returns once both have ended. What one of
// them throws is thrown here; of two the first's. Neither is ended because the other has: whoever
// ends first must tell the other (Call::abort, Exchange::stop_reading).
inline Task<void> together(Task<void> first, Task<void> other) {
  namespace asio = boost::asio;
  const auto executor = co_await asio::this_coro::executor;
  std::exception_ptr thrown_first;
  std::exception_ptr thrown_other;
  bool ended = false;
  asio::steady_timer end(executor, asio::steady_timer::time_point::max());
  asio::co_spawn(executor, std::move(other), [&](std::exception_ptr thrown) {
    thrown_other = std::move(thrown);
    ended = true;
    end.cancel();
  });
  try {
    co_await std::move(first);
  } catch (...) {
    thrown_first = std::current_exception();
  }
  if (!ended) {
    try {
      co_await end.async_wait(asio::use_awaitable);
    } catch (const boost::system::system_error&) {
      // Cancelled: that is the end.
    }
  }
  if (thrown_first) std::rethrow_exception(thrown_first);
  if (thrown_other) std::rethrow_exception(thrown_other);
}

}  // namespace palisade::gateway
