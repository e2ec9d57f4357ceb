#include "guard/filter.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "newer_kernel.h"

#ifndef __x86_64__
#error "guard knows the system calls of x86-64 alone"
#endif

namespace palisade::guard {
namespace {

// Newer than the headers that this is built with, or than libseccomp's tables.
constexpr int kOpenTreeAttr = 467;
constexpr int kFirstUnknown = 470;
constexpr std::uint64_t kCloneNewTime = 0x80;
constexpr std::uint64_t kNoConsoleInput = 0x541C;  // TIOCLINUX
constexpr std::uint64_t kInt = 0xffffffff;         // the kernel takes an int from a register's half

struct Call {
  int number;
  std::string_view name;
};

#define PALISADE_CALL(name) \
  Call {                    \
    SYS_##name, #name       \
  }

// Whatever their arguments are.
constexpr std::array kRefused{
    PALISADE_CALL(userfaultfd),
    PALISADE_CALL(keyctl),
    PALISADE_CALL(add_key),
    PALISADE_CALL(request_key),
    PALISADE_CALL(mount),
    PALISADE_CALL(umount2),
    PALISADE_CALL(pivot_root),
    PALISADE_CALL(chroot),
    PALISADE_CALL(move_mount),
    PALISADE_CALL(open_tree),
    Call{kOpenTreeAttr, "open_tree_attr"},
    PALISADE_CALL(fsopen),
    PALISADE_CALL(fsconfig),
    PALISADE_CALL(fsmount),
    PALISADE_CALL(fspick),
    PALISADE_CALL(mount_setattr),
    PALISADE_CALL(setns),
    PALISADE_CALL(ptrace),
    PALISADE_CALL(process_vm_readv),
    PALISADE_CALL(process_vm_writev),
    PALISADE_CALL(process_madvise),
    PALISADE_CALL(pidfd_getfd),
    PALISADE_CALL(move_pages),
    PALISADE_CALL(migrate_pages),
    PALISADE_CALL(kcmp),
    PALISADE_CALL(bpf),
    PALISADE_CALL(perf_event_open),
    PALISADE_CALL(io_uring_setup),
    PALISADE_CALL(io_uring_enter),
    PALISADE_CALL(io_uring_register),
    PALISADE_CALL(open_by_handle_at),
    PALISADE_CALL(fanotify_init),
    PALISADE_CALL(memfd_secret),
    PALISADE_CALL(modify_ldt),
    PALISADE_CALL(iopl),
    PALISADE_CALL(ioperm),
    PALISADE_CALL(uselib),
    PALISADE_CALL(acct),
    PALISADE_CALL(quotactl),
    PALISADE_CALL(quotactl_fd),
    PALISADE_CALL(swapon),
    PALISADE_CALL(swapoff),
    PALISADE_CALL(reboot),
    PALISADE_CALL(syslog),
    PALISADE_CALL(kexec_load),
    PALISADE_CALL(kexec_file_load),
    PALISADE_CALL(init_module),
    PALISADE_CALL(finit_module),
    PALISADE_CALL(delete_module),
    PALISADE_CALL(lookup_dcookie),
};

// For judges of their own, whatever their arguments are.
constexpr std::array kJudged{SYS_execve, SYS_execveat, SYS_socket, SYS_connect,
                             SYS_bind,   SYS_listen,   SYS_tkill,  SYS_personality};

class Builder {
 public:
  Builder() : context_(seccomp_init(SCMP_ACT_ALLOW)) {
    check(context_ == nullptr ? -ENOMEM : 0, "a filter");
    check(seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2), "the optimisation");
    // Calls of other architectures, which other numbers would let through: i386 and x32.
    check(seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_NOTIFY),
          "the rule for foreign architectures");
  }
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;
  ~Builder() { seccomp_release(context_); }

  void notify(int number) { add(SCMP_ACT_NOTIFY, number, {}); }
  void notify_if(int number, const std::vector<scmp_arg_cmp>& all) {
    add(SCMP_ACT_NOTIFY, number, all);
  }
  void error(int number, int code) {
    add(SCMP_ACT_ERRNO(static_cast<std::uint32_t>(code)), number, {});
  }

  std::expected<std::vector<sock_filter>, std::string> finish() {
    if (!failed_.empty()) {
      return std::unexpected(failed_);
    }
    const Fd file(memfd_create("filter", MFD_CLOEXEC));
    if (!file) {
      return std::unexpected(std::string("memfd_create: ") + std::strerror(errno));
    }
    if (const int error = seccomp_export_bpf(context_, file.get()); error != 0) {
      return std::unexpected(std::string("seccomp_export_bpf: ") + std::strerror(-error));
    }
    const auto bytes = lseek(file.get(), 0, SEEK_CUR);
    std::vector<sock_filter> program(static_cast<std::size_t>(std::max<off_t>(bytes, 0)) /
                                     sizeof(sock_filter));
    if (bytes <= 0 ||
        pread(file.get(), program.data(), static_cast<std::size_t>(bytes), 0) != bytes) {
      return std::unexpected("the filter cannot be read back");
    }
    return program;
  }

