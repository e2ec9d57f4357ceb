// The session's life from the agent's start to the last process's end: guard is PID 1, so it reaps
// everybody, passes signals on, keeps the limits, and leaves nothing behind.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include <sys/types.h>

#include "guard/event.h"
#include "guard/policy.h"
#include "guard/proc.h"

namespace palisade::guard {

inline constexpr int kExitLimit = 124;

struct SessionOptions {
  // From a SIGTERM to the SIGKILL.
  std::chrono::milliseconds agent_grace{
      10'000};                             // the agent's, when the session is ended from outside
  std::chrono::milliseconds grace{2'000};  // everybody else's, and the agent's behind a limit
  std::size_t watched = 1024;              // processes whose end is put on record, at a time
};

struct SessionOutcome {
  // "exited", "deadline", "idle", "terminated", or what stop() was given.
  std::string why;
  std::string message;        // one line for people
  int exit_code = 0;          // guard's own
  std::optional<int> status;  // the agent's, as waitpid(2) gives it
  std::size_t killed = 0;  // processes that were still there when the agent was not, or had to go
};

// One session. The constructor and run() belong to the main thread; activity(), started() and
// stop() to every thread, from the constructor on.
class Session {
 public:
  // Blocks the signals that run() waits for (SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT) for the
  // calling thread and all that it starts later: first thing in main, before there is any thread.
  static void block_signals();
  // What the agent's process does before it executes the agent: an empty mask, default
  // dispositions. Async-signal-safe.
  static void restore_signals();

  // Makes this process the subreaper of its descendants. `limits` is copied; `recorder` outlives
  // the session. Errors: std::system_error.
  Session(const LimitPolicy& limits, Recorder& recorder, SessionOptions options = {});
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Waits for the agent's end, or ends it; then ends everything that is left (kill(-1) where guard
  // is PID 1, else every descendant by its pidfd), reaps it all, and puts SessionEnded on record.
  // Returns guard's exit code: the agent's own (128 + N for a signal), kExitLimit, or stop()'s.
  //
  // SIGTERM, SIGHUP, SIGQUIT and SIGINT are passed on to the agent; unless it has gone by then,
  // everything is killed `agent_grace` later. But a SIGINT or SIGQUIT of the terminal's own
  // (someone pressed ^C) ends nothing: the kernel has sent it to the agent as well, and whether to
  // go on is the agent's choice.
  //
  // LimitPolicy::command: a child of the agent and all its descendants, however they fork, are a
  // command. One that is older than the limit is killed whole, and a Finding "limit.command" names
  // it; the session goes on. A process that was orphaned before anyone saw its parent is a command
  // of its own, from its own start.
  // `settle` is called when no process is left, before the last ends are put on record: it returns
  // once no started process is still to be followed.
  [[nodiscard]] int run(pid_t agent, const std::function<void()>& settle = {});
  [[nodiscard]] const SessionOutcome& outcome() const;  // after run()

  // The agent is to be one that starts `program`, an absolute path, again and again, and other
  // programs in between: then LimitPolicy::command means the children of each `program` and the
  // others, but never `program` itself. To be called before run().
  void loop(std::string program);

  // Something has happened that counts against LimitPolicy::idle: an exec, a connection, output.
  void activity() noexcept;

  // A process is about to execute a program: it waits for guard's answer, so `pid` is its own.
  // Counts as activity. Another program in the same process ends the first one's record, without a
  // status: then true, and the new one's end is waited for. Never throws.
  bool started(pid_t pid, const std::string& program) noexcept;
  // After a started() that said false, once the process has its answer, at `when`: its end is put
  // on record as ExecEnded under `program`, with its status where the kernel tells (6.15), unless
  // too many are watched. `process` is its pidfd; it may have ended. Never throws.
  void followed(pid_t pid, std::string program, std::shared_ptr<const Fd> process,
                std::chrono::steady_clock::time_point when) noexcept;

  // Ends the session from within: `why` and `message` as in SessionOutcome ("record", "the record
  // cannot be written: ..."). The first call counts.
  void stop(std::string why, std::string message, int exit_code) noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::guard
