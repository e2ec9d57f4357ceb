// The record, off the way of those who wait for guard: an event that may be left out by the rate
// (what was started, ended, connected, fed to an interpreter) is taken at once and becomes a line a
// few milliseconds later, on a thread of its own, so that the thread `notify` is free for the next
// call. All lines stand in the order of the events and have their time; no refusal and no finding
// waits: with it everything before it is written before put() returns.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include <guard/event.h>
#include <guard/record.h>
#include <sys/types.h>

namespace palisade::guard {

// Thread-safe.
class RecordQueue : public Recorder {
 public:
  struct Hooks {
    // With each ExecEnded's process, on the thread that puts it, before put() returns.
    std::function<void(pid_t)> ended;
    std::function<void()> lost;  // the thread could not write a line; called once
  };
  // `record` outlives it. Errors: std::system_error.
  RecordQueue(FileRecorder& record, Hooks hooks);
  ~RecordQueue() override { finish(); }
  RecordQueue(const RecordQueue&) = delete;
  RecordQueue& operator=(const RecordQueue&) = delete;

  // False: the record cannot be kept any more.
  bool put(const Event& event) override;
  void left_out(std::uint64_t events) override { record_.left_out(events); }
  // Returns once everything is written that was put before.
  void flush();
  // The same, and the thread ends: from here on put() writes by itself. Idempotent, of one thread.
  void finish();

  static constexpr std::size_t kMost = 256;  // that wait; who puts one more writes them itself

 private:
  struct Waiting {
    Event event;
    Moment when;
  };
  bool write_all();  // under writing_; false: the record cannot be kept
  void serve();
  [[nodiscard]] bool take(const Event& event);  // true: it waits

  FileRecorder& record_;
  const Hooks hooks_;
  std::mutex writing_;  // before mutex_
  std::mutex mutex_;    // of what follows
  std::condition_variable changed_;
  std::vector<Waiting> waiting_;
  bool kept_ = true;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace palisade::guard
