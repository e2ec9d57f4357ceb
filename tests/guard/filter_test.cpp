// The system calls that an agent has no business with: the kernel's answer to each, asked for with
// arguments that would otherwise reach the call itself, and its line on record.
#include "guard/filter.h"

#include <sstream>

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sys/syscall.h>

#include "guard/guarded.h"

namespace palisade::guard::testing {
namespace {

constexpr const char* kCall = R"(
import ctypes, errno, os, signal, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
guard = os.getppid()
def call(name, number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(*[ctypes.c_long(number)] + [a if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments])
    print(name, errno.errorcode[ctypes.get_errno()] if result == -1 else 'done')
)";

struct Call {
  const char* name;       // as on record
  const char* arguments;  // number and arguments, as Python has them
  const char* answer = "EPERM";
};

constexpr Call kRefused[] = {
    {"userfaultfd", "323, 0"},
    {"keyctl", "250, 0, -3, 0"},
    {"add_key", "248, b'user', b'x', b'y', 1, -3"},
    {"request_key", "249, b'user', b'x', 0, 0"},
    {"mount", "165, b'x', b'/tmp', b'tmpfs', 0, 0"},
    {"umount2", "166, b'/tmp', 0"},
    {"pivot_root", "155, b'/tmp', b'/tmp'"},
    {"chroot", "161, b'/tmp'"},
    {"move_mount", "429, -1, b'', -1, b'', 0"},
    {"open_tree", "428, -100, b'/tmp', 1"},
    {"open_tree_attr", "467, -100, b'/tmp', 1, 0, 0"},
    {"fsopen", "430, b'tmpfs', 0"},
    {"fsconfig", "431, 3, 0, 0, 0, 0"},
    {"fsmount", "432, 3, 0, 0"},
    {"fspick", "433, -100, b'/tmp', 0"},
    {"mount_setattr", "442, -100, b'/tmp', 0, 0, 0"},
    {"setns", "308, os.open('/proc/self/ns/net', os.O_RDONLY), 0"},
    {"unshare", "272, 0x10000000"},          // CLONE_NEWUSER
    {"unshare", "272, 0x00020000 | 0x400"},  // CLONE_NEWNS
    {"unshare", "272, 0x02000000"},          // CLONE_NEWCGROUP
    {"unshare", "272, 0x04000000"},          // CLONE_NEWUTS
    {"unshare", "272, 0x08000000"},          // CLONE_NEWIPC
    {"unshare", "272, 0x20000000"},          // CLONE_NEWPID
    {"unshare", "272, 0x40000000"},          // CLONE_NEWNET
    {"unshare", "272, 0x80"},                // CLONE_NEWTIME
    {"clone", "56, 0x10000000 | 17, 0, 0, 0, 0"},
    {"clone", "56, 0x00020000 | 17, 0, 0, 0, 0"},
    {"clone", "56, 0x02000000 | 17, 0, 0, 0, 0"},
    {"clone", "56, 0x04000000 | 17, 0, 0, 0, 0"},
    {"clone", "56, 0x08000000 | 17, 0, 0, 0, 0"},
    {"clone", "56, 0x20000000 | 17, 0, 0, 0, 0"},
    {"clone", "56, 0x40000000 | 17, 0, 0, 0, 0"},
    {"clone", "56, 0x00000400 | 17, 0, 0, 0, 0"},  // descriptors shared with another process
    {"clone", "56, 0x00000100 | 17, 0, 0, 0, 0"},  // memory shared with another process
    {"ptrace", "101, 0, 0, 0, 0"},
    {"ptrace", "101, 16, guard, 0, 0"},
    {"process_vm_readv", "310, os.getpid(), 0, 0, 0, 0, 0"},
    {"process_vm_writev", "311, os.getpid(), 0, 0, 0, 0, 0"},
    {"process_madvise", "440, 0, 0, 0, 0, 0"},
    {"pidfd_getfd", "438, 0, 0, 0"},
    {"kcmp", "312, os.getpid(), os.getpid(), 0, 0, 0"},
    {"bpf", "321, 0, 0, 0"},
    {"perf_event_open", "298, 0, 0, -1, -1, 0"},
    {"io_uring_setup", "425, 1, 0"},
    {"io_uring_enter", "426, 0, 0, 0, 0, 0, 0"},
    {"io_uring_register", "427, 0, 0, 0, 0"},
    {"open_by_handle_at", "304, -1, 0, 0"},
    {"fanotify_init", "300, 0, 0"},
    {"memfd_secret", "447, 0"},
    {"modify_ldt", "154, 0, 0, 0"},
    {"kexec_load", "246, 0, 0, 0, 0"},
    {"init_module", "175, 0, 0, b''"},
    {"personality", "135, 0x0400000"},  // READ_IMPLIES_EXEC
    {"personality", "135, 0x0040000"},  // ADDR_NO_RANDOMIZE
    {"memfd_create", "319, b'x', 0"},
    {"prctl", "157, 4, 0, 0, 0, 0"},            // PR_SET_DUMPABLE
    {"prctl", "157, 4 | 1 << 32, 0, 0, 0, 0"},  // the same to the kernel
    {"prctl", "157, 0x59616d61, -1, 0, 0, 0"},  // PR_SET_PTRACER
    {"prctl", "157, 35, 8, 0, 0, 0"},           // PR_SET_MM
    {"ioctl", "16, 0, 0x5412, b'x'"},           // TIOCSTI
    {"ioctl", "16, 0, 0x5412 | 1 << 32, b'x'"},
    {"ioctl", "16, 0, 0x541C, b'x'"},  // TIOCLINUX
    {"kill", "62, guard, 0"},
    {"kill", "62, guard, 9"},
    {"kill", "62, guard | 1 << 32, 9"},
    {"tgkill", "234, guard, guard, 9"},
    {"tkill", "200, guard, 9"},
    {"tkill", "200, int(os.listdir('/proc/%d/task' % guard)[-1]), 9"},  // a thread of guard's
    {"rt_sigqueueinfo", "129, guard, 9, bytes(128)"},
    {"rt_tgsigqueueinfo", "297, guard, guard, 9, bytes(128)"},
    {"pidfd_open", "434, guard, 0"},
    {"pidfd_open", "434, guard | 1 << 32, 0"},
    {"prlimit64", "302, guard, 7, bytes(16), 0"},
    {"sendto", "44, 0, b'x', 1, 0x20000000, 0, 0"},  // MSG_FASTOPEN
    {"sendmsg", "46, 0, 0, 0x20000000"},
    {"sendmmsg", "307, 0, 0, 0, 0x20000000"},
    {"setsockopt", "54, 0, 0, 4, bytes(8), 8"},    // IP_OPTIONS
    {"setsockopt", "54, 0, 41, 57, bytes(8), 8"},  // IPV6_RTHDR
    {"setsockopt", "54, 0, 41, 5, bytes(8), 8"},   // IPV6_2292RTHDR
    {"setsockopt", "54, 0, 41, 6, bytes(8), 8"},   // IPV6_2292PKTOPTIONS
    {"setsockopt", "54, 0, 6, 30, bytes(4), 4"},   // TCP_FASTOPEN_CONNECT

};

TEST(Filter, EveryCallIsRefusedAndOnRecord) {
  const Folder folder;
  std::string code = kCall;
  std::ostringstream answers;
  for (const auto& call : kRefused) {
    code += std::string("call('") + call.name + "', " + call.arguments + ")\n";
    answers << call.name << ' ' << call.answer << '\n';
  }
  const auto ran = run_python(policy_for(folder), code);
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, answers.str()) << ran.all();
  for (const auto& call : kRefused) {
    const std::string rule = std::string("syscall.") + call.name;
    std::size_t wanted = 0;
    for (const auto& other : kRefused) {
      wanted += std::string_view(other.name) == call.name ? 1 : 0;
    }
    EXPECT_EQ(ran.count("Refused " + rule + " " + call.name + " "), wanted) << rule << ran.all();
  }
}

TEST(Filter, WhatProgramsNeedIsNotTouched) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), std::string(kCall) + R"(
call('clone3', 435, 0, 0)                      # ENOSYS, without a record
call('newer', 470, 0, 0)
call('newest', 100000, 0, 0)
call('personality', 135, 0xffffffff)
call('unshare', 272, 0x400)
call('kill', 62, os.getpid(), 0)
call('tkill', 200, os.getpid(), 0)
call('prlimit', 302, 0, 7, 0, bytes(16))
call('prlimit', 302, guard, 7, 0, bytes(16))   # only a look
call('memfd', 319, b'x', 8)
call('dumpable', 157, 4, 1, 0, 0, 0)
call('name', 157, 15, b'x', 0, 0, 0)
a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET); a.send(b'y'); print(b.recv(1))
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output,
            "clone3 ENOSYS\nnewer ENOSYS\nnewest ENOSYS\npersonality done\nunshare done\n"
            "kill done\ntkill done\nprlimit done\nprlimit done\nmemfd done\ndumpable done\n"
            "name done\nb'x'\nb'y'\n")
      << ran.all();
  EXPECT_EQ(ran.count("Refused"), 0U) << ran.all();
}

