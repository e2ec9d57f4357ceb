#include "command_limit.h"

#include <algorithm>
#include <csignal>

#include <time.h>
#include <unistd.h>

#include "guard/proc.h"

namespace palisade::guard {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kTick{200};       // how often the commands' ages are looked at
constexpr milliseconds kStubborn{500};   // alive so long after its SIGKILL
constexpr std::size_t kSeenMost = 4096;  // processes noted between two looks
constexpr int kAncestorsMost = 64;

std::chrono::nanoseconds since_boot() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

std::chrono::nanoseconds age(std::uint64_t start) {
  static const auto ticks = static_cast<std::uint64_t>(std::max(sysconf(_SC_CLK_TCK), 1L));
  const auto begun = std::chrono::seconds{start / ticks} +
                     std::chrono::nanoseconds{(start % ticks) * (1'000'000'000ULL / ticks)};
  return since_boot() - begun;
}

}  // namespace

std::string in_words(milliseconds time) {
  const auto count = time.count();
  if (count % 1000 != 0) return std::to_string(count) + "ms";
  if (count % 60'000 != 0) return std::to_string(count / 1000) + "s";
  return std::to_string(count / 60'000) + "m";
}

void CommandLimit::started(pid_t pid, const std::string& program) {
  if (limit_.count() == 0) return;
  const bool again = !loop_.empty() && program == loop_;
  // Its parents may be gone before the next look: all of them are noted now, the oldest first.
  std::vector<ProcessState> chain;
  for (pid_t at = pid; at > 1 && std::ssize(chain) < kAncestorsMost;) {
    auto state = process_state(at);
    if (!state || state->pid == getpid()) break;
    at = state->parent;
    chain.push_back(*state);
  }
  const std::lock_guard lock(mutex_);
  // What a child of the loop becomes later changes nothing: its first program is the loop's choice,
  // any other its own.
  if (!loop_.empty() && chain.size() == 2 && chain[1].parent == getpid() &&
      children_.insert(identity(chain[0])).second && again) {
    again_.push_back(chain[0]);
  }
  // Where there is no more room, the next look finds those that live.
  if (seen_.size() + chain.size() <= kSeenMost) {
    seen_.insert(seen_.end(), chain.rbegin(), chain.rend());
  }
}

void CommandLimit::begin(pid_t agent) {
  agent_ = agent;
  if (limit_.count() == 0) return;
  commands_.emplace(getpid(), agent);
  next_ = Clock::now() + std::min(kTick, limit_);
}

bool CommandLimit::look() {
  next_ = Clock::now() + std::min(kTick, limit_);
  std::vector<ProcessState> seen;
  std::vector<ProcessState> again;
  {
    const std::lock_guard lock(mutex_);
    seen = std::exchange(seen_, {});
    again = std::exchange(again_, {});
  }
  for (const auto& process : again) {
    // An orphan's parent is guard as well: only the agent's own children are meant.
    if (process.parent == agent_) commands_->also_agent(process);
  }
  for (const auto& process : seen)
    commands_->saw(process);
  const auto commands = commands_->update(all_processes());
  std::erase_if(dying_, [&](const auto& entry) {
    return std::none_of(commands.begin(), commands.end(), [&](const auto& command) {
      return Identity{command.root, command.start} == entry.first;
    });
  });
  bool kept = true;
  for (const auto& command : commands) {
    if (age(command.start) >= limit_) kept = end(command) && kept;
  }
  return kept;
}

// SIGTERM first, SIGKILL `grace` later, each time to all that it has by then.
bool CommandLimit::end(const Commands::Command& command) {
  const auto now = Clock::now();
  const auto [at, first] = dying_.try_emplace({command.root, command.start}, now + grace_);
  if (!first) {
    if (now >= at->second) kill_whole(command);
    return true;
  }
  const auto& one = command.alive.front();
  const Finding finding{{one.pid, one.parent, link_target(one.pid, "exe").value_or("")},
                        "limit.command",
                        "a command ran longer than limits.command (" + in_words(limit_) +
                            ") and is killed, with " + std::to_string(command.alive.size()) +
                            " processes"};
  const bool kept = recorder_.put(finding);
  for (const auto& process : command.alive) {
    signal_process(process, SIGTERM);
    signal_process(process, SIGCONT);
  }
  return kept;
}

void CommandLimit::kill_whole(const Commands::Command& command) {
  // What outlives a SIGKILL has a new number by the time that it is sent. Stopping everything at
  // once is a PID 1's privilege: nobody can fork any more then.
  const bool all_stopped =
      getpid() == 1 && Clock::now() >= dying_.at({command.root, command.start}) + kStubborn;
  if (all_stopped) kill(-1, SIGSTOP);
  // Stopped first, all of them: one that forks as fast as it is killed cannot get away so.
  std::set<Identity> stopped;
  auto alive = command.alive;
  for (int round = 0; round < kRoundsMost; ++round) {
    bool more = false;
    for (const auto& process : alive) {
      if (stopped.insert(identity(process)).second) more |= signal_process(process, SIGSTOP);
    }
    if (!more && round > 0) break;
    alive.clear();
    for (auto& now_there : commands_->update(all_processes())) {
      if (now_there.root == command.root) alive = std::move(now_there.alive);
    }
  }
  for (const auto& [pid, start] : stopped) {
    signal_process({.pid = pid, .start = start}, SIGKILL);
  }
  if (all_stopped) kill(-1, SIGCONT);
}

}  // namespace palisade::guard