 private:
  void check(int code, const std::string& what) {
    if (code < 0 && failed_.empty()) {
      failed_ = "libseccomp refuses " + what + ": " + std::strerror(-code);
    }
  }
  void add(std::uint32_t action, int number, const std::vector<scmp_arg_cmp>& all) {
    check(seccomp_rule_add_array(context_, action, number, static_cast<unsigned>(all.size()),
                                 all.data()),
          "the rule for call " + std::to_string(number));
  }

  scmp_filter_ctx context_;
  std::string failed_;
};

scmp_arg_cmp argument(unsigned index, scmp_compare how, std::uint64_t a, std::uint64_t b = 0) {
  return {index, how, a, b};
}
scmp_arg_cmp has(unsigned index, std::uint64_t bits) {
  return argument(index, SCMP_CMP_MASKED_EQ, bits, bits);
}
scmp_arg_cmp masked(unsigned index, std::uint64_t mask, std::uint64_t value) {
  return argument(index, SCMP_CMP_MASKED_EQ, mask, value);
}
// Of an argument that the kernel takes as an int: what stands in the upper half must not hide it.
scmp_arg_cmp is_int(unsigned index, std::uint64_t value) {
  return masked(index, kInt, value & kInt);
}
// Of the whole register: also true for an int with a dirty upper half, so for refusals alone.
scmp_arg_cmp is_not(unsigned index, std::uint64_t value) {
  return argument(index, SCMP_CMP_NE, value);
}

void add_processes(Builder& builder) {
  constexpr std::array<std::uint64_t, 8> kNamespaces{CLONE_NEWNS,  CLONE_NEWCGROUP, CLONE_NEWUTS,
                                                     CLONE_NEWIPC, CLONE_NEWUSER,   CLONE_NEWPID,
                                                     CLONE_NEWNET, kCloneNewTime};
  for (const auto flag : kNamespaces) {
    builder.notify_if(SYS_unshare, {has(0, flag)});
    if (flag != kCloneNewTime) {  // in clone(2) that bit belongs to the exit signal
      builder.notify_if(SYS_clone, {has(0, flag)});
    }
  }
  // Tables of descriptors are shared inside a thread group alone: mapping.h stands on that. Memory
  // is shared with threads, and with the child of a vfork while its parent waits.
  builder.notify_if(SYS_clone, {masked(0, CLONE_FILES | CLONE_THREAD, CLONE_FILES)});
  builder.notify_if(SYS_clone, {masked(0, CLONE_VM | CLONE_THREAD | CLONE_VFORK, CLONE_VM)});
  builder.error(SYS_clone3, ENOSYS);

  for (const auto option : {PR_SET_PTRACER, PR_SET_MM}) {
    builder.notify_if(SYS_prctl, {is_int(0, static_cast<std::uint64_t>(option))});
  }
  // Guard reads /proc and memory of the agent's processes: none may hide. Back to 1 is fine.
  builder.notify_if(SYS_prctl, {is_int(0, PR_SET_DUMPABLE), is_not(1, 1)});
}

void add_guard_itself(Builder& builder, const FilterOptions& options) {
  const auto guard = static_cast<std::uint64_t>(options.guard);
  for (const auto call :
       {SYS_kill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_open}) {
    builder.notify_if(static_cast<int>(call), {is_int(0, guard)});
  }
  if (options.guard_group > 1) {
    builder.notify_if(SYS_kill,
                      {is_int(0, static_cast<std::uint64_t>(-std::int64_t{options.guard_group}))});
  }
  if (!options.signals_scoped) {
    builder.notify(SYS_pidfd_send_signal);  // a folder of /proc names a process as well
  }
  builder.notify_if(SYS_prlimit64, {is_not(0, 0), is_not(2, 0)});
}

void add_memory(Builder& builder, bool jit) {
  if (jit) {
    // Files are judged all the same; anonymous memory is not.
    builder.notify_if(SYS_mmap, {has(2, PROT_EXEC), masked(3, MAP_ANONYMOUS, 0)});
  } else {
    builder.notify_if(SYS_mmap, {has(2, PROT_EXEC)});
    builder.notify_if(SYS_mprotect, {has(2, PROT_EXEC)});
    builder.notify_if(SYS_pkey_mprotect, {has(2, PROT_EXEC)});
  }
  builder.notify_if(SYS_shmat, {has(2, SHM_EXEC)});
  builder.notify_if(SYS_memfd_create, {masked(1, kMfdNoexecSeal, 0)});
}

