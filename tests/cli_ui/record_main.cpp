// Prints a session's record as guard writes it, with the program's arguments where an agent could
// have put them: task, commit, test, file, address, finding. One argument stands for all.
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include <guard/record.h>

int main(int argc, char** argv) {
  using namespace palisade;
  using namespace std::chrono_literals;
  if (argc != 2 && argc != 7) return 2;
  const auto text = [&](int which) { return std::string(argv[argc == 2 ? 1 : which]); };
  const guard::Process aider{.pid = 10, .parent = 1, .program = "/usr/bin/python3.11"};
  const auto exec = [&](pid_t pid, std::vector<std::string> arguments) {
    return guard::ExecStarted{.by = {.pid = pid, .parent = 10, .program = "/usr/bin/python3.11"},
                              .requested = arguments[0],
                              .resolved = "/usr/bin/" + arguments[0],
                              .sha256 = std::string(64, 'a'),
                              .argv = std::move(arguments),
                              .argv_bytes = 0,
                              .argv_sha256 = "",
                              .cwd = "/workspace"};
  };
  const std::vector<guard::Event> events{
      guard::SessionStarted{
          .argv = {"aider", "--message", text(1)}, .degraded = {}, .enforcing = true},
      exec(11, {"git", "commit", "-m", text(2)}),
      exec(12, {"python3", "-m", "pytest", text(3)}),
      guard::ScriptRun{.by = aider,
                       .path = "/workspace/" + text(4),
                       .sha256 = std::string(64, 'b'),
                       .written = {},
                       .changed = {},
                       .written_by = "python3.11"},
      guard::Refused{.by = aider,
                     .rule = "exec.allow",
                     .call = "execve",
                     .target = "/usr/bin/curl",
                     .argv = {"curl", text(5)},
                     .error = EACCES,
                     .enforced = true},
      guard::Finding{.by = aider, .id = "git.global-config", .message = text(6)},
      guard::SessionEnded{.why = "exited", .status = 0, .killed = 0},
  };
  std::uint64_t sequence = 0;
  for (const guard::Event& event : events) {
    ++sequence;
    const auto now =
        std::chrono::system_clock::time_point(1'789'992'000s + 60s * static_cast<int>(sequence));
    std::puts(guard::line_of(event, {.sequence = sequence,
                                     .dropped = 0,
                                     .now = now,
                                     .workspace = "team-a/fix-login",
                                     .host = "fix-login-agent"})
                  .c_str());
  }
  return 0;
}
