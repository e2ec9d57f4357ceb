// Of Linux, newer than the headers that this is built with.
#pragma once

#include <array>
#include <cstdint>

#include <linux/seccomp.h>
#include <sys/ioctl.h>

namespace palisade::guard {

inline constexpr unsigned kMfdNoexecSeal = 8;  // MFD_NOEXEC_SEAL (6.3)

// The kernel runs the waiting side of a notification at once on the same CPU (6.6).
inline constexpr unsigned long kSetFlags = SECCOMP_IOW(4, __u64);
inline constexpr std::uint64_t kSyncWakeUp = 1;

// struct pidfd_info of linux/pidfd.h (6.13; the exit code 6.15). Its size is a part of the
// request's number.
struct PidfdInfo {
  std::uint64_t mask = 0;  // what is asked for, then what is there
  std::uint64_t cgroup = 0;
  std::uint32_t pid = 0, group = 0, parent = 0;
  std::array<std::uint32_t, 8> owners{};
  std::int32_t exit_code = 0;
};
static_assert(sizeof(PidfdInfo) == 64);
inline constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);
inline constexpr std::uint64_t kPidfdInfoPid = 1U << 0;
inline constexpr std::uint64_t kPidfdInfoExit = 1U << 3;

}  // namespace palisade::guard
