#include "guard/processes.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guard/proc.h"

namespace palisade::guard {

namespace {

// The next number of a line of words, or none.
template <typename T>
bool take(std::string_view& text, T& value) {
  const auto begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return false;
  text.remove_prefix(begin);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

std::vector<pid_t> pids() {
  std::vector<pid_t> found;
  DIR* folder = opendir("/proc");
  if (folder == nullptr) return found;
  while (const dirent* entry = readdir(folder)) {
    const std::string_view name(&entry->d_name[0]);
    pid_t pid = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (error == std::errc{} && end == name.data() + name.size()) found.push_back(pid);
  }
  closedir(folder);
  return found;
}

}  // namespace

std::optional<ProcessState> parse_process_state(std::string_view stat) {
  ProcessState process;
  if (!take(stat, process.pid)) return std::nullopt;
  // The name stands in parentheses and may have any in it: the last one ends it.
  const auto name = stat.rfind(") ");
  if (name == std::string_view::npos || stat.size() < name + 4) return std::nullopt;
  process.state = stat[name + 2];
  stat.remove_prefix(name + 3);
  if (!take(stat, process.parent) || !take(stat, process.group) || !take(stat, process.session)) {
    return std::nullopt;
  }
  // From tty_nr (7th) to itrealvalue (21st): nothing of interest.
  for (int field = 7; field <= 21; ++field) {
    long ignored = 0;
    unsigned long long large = 0;
    auto copy = stat;
    if (!take(stat, ignored)) {
      stat = copy;
      if (!take(stat, large)) return std::nullopt;
    }
  }
  if (!take(stat, process.start)) return std::nullopt;
  return process;
}

std::optional<ProcessState> process_state(pid_t pid) {
  const Fd file{open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return std::nullopt;
  std::array<char, 2048> text{};
  ssize_t size = 0;
  do {
    size = read(file.get(), text.data(), text.size());
  } while (size < 0 && errno == EINTR);
  if (size <= 0) return std::nullopt;
  return parse_process_state({text.data(), static_cast<std::size_t>(size)});
}

std::vector<ProcessState> all_processes() {
  std::vector<ProcessState> found;
  for (const pid_t pid : pids()) {
    if (auto process = process_state(pid)) found.push_back(*process);
  }
  return found;
}

std::vector<ProcessState> descendants(pid_t root) {
  auto all = all_processes();
  std::vector<ProcessState> found;
  std::vector<pid_t> parents{root};
  while (!parents.empty()) {
    std::vector<pid_t> next;
    // What was found goes out of `all`: no list of parents, however odd, is followed in a circle.
    std::erase_if(all, [&](const ProcessState& process) {
      if (std::find(parents.begin(), parents.end(), process.parent) == parents.end() ||
          process.pid == root) {
        return false;
      }
      found.push_back(process);
      next.push_back(process.pid);
      return true;
    });
    parents = std::move(next);
  }
  return found;
}

bool signal_process(const ProcessState& process, int signal) {
  const Fd pidfd{static_cast<int>(syscall(SYS_pidfd_open, process.pid, 0))};
  if (!pidfd) return false;
  // Looked at again now that its number cannot become another's.
  const auto now = process_state(process.pid);
  if (!now || now->start != process.start) return false;
  return syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0) == 0;
}

std::optional<Commands::Key> Commands::command_of(const ProcessState& process) const {
  const auto known = command_.find({process.pid, process.start});
  if (known != command_.end()) return known->second;
  if (process.parent == agent_) return Key{process.pid, process.start};
  if (process.parent != guard_) {
    const auto parent = current_.find(process.parent);
    if (parent != current_.end() && parent->second.start <= process.start &&
        also_.contains(parent->second)) {
      return Key{process.pid, process.start};
    }
    // A parent is never younger than its child: otherwise it is another one with its number.
    if (parent == current_.end() || parent->second.start > process.start) return std::nullopt;
    const auto command = command_.find(parent->second);
    return command == command_.end() ? std::nullopt : std::optional{command->second};
  }
  for (const pid_t kin : {process.session, process.group}) {
    const auto leader = current_.find(kin);
    if (leader == current_.end() || kin == process.pid || leader->second.start > process.start) {
      continue;
    }
    const auto command = command_.find(leader->second);
    if (command != command_.end()) return command->second;
  }
  return kOrphans;
}

void Commands::also_agent(const ProcessState& process) {
  const Key key{process.pid, process.start};
  also_.insert(key);
  command_.erase(key);
  current_[process.pid] = key;
}

void Commands::saw(const ProcessState& process) {
  if (process.pid == agent_ || process.pid == guard_) return;
  const Key key{process.pid, process.start};
  if (command_.contains(key) || also_.contains(key)) return;
  const auto command = command_of(process);
  if (!command) return;  // its parent was not seen: the next update finds out
  command_[key] = *command;
  current_[process.pid] = key;
}

std::vector<Commands::Command> Commands::update(std::span<const ProcessState> all) {
  // Parents before their children.
  std::vector<ProcessState> below;
  std::set<pid_t> parents{guard_};
  for (bool more = true; more;) {
    more = false;
    for (const auto& process : all) {
      if (!parents.contains(process.parent) || !parents.insert(process.pid).second) continue;
      below.push_back(process);
      more = true;
    }
  }
  for (const auto& process : below)
    saw(process);

  std::map<Key, Command> commands;
  for (const auto& process : below) {
    const auto command = command_.find({process.pid, process.start});
    if (command == command_.end() || process.zombie()) continue;
    auto& found = commands[command->second];
    found.root = command->second.pid;
    found.start = command->second.start;
    found.alive.push_back(process);
  }
  const auto orphans = commands.find(kOrphans);
  if (orphans == commands.end()) {
    orphans_since_.reset();
  } else {
    for (const auto& process : orphans->second.alive) {
      orphans_since_ = std::min(orphans_since_.value_or(process.start), process.start);
    }
    orphans->second.start = *orphans_since_;
  }
  std::erase_if(also_, [&](const Key& key) {
    return std::none_of(below.begin(), below.end(), [&](const auto& process) {
      return Key{process.pid, process.start} == key;
    });
  });
  // What is left of a command whose last process has gone is forgotten.
  std::erase_if(command_, [&](const auto& entry) {
    const auto current = current_.find(entry.first.pid);
    const bool there = std::any_of(below.begin(), below.end(), [&](const auto& process) {
      return Key{process.pid, process.start} == entry.first;
    });
    if (there || commands.contains(entry.second)) return false;
    if (current != current_.end() && current->second == entry.first) current_.erase(current);
    return true;
  });
  std::vector<Command> result;
  result.reserve(commands.size());
  for (auto& [key, command] : commands)
    result.push_back(std::move(command));
  return result;
}

}  // namespace palisade::guard
