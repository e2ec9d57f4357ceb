#include <algorithm>

#include <kube/cache.h>
#include <kube/workqueue.h>

namespace kube {

namespace {

constexpr unsigned kFreshInARow = 8;

std::size_t at(Priority priority) {
  return static_cast<std::size_t>(priority);
}

}  // namespace

WorkQueue::WorkQueue(WorkQueueOptions options) : options_(std::move(options)) {}

void WorkQueue::enqueue_locked(const std::string& key, Priority priority) {
  Lane& lane = lanes_[at(priority)];
  std::string ns = split_key(key).first;
  auto& keys = lane.keys[ns];
  if (keys.empty()) lane.turns.push_back(std::move(ns));
  keys.push_back(key);
  // All: the one that is woken may be on its way out (its stop token), and the key would wait.
  ready_.notify_all();
}

std::optional<std::string> WorkQueue::take_locked(Priority priority) {
  Lane& lane = lanes_[at(priority)];
  while (!lane.turns.empty()) {
    std::string ns = std::move(lane.turns.front());
    lane.turns.pop_front();
    const auto of = lane.keys.find(ns);
    std::string key = std::move(of->second.front());
    of->second.pop_front();
    const auto due = dirty_.find(key);
    const bool valid =
        due != dirty_.end() && due->second.priority == priority && !processing_.contains(key);
    if (of->second.empty()) {
      lane.keys.erase(of);
    } else if (valid) {
      lane.turns.push_back(std::move(ns));
    } else {
      lane.turns.push_front(std::move(ns));  // its turn has not been used
    }
    if (valid) return key;
  }
  return std::nullopt;
}

void WorkQueue::add_locked(const std::string& key, Priority priority) {
  if (shut_down_) return;
  const auto [entry, added] = dirty_.emplace(key, Due{priority, Clock::now()});
  const bool raised = !added && priority < entry->second.priority;
  if (!added && !raised) return;
  entry->second.priority = priority;
  // A key in processing waits in `dirty_` until done() puts it back.
  if (processing_.contains(key)) return;
  if (added) ++waiting_;
  enqueue_locked(key, priority);
}

void WorkQueue::undelay_locked(const std::string& key) {
  const auto waiting = delayed_at_.find(key);
  if (waiting == delayed_at_.end()) return;
  const auto [first, last] = delayed_.equal_range(waiting->second);
  delayed_.erase(std::find_if(first, last, [&](const auto& entry) { return entry.second == key; }));
  delayed_at_.erase(waiting);
}

void WorkQueue::add(const std::string& key, Priority priority) {
  const std::scoped_lock lock(mutex_);
  undelay_locked(key);
  add_locked(key, priority);
}

void WorkQueue::add_after(const std::string& key, std::chrono::milliseconds delay) {
  const std::scoped_lock lock(mutex_);
  if (shut_down_) return;
  const auto due = Clock::now() + delay;
  if (const auto waiting = delayed_at_.find(key);
      waiting != delayed_at_.end() && waiting->second <= due && delay.count() > 0)
    return;
  undelay_locked(key);
  if (delay <= std::chrono::milliseconds::zero()) {
    add_locked(key, Priority::kRoutine);
    return;
  }
  delayed_at_.emplace(key, due);
  delayed_.emplace(due, key);
  ready_.notify_all();  // every waiter sleeps until the earliest: it may have moved
}

// A bucket of `burst` tokens that fills at the rate: the time until the one that is taken is there.
std::chrono::milliseconds WorkQueue::reserve_locked(Clock::time_point now) {
  if (options_.rate_per_second <= 0) return std::chrono::milliseconds(0);
  const auto each = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(1.0 / options_.rate_per_second));
  // Where the bucket would be empty if nothing more were taken.
  const auto full = now - each * static_cast<std::int64_t>(options_.burst);
  bucket_empty_until_ = std::max(bucket_empty_until_, full) + each;
  return std::max(std::chrono::milliseconds(0),
                  std::chrono::ceil<std::chrono::milliseconds>(bucket_empty_until_ - now));
}

void WorkQueue::add_rate_limited(const std::string& key) {
  std::chrono::milliseconds delay{};
  {
    const std::scoped_lock lock(mutex_);
    const std::size_t failed = failures_[key]++;
    delay = failed >= 40 ? options_.backoff_max
                         : std::min(options_.backoff_max,
                                    options_.backoff_base * (std::int64_t{1} << failed));
    delay = std::max(delay, reserve_locked(Clock::now()));
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
    add_locked(key, Priority::kRoutine);
  }
}

std::optional<std::string> WorkQueue::get(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    if (shut_down_ || stop.stop_requested()) return std::nullopt;
    move_due_locked(Clock::now());
    if (waiting_ > 0) {
      const bool routine_first = fresh_in_a_row_ >= kFreshInARow;
      Priority taken = routine_first ? Priority::kRoutine : Priority::kFresh;
      auto key = take_locked(taken);
      if (!key) {
        taken = routine_first ? Priority::kFresh : Priority::kRoutine;
        key = take_locked(taken);
      }
      if (key) {
        fresh_in_a_row_ = taken == Priority::kFresh ? fresh_in_a_row_ + 1 : 0;
        --waiting_;
        const auto now = Clock::now();
        const auto due = dirty_.find(*key);
        if (options_.waited) options_.waited(now - due->second.since);
        dirty_.erase(due);
        processing_.emplace(*key, now);
        return key;
      }
    }
    const auto wake = [this] { return shut_down_ || waiting_ > 0; };
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
  if (const auto again = dirty_.find(key); again != dirty_.end() && !shut_down_) {
    ++waiting_;
    enqueue_locked(key, again->second.priority);
  }
}

void WorkQueue::shut_down() {
  const std::scoped_lock lock(mutex_);
  shut_down_ = true;
  ready_.notify_all();
}

std::size_t WorkQueue::size() const {
  const std::scoped_lock lock(mutex_);
  return waiting_;
}

WorkQueueSnapshot WorkQueue::snapshot(std::size_t limit) const {
  const auto in_ms = [](Clock::duration span) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(span);
  };
  const std::scoped_lock lock(mutex_);
  const auto now = Clock::now();
  WorkQueueSnapshot out;
  for (const auto& [key, due] : dirty_) {
    if (processing_.contains(key)) continue;
    ++(due.priority == Priority::kFresh ? out.fresh : out.routine);
    out.longest_wait = std::max(out.longest_wait, in_ms(now - due.since));
  }
  for (const auto& [key, since] : processing_)
    out.processing.push_back({key, in_ms(now - since)});
  out.delayed_total = delayed_.size();
  out.failing = failures_.size();
  for (const auto& [due, key] : delayed_) {
    if (out.delayed.size() == limit) break;
    const auto failed = failures_.find(key);
    out.delayed.push_back({key, in_ms(due - now), failed == failures_.end() ? 0 : failed->second});
  }
  return out;
}

std::string WorkQueue::stuck(std::chrono::milliseconds limit) const {
  const std::scoped_lock lock(mutex_);
  const auto now = Clock::now();
  for (const auto& [key, since] : processing_) {
    if (now - since > limit) return key;
  }
  return {};
}

}  // namespace kube
