// The trail of scripts, and what the arguments of git give away: what one exec tells beside itself.
//
// Seen: a file below a writable place that an interpreter was named as its program (python3 x.py,
// sh x.sh, python3 -m pkg where the working directory holds pkg, make -f x), or that is its
// standard input, where it changed since the session began. Not seen: what an interpreter opens
// later (import, `source`, pytest's collecting), what comes through a pipe, and environment
// variables. Guard sees no writes: who wrote a file is told as the programs that ran when it last
// changed.
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <guard/digest.h>
#include <guard/event.h>

namespace palisade::guard {

// Thread-safe. Nothing that it looks up can stop an exec: what cannot be read is left out.
class Scripts {
 public:
  // `writable`: policy.files.write. Files that last changed before `since` were there already.
  Scripts(const std::vector<std::string>& writable, FileDigests& digests,
          std::chrono::system_clock::time_point since = std::chrono::system_clock::now());

  // Called while the caller of the exec waits for its answer, before it goes on: /proc/PID is then
  // the caller's. The events are to be put on record after the exec itself.
  [[nodiscard]] std::vector<Event> trail(const ExecStarted& exec);
  // The caller has gone on: from now it runs that program.
  void started(const ExecStarted& exec);
  // A process has gone.
  void ended(pid_t pid);

 private:
  struct Ran {
    pid_t pid = 0;
    std::string program;  // its last component
    std::chrono::system_clock::time_point from;
    std::optional<std::chrono::system_clock::time_point> to;
  };
  [[nodiscard]] std::optional<ScriptRun> look(const ExecStarted& exec, const std::string& path);
  void end(pid_t pid);  // under the mutex
  [[nodiscard]] bool below_writable(const std::string& path) const;
  [[nodiscard]] std::string running_at(std::chrono::system_clock::time_point when) const;

  std::vector<std::string> writable_;
  FileDigests& digests_;
  std::chrono::system_clock::time_point since_;
  mutable std::mutex mutex_;
  std::deque<Ran> ran_;  // bounded; the oldest is first
};

// The files that these arguments make an interpreter read as its program, as they are named; none
// where the program is no interpreter that is known. `stdin_too`: it reads its standard input.
// Pure.
struct Operands {
  std::vector<std::string> files;
  std::vector<std::string> modules;  // python3 -m NAME
  bool reads_stdin = false;
};
[[nodiscard]] Operands script_operands(const std::string& program,
                                       const std::vector<std::string>& argv);

// What the arguments of a git command give away: "git.global-config" (writes of --global, --system
// or --file configuration), "git.repository-config" (writes of what runs programs),
// "git.command-line-config" (-c and --config-env of the same), "git.transport" (ext:: and the
// like), "git.exec-path" (--exec-path=, --upload-pack=, --template=). Pure.
struct GitFinding {
  std::string id;
  std::string message;
};
[[nodiscard]] std::vector<GitFinding> git_findings(const std::vector<std::string>& argv);

}  // namespace palisade::guard