void add_input_and_output(Builder& builder) {
  // Input put into a terminal, its line discipline, the console.
  for (const std::uint64_t request : {std::uint64_t{TIOCSTI}, kNoConsoleInput,
                                      std::uint64_t{TIOCSETD}, std::uint64_t{TIOCCONS}}) {
    builder.notify_if(SYS_ioctl, {is_int(1, request)});
  }
  builder.notify_if(SYS_sendto, {has(3, MSG_FASTOPEN)});
  builder.notify_if(SYS_sendmsg, {has(2, MSG_FASTOPEN)});
  builder.notify_if(SYS_sendmmsg, {has(3, MSG_FASTOPEN)});
  // What would have packets go by way of an address that nobody judged: source routes, routing
  // headers; and a connection that sendmsg makes.
  constexpr std::array<std::pair<int, int>, 5> kDetours{{{IPPROTO_IP, IP_OPTIONS},
                                                         {IPPROTO_IPV6, IPV6_RTHDR},
                                                         {IPPROTO_IPV6, IPV6_2292RTHDR},
                                                         {IPPROTO_IPV6, IPV6_2292PKTOPTIONS},
                                                         {IPPROTO_TCP, TCP_FASTOPEN_CONNECT}}};
  for (const auto& [level, option] : kDetours) {
    builder.notify_if(SYS_setsockopt, {is_int(1, static_cast<std::uint64_t>(level)),
                                       is_int(2, static_cast<std::uint64_t>(option))});
  }

  // Pairs of AF_UNIX streams need no look.
  builder.notify_if(SYS_socketpair, {is_not(0, AF_UNIX)});
  for (std::uint64_t type = 0; type < 16; ++type) {
    if (type != SOCK_STREAM && type != SOCK_SEQPACKET) {
      builder.notify_if(SYS_socketpair, {masked(1, 0xf, type)});
    }
  }
}

}  // namespace

std::expected<std::vector<sock_filter>, std::string> build_filter(const FilterOptions& options) {
  Builder builder;
  for (const auto& call : kRefused) {
    builder.notify(call.number);
  }
  for (const auto call : kJudged) {
    builder.notify(static_cast<int>(call));
  }
  add_processes(builder);
  add_guard_itself(builder, options);
  add_memory(builder, options.jit);
  add_input_and_output(builder);
  return builder.finish();
}

std::expected<Fd, std::string> install_filter(const std::vector<sock_filter>& program) {
  constexpr auto kNumber = static_cast<std::uint32_t>(offsetof(seccomp_data, nr));
  constexpr auto kArchitecture = static_cast<std::uint32_t>(offsetof(seccomp_data, arch));
  constexpr auto kLoad = static_cast<std::uint16_t>(BPF_LD | BPF_W | BPF_ABS);
  constexpr auto kEqual = static_cast<std::uint16_t>(BPF_JMP | BPF_JEQ | BPF_K);
  constexpr auto kFrom = static_cast<std::uint16_t>(BPF_JMP | BPF_JGE | BPF_K);
  constexpr auto kReturn = static_cast<std::uint16_t>(BPF_RET | BPF_K);
  // Numbers from x32's bit on are the other filter's to put on record.
  std::array<sock_filter, 7> newer{{{kLoad, 0, 0, kArchitecture},
                                    {kEqual, 0, 3, AUDIT_ARCH_X86_64},
                                    {kLoad, 0, 0, kNumber},
                                    {kFrom, 1, 0, __X32_SYSCALL_BIT},
                                    {kFrom, 1, 0, kFirstUnknown},
                                    {kReturn, 0, 0, SECCOMP_RET_ALLOW},
                                    {kReturn, 0, 0, SECCOMP_RET_ERRNO | ENOSYS}}};
  sock_fprog first{static_cast<unsigned short>(newer.size()), newer.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &first) != 0) {
    return std::unexpected(std::string("seccomp(2) takes no filter: ") + std::strerror(errno));
  }
  auto copy = program;
  sock_fprog second{static_cast<unsigned short>(copy.size()), copy.data()};
  Fd listener(static_cast<int>(
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
              SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &second)));
  if (!listener) {
    return std::unexpected(
        std::string("seccomp(2) takes no filter with NEW_LISTENER and WAIT_KILLABLE_RECV: ") +
        std::strerror(errno));
  }
  return listener;
}

std::string call_name(const seccomp_data& data) {
  if (data.arch == AUDIT_ARCH_X86_64) {
    const auto* call = std::find_if(kRefused.begin(), kRefused.end(),
                                    [&](const Call& known) { return known.number == data.nr; });
    if (call != kRefused.end()) {
      return std::string(call->name);
    }
  }
  const std::unique_ptr<char, decltype(&std::free)> name(
      seccomp_syscall_resolve_num_arch(data.arch, data.nr), &std::free);
  return name ? std::string(name.get()) : std::to_string(data.nr);
}

}  // namespace palisade::guard
