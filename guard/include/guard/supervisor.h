// The thread `notify`: takes every notification of the agent's system calls, has it judged,
// answers. Whatever a judge throws or cannot find out ends in a refusal.
//
// Judges have the shape `Answer judge_X(const Notification&, Context&)`. A judge refuses with
// Context::refuse(), which puts the refusal on record and, in Audit mode, lets the call through.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "guard/event.h"
#include "guard/notification.h"
#include "guard/policy.h"
#include "guard/proc.h"

namespace palisade::guard {

class FileDigests;
class Scripts;
class Sockets;
struct Programs;

struct Hooks {
  // A program is let through; called while the process waits. False: `followed` is to be called.
  std::function<bool(pid_t process, const std::string& program)> started;
  // The process has gone on with it, and may have ended since.
  std::function<void(const Caller& caller, const std::string& program,
                     std::chrono::steady_clock::time_point when)>
      followed;
  std::function<void()> record_lost;  // Recorder::put() said false
  // Whether this process may start an allowed program; unset: every one may.
  std::function<bool(pid_t process, const std::string& program)> may_start;
};

// What judges may use; the thread `notify`'s own.
struct Context {
  const Policy& policy;
  const Programs& programs;
  Recorder& recorder;
  Hooks hooks;

  // Puts an event on record; where that fails, says so to hooks.record_lost.
  void put(const Event& event);
  // The refusal `rule` of the call: on record, then `error` for the caller; CONTINUE in Audit mode.
  Answer refuse(const Notification& notification, const std::string& rule, int error,
                std::string target = {}, std::vector<std::string> argv = {});
  // Work that is done once the caller has its answer: whatever decides nothing.
  void later(std::function<void()> work);

  std::vector<std::function<void()>> after;
  // For such work: whether the caller took the answer. Then all that was read before was its own.
  bool taken = false;
};

class Supervisor {
 public:
  // All that is referred to outlives the supervisor.
  struct Parts {
    const Policy& policy;
    const Programs& programs;
    Sockets& sockets;
    FileDigests& digests;
    Scripts& scripts;
    Recorder& recorder;
    Hooks hooks;
  };
  // Starts the thread, which waits for serve(). To be made by a thread that is under no filter and
  // in no Landlock domain: the thread inherits both. Errors: std::system_error.
  explicit Supervisor(Parts parts);
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor();  // stop()

  // Gives the thread the listener of a filter (filter.h) to serve, once. From any thread.
  void serve(Fd listener);
  // Returns once all is on record of calls that had their answers when this was called.
  void settle();
  // Ends the thread and joins it. What is not answered yet gets ENOSYS from the kernel: so only at
  // the end of everything. Idempotent.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace palisade::guard
