// Which system calls of the agent the kernel lets through at once, which wait for guard, and which
// it refuses by itself. Only numbers and registers are looked at here, so nothing can change
// between the look and the use. What is refused is notified, so that it is on record; but for
// clone3, which libc replaces by clone when it hears ENOSYS, and calls that are newer than this
// filter.
//
// A call without a rule costs nothing: its number is in the kernel's bitmap of calls that are
// always allowed. Source: seccomp(2), seccomp_unotify(2).
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/types.h>

#include "guard/policy.h"
#include "guard/proc.h"

namespace palisade::guard {

struct FilterOptions {
  bool jit = false;       // ExecPolicy::jit
  pid_t guard = 0;        // may not be signalled, opened or limited
  pid_t guard_group = 0;  // its process group; where that is 1, kill(2) cannot name it
  // Whether Landlock keeps signals inside the domain (kLandlockScope). If not, pidfd_send_signal(2)
  // is refused: who it reaches is not in its registers.
  bool signals_scoped = true;
};

// The program for all but newer calls. The error is libseccomp's.
[[nodiscard]] std::expected<std::vector<sock_filter>, std::string> build_filter(
    const FilterOptions& options);

// Installs it in the calling thread, for it and all that it starts: first a small one that answers
// ENOSYS to calls that did not exist when this was written, then `program`. Returns the listener.
// Needs no_new_privs. The error names the flag that the kernel does not know.
[[nodiscard]] std::expected<Fd, std::string> install_filter(
    const std::vector<sock_filter>& program);

// The name of a call: "ptrace". Of one that nobody knows, its number.
[[nodiscard]] std::string call_name(const seccomp_data& data);

}  // namespace palisade::guard
