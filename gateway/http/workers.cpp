#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <gateway/http/workers.h>

namespace palisade::gateway {

namespace {

namespace asio = boost::asio;

// One call of run(). It is resumed on its executor, which may be gone by the time that the work is
// done: then its context has taken the continuation away.
struct Job {
  std::function<void()> work;
  std::exception_ptr thrown;
  std::mutex mutex;
  std::move_only_function<void(bool)> resume;  // posts; called once
};

// The jobs that wait to be resumed on a context, so that it can let go of them when it ends.
class Pending final : public asio::execution_context::service {
 public:
  using key_type = Pending;
  static asio::execution_context::id id;

  explicit Pending(asio::execution_context& context) : service(context) {}

  void add(const std::shared_ptr<Job>& job) {
    const std::scoped_lock lock(mutex_);
    jobs_.insert(job);
  }
  void remove(const std::shared_ptr<Job>& job) {
    const std::scoped_lock lock(mutex_);
    jobs_.erase(job);
  }

 private:
  void shutdown() override {
    std::unordered_set<std::shared_ptr<Job>> jobs;
    {
      const std::scoped_lock lock(mutex_);
      jobs.swap(jobs_);
    }
    for (const auto& job : jobs) {
      std::move_only_function<void(bool)> dropped;
      const std::scoped_lock lock(job->mutex);
      dropped.swap(job->resume);
    }
  }

  std::mutex mutex_;
  std::unordered_set<std::shared_ptr<Job>> jobs_;
};

asio::execution_context::id Pending::id;

void complete(Job& job, bool done) {
  // Held while it posts: the context cannot end in between.
  const std::scoped_lock lock(job.mutex);
  if (job.resume) std::exchange(job.resume, nullptr)(done);
}

}  // namespace

struct Workers::Impl {
  Impl(int threads_wanted, std::size_t most)
      : max_threads(static_cast<std::size_t>(std::max(1, threads_wanted))), max_waiting(most) {}

  const std::size_t max_threads;
  const std::size_t max_waiting;
  std::mutex mutex;
  std::condition_variable more;
  std::deque<std::shared_ptr<Job>> queue;
  bool stopping = false;
  std::size_t resting = 0;
  std::vector<std::thread> threads;

  // Threads are made as they are needed: many who have Workers never do. Under the mutex.
  void hire() {
    if (resting < queue.size() && threads.size() < max_threads)
      threads.emplace_back([this] { work(); });
  }

  static Task<bool> submit(const std::shared_ptr<Impl>& impl, const std::shared_ptr<Job>& job,
                           const asio::any_io_executor& executor);

  void work() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex);
        ++resting;
        more.wait(lock, [this] { return stopping || !queue.empty(); });
        --resting;
        if (stopping) return;
        job = std::move(queue.front());
        queue.pop_front();
      }
      try {
        job->work();
      } catch (...) {
        job->thrown = std::current_exception();
      }
      job->work = nullptr;
      complete(*job, true);
    }
  }
};

Workers::Workers(int threads, std::size_t max_waiting)
    : impl_(std::make_shared<Impl>(threads, max_waiting)) {}

Workers::~Workers() {
  std::deque<std::shared_ptr<Job>> dropped;
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stopping = true;
    dropped.swap(impl_->queue);
  }
  impl_->more.notify_all();
  for (const auto& job : dropped)
    complete(*job, false);
  for (auto& thread : impl_->threads)
    thread.join();
}

// No coroutine: GCC 12 destroys what a lambda within a co_await has captured twice.
Task<bool> Workers::Impl::submit(const std::shared_ptr<Impl>& impl, const std::shared_ptr<Job>& job,
                                 const asio::any_io_executor& executor) {
  return asio::async_initiate<const asio::use_awaitable_t<>, void(bool)>(
      [impl, job, executor](auto handler) {
        job->resume = [executor, resume = std::move(handler)](bool result) mutable {
          asio::post(executor, [resume = std::move(resume), result]() mutable { resume(result); });
        };
        bool refused = false;
        {
          const std::scoped_lock lock(impl->mutex);
          refused = impl->stopping;
          if (!refused) {
            impl->queue.push_back(job);
            impl->hire();
          }
        }
        if (refused)
          complete(*job, false);
        else
          impl->more.notify_one();
      },
      asio::use_awaitable);
}

Task<NetResult<void>> Workers::run(std::function<void()> work) {
  const std::shared_ptr<Impl> impl = impl_;
  const auto job = std::make_shared<Job>();
  job->work = std::move(work);
  {
    const std::scoped_lock lock(impl->mutex);
    if (impl->stopping) co_return std::unexpected(NetError{Fault::kStopped, "ending"});
    if (impl->queue.size() >= impl->max_waiting)
      co_return std::unexpected(NetError{Fault::kTooLarge, "too much waits for a thread"});
  }
  const auto executor = co_await asio::this_coro::executor;
  auto& pending = asio::use_service<Pending>(executor.context());
  pending.add(job);
  const bool done = co_await Impl::submit(impl, job, executor);
  pending.remove(job);
  if (!done) co_return std::unexpected(NetError{Fault::kStopped, "ending"});
  // Taken, so that the worker is not the one to let go of it last.
  if (job->thrown) std::rethrow_exception(std::exchange(job->thrown, nullptr));
  co_return NetResult<void>();
}

}  // namespace palisade::gateway
