#include "guard/session.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "command_limit.h"
#include "errno_fault.h"
#include "exits.h"
#include "guard/proc.h"
#include "guard/processes.h"
#include "guard/run.h"

namespace palisade::guard {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kExitsRest{3};      // between two looks at what has ended
constexpr milliseconds kSoon{2};           // after something that cannot be waited for
constexpr milliseconds kPatience{20'000};  // for a killed process to go, before guard goes

// As rt_sigaction(2) takes it. All zero is SIG_DFL with no flags.
struct KernelSigaction {
  void* handler = nullptr;
  unsigned long flags = 0;
  void* restorer = nullptr;
  std::uint64_t mask = 0;
};

sigset_t waited_for() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT})
    sigaddset(&set, signal);
  return set;
}

std::string signal_name(int signal) {
  const char* name = sigabbrev_np(signal);
  return name == nullptr ? "signal " + std::to_string(signal) : std::string{"SIG"} + name;
}

// Everything that ends with guard: as PID 1 all that there is, else its descendants. No zombies.
std::vector<ProcessState> everybody() {
  const pid_t self = getpid();
  auto found = self == 1 ? all_processes() : descendants(self);
  std::erase_if(found, [self](const auto& one) { return one.pid == self || one.zombie(); });
  return found;
}

}  // namespace

class Session::Impl {
 public:
  Impl(const LimitPolicy& limits, Recorder& recorder, SessionOptions options)
      : limits_(limits),
        recorder_(recorder),
        options_(options),
        exits_(recorder, options.watched),
        commands_(limits.command, options.grace, recorder) {
    const auto set = waited_for();
    signals_ = Fd{signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    if (!signals_) throw_errno("signalfd");
    event_ = Fd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!event_) throw_errno("eventfd");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0) throw_errno("PR_SET_CHILD_SUBREAPER");
    activity();
  }

  int run(pid_t agent, const std::function<void()>& settle);
  void activity() noexcept { active_ = Clock::now().time_since_epoch().count(); }
  bool started(pid_t pid, const std::string& program) {
    activity();
    commands_.started(pid, program);
    return exits_.replaces(pid, program);
  }
  Exits& exits() { return exits_; }
  void stop(std::string why, std::string message, int exit_code);
  void loop(std::string program) { commands_.loop(std::move(program)); }
  const SessionOutcome& outcome() const { return outcome_; }

 private:
  void wait(milliseconds most);
  void take_signals();
  void pass_on(int signal, bool of_terminal);
  void reap();
  void check();
  void kill_all();
  void kill_left();
  void note(const std::vector<ProcessState>& processes);
  void end(std::string why, std::string message, int exit_code);
  void describe_exit();
  [[nodiscard]] milliseconds until_next() const;

  const LimitPolicy limits_;
  Recorder& recorder_;
  const SessionOptions options_;
  Exits exits_;
  CommandLimit commands_;
  Fd signals_;
  Fd event_;
  std::atomic<Clock::rep> active_{0};

  std::mutex mutex_;
  std::optional<SessionOutcome> stopped_;  // by stop()

  // The main thread's.
  pid_t agent_ = 0;
  Clock::time_point begun_;
  std::optional<Clock::time_point> kill_at_;  // somebody asked the session to end
  bool ended_ = false;
  bool none_left_ = false;
  bool again_soon_ = false;
  Clock::time_point rested_;  // ends are looked at again from then on
  std::set<Identity> killed_;
  SessionOutcome outcome_;
};

void Session::Impl::stop(std::string why, std::string message, int exit_code) {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) return;
    stopped_ = {std::move(why), std::move(message), exit_code, std::nullopt, 0};
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto put = write(event_.get(), &one, sizeof one);
}

// The first reason counts.
void Session::Impl::end(std::string why, std::string message, int exit_code) {
  if (ended_) return;
  ended_ = true;
  outcome_.why = std::move(why);
  outcome_.message = std::move(message);
  outcome_.exit_code = exit_code;
}

void Session::Impl::reap() {
  while (true) {
    // Looked at before it is taken: a thread that another part of guard traces may show here with
    // a stop, which is that part's to take.
    siginfo_t info{};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0) {
      if (errno == EINTR) continue;
      none_left_ = errno == ECHILD;
      return;
    }
    if (info.si_pid == 0) return;
    if (info.si_code != CLD_EXITED && info.si_code != CLD_KILLED && info.si_code != CLD_DUMPED) {
      again_soon_ = true;
      return;
    }
    int status = 0;
    const pid_t pid = waitpid(info.si_pid, &status, WNOHANG | __WALL);
    if (pid <= 0) {
      again_soon_ = true;
      return;
    }
    if (pid == agent_ && (WIFEXITED(status) || WIFSIGNALED(status))) outcome_.status = status;
  }
}

