#include "guard/supervisor.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <linux/audit.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard/exec.h"
#include "guard/filter.h"
#include "guard/mapping.h"
#include "guard/sockets.h"
#include "newer_kernel.h"

namespace palisade::guard {
namespace {

// Whether a number names one of guard's own threads. What cannot be found out counts as yes.
bool guards_own(pid_t thread) {
  const auto place = "/proc/self/task/" + std::to_string(thread);
  return access(place.c_str(), F_OK) == 0 || errno != ENOENT;
}

}  // namespace

void Context::put(const Event& event) {
  if (!recorder.put(event) && hooks.record_lost) {
    hooks.record_lost();
  }
}

Answer Context::refuse(const Notification& notification, const std::string& rule, int error,
                       std::string target, std::vector<std::string> argv) {
  const bool enforced = policy.mode == Mode::kEnforce;
  Refused refused;
  refused.by = process_of(static_cast<pid_t>(notification.call.pid));
  refused.rule = rule;
  refused.call = call_name(notification.call.data);
  refused.target = std::move(target);
  refused.argv = std::move(argv);
  refused.error = error;
  refused.enforced = enforced;
  if (!notification.alive()) {
    refused.by = {static_cast<pid_t>(notification.call.pid), 0, {}};  // it may be another's by now
  }
  later([this, refused = std::move(refused)] { put(refused); });
  return enforced ? Answer::refuse(error) : Answer::go_on();
}

void Context::later(std::function<void()> work) {
  after.push_back(std::move(work));
}

struct Supervisor::State {
  explicit State(Parts parts)
      : context{parts.policy, parts.programs, parts.recorder, std::move(parts.hooks), {}, false},
        sockets(parts.sockets),
        execs(parts.digests, parts.scripts) {}

  Answer judge(const Notification& notification);
  Answer judge_tkill(const Notification& notification);
  Answer judge_personality(const Notification& notification);
  void serve_one();
  void serve_all();

  Context context;
  Sockets& sockets;
  Execs execs;
  Mappings mappings;
  std::mutex serving;  // held from a notification's arrival until everything of it is done
  std::mutex mutex;    // of the two that follow, until the thread serves
  Fd listener;
  bool stopping = false;
  std::condition_variable changed;
  Fd ending;
  std::thread thread;
};

Answer Supervisor::State::judge_tkill(const Notification& notification) {
  const auto target = static_cast<pid_t>(notification.call.data.args[0]);
  return guards_own(target) ? context.refuse(notification, "syscall.tkill", EPERM)
                            : Answer::go_on();
}

Answer Supervisor::State::judge_personality(const Notification& notification) {
  // A question, or the usual one. Any other brings tricks with memory or the words of another
  // system.
  const auto wanted = static_cast<std::uint32_t>(notification.call.data.args[0]);
  return wanted == 0xffffffff || wanted == 0
             ? Answer::go_on()
             : context.refuse(notification, "syscall.personality", EPERM);
}

Answer Supervisor::State::judge(const Notification& notification) {
  const auto& data = notification.call.data;
  if (data.arch != AUDIT_ARCH_X86_64 || (data.nr & __X32_SYSCALL_BIT) != 0) {
    return context.refuse(notification, "syscall.foreign", ENOSYS, std::to_string(data.nr));
  }
  if (data.nr != SYS_execve && data.nr != SYS_execveat) {
    execs.look(notification);
    context.later([this, &notification] { execs.check(notification, context); });
  }
  switch (data.nr) {
    case SYS_execve:
    case SYS_execveat:
      return execs.judge(notification, context);
    case SYS_mmap:
      return mappings.mmap(notification, context);
    case SYS_mprotect:
    case SYS_pkey_mprotect:
    case SYS_shmat:
      return mappings.memory(notification, context);
    case SYS_socket:
      return sockets.socket(notification);
    case SYS_socketpair:
      return sockets.socketpair(notification);
    case SYS_connect:
      return sockets.connect(notification);
    case SYS_bind:
      return sockets.bind(notification);
    case SYS_listen:
      return sockets.listen(notification);
    case SYS_tkill:
      return judge_tkill(notification);
    case SYS_personality:
      return judge_personality(notification);
    default:
      return context.refuse(notification, "syscall." + call_name(data), EPERM);
  }
}

void Supervisor::State::serve_one() {
  // The kernel may know longer notifications than the headers do; it never writes more than these.
  const std::scoped_lock lock(serving);
  union {
    seccomp_notif call;
    std::array<std::byte, 512> room;
  } received;
  std::memset(&received, 0, sizeof received);
  if (ioctl(listener.get(), SECCOMP_IOCTL_NOTIF_RECV, &received.call) != 0) {
    return;  // ENOENT: the caller was killed meanwhile
  }
  const Notification notification{received.call, listener.get()};
  Answer answer = Answer::refuse(EPERM);
  try {
    answer = judge(notification);
  } catch (const std::exception& error) {
    context.after.clear();
    context.later([this, message = std::string(error.what())] {
      context.put(Finding{{}, "guard.internal", "a judge failed, so it refused: " + message});
    });
  }
  context.taken = notification.reply(answer);
  for (std::size_t i = 0; i < context.after.size(); ++i) {
    try {
      context.after[i]();
    } catch (const std::exception& error) {
      if (context.hooks.record_lost) {
        context.hooks.record_lost();
      }
    }
  }
  context.after.clear();
}

void Supervisor::State::serve_all() {
  std::array<pollfd, 2> waited{{{listener.get(), POLLIN, 0}, {ending.get(), POLLIN, 0}}};
  bool held = false;
  for (;;) {
    const int ready = poll(waited.data(), waited.size(), held ? 1 : -1);
    if (ready < 0 && errno != EINTR) {
      return;
    }
    held = mappings.settle();
    if (ready <= 0) {
      continue;
    }
    if ((waited[1].revents & POLLIN) != 0) {
      return;
    }
    if ((waited[0].revents & POLLIN) != 0) {
      serve_one();
      held = mappings.settle();
    } else if ((waited[0].revents & (POLLHUP | POLLERR)) != 0) {
      waited[0].fd = -1;  // no process is left under the filter; stop() is to come
    }
  }
}

Supervisor::Supervisor(Parts parts) : state_(std::make_unique<State>(std::move(parts))) {
  auto& state = *state_;
  state.ending = Fd(eventfd(0, EFD_CLOEXEC));
  if (!state.ending) {
    throw std::system_error(errno, std::generic_category(), "eventfd");
  }
  state.thread = std::thread([&state] {
    pthread_setname_np(pthread_self(), "notify");
    std::unique_lock lock(state.mutex);
    state.changed.wait(lock, [&] { return state.listener || state.stopping; });
    const bool serving = !state.stopping;
    lock.unlock();
    if (serving) {
      state.serve_all();
    }
  });
}

Supervisor::~Supervisor() {
  stop();
}

void Supervisor::serve(Fd listener) {
  // An older kernel does without: it only answers later.
  ioctl(listener.get(), kSetFlags, kSyncWakeUp);
  const std::scoped_lock lock(state_->mutex);
  state_->listener = std::move(listener);
  state_->changed.notify_one();
}

void Supervisor::settle() {
  const std::scoped_lock lock(state_->serving);
}

void Supervisor::stop() {
  if (!state_->thread.joinable()) {
    return;
  }
  {
    const std::scoped_lock lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_one();
  }
  const std::uint64_t one = 1;
  // Cannot fail: the counter is far from its end.
  [[maybe_unused]] const auto written = write(state_->ending.get(), &one, sizeof one);
  state_->thread.join();
  state_->listener = Fd();
}

}  // namespace palisade::guard
