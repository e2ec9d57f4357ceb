#include "guard/kernel.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fstream>

#include <linux/seccomp.h>
#include <nlohmann/json.hpp>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/filter.h"
#include "guard/landlock.h"
#include "guard/memory.h"
#include "guard/proc.h"
#include "newer_kernel.h"

namespace palisade::guard {
namespace {

// Newer than the headers that this is built with.
constexpr int kGetMdwe = 66;

// A child that waits to be killed. It is not PR_SET_DUMPABLE's business: it shows what an agent's
// process would.
pid_t waiting_child() {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
      pause();
    }
  }
  return child;
}

void look_at_processes(Kernel& kernel) {
  const pid_t child = waiting_child();
  if (child < 0) {
    return;
  }
  static const std::uint64_t kWord = 0x70616c6973616465;
  const auto word = read_object<std::uint64_t>(
      child, static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(&kWord)));
  kernel.read_memory = word && *word == kWord;
  kernel.hold_threads = ptrace(PTRACE_SEIZE, child, nullptr, nullptr) == 0;
  const Fd process(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, __WALL) < 0 && errno == EINTR) {
  }
  PidfdInfo info;
  info.mask = kPidfdInfoExit;
  kernel.exit_info = process && ioctl(process.get(), kPidfdGetInfo, &info) == 0 &&
                     (info.mask & kPidfdInfoExit) != 0;
}

// Installs a filter like the agent's in a child.
void look_at_filter(Kernel& kernel) {
  const auto program = build_filter(
      {.jit = false, .guard = getpid(), .guard_group = getpgrp(), .signals_scoped = true});
  if (!program) {
    return;
  }
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const auto listener = install_filter(*program);
    auto flags = kSyncWakeUp;
    const bool sync = listener && ioctl(listener->get(), kSetFlags, flags) == 0;
    _exit(!listener ? 1 : sync ? 3 : 2);
  }
  int status = 0;
  while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (child > 0 && WIFEXITED(status)) {
    kernel.notify = kernel.wait_killable = WEXITSTATUS(status) >= 2;
    kernel.sync_wake_up = WEXITSTATUS(status) == 3;
  }
  if (!kernel.notify) {
    std::uint32_t action = SECCOMP_RET_USER_NOTIF;
    kernel.notify = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
  }
}

// Every user has its own number in the machine's user namespace: user_namespaces(7).
bool in_own_users() {
  std::ifstream map("/proc/self/uid_map");
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
  return map >> inside >> outside >> count && (inside != 0 || outside != 0 || count != 0xffffffff);
}

struct Feature {
  const char* name;
  const char* without;  // what is lost, or "" where it is required
  bool there;
};

std::vector<Feature> features(const Kernel& kernel) {
  return {
      {"landlock", "", kernel.landlock >= kLeastLandlock},
      {"seccomp-notify", "", kernel.notify},
      {"seccomp-wait-killable", "", kernel.wait_killable},
      {"read-memory", "", kernel.read_memory},
      {"hold-threads", "programs with threads cannot load libraries", kernel.hold_threads},
      {"landlock-network", "the second lock on connections (the filter holds the first)",
       kernel.landlock >= kLandlockNetwork},
      {"landlock-ioctl", "the limits on ioctl of devices", kernel.landlock >= kLandlockIoctl},
      {"landlock-scope", "the second lock on signals to guard", kernel.landlock >= kLandlockScope},
      {"mdwe", "the second lock on executable memory", kernel.mdwe},
      {"memfd-noexec", "memfd_create: the agent has none", kernel.memfd_noexec},
      {"sync-wake-up", "some speed of each exec", kernel.sync_wake_up},
      {"exit-info", "exit codes on record", kernel.exit_info},
      {"own-users", "limits.processes: only podPidsLimit bounds them", kernel.own_users},
  };
}

}  // namespace

