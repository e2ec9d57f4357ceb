// Kernels that are older than this one: what is said of them, and that what they have holds by
// itself.
#include "guard/kernel.h"

#include <functional>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "guard/guarded.h"
#include "guard/landlock.h"

namespace palisade::guard::testing {
namespace {

Kernel newest() {
  return {.landlock = 7,
          .notify = true,
          .wait_killable = true,
          .memfd_noexec = true,
          .mdwe = true,
          .sync_wake_up = true,
          .exit_info = true,
          .read_memory = true,
          .hold_threads = true,
          .own_users = true};
}

struct Older {
  const char* name;
  std::function<void(Kernel&)> change;
  const char* missing;                // "" where guard can run
  std::vector<std::string> degraded;  // what the policy must allow
};

class OlderKernel : public ::testing::TestWithParam<Older> {};

TEST_P(OlderKernel, IsRefusedOrReported) {
  Kernel kernel = newest();
  GetParam().change(kernel);
  Policy policy;
  const std::string lacks = missing(kernel);
  const auto report = nlohmann::json::parse(kernel_json(kernel));
  EXPECT_EQ(report["usable"], lacks.empty());
  EXPECT_EQ(report["landlockABI"], kernel.landlock);
  if (*GetParam().missing != '\0') {
    EXPECT_NE(lacks.find(GetParam().missing), std::string::npos) << lacks;
    policy.may_degrade = {"landlock-network", "landlock-ioctl", "landlock-scope", "mdwe",
                          "exit-info",        "process-limit"};
    const auto outcome = degraded(kernel, policy);
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error(), lacks);
    EXPECT_NE(kernel_text(kernel).find("MISSING (required)"), std::string::npos);
    EXPECT_NE(kernel_text(kernel).find("guard cannot run here: " + lacks), std::string::npos);
    return;
  }
  EXPECT_EQ(lacks, "");
  const auto strict = degraded(kernel, policy);
  if (GetParam().degraded.empty()) {
    ASSERT_TRUE(strict) << strict.error();
    EXPECT_TRUE(strict->empty());
    return;
  }
  ASSERT_FALSE(strict) << "a policy that allows no degrading";
  EXPECT_NE(strict.error().find(GetParam().degraded.front()), std::string::npos) << strict.error();
  EXPECT_NE(strict.error().find("mayDegrade"), std::string::npos) << strict.error();
  // Each of them has to be named.
  for (std::size_t left_out = 0; left_out < GetParam().degraded.size(); ++left_out) {
    policy.may_degrade = GetParam().degraded;
    policy.may_degrade.erase(policy.may_degrade.begin() + static_cast<std::ptrdiff_t>(left_out));
    EXPECT_FALSE(degraded(kernel, policy)) << GetParam().degraded[left_out];
  }
  policy.may_degrade = GetParam().degraded;
  const auto allowed = degraded(kernel, policy);
  ASSERT_TRUE(allowed) << allowed.error();
  EXPECT_EQ(*allowed, GetParam().degraded);
}

INSTANTIATE_TEST_SUITE_P(
    Each, OlderKernel,
    ::testing::Values(
        Older{"this_one", [](Kernel&) {}, "", {}},
        Older{"linux_6_8",
              [](Kernel& k) { k.landlock = 4; },
              "",
              {"landlock-ioctl", "landlock-scope"}},
        Older{"linux_6_11", [](Kernel& k) { k.landlock = 5; }, "", {"landlock-scope"}},
        Older{"linux_6_2",
              [](Kernel& k) {
                k.landlock = 3;
                k.mdwe = k.memfd_noexec = k.sync_wake_up = k.exit_info = false;
              },
              "",
              {"landlock-network", "landlock-ioctl", "landlock-scope", "mdwe", "exit-info"}},
        Older{"linux_6_14", [](Kernel& k) { k.exit_info = false; }, "", {"exit-info"}},
        Older{"no_held_threads", [](Kernel& k) { k.hold_threads = false; }, "", {}},
        Older{"no_landlock", [](Kernel& k) { k.landlock = 0; }, "no Landlock", {}},
        Older{"linux_5_19", [](Kernel& k) { k.landlock = 2; }, "ABI 2", {}},
        Older{"no_notifications",
              [](Kernel& k) { k.notify = k.wait_killable = false; },
              "offers no notifications",
              {}},
        Older{"another_supervisor",
              [](Kernel& k) { k.wait_killable = false; },
              "WAIT_KILLABLE_RECV",
              {}},
        Older{"no_memory", [](Kernel& k) { k.read_memory = false; }, "process_vm_readv", {}}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(Kernel, AJitNeedsNoMdwe) {
  Kernel kernel = newest();
  kernel.mdwe = false;
  Policy policy;
  policy.exec.jit = true;
  const auto outcome = degraded(kernel, policy);
  ASSERT_TRUE(outcome) << outcome.error();
  EXPECT_TRUE(outcome->empty());
}

TEST(Kernel, ProcessesAreCountedInAUserNamespaceOfOnesOwnAlone) {
  Kernel kernel = newest();
  kernel.own_users = false;
  Policy policy;
  EXPECT_TRUE(degraded(kernel, policy)->empty()) << "nothing is asked for";
  policy.limits.processes = 64;
  const auto strict = degraded(kernel, policy);
  ASSERT_FALSE(strict);
  EXPECT_NE(strict.error().find("hostUsers: false"), std::string::npos) << strict.error();
  EXPECT_NE(strict.error().find("mayDegrade"), std::string::npos) << strict.error();
  policy.may_degrade = {"process-limit"};
  EXPECT_EQ(degraded(kernel, policy), std::vector<std::string>{"process-limit"});
  kernel.own_users = true;
  EXPECT_TRUE(degraded(kernel, policy)->empty());
}

TEST(Kernel, ThisOneCanRunGuard) {
  const Kernel kernel = look_at_kernel();
  EXPECT_EQ(missing(kernel), "");
  EXPECT_EQ(kernel.landlock, landlock_abi());
}

// The filter and the programs' list hold without the second locks that the ABI brings.
class OlderLandlock : public ::testing::TestWithParam<int> {};

TEST_P(OlderLandlock, HoldsByWhatIsLeft) {
  const Folder folder;
  folder.copy("/bin/true", "copied", 0755);
  With with;
  with.folder = folder.path();
  with.abi = GetParam();
  with.mdwe = GetParam() >= kLandlockScope;
  const auto ran = run_guarded(policy_for(folder), {"python3", "-c", R"(
import ctypes, errno, mmap, os, signal, socket
guard = os.getppid()
def tried(name, attempt):
    try:
        print(name, 'through', attempt())
    except OSError as error:
        print(name, errno.errorcode[error.errno])
tried('copied', lambda: os.execv('./copied', ['copied']))
tried('shadow', lambda: open('/etc/shadow').read())
tried('write', lambda: open('/etc/x', 'w'))
tried('tcp', lambda: socket.create_connection(('127.0.0.1', 9)))
tried('bind', lambda: socket.socket().bind(('127.0.0.1', 0)))
tried('abstract', lambda: socket.socket(socket.AF_UNIX).connect('\0palisade'))
tried('term', lambda: os.kill(guard, signal.SIGTERM))
tried('pidfd', lambda: signal.pidfd_send_signal(os.open('/proc/%d' % guard, os.O_RDONLY), 0))
tried('memory', lambda: mmap.mmap(-1, 4096, prot=7))
tried('own file', lambda: open('mine', 'w').write('x'))
tried('truncate', lambda: os.truncate('/etc/hostname', 0))
)"},
                               with);
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  for (const char* line :
       {"copied EACCES", "shadow EACCES", "write EACCES", "tcp EACCES", "bind EACCES", "abstract E",
        "term EPERM", "memory EACCES", "own file through 1", "truncate EACCES"})
    EXPECT_NE(ran.output.find(line), std::string::npos) << line << "\n" << ran.all();
  // guard's folder in /proc cannot even be opened, or the signal is refused.
  EXPECT_EQ(ran.output.find("pidfd through"), std::string::npos) << ran.all();
}

INSTANTIATE_TEST_SUITE_P(Abi, OlderLandlock, ::testing::Values(3, 4, 5, 6, 7));

}  // namespace
}  // namespace palisade::guard::testing
