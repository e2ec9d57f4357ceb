// Processes as /proc shows them: who is whose child, and how to end whole trees. A PID alone is
// never acted on: the process is opened first (pidfd_open(2)) and looked at again. See proc(5).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace palisade::guard {

struct ProcessState {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  char state = '?';         // 'Z' for one that only waits to be reaped
  std::uint64_t start = 0;  // clock ticks since boot: with `pid` it names one process for ever

  [[nodiscard]] bool zombie() const { return state == 'Z' || state == 'X'; }
};

// Names one process for ever.
using Identity = std::pair<pid_t, std::uint64_t>;
[[nodiscard]] inline Identity identity(const ProcessState& process) {
  return {process.pid, process.start};
}
// One that forks as fast as it is stopped gets so many rounds.
inline constexpr int kRoundsMost = 100;

// From the text of /proc/PID/stat; the program's name in it may hold anything.
[[nodiscard]] std::optional<ProcessState> parse_process_state(std::string_view stat);
[[nodiscard]] std::optional<ProcessState> process_state(pid_t pid);

// All that /proc shows. Empty: /proc cannot be read.
[[nodiscard]] std::vector<ProcessState> all_processes();
// Those below `root`, which is not among them.
[[nodiscard]] std::vector<ProcessState> descendants(pid_t root);

// Sends `signal` to exactly this process. False: it has gone.
bool signal_process(const ProcessState& process, int signal);

// Tells which command of the agent's each process belongs to, also after its parents have gone: a
// child of the agent's and all its descendants are one. An orphan stays where its session's or its
// group's leader belongs; those of whom nothing is known are together one more command, as old as
// there has been any: one that forks and ends, again and again, is no younger for it. Not
// thread-safe.
class Commands {
 public:
  Commands(pid_t guard, pid_t agent) : guard_(guard), agent_(agent) {}

  struct Command {
    pid_t root = 0;           // the child of the agent that it began with; 0: the orphans
    std::uint64_t start = 0;  // clock ticks since boot
    std::vector<ProcessState> alive;
  };

  // What is alive below `guard` now. Zombies are known, but alive in no command.
  [[nodiscard]] std::vector<Command> update(std::span<const ProcessState> all);
  // Another process that is the agent, not a command; its children begin commands too.
  void also_agent(const ProcessState& process);
  // A process that was seen between two updates.
  void saw(const ProcessState& process);

 private:
  struct Key {
    pid_t pid;
    std::uint64_t start;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  static constexpr Key kOrphans{0, 0};
  [[nodiscard]] std::optional<Key> command_of(const ProcessState& process) const;

  pid_t guard_;
  pid_t agent_;
  std::set<Key> also_;            // further agents
  std::map<Key, Key> command_;    // process -> the command's root
  std::map<pid_t, Key> current_;  // the newest process that had this PID
  std::optional<std::uint64_t> orphans_since_;
};

}  // namespace palisade::guard