Kernel look_at_kernel() {
  Kernel kernel;
  kernel.landlock = landlock_abi();
  kernel.mdwe = prctl(kGetMdwe, 0, 0, 0, 0) >= 0;
  const Fd memory(static_cast<int>(syscall(SYS_memfd_create, "check", kMfdNoexecSeal)));
  kernel.memfd_noexec = static_cast<bool>(memory);
  kernel.own_users = in_own_users();
  look_at_processes(kernel);
  look_at_filter(kernel);
  return kernel;
}

std::string missing(const Kernel& kernel) {
  if (kernel.landlock == 0) {
    return "this kernel has no Landlock: it needs Linux 6.2 or newer with CONFIG_SECURITY_LANDLOCK "
           "and landlock among the boot parameter lsm=";
  }
  if (kernel.landlock < kLeastLandlock) {
    return "this kernel's Landlock has ABI " + std::to_string(kernel.landlock) +
           ", and guard needs " + std::to_string(kLeastLandlock) + ": use Linux 6.2 or newer";
  }
  if (!kernel.notify) {
    return "seccomp(2) offers no notifications here: use Linux 5.19 or newer, and the container's "
           "seccomp profile RuntimeDefault";
  }
  if (!kernel.wait_killable) {
    return "seccomp(2) takes no filter with NEW_LISTENER and WAIT_KILLABLE_RECV: use Linux 5.19 or "
           "newer; where this runs under another supervisor, only one of them can have a listener";
  }
  if (!kernel.read_memory) {
    return "process_vm_readv(2) is refused here: use the container's seccomp profile "
           "RuntimeDefault, and kernel.yama.ptrace_scope 0 or 1";
  }
  return {};
}

std::expected<std::vector<std::string>, std::string> degraded(const Kernel& kernel,
                                                              const Policy& policy) {
  if (auto lacks = missing(kernel); !lacks.empty()) {
    return std::unexpected(lacks);
  }
  std::vector<std::string> lost;
  const auto need = [&](bool there, const char* name) {
    if (!there) {
      lost.emplace_back(name);
    }
  };
  need(kernel.landlock >= kLandlockNetwork, "landlock-network");
  need(kernel.landlock >= kLandlockIoctl, "landlock-ioctl");
  need(kernel.landlock >= kLandlockScope, "landlock-scope");
  need(kernel.mdwe || policy.exec.jit, "mdwe");
  need(kernel.exit_info, "exit-info");
  const bool counts = policy.limits.processes == 0 || kernel.own_users;
  need(counts, "process-limit");
  for (const auto& name : lost) {
    const auto& may = policy.may_degrade;
    if (std::find(may.begin(), may.end(), name) == may.end()) {
      if (!counts && name == "process-limit") {
        return std::unexpected(
            "limits.processes needs a user namespace of the pod's own: set hostUsers: false, or "
            "name process-limit in the policy's mayDegrade");
      }
      return std::unexpected("this kernel lacks " + name +
                             ": use a newer one, or name it in the policy's mayDegrade");
    }
  }
  return lost;
}

std::string kernel_text(const Kernel& kernel) {
  std::string text = "landlock ABI " + std::to_string(kernel.landlock) + "\n";
  for (const auto& feature : features(kernel)) {
    const std::string without = feature.without;
    text += std::string(feature.name) + ": " +
            (feature.there     ? "yes"
             : without.empty() ? "MISSING (required)"
                               : "no (without it: " + without + ")") +
            "\n";
  }
  const auto lacks = missing(kernel);
  return text + (lacks.empty() ? "guard can run here\n" : "guard cannot run here: " + lacks + "\n");
}

std::string kernel_json(const Kernel& kernel) {
  nlohmann::ordered_json object;
  object["landlockABI"] = kernel.landlock;
  for (const auto& feature : features(kernel)) {
    object["features"][feature.name] = feature.there;
  }
  const auto lacks = missing(kernel);
  object["usable"] = lacks.empty();
  object["missing"] = lacks;
  return object.dump(2) + "\n";
}

}  // namespace palisade::guard
