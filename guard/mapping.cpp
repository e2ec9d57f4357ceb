#include "guard/mapping.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string_view>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard/programs.h"

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

constexpr auto kFreezeWithin = 5'000ms;
constexpr std::size_t kMostFit = 4096;

// libfoo.so, libfoo.so.1.2, ld-linux-x86-64.so.2, foo.cpython-311-x86_64-linux-gnu.so
bool named_as_library(std::string_view path) {
  const auto name = path.substr(path.rfind('/') + 1);
  for (auto at = name.find(".so"); at != std::string_view::npos; at = name.find(".so", at + 1)) {
    const auto rest = name.substr(at + 3);
    if (at > 0 && (rest.empty() || (rest.size() > 1 && rest.front() == '.' &&
                                    rest.find_first_not_of(".0123456789") == rest.npos))) {
      return true;
    }
  }
  return false;
}

// Libraries that have an ELF interpreter of their own, to print their version when they are run.
bool runs_to_tell_its_version(std::string_view path) {
  const auto name = path.substr(path.rfind('/') + 1);
  return name.starts_with("libc.so.") || name.starts_with("libc-2.") ||
         name.starts_with("libpthread") || name.starts_with("ld-");
}

// How many threads the caller's process has: none of them appears or goes while its only one waits.
bool only_thread(pid_t thread) {
  const auto status = stat_of(thread, "task");
  return status && status->st_nlink == 3;
}

}  // namespace

std::string Mappings::look(pid_t thread, const std::string& name, const struct stat& status,
                           const Context& context) {
  const auto path = link_target(thread, name);
  struct stat by_path {};
  if (!path || !path->starts_with('/') || stat(path->c_str(), &by_path) != 0 ||
      file_id(by_path) != file_id(status)) {
    return "cannot be found by its name";
  }
  if (agent_may_change(*path, context.policy.files)) {
    return "could be changed by the agent";
  }
  const auto& folders = context.policy.exec.libraries;
  if (std::none_of(folders.begin(), folders.end(),
                   [&](const auto& folder) { return below(*path, folder); })) {
    return "lies outside exec.libraries";
  }
  if (!named_as_library(*path)) {
    return "is no library by its name";
  }
  const Fd file(open(path->c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat opened {};
  if (!file || fstat(file.get(), &opened) != 0 || file_id(opened) != file_id(status)) {
    return "cannot be read";
  }
  const auto image = read_image(file.get());
  if (!image || !image->elf) {
    return "is no ELF library";
  }
  if (image->program && !runs_to_tell_its_version(*path)) {
    return "is a program";
  }
  return {};
}

std::string Mappings::fault(pid_t thread, int fd, const Context& context) {
  const auto name = "fd/" + std::to_string(fd);
  const auto status = stat_of(thread, name);
  if (!status) {
    return "cannot be looked at";
  }
  if (!S_ISREG(status->st_mode)) {
    return "is no regular file";
  }
  const auto id = file_id(*status);
  if (context.programs.may_run(id) || context.programs.interpreters.contains(id) ||
      fit_.contains(id)) {
    return {};
  }
  auto wrong = look(thread, name, *status, context);
  if (wrong.empty()) {
    if (fit_.size() >= kMostFit) {
      fit_.clear();
    }
    fit_.insert(id);
  }
  return wrong;
}

Answer Mappings::memory(const Notification& notification, Context& context) {
  return context.refuse(notification, "exec.memory", EACCES);
}

Answer Mappings::mmap(const Notification& notification, Context& context) {
  const auto& in = notification.call.data.args;
  const auto thread = static_cast<pid_t>(notification.call.pid);
  if ((in[3] & MAP_ANONYMOUS) != 0) {
    return memory(notification, context);
  }
  const int fd = static_cast<int>(in[4]);
  const auto refuse = [&](const std::string& what) {
    return context.refuse(notification, "exec.mapping", EACCES,
                          link_target(thread, "fd/" + std::to_string(fd)).value_or("") +
                              (what.empty() ? "" : " (" + what + ")"));
  };
  if ((in[2] & PROT_WRITE) != 0) {
    return refuse("writable and executable at once");
  }
  // Asked before the look: an only thread stays the only one while it waits; one of two that ends
  // after the look may have changed what was looked at.
  const bool only = only_thread(thread);
  if (auto wrong = fault(thread, fd, context); !wrong.empty()) {
    return refuse(wrong);
  }
  if (only || context.policy.mode == Mode::kAudit) {
    return Answer::go_on();
  }

  const auto kin = kinship(thread);
  const Fd process(kin ? static_cast<int>(syscall(SYS_pidfd_open, kin->group, 0)) : -1);
  if (!process || !notification.alive()) {
    return refuse("its process cannot be looked at");
  }
  if (auto stopped = freezer_.stop(kin->group, thread, kFreezeWithin); !stopped) {
    return refuse("its threads cannot be held still");
  }
  if (auto wrong = fault(thread, fd, context); !wrong.empty() || !notification.alive()) {
    freezer_.release();
    return refuse(wrong);
  }
  notification.reply(Answer::go_on());
  if (!freezer_.wait_for_caller(kFreezeWithin)) {
    // Dead; or still inside the call, with descriptors that its threads could change when let go.
    syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
  }
  freezer_.release();
  return Answer::done();
}

}  // namespace palisade::guard
