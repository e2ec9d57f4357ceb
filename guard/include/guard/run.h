// `palisade-guard run`: one session of an agent, from the policy to the last process's end.
#pragma once

#include <string>
#include <vector>

namespace palisade::guard {

inline constexpr int kExitPolicy = 120;     // the policy file is broken or names what is not there
inline constexpr int kExitKernel = 121;     // the kernel or the container lacks something required
inline constexpr int kExitPreflight = 122;  // the network is open
inline constexpr int kExitProgram = 123;    // the agent's program cannot be started
inline constexpr int kExitRecord = 125;     // the record cannot be kept; 124 is session.h's
inline constexpr int kExitInternal = 126;

struct RunOptions {
  std::string policy;
  // Instead of `command`: a JSON list of words. It is waited for (await.h), so that a container can
  // stand ready before anybody knows what it will run; the policy is read after it.
  std::string command_file;
  std::string termination_log = "/dev/termination-log";  // "": none is written
  std::vector<std::string> command;
};

// Returns the exit code: the agent's own, or one of the above with one line on stderr. Everything
// that can fail is done before the agent starts; what fails ends guard. Blocks signals (session.h),
// so it must be called while the program has one thread.
[[nodiscard]] int run(const RunOptions& options);

}  // namespace palisade::guard