void Session::Impl::pass_on(int signal, bool of_terminal) {
  if (of_terminal && (signal == SIGINT || signal == SIGQUIT)) return;
  if (!outcome_.status && agent_ > 0) kill(agent_, signal);  // not reaped: the number is its own
  if (!kill_at_) {
    kill_at_ = Clock::now() + options_.agent_grace;
    outcome_.why = "terminated";
    outcome_.message = "the session was ended from outside (" + signal_name(signal) + ")";
  }
}

void Session::Impl::take_signals() {
  signalfd_siginfo info{};
  while (read(signals_.get(), &info, sizeof info) == ssize_t{sizeof info}) {
    const int signal = static_cast<int>(info.ssi_signo);
    if (signal != SIGCHLD) pass_on(signal, info.ssi_code == SI_KERNEL);
  }
}

// Until something happens, or `most` is over; then everything that waits is taken.
void Session::Impl::wait(milliseconds most) {
  const bool again = std::exchange(again_soon_, false);
  if (again) most = std::min(most, kSoon);
  // Ends that are put on record come in crowds, and one after another each would wake this thread
  // while the next program starts.
  const bool resting = rested_ > Clock::now();
  if (resting) most = std::min(most, kExitsRest);
  std::array<pollfd, 3> ready{pollfd{signals_.get(), POLLIN, 0}, pollfd{event_.get(), POLLIN, 0},
                              pollfd{resting ? -1 : exits_.fd(), POLLIN, 0}};
  const int count =
      poll(ready.data(), ready.size(), static_cast<int>(std::max<std::int64_t>(most.count(), 0)));
  if (resting ? count == 0 : ready[2].revents != 0) {
    // Where nothing has ended the next one wakes this thread, and no clock does.
    if (exits_.look()) rested_ = Clock::now() + kExitsRest;
    if (count == (resting ? 0 : 1) && !again) return;
  }
  std::uint64_t ignored = 0;
  [[maybe_unused]] const auto got = read(event_.get(), &ignored, sizeof ignored);
  take_signals();
  reap();
}

milliseconds Session::Impl::until_next() const {
  const auto now = Clock::now();
  auto next = now + std::chrono::hours{1};
  if (limits_.deadline.count() > 0) next = std::min(next, begun_ + limits_.deadline);
  if (limits_.idle.count() > 0) {
    next = std::min(next, Clock::time_point{Clock::duration{active_}} + limits_.idle);
  }
  if (const auto look = commands_.next()) next = std::min(next, *look);
  if (kill_at_) next = std::min(next, *kill_at_);
  return std::max(std::chrono::ceil<milliseconds>(next - now), milliseconds{0});
}

void Session::Impl::check() {
  {
    std::lock_guard lock(mutex_);
    if (stopped_) end(stopped_->why, stopped_->message, stopped_->exit_code);
  }
  if (!exits_.kept()) end("record", "the record cannot be kept", kExitRecord);
  if (outcome_.status) return;
  const auto now = Clock::now();
  if (kill_at_ && now >= *kill_at_) {
    end(outcome_.why,
        outcome_.message + "; the agent had not gone " + in_words(options_.agent_grace) + " later",
        kExitLimit);
  }
  if (limits_.deadline.count() > 0 && now >= begun_ + limits_.deadline) {
    end("deadline",
        "the session's deadline is over (limits.deadline is " + in_words(limits_.deadline) + ")",
        kExitLimit);
  }
  if (limits_.idle.count() > 0 &&
      now >= Clock::time_point{Clock::duration{active_}} + limits_.idle) {
    end("idle",
        "nothing was executed, connected or printed for " + in_words(limits_.idle) +
            " (limits.idle)",
        kExitLimit);
  }
  if (const auto look = commands_.next(); look && now >= *look && !commands_.look()) {
    end("record", "the record cannot be kept", kExitRecord);
  }
}

void Session::Impl::note(const std::vector<ProcessState>& processes) {
  for (const auto& process : processes)
    killed_.insert(identity(process));
}

