// The agent's view of the file system and the network as a Landlock domain: what it may read, write
// and execute, by file. It is the kernel's own and rests on nothing that the agent can change.
// Source: landlock(7), https://docs.kernel.org/userspace-api/landlock.html
//
// mode Enforce  READ below files.read, everything but device nodes below files.write, EXECUTE on
// the
//               programs alone, no TCP connect or bind, no signal and no abstract Unix socket to
//               the outside, where the ABI has them
// mode Audit    everything, but for the record, which nobody but guard writes
#pragma once

#include <expected>
#include <string>

#include "guard/policy.h"
#include "guard/proc.h"
#include "guard/programs.h"

namespace palisade::guard {

inline constexpr int kLeastLandlock = 3;    // truncate(2) is judged from here on
inline constexpr int kLandlockNetwork = 4;  // TCP
inline constexpr int kLandlockIoctl = 5;    // ioctl(2) on devices
inline constexpr int kLandlockScope = 6;    // signals, abstract Unix sockets

// The kernel's Landlock ABI; 0 where there is none.
[[nodiscard]] int landlock_abi();

// The error is one line that names the path. Folders of the policy that are not there are left out.
[[nodiscard]] std::expected<Fd, std::string> landlock_ruleset(const Policy& policy,
                                                              const Programs& programs, int abi);

// Puts the calling thread, and all that it starts, into the domain for good. Needs no_new_privs.
// Error: errno.
[[nodiscard]] std::expected<void, int> landlock_enter(const Fd& ruleset);

}  // namespace palisade::guard
