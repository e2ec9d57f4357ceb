#include "guard/exec.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard/memory.h"
#include "guard/programs.h"

namespace palisade::guard {
namespace {

constexpr std::size_t kPathMost = 4095;  // PATH_MAX, its NUL left out
constexpr std::size_t kArgumentsKept = 64UL << 10;
constexpr std::size_t kMostExpected = 512;
constexpr std::size_t kInterpretersMost = 8UL << 10;  // of a script's first line, and its path
constexpr std::size_t kShownMost = 200;
constexpr std::uint64_t kOnlyCheck = 0x10000;  // AT_EXECVE_CHECK (6.14): nothing is executed

struct ExecCall {
  int folder = AT_FDCWD;
  std::uint64_t path = 0;
  std::uint64_t arguments = 0;
  std::uint64_t flags = 0;
};

ExecCall read_call(const seccomp_notif& call) {
  const auto& in = call.data.args;
  if (call.data.nr == SYS_execveat) {
    return {static_cast<int>(in[0]), in[1], in[2], in[4] & 0xffffffff};
  }
  return {AT_FDCWD, in[0], in[1], 0};
}

struct Target {
  struct stat status {};
  std::string shown;  // for the record, where it has another name than `requested`
};

// What the path leads to, for this caller. Symbolic links in /proc that mean "oneself" would mean
// guard: only the plain spelling is put right, anything else ends at files that are not allowed.
std::expected<Target, int> look_up(pid_t thread, pid_t process, const ExecCall& call,
                                   const std::string& path) {
  Target target;
  if (path.empty()) {
    if ((call.flags & AT_EMPTY_PATH) == 0) {
      return std::unexpected(ENOENT);
    }
    const auto name = call.folder == AT_FDCWD ? "cwd" : "fd/" + std::to_string(call.folder);
    auto status = stat_of(thread, name);
    if (!status) {
      return std::unexpected(status.error() == ENOENT ? EBADF : status.error());
    }
    target.status = *status;
    target.shown = link_target(thread, name).value_or("");
    return target;
  }
  std::string absolute = path;
  if (!path.starts_with('/')) {
    const auto base = call.folder == AT_FDCWD ? "cwd" : "fd/" + std::to_string(call.folder);
    absolute = "/proc/" + std::to_string(thread) + "/" + base + "/" + path;
  } else if (constexpr std::string_view kSelf = "/proc/self/"; path.starts_with(kSelf)) {
    absolute = "/proc/" + std::to_string(process) + "/" + path.substr(kSelf.size());
  } else if (constexpr std::string_view kThread = "/proc/thread-self/"; path.starts_with(kThread)) {
    absolute = "/proc/" + std::to_string(thread) + "/" + path.substr(kThread.size());
  }
  const bool follow = (call.flags & AT_SYMLINK_NOFOLLOW) == 0;
  if (fstatat(AT_FDCWD, absolute.c_str(), &target.status, follow ? 0 : AT_SYMLINK_NOFOLLOW) != 0) {
    return std::unexpected(errno);
  }
  return target;
}

std::string resolved_name(const Context& context, const Target& target,
                          const std::string& requested) {
  const auto id = file_id(target.status);
  if (const auto found = context.programs.allowed.find(id);
      found != context.programs.allowed.end()) {
    return found->second;
  }
  if (const auto found = context.programs.interpreters.find(id);
      found != context.programs.interpreters.end()) {
    return found->second;
  }
  return target.shown.empty() ? requested : target.shown;
}

// The arguments as /proc/PID/cmdline has them: a NUL after each. None at all are one empty word.
std::string joined(const std::vector<std::string>& words, std::size_t from, bool cut) {
  std::string text;
  for (std::size_t i = from; i < words.size(); ++i) {
    text += words[i];
    text += '\0';
  }
  if (words.empty()) {
    text += '\0';
  }
  if (cut && !text.empty()) {
    text.pop_back();
  }
  return text;
}

std::optional<std::string> command_line(pid_t process, std::size_t most) {
  const Fd file(
      open(("/proc/" + std::to_string(process) + "/cmdline").c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    return std::nullopt;
  }
  std::string text(most, '\0');
  std::size_t length = 0;
  while (length < text.size()) {
    const auto got = read(file.get(), text.data() + length, text.size() - length);
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got < 0) {
      return std::nullopt;
    }
    if (got == 0) {
      break;
    }
    length += static_cast<std::size_t>(got);
  }
  text.resize(length);
  return text;
}

bool runs_thread(pid_t process, pid_t thread) {
  const auto place = "/proc/" + std::to_string(process) + "/task/" + std::to_string(thread);
  return access(place.c_str(), F_OK) == 0 || errno != ENOENT;
}

// For a message.
std::string readable(std::string words) {
  words.resize(std::min(words.size(), kShownMost));
  while (words.ends_with('\0')) {
    words.pop_back();
  }
  std::ranges::replace(words, '\0', ' ');
  return words;
}

// A file that is listed has one name, whatever link led to it.
std::string program_of(pid_t thread, const std::expected<struct stat, int>& status,
                       const Programs& programs) {
  if (status) {
    if (const auto found = programs.allowed.find(file_id(*status));
        found != programs.allowed.end()) {
      return found->second;
    }
  }
  return link_target(thread, "exe").value_or("");
}

}  // namespace

struct Execs::Passed {
  Caller caller;
  pid_t thread = 0;
  FileId id;
  std::expected<struct stat, int> before;  // what the process runs until then
  ExecStarted event;
  struct stat file {};  // that it is to run
  std::vector<Event> trail;
  std::chrono::steady_clock::time_point when;
  bool followed = false;
};

Answer Execs::judge(const Notification& notification, Context& context) {
  const auto thread = static_cast<pid_t>(notification.call.pid);
  const ExecCall call = read_call(notification.call);
  check(notification, context);

  auto text = read_exec(thread, call.path, kPathMost, call.arguments, kArgumentsKept);
  const auto& path = text.path;
  if (!path) {
    // EFAULT and ENAMETOOLONG are the kernel's answers too; what guard may not read it refuses.
    return path.error() == EFAULT || path.error() == ENAMETOOLONG
               ? Answer::refuse(path.error())
               : context.refuse(notification, "exec.allow", EACCES);
  }
  auto& arguments = text.arguments;
  if (!arguments) {
    return arguments.error() == EFAULT ? Answer::refuse(EFAULT)
                                       : context.refuse(notification, "exec.allow", EACCES, *path);
  }
  const auto caller = caller_of(thread);
  if (!caller) {
    return context.refuse(notification, "exec.allow", EACCES, *path, std::move(arguments->words));
  }
  const auto target = look_up(thread, caller->kin.group, call, *path);
  if (!target) {
    // Nothing is there: the caller only tries its way along PATH.
    if (const int error = target.error(); error == ENOENT || error == ENOTDIR || error == EBADF ||
                                          error == ENAMETOOLONG || error == EACCES) {
      return Answer::refuse(error);
    }
    return context.refuse(notification, "exec.allow", EACCES, *path, std::move(arguments->words));
  }
  if (S_ISDIR(target->status.st_mode)) {
    return Answer::refuse(EACCES);
  }
  const auto id = file_id(target->status);
  const auto resolved = resolved_name(context, *target, *path);
  if (!context.programs.may_run(id) ||
      (context.hooks.may_start && !context.hooks.may_start(caller->kin.group, resolved))) {
    const bool loader = context.programs.interpreters.contains(id);
    const auto answer = context.refuse(notification, loader ? "exec.loader" : "exec.allow", EACCES,
                                       resolved, arguments->words);
    if (answer.kind != Answer::Kind::kContinue) {
      return answer;
    }
  }

  if ((call.flags & kOnlyCheck) != 0) {
    return Answer::go_on();
  }

  Passed passed{*caller, thread, id, stat_of(thread, "exe"), {}, target->status, {}, {}, false};
  auto& event = passed.event;
  event.by = {caller->kin.group, caller->kin.parent,
              program_of(thread, passed.before, context.programs)};
  event.requested = *path;
  event.resolved = resolved;
  event.argv = std::move(arguments->words);
  event.argv_bytes = arguments->bytes;
  event.argv_sha256 = std::move(arguments->sha256);
  event.cwd = link_target(thread, "cwd").value_or("");
  if (!resolved.starts_with('/')) {
    event.resolved = event.cwd + "/" + resolved;
  }
  passed.trail = scripts_.trail(event);
  passed.when = std::chrono::steady_clock::now();
  passed.followed =
      context.hooks.started && context.hooks.started(caller->kin.group, event.resolved);
  if (passed.followed) {  // its end may come before the work that is done later
    scripts_.started(event);
  }
  context.later([this, &context, passed = std::make_shared<Passed>(std::move(passed))] {
    if (context.taken) {
      this->passed(*passed, context);
    }
  });
  return Answer::go_on();
}

void Execs::passed(Passed& passed, Context& context) {
  auto& event = passed.event;
  expect(passed, context);
  if (!passed.followed) {
    scripts_.started(event);
    if (context.hooks.followed) {
      context.hooks.followed(passed.caller, event.resolved, passed.when);
    }
  }
  event.sha256 = digests_.known(passed.file);
  if (event.sha256.empty()) {
    event.sha256 = digests_.of(event.resolved);
  }
  context.put(event);
  for (const auto& also : passed.trail) {
    context.put(also);
  }
}

void Execs::expect(const Passed& passed, const Context& context) {
  const auto shown = context.programs.shown_as.find(passed.id);
  if (!passed.before || shown == context.programs.shown_as.end()) {
    return;  // it runs something that has been deleted; nothing to compare
  }
  if (expected_.size() >= kMostExpected) {
    expected_.erase(expected_.begin());
  }
  Expected expected{passed.caller.process,
                    passed.thread,
                    file_id(*passed.before),
                    shown->second,
                    context.programs.allowed.at(passed.id),
                    0,
                    {},
                    !passed.event.argv_sha256.empty(),
                    shown->second != passed.id,
                    {}};
  const auto words = joined(passed.event.argv, expected.of_script ? 1 : 0, expected.words_cut);
  expected.words_bytes = words.size();
  expected.words_sha256 = sha256_hex(words);
  expected_.insert_or_assign(passed.caller.kin.group, std::move(expected));
}

bool Execs::Expected::words_match() const {
  if (!shown) {
    return true;  // nothing was seen of them
  }
  if (of_script && words_cut) {
    return true;  // where they begin cannot be told
  }
  if (shown->size() < words_bytes || (!of_script && !words_cut && shown->size() != words_bytes)) {
    return false;
  }
  const auto from = of_script ? shown->size() - words_bytes : 0;
  return sha256_hex(std::string_view(*shown).substr(from, words_bytes)) == words_sha256;
}

// In the moment that the dynamic loader maps the first library of a program, nothing but the kernel
// has written its arguments.
void Execs::look(const Notification& notification) {
  const auto process = static_cast<pid_t>(notification.call.pid);
  if (notification.call.data.nr != SYS_mmap) {
    return;
  }
  if (const auto found = expected_.find(process); found != expected_.end()) {
    auto& expected = found->second;
    expected.shown =
        command_line(process, expected.words_bytes + (expected.of_script ? kInterpretersMost : 1));
  }
}

void Execs::check(const Notification& notification, Context& context) {
  // A process that has become another program has one thread, with the process's own number.
  const auto process = static_cast<pid_t>(notification.call.pid);
  const auto found = expected_.find(process);
  if (found == expected_.end()) {
    return;
  }
  const auto now = stat_of(process, "exe");
  const auto& pidfd = found->second.process;
  const bool same = pidfd && syscall(SYS_pidfd_send_signal, pidfd->get(), 0, nullptr, 0) == 0;
  if (same && now) {
    const auto id = file_id(*now);
    const bool words_match = found->second.words_match();
    if (id == found->second.before && (id != found->second.after || !words_match) &&
        found->second.thread != process && runs_thread(process, found->second.thread)) {
      found->second.shown.reset();
      return;  // another thread's call is still under way
    }
    if (id != found->second.after) {
      Finding finding{process_of(process), "exec.mismatch", {}};
      finding.message = id == found->second.before
                            ? found->second.path + " was let through but did not start"
                            : found->second.path + " was let through, and " + finding.by.program +
                                  " runs: the name was changed meanwhile";
      context.put(finding);
    } else if (!words_match) {
      Finding finding{process_of(process), "exec.mismatch", {}};
      finding.message =
          found->second.path + " was let through, and " +
          (found->second.before == found->second.after ? "did not start, or runs" : "runs") +
          " with other arguments than those on record: " + readable(*found->second.shown);
      context.put(finding);
    }
  }
  expected_.erase(found);
}

}  // namespace palisade::guard
