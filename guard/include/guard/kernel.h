// What this kernel can do for guard, found out by asking it and not by its version.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "guard/policy.h"

namespace palisade::guard {

struct Kernel {
  int landlock = 0;            // ABI
  bool notify = false;         // SECCOMP_RET_USER_NOTIF
  bool wait_killable = false;  // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (5.19)
  bool memfd_noexec = false;   // MFD_NOEXEC_SEAL (6.3)
  bool mdwe = false;           // PR_SET_MDWE (6.3)
  bool sync_wake_up = false;   // SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (6.6): speed alone
  bool exit_info = false;      // PIDFD_INFO_EXIT (6.15): exit codes on record
  bool read_memory = false;    // process_vm_readv(2) of a child
  bool hold_threads = false;   // PTRACE_SEIZE of a child
  bool own_users = false;      // a user namespace below the machine's
};

// Starts two short-lived children. For a program that has no other thread yet.
[[nodiscard]] Kernel look_at_kernel();

// What the policy needs and the kernel lacks, as policy.mayDegrade names it. The error is one line
// that names what is missing and the fix.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> degraded(const Kernel& kernel,
                                                                            const Policy& policy);

// For `palisade-guard check`: a line a feature, or one JSON object.
[[nodiscard]] std::string kernel_text(const Kernel& kernel);
[[nodiscard]] std::string kernel_json(const Kernel& kernel);
// What is missing for every policy; "" where nothing is.
[[nodiscard]] std::string missing(const Kernel& kernel);

}  // namespace palisade::guard
