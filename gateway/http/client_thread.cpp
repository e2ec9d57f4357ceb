#include <condition_variable>
#include <csignal>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gateway/http/client_thread.h>

#include "loop.h"
#include "pool.h"

namespace palisade::gateway {

namespace {

constexpr std::size_t kMaxLookupsWaiting = 16;

}  // namespace

struct ClientThread::Impl {
  explicit Impl(Work its_work)
      : work(std::move(its_work)),
        clients(make_clients(loop, std::make_shared<Workers>(1, kMaxLookupsWaiting))) {
    timer.emplace(loop.io());
  }

  const Work work;
  Loop loop;
  std::unique_ptr<Clients> clients;
  std::optional<boost::asio::steady_timer> timer;  // goes before the loop's shutdown
  bool woken = false;                              // the thread's own
  bool stopping = false;                           // the thread's own
  std::mutex mutex;
  std::condition_variable changed;
  bool ended = false;
  std::thread thread;
};

ClientThread::ClientThread(Work work) : impl_(std::make_unique<Impl>(std::move(work))) {
  std::signal(SIGPIPE, SIG_IGN);
  Impl& impl = *impl_;
  boost::asio::co_spawn(impl.loop.io(), impl.work(*this), [&impl](const std::exception_ptr&) {
    {
      const std::scoped_lock lock(impl.mutex);
      impl.ended = true;
    }
    impl.changed.notify_all();
  });
  impl.thread = std::thread([&impl] { impl.loop.run(); });
}

ClientThread::~ClientThread() {
  stop();
}

Clients& ClientThread::clients() {
  return *impl_->clients;
}

bool ClientThread::stopping() const {
  return impl_->stopping;
}

Task<void> ClientThread::pause(std::chrono::milliseconds length) {
  if (!std::exchange(impl_->woken, false) && !impl_->stopping) {
    impl_->timer->expires_after(length);
    boost::system::error_code cancelled;
    co_await impl_->timer->async_wait(
        boost::asio::redirect_error(boost::asio::use_awaitable, cancelled));
    impl_->woken = false;
  }
}

void ClientThread::wake() {
  boost::asio::post(impl_->loop.io(), [impl = impl_.get()] {
    impl->woken = true;
    impl->timer->cancel();
  });
}

bool ClientThread::wait(std::chrono::milliseconds within) {
  std::unique_lock lock(impl_->mutex);
  return impl_->changed.wait_for(lock, within, [this] { return impl_->ended; });
}

void ClientThread::stop() {
  if (!impl_->thread.joinable()) return;
  boost::asio::post(impl_->loop.io(), [impl = impl_.get()] {
    impl->stopping = true;
    impl->timer->cancel();
    impl->loop.abort_all();
  });
  {
    std::unique_lock lock(impl_->mutex);
    impl_->changed.wait(lock, [this] { return impl_->ended; });
  }
  impl_->loop.stop();
  impl_->thread.join();
  impl_->timer.reset();
  impl_->loop.shutdown();
}

}  // namespace palisade::gateway
