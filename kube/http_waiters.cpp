#include "http_waiters.h"

#include <pthread.h>

namespace kube {

HttpWaiters::HttpWaiters(HttpShared& shared, int threads, std::size_t max_queue)
    : shared_(shared), max_queue_(max_queue) {
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this](const std::stop_token& stop) { run(stop); });
    pthread_setname_np(threads_.back().native_handle(), "http-wait");
  }
}

HttpWaiters::~HttpWaiters() {
  for (auto& thread : threads_)
    thread.request_stop();
}

bool HttpWaiters::submit(HttpJob& job) {
  {
    const std::scoped_lock lock(mutex_);
    if (queue_.size() >= max_queue_) return false;
    const auto rounds = static_cast<std::int64_t>(queue_.size() / threads_.size());
    if (HttpClock::now() + usual_ * rounds >= job.deadline) return false;
    queue_.push_back(std::move(job));
  }
  changed_.notify_one();
  return true;
}

void HttpWaiters::run(const std::stop_token& stop) {
  while (true) {
    HttpJob job;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [this] { return !queue_.empty(); }) || stop.stop_requested())
        return;
      job = std::move(queue_.front());
      queue_.pop_front();
    }
    HttpAnswer answer;
    answer.connection = job.connection;
    const auto begun = HttpClock::now();
    if (begun < job.deadline) {
      HttpRequest request = job.reader->parts().view();
      request.deadline = job.deadline;
      answer.response = shared_.answer(request);
      const std::scoped_lock lock(mutex_);
      usual_ += (HttpClock::now() - begun - usual_) / 8;
    }
    answer.reader = std::move(job.reader);
    job.share = {};
    job.loop->give(std::move(answer));
  }
}

}  // namespace kube
