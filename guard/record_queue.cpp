#include "record_queue.h"

#include <chrono>
#include <exception>
#include <utility>
#include <variant>

#include <pthread.h>

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

// Between two turns: a program that starts and ends within it costs one wake-up with all others.
constexpr auto kRest = 2ms;

bool may_wait(const Event& event) {
  return std::holds_alternative<ExecStarted>(event) || std::holds_alternative<ExecEnded>(event) ||
         std::holds_alternative<Connected>(event) || std::holds_alternative<ScriptRun>(event);
}

}  // namespace

RecordQueue::RecordQueue(FileRecorder& record, Hooks hooks)
    : record_(record), hooks_(std::move(hooks)), thread_([this] {
        pthread_setname_np(pthread_self(), "record");
        serve();
      }) {}

void RecordQueue::finish() {
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  changed_.notify_one();
  if (thread_.joinable()) {
    thread_.join();
  }
  flush();
}

bool RecordQueue::take(const Event& event) {
  Waiting one{event, {}};
  const std::scoped_lock lock(mutex_);
  one.when = record_.now();
  waiting_.push_back(std::move(one));
  if (!may_wait(event) || !kept_ || ending_ || waiting_.size() >= kMost) {
    return false;
  }
  if (waiting_.size() == 1) {
    changed_.notify_one();
  }
  return true;
}

bool RecordQueue::put(const Event& event) {
  try {
    if (const auto* ended = std::get_if<ExecEnded>(&event); ended != nullptr && hooks_.ended) {
      hooks_.ended(ended->pid);
    }
    if (take(event)) {
      return true;
    }
    const std::scoped_lock lock(writing_);
    return write_all();
  } catch (const std::exception&) {  // no memory for it
    record_.left_out(1);
    return false;
  }
}

void RecordQueue::flush() {
  const std::scoped_lock lock(writing_);
  write_all();
}

bool RecordQueue::write_all() {
  std::vector<Waiting> taken;
  {
    const std::scoped_lock lock(mutex_);
    taken = std::exchange(waiting_, {});
  }
  bool kept = true;
  for (const auto& one : taken) {
    kept = record_.put(one.event, one.when) && kept;
  }
  const std::scoped_lock lock(mutex_);
  kept_ = kept_ && kept;
  return kept_;
}

void RecordQueue::serve() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    changed_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
    // Those that follow at once come along.
    changed_.wait_for(lock, kRest, [this] { return ending_; });
    const bool before = kept_;
    lock.unlock();
    bool kept = true;
    {
      const std::scoped_lock writing(writing_);
      kept = write_all();
    }
    if (before && !kept && hooks_.lost) {
      hooks_.lost();
    }
    lock.lock();
  }
}

}  // namespace palisade::guard
