// Starts the agent. A thread `launcher` puts itself under the filter and into the Landlock domain,
// which a thread can do for itself alone, and forks the agent; then it ends. So guard's other
// threads stay free, and what they make is none of the agent's.
#pragma once

#include <expected>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <linux/filter.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "guard/proc.h"

namespace palisade::guard {

struct Launch {
  std::string program;                   // the file, absolute
  std::vector<std::string> arguments;    // with the first word
  std::vector<std::string> environment;  // "NAME=value"
  Fd ruleset;                            // landlock.h
  std::vector<sock_filter> filter;       // filter.h
  bool mdwe = true;                      // PR_SET_MDWE for the agent
  rlimit files{};                        // RLIMIT_NOFILE of the agent
  std::optional<rlimit> processes;       // RLIMIT_NPROC of the agent, else guard's
  // Takes the listener: somebody must begin to answer, for the agent's own execve is notified. Runs
  // on the launcher's thread, so it may start no thread: that would be under the filter too.
  std::function<void(Fd listener)> serve;
  // Runs in the child before it executes: async-signal-safe calls alone. False, with errno: it
  // ends.
  std::function<bool()> adopt;
};

struct LaunchError {
  bool program = false;  // the program cannot be executed; else it is guard or the kernel
  std::string message;
};

// Returns the agent's process, which is executing its program. The launcher has ended by then.
[[nodiscard]] std::expected<pid_t, LaunchError> launch(const Launch& launch);

}  // namespace palisade::guard