// Machine code that calls the kernel the way a 32-bit program does: other numbers for other calls.
TEST(Filter, ForeignArchitecturesAreRefused) {
  const Folder folder;
  auto policy = policy_for(folder);
  policy.exec.jit = true;  // for the machine code
  const auto ran = run_python(policy, std::string(kCall) + R"(
import mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(bytes.fromhex('53b814000000cd805bc3'))  # int foreign(): int 0x80 with eax = 20, getpid
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))())
call('x32', 0x40000000 + 39)
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output, "-38\nx32 ENOSYS\n") << ran.all();
  EXPECT_EQ(ran.count("Refused syscall.foreign getpid 20 "), 1U) << ran.all();
  EXPECT_EQ(ran.count("Refused syscall.foreign "), 2U) << ran.all();
}

TEST(Filter, GuardItselfIsOutOfReach) {
  const Folder folder;
  const auto ran = run_python(policy_for(folder), std::string(kCall) + R"(
for name in ('mem', 'environ', 'maps', 'fd', 'root', 'cwd', 'exe', 'ns/net', 'syscall', 'stack', 'task'):
    path = '/proc/%d/%s' % (guard, name)
    try:
        if name in ('fd', 'task', 'root'): os.listdir(path)
        elif name in ('cwd', 'exe', 'ns/net'): os.readlink(path)
        else: open(path).read()
        print(name, 'done')
    except OSError as error: print(name, errno.errorcode[error.errno])
try: open('/proc/%d/mem' % guard, 'r+b')
except OSError as error: print('mem', errno.errorcode[error.errno])
try: open('/proc/%d/oom_score_adj' % guard, 'w').write('1000')
except OSError as error: print('oom', errno.errorcode[error.errno])
call('pidfd_send_signal', 424, os.open('/proc/%d' % guard, os.O_RDONLY), 15, 0, 0)
print(os.getsid(0) != os.getsid(guard), os.getpgid(0) != os.getpgid(guard))
)");
  EXPECT_TRUE(exited(ran, 0)) << ran.all();
  EXPECT_EQ(ran.output,
            "mem EACCES\nenviron EACCES\nmaps EACCES\nfd EACCES\nroot EACCES\ncwd EACCES\n"
            "exe EACCES\nns/net EACCES\nsyscall EACCES\nstack EACCES\ntask done\nmem EACCES\n"
            "oom EACCES\npidfd_send_signal EPERM\nTrue True\n")
      << ran.all();
}

TEST(Filter, CallsHaveNames) {
  const auto data = [](int number, unsigned architecture) {
    seccomp_data call{};
    call.nr = number;
    call.arch = architecture;
    return call;
  };
  EXPECT_EQ(call_name(data(SYS_ptrace, AUDIT_ARCH_X86_64)), "ptrace");
  EXPECT_EQ(call_name(data(SYS_socket, AUDIT_ARCH_X86_64)), "socket");
  EXPECT_EQ(call_name(data(467, AUDIT_ARCH_X86_64)), "open_tree_attr");
  EXPECT_EQ(call_name(data(20, AUDIT_ARCH_I386)), "getpid");
  EXPECT_EQ(call_name(data(100000, AUDIT_ARCH_X86_64)), "100000");
}

}  // namespace
}  // namespace palisade::guard::testing