void Session::Impl::kill_left() {
  if (getpid() == 1) {
    note(everybody());
    kill(-1, SIGKILL);
    return;
  }
  std::set<Identity> stopped;
  bool more = true;
  for (int round = 0; more && round < kRoundsMost; ++round) {
    more = false;
    const auto there = everybody();
    note(there);
    for (const auto& process : there) {
      if (stopped.insert(identity(process)).second) more |= signal_process(process, SIGSTOP);
    }
  }
  for (const auto& process : everybody())
    signal_process(process, SIGKILL);
}

void Session::Impl::kill_all() {
  reap();
  if (none_left_) return;
  const auto there = everybody();
  note(there);
  for (const int signal : {SIGTERM, SIGCONT}) {
    if (getpid() == 1) {
      kill(-1, signal);
    } else {
      for (const auto& process : there)
        signal_process(process, signal);
    }
  }
  const auto kill_at = Clock::now() + options_.grace;
  const auto give_up = kill_at + kPatience;
  while (!none_left_) {
    const auto now = Clock::now();
    if (now >= give_up) return;  // stuck in the kernel; PID 1's own end ends it
    if (now >= kill_at) kill_left();
    const auto left = now < kill_at ? std::chrono::ceil<milliseconds>(kill_at - now) : kSoon * 5;
    wait(left);
  }
}

void Session::Impl::describe_exit() {
  const int status = outcome_.status.value_or(0);
  const bool signalled = WIFSIGNALED(status);
  const int code = signalled ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  if (kill_at_) {  // asked to end, and it did
    ended_ = true;
    outcome_.exit_code = code;
    return;
  }
  end("exited",
      signalled ? "the agent was killed by " + signal_name(WTERMSIG(status))
                : "the agent exited with code " + std::to_string(code),
      code);
}

int Session::Impl::run(pid_t agent, const std::function<void()>& settle) {
  agent_ = agent;
  begun_ = Clock::now();
  activity();
  commands_.begin(agent);
  reap();
  check();
  while (!ended_ && !outcome_.status) {
    wait(until_next());
    check();
  }
  if (!ended_) describe_exit();
  kill_all();
  if (settle) settle();
  exits_.finish();
  outcome_.killed = killed_.size();
  const SessionEnded event{outcome_.why, outcome_.status, outcome_.killed};
  if ((!recorder_.put(event) || !exits_.kept()) && outcome_.why == "exited") {
    outcome_.why = "record";
    outcome_.message = "the record cannot be kept";
    outcome_.exit_code = kExitRecord;
  }
  return outcome_.exit_code;
}

void Session::block_signals() {
  const auto set = waited_for();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void Session::restore_signals() {
  // libc keeps the first real-time signals to itself and its sigaction refuses them, yet whoever
  // started guard may ignore them.
  const KernelSigaction standard{};
  for (int signal = 1; signal < NSIG; ++signal) {
    if (signal == SIGKILL || signal == SIGSTOP) continue;
    ::syscall(SYS_rt_sigaction, signal, &standard, nullptr, sizeof standard.mask);
  }
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

Session::Session(const LimitPolicy& limits, Recorder& recorder, SessionOptions options)
    : impl_(std::make_unique<Impl>(limits, recorder, options)) {}
Session::~Session() = default;

int Session::run(pid_t agent, const std::function<void()>& settle) {
  return impl_->run(agent, settle);
}
const SessionOutcome& Session::outcome() const {
  return impl_->outcome();
}
void Session::loop(std::string program) {
  impl_->loop(std::move(program));
}
void Session::activity() noexcept {
  impl_->activity();
}

bool Session::started(pid_t pid, const std::string& program) noexcept {
  try {
    return impl_->started(pid, program);
  } catch (const std::exception& error) {
    stop("internal", std::string{"a started program cannot be noted: "} + error.what(),
         kExitInternal);
    return true;
  }
}

void Session::followed(pid_t pid, std::string program, std::shared_ptr<const Fd> process,
                       std::chrono::steady_clock::time_point when) noexcept {
  try {
    impl_->exits().follow(pid, std::move(program), std::move(process), when);
  } catch (const std::exception& error) {
    stop("internal", std::string{"a started program cannot be followed: "} + error.what(),
         kExitInternal);
  }
}

void Session::stop(std::string why, std::string message, int exit_code) noexcept {
  impl_->stop(std::move(why), std::move(message), exit_code);
}

}  // namespace palisade::guard
