// LimitPolicy::command (session.h): which command each process belongs to, and the end of those
// that are too old.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

#include "guard/event.h"
#include "guard/processes.h"

namespace palisade::guard {

// "1500ms", "90s", "2m": for messages.
[[nodiscard]] std::string in_words(std::chrono::milliseconds time);

// started() is thread-safe; loop() comes before everything, and the rest is the main thread's.
class CommandLimit {
 public:
  using Clock = std::chrono::steady_clock;

  // `limit` zero: there is none, and nothing is to be done. `grace`: from a SIGTERM to the SIGKILL.
  // `recorder` outlives this object.
  CommandLimit(std::chrono::milliseconds limit, std::chrono::milliseconds grace, Recorder& recorder)
      : limit_(limit), grace_(grace), recorder_(recorder) {}

  void loop(std::string program) { loop_ = std::move(program); }  // Session::loop()
  // `pid` waits for guard's answer and is about to execute `program`.
  void started(pid_t pid, const std::string& program);

  void begin(pid_t agent);
  // When the next look is due; none where there is no limit.
  [[nodiscard]] std::optional<Clock::time_point> next() const { return next_; }
  // Ends what is too old, step by step. False: the record has refused an event.
  [[nodiscard]] bool look();

 private:
  [[nodiscard]] bool end(const Commands::Command& command);
  void kill_whole(const Commands::Command& command);

  const std::chrono::milliseconds limit_;
  const std::chrono::milliseconds grace_;
  Recorder& recorder_;
  std::string loop_;

  std::mutex mutex_;
  std::vector<ProcessState> seen_;  // by started()
  // Of a loop: its children that have executed something, and those that began as `loop_`.
  std::set<Identity> children_;
  std::vector<ProcessState> again_;

  pid_t agent_ = 0;
  std::optional<Clock::time_point> next_;
  std::optional<Commands> commands_;
  std::map<Identity, Clock::time_point> dying_;  // commands that were told to end: when they must
};

}  // namespace palisade::guard
