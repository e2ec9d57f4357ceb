#include "guard/freeze.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/proc.h"

namespace palisade::guard {
namespace {

using Clock = std::chrono::steady_clock;

// Whether the thread sits in a call that will not touch its descriptors any more, and has our
// interruption pending: it stops before its next instruction. /proc/PID/syscall tells the number
// and the arguments of a thread that is blocked, and "running" of one that is not.
bool harmless(pid_t process, pid_t thread) {
  const auto place =
      "/proc/" + std::to_string(process) + "/task/" + std::to_string(thread) + "/syscall";
  const Fd file(open(place.c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 256> bytes;
  const auto length = file ? read(file.get(), bytes.data(), bytes.size()) : -1;
  if (length <= 0) {
    return false;
  }
  const std::string_view text(bytes.data(), static_cast<std::size_t>(length));
  const auto* end = bytes.data() + length;
  long number = -1;
  if (std::from_chars(bytes.data(), end, number).ec != std::errc{}) {
    return false;
  }
  if (number == SYS_vfork || number == SYS_connect) {
    return true;
  }
  if (number != SYS_clone) {
    return false;
  }
  const auto at = text.find(" 0x");
  std::uint64_t flags = 0;
  return at != std::string_view::npos &&
         std::from_chars(bytes.data() + at + 3, end, flags, 16).ec == std::errc{} &&
         (flags & CLONE_VFORK) != 0;
}

void pause_for(int round) {
  if (round < 50) {
    sched_yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

}  // namespace

Freezer::State Freezer::look(pid_t process, pid_t thread) {
  siginfo_t info;
  if (ptrace(PTRACE_GETSIGINFO, thread, nullptr, &info) == 0) {
    return State::kStopped;
  }
  siginfo_t end{};
  if (waitid(P_PID, static_cast<id_t>(thread), &end, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0) {
    return State::kDead;  // and reaped
  }
  if (end.si_pid != thread ||
      (end.si_code != CLD_EXITED && end.si_code != CLD_KILLED && end.si_code != CLD_DUMPED)) {
    return State::kRunning;
  }
  // A tracee's end is hidden from its parent until the tracer has seen it; but the end of guard's
  // own child is the session's to take.
  const auto kin = kinship(thread);
  if (thread != process || !kin || kin->parent != getpid()) {
    waitpid(thread, nullptr, __WALL | WNOHANG);
  }
  return State::kDead;
}

// True: it runs on, or is dead.
bool Freezer::let_go(pid_t process, pid_t thread) {
  siginfo_t info;
  if (ptrace(PTRACE_GETSIGINFO, thread, nullptr, &info) == 0) {
    // One that was about to get a signal must still get it.
    const bool event = (info.si_code >> 8) == PTRACE_EVENT_STOP;
    const auto signal = static_cast<std::uintptr_t>(event ? 0 : info.si_signo);
    if (ptrace(PTRACE_DETACH, thread, nullptr, signal) == 0) {
      return true;
    }
  }
  return look(process, thread) == State::kDead;
}

std::expected<void, int> Freezer::seize(pid_t thread) {
  if (!left_.contains(thread) && ptrace(PTRACE_SEIZE, thread, nullptr, nullptr) != 0) {
    return std::unexpected(errno);
  }
  left_.erase(thread);
  held_.insert(thread);
  if (ptrace(PTRACE_INTERRUPT, thread, nullptr, nullptr) != 0) {
    return std::unexpected(errno);
  }
  return {};
}

// One look at all threads. True: all that there are have been held before the look, and are
// stopped.
std::expected<bool, int> Freezer::round() {
  const auto threads = threads_of(process_);
  if (!threads) {
    return std::unexpected(threads.error());
  }
  bool still = true;
  bool caller_seen = false;
  for (const pid_t thread : *threads) {
    caller_seen = caller_seen || thread == caller_;
    if (!held_.contains(thread)) {
      still = false;
      // One that has died meanwhile changes nothing any more.
      if (auto seized = seize(thread); !seized && seized.error() != ESRCH) {
        return std::unexpected(seized.error());
      }
    }
  }
  if (!caller_seen) {
    return std::unexpected(ESRCH);
  }
  for (const pid_t thread : *threads) {
    if (!still) {
      break;
    }
    still = thread == caller_ || look(process_, thread) != State::kRunning ||
            harmless(process_, thread);
  }
  if (!still) {
    return false;
  }
  const auto again = threads_of(process_);
  return again && *again == *threads;
}

std::expected<void, int> Freezer::stop(pid_t process, pid_t caller,
                                       std::chrono::milliseconds within) {
  release();
  process_ = process;
  caller_ = caller;
  const auto until = Clock::now() + within;
  for (int number = 0;; ++number) {
    const auto done = round();
    if (done && *done) {
      return {};
    }
    if (!done || Clock::now() >= until) {
      release();
      return std::unexpected(done ? ETIMEDOUT : done.error());
    }
    pause_for(number);
  }
}

bool Freezer::wait_for_caller(std::chrono::milliseconds within) {
  const auto until = Clock::now() + within;
  for (int number = 0; Clock::now() < until; ++number) {
    switch (look(process_, caller_)) {
      case State::kStopped:
        return true;
      case State::kDead:
        return false;
      case State::kRunning:
        pause_for(number);
    }
  }
  return false;
}

void Freezer::release() {
  for (const pid_t thread : held_) {
    if (!let_go(process_, thread)) {
      left_.emplace(thread, process_);
    }
  }
  held_.clear();
}

bool Freezer::settle() {
  for (auto it = left_.begin(); it != left_.end();) {
    it = let_go(it->second, it->first) ? left_.erase(it) : std::next(it);
  }
  return !left_.empty();
}

}  // namespace palisade::guard
