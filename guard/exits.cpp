#include "exits.h"

#include <array>
#include <cerrno>

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "errno_fault.h"
#include "newer_kernel.h"

namespace palisade::guard {

namespace {

// Others may hold the descriptor too: it is ready from its process's end on.
constexpr std::uint32_t kOnce = EPOLLONESHOT;

enum class Told { kStatus, kNotYet, kNever };

Told exit_status(int pidfd, int& status) {
  PidfdInfo info;
  info.mask = kPidfdInfoExit;
  if (ioctl(pidfd, kPidfdGetInfo, &info) != 0) {
    // ESRCH: reaped, on a kernel that keeps nothing of it.
    return Told::kNever;
  }
  if ((info.mask & kPidfdInfoExit) == 0) return Told::kNotYet;
  status = info.exit_code;
  return Told::kStatus;
}

bool runs(int pidfd) {
  return syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) == 0;
}

}  // namespace

Exits::Exits(Recorder& recorder, std::size_t most)
    : recorder_(recorder), most_(most), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw_errno("epoll_create1");
}

void Exits::put(const Follow& follow, std::optional<int> status) {
  const auto took = follow.ended.value_or(Clock::now()) - follow.begun;
  if (!recorder_.put(ExecEnded{follow.pid, follow.program, took, status})) kept_ = false;
}

void Exits::remove(std::uint64_t id) {
  const auto at = follows_.find(id);
  const auto newest = newest_.find(at->second.pid);
  if (newest != newest_.end() && newest->second == id) newest_.erase(newest);
  follows_.erase(at);
}

bool Exits::replaces(pid_t pid, const std::string& program) {
  std::lock_guard lock(mutex_);
  const auto before = newest_.find(pid);
  if (before == newest_.end()) return false;
  auto& follow = follows_.at(before->second);
  if (!runs(follow.pidfd->get())) return false;  // the number is another's by now
  put(follow, std::nullopt);
  follow.program = program;
  follow.begun = Clock::now();
  return true;
}

void Exits::follow(pid_t pid, std::string program, std::shared_ptr<const Fd> process,
                   Clock::time_point begun) {
  std::lock_guard lock(mutex_);
  if (!process || follows_.size() >= most_) {
    recorder_.left_out(1);
    return;
  }
  const auto id = next_++;
  epoll_event event{};
  event.events = kOnce | EPOLLIN;
  event.data.u64 = id;
  // Ready at once where it has ended already.
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, process->get(), &event) != 0) {
    recorder_.left_out(1);
    return;
  }
  follows_[id] = {pid, std::move(process), std::move(program), begun, std::nullopt};
  newest_[pid] = id;
}

// It has ended; `reaped`: its parent has seen it.
void Exits::ended(std::uint64_t id, bool reaped) {
  const auto at = follows_.find(id);
  if (at == follows_.end()) return;
  auto& follow = at->second;
  if (!follow.ended) follow.ended = Clock::now();
  int status = 0;
  const auto told = exit_status(follow.pidfd->get(), status);
  if (told == Told::kNotYet && !reaped) {
    epoll_event event{};  // now EPOLLHUP alone: reaped
    event.events = kOnce;
    event.data.u64 = id;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, follow.pidfd->get(), &event) == 0) return;
  }
  put(follow, told == Told::kStatus ? std::optional{status} : std::nullopt);
  remove(id);
}

bool Exits::look() {
  std::array<epoll_event, 64> events{};
  int count = 0;
  bool any = false;
  do {
    count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
    any = any || count > 0;
    std::lock_guard lock(mutex_);
    for (int i = 0; i < count; ++i) {
      const auto& event = events.at(static_cast<std::size_t>(i));
      ended(event.data.u64, (event.events & EPOLLHUP) != 0);
    }
  } while (count == static_cast<int>(events.size()));
  return any;
}

void Exits::finish() {
  look();
  std::lock_guard lock(mutex_);
  while (!follows_.empty())
    ended(follows_.begin()->first, true);
}

bool Exits::kept() const {
  std::lock_guard lock(mutex_);
  return kept_;
}

std::size_t Exits::followed() const {
  std::lock_guard lock(mutex_);
  return follows_.size();
}

}  // namespace palisade::guard
