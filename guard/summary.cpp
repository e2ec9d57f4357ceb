#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <guard/mask.h>
#include <guard/policy.h>
#include <guard/summary.h>
#include <unistd.h>

#include "json_text.h"

namespace palisade::guard {

void count(Counts& counts, const Event& event) {
  if (std::holds_alternative<ExecStarted>(event)) ++counts.execs;
  if (std::holds_alternative<Finding>(event)) ++counts.findings;
  if (const auto* refused = std::get_if<Refused>(&event)) {
    ++counts.refusals;
    if (refused->rule.starts_with("exec.")) ++counts.denied_execs;
    if (refused->rule.starts_with("network.")) ++counts.denied_connects;
  }
}

std::string termination_json(const Ending& ending) {
  constexpr std::size_t kMessageShown = 384;
  constexpr std::size_t kNameShown = 40;
  constexpr std::size_t kFailure = 1024;
  constexpr std::size_t kNames = 8;
  constexpr std::size_t kWords = 128;  // of what is written around a text
  const auto number = [](std::uint64_t value) { return static_cast<std::int64_t>(value); };
  JsonText json(true);
  json.open()
      .text("guard", kPolicyVersion, kNameShown)
      .text("ended", ending.ended, kNameShown)
      .text("message", ending.message, kMessageShown)
      .number("execs", number(ending.counts.execs))
      .number("deniedExecs", number(ending.counts.denied_execs))
      .number("deniedConnects", number(ending.counts.denied_connects))
      .number("refusals", number(ending.counts.refusals))
      .number("findings", number(ending.counts.findings))
      .number("dropped", number(ending.counts.dropped))
      .list("degraded");
  std::size_t listed = 0;
  for (const std::string& name : ending.degraded) {
    if (++listed > kNames) break;
    json.text("", name, kNameShown);
  }
  json.end_list();
  const auto left = [&](std::size_t most) {
    const std::size_t used = json.str().size() + kWords;
    return used < kLongestTermination ? std::min(most, kLongestTermination - used) : 0;
  };
  if (ending.feedback) {
    // The text is what a program of the agent's printed.
    json.open("feedback")
        .number("rounds", ending.feedback->rounds)
        .text("stopped", ending.feedback->stopped, kNameShown)
        .text("lastFailure", mask(ending.feedback->last_failure), left(kFailure))
        .close();
  }
  // The last ones are worth most.
  std::size_t room = left(kLongestTermination);
  std::size_t first = ending.last_lines.size();
  while (first > 0) {
    JsonText one(true);
    one.text("", ending.last_lines[first - 1], kFailure);
    if (one.str().size() + 1 > room) break;
    room -= one.str().size() + 1;
    --first;
  }
  if (first < ending.last_lines.size()) {
    json.list("lastLines");
    for (; first < ending.last_lines.size(); ++first)
      json.text("", ending.last_lines[first], kFailure);
    json.end_list();
  }
  json.close();
  return json.str();
}

bool write_termination(const std::string& path, const Ending& ending) {
  const std::string json = termination_json(ending);
  const int fd =
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
  if (fd < 0) return false;
  ssize_t written = 0;
  do {
    written = ::write(fd, json.data(), json.size());
  } while (written < 0 && errno == EINTR);
  const int error = written < 0 ? errno : ENOSPC;
  ::close(fd);
  if (written == static_cast<ssize_t>(json.size())) return true;
  errno = error;
  return false;
}

}  // namespace palisade::guard
