// How a coroutine waits for another thread, up to a deadline.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gateway/http/task.h>

namespace palisade::gateway {

// Set once, by any thread; waited for once, by one coroutine whose executor runs on one thread. The
// coroutine may be destroyed while it waits: set() then does nothing, and touches nothing of it.
class Wakeup {
 public:
  void set() {
    const std::scoped_lock lock(state_->mutex);
    state_->set = true;
    // While the timer is there, so is the coroutine that owns it, and its executor.
    if (state_->timer == nullptr) return;
    boost::asio::post(state_->timer->get_executor(), [state = state_] {
      const std::scoped_lock inner(state->mutex);
      if (state->timer != nullptr) state->timer->cancel();
    });
  }

  // False where the deadline came first.
  [[nodiscard]] Task<bool> wait(std::chrono::milliseconds deadline) {
    auto executor = co_await boost::asio::this_coro::executor;
    boost::asio::steady_timer timer(executor, deadline);
    bool done = false;
    {
      const std::scoped_lock lock(state_->mutex);
      done = state_->set;
      if (!done) state_->timer = &timer;
    }
    if (done) co_return true;
    const Registered registered(state_);
    boost::system::error_code ignored;
    co_await timer.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    const std::scoped_lock lock(state_->mutex);
    co_return state_->set;
  }

 private:
  struct State {
    std::mutex mutex;
    bool set = false;
    boost::asio::steady_timer* timer = nullptr;
  };
  class Registered {
   public:
    explicit Registered(std::shared_ptr<State> state) : state_(std::move(state)) {}
    ~Registered() {
      const std::scoped_lock lock(state_->mutex);
      state_->timer = nullptr;
    }
    Registered(const Registered&) = delete;
    Registered& operator=(const Registered&) = delete;

   private:
    const std::shared_ptr<State> state_;
  };

  std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace palisade::gateway
