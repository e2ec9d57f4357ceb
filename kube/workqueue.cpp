#include <algorithm>

#include <kube/workqueue.h>

namespace kube {

WorkQueue::WorkQueue(WorkQueueOptions options) : options_(options) {}

void WorkQueue::add_locked(const std::string& key) {
  if (shut_down_ || !dirty_.insert(key).second) return;
  // A key in processing waits in `dirty_` until done() puts it back.
  if (!processing_.contains(key)) {
    queue_.push_back(key);
    // All: the one that is woken may be on its way out (its stop token), and the key would wait.
    ready_.notify_all();
  }
}

void WorkQueue::add(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  const auto waiting = delayed_at_.find(key);
  if (waiting != delayed_at_.end()) {
    const auto [first, last] = delayed_.equal_range(waiting->second);
    delayed_.erase(
        std::find_if(first, last, [&](const auto& entry) { return entry.second == key; }));
    delayed_at_.erase(waiting);
  }
  add_locked(key);
}

void WorkQueue::add_after(const std::string& key, std::chrono::milliseconds delay) {
  if (delay <= std::chrono::milliseconds::zero()) {
    add(key);
    return;
  }
  const std::scoped_lock lock(mutex_);
  if (shut_down_) return;
  const auto due = Clock::now() + delay;
  const auto waiting = delayed_at_.find(key);
  if (waiting != delayed_at_.end()) {
    if (waiting->second <= due) return;
    const auto [first, last] = delayed_.equal_range(waiting->second);
    delayed_.erase(
        std::find_if(first, last, [&](const auto& entry) { return entry.second == key; }));
    waiting->second = due;
  } else {
    delayed_at_.emplace(key, due);
  }
  delayed_.emplace(due, key);
  ready_.notify_all();  // every waiter sleeps until the earliest: it may have moved
}

void WorkQueue::add_rate_limited(const std::string& key) {
  std::chrono::milliseconds delay{};
  {
    const std::scoped_lock lock(mutex_);
    const std::size_t failed = failures_[key]++;
    delay = failed >= 40 ? options_.backoff_max
                         : std::min(options_.backoff_max,
                                    options_.backoff_base * (std::int64_t{1} << failed));
  }
  add_after(key, delay);
}

void WorkQueue::forget(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  failures_.erase(key);
}

std::size_t WorkQueue::failures(const std::string& key) const {
  const std::scoped_lock lock(mutex_);
  const auto found = failures_.find(key);
  return found == failures_.end() ? 0 : found->second;
}

void WorkQueue::move_due_locked(Clock::time_point now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const std::string key = std::move(delayed_.begin()->second);
    delayed_.erase(delayed_.begin());
    delayed_at_.erase(key);
    add_locked(key);
  }
}

std::optional<std::string> WorkQueue::get(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (shut_down_ || stop.stop_requested()) return std::nullopt;
    move_due_locked(Clock::now());
    if (!queue_.empty()) {
      std::string key = std::move(queue_.front());
      queue_.pop_front();
      dirty_.erase(key);
      processing_.insert(key);
      return key;
    }
    const auto wake = [this] { return shut_down_ || !queue_.empty(); };
    if (delayed_.empty()) {
      const auto earlier = [&] { return wake() || !delayed_.empty(); };
      ready_.wait(lock, stop, earlier);
    } else {
      const auto due = delayed_.begin()->first;
      ready_.wait_until(lock, stop, due, [&] {
        return wake() || (!delayed_.empty() && delayed_.begin()->first < due);
      });
    }
  }
}

void WorkQueue::done(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  if (processing_.erase(key) == 0) return;
  if (dirty_.contains(key) && !shut_down_) {
    queue_.push_back(key);
    ready_.notify_all();
  }
}

void WorkQueue::shut_down() {
  const std::scoped_lock lock(mutex_);
  shut_down_ = true;
  ready_.notify_all();
}

std::size_t WorkQueue::size() const {
  const std::scoped_lock lock(mutex_);
  return queue_.size();
}

}  // namespace kube
