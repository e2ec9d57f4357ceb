// What is put on record. Events are plain data; record.h turns them into OCSF JSON lines. Strings
// are bytes as the agent wrote them: the recorder bounds, masks and escapes them.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <sys/types.h>

namespace palisade::guard {

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  std::string program;  // /proc/PID/exe when it acted
};

// A program that was let through to the kernel.
struct ExecStarted {
  Process by;
  std::string requested;  // as the caller named it
  std::string resolved;   // the file that it names; "" if it names none
  std::string sha256;     // lower-case hex; "" where it could not be read
  std::vector<std::string> argv;
  std::size_t argv_bytes = 0;  // of the whole with one NUL after each, also where `argv` was cut
  std::string argv_sha256;     // of those bytes, where the reader cut `argv`; else ""
  std::string cwd;
};

struct ExecEnded {
  pid_t pid = 0;
  std::string program;
  std::chrono::steady_clock::duration took{};
  std::optional<int> status;  // as waitpid(2) gives it; none where the kernel does not tell
};

// Something that was refused (Enforce), or would have been (Audit).
struct Refused {
  Process by;
  std::string
      rule;  // "exec.allow", "exec.mapping", "network.connect", "syscall.ptrace": stable ids
  std::string call;    // the system call's name
  std::string target;  // a path, "127.0.0.1:4000/tcp"; may be empty
  std::vector<std::string> argv;
  int error = 0;  // the errno that the caller got
  bool enforced = true;
  // More than 1: it stands for so many that were alike, the last of which it is.
  std::uint64_t count = 1;
  std::chrono::seconds within{0};  // in which they came
};

struct Connected {
  Process by;
  std::string address;  // "10.0.0.1", "fd00::1", "unix:/tmp/x"
  std::uint16_t port = 0;
  int error = 0;  // of connect(2); EINPROGRESS counts as none
};

// A file that was written in the session and is now run, or read by an interpreter as its program.
struct ScriptRun {
  Process by;
  std::string path;
  std::string sha256;
  std::chrono::system_clock::time_point written;  // mtime: who owns the file can set it
  std::chrono::system_clock::time_point changed;  // ctime: only the kernel sets it
  // The programs that ran when it last changed: one of them did it, for guard sees no writes. ""
  // where it is not known.
  std::string written_by;
};

struct Finding {  // no refusal, but worth a look: "git.global-config", "exec.mismatch", ...
  Process by;
  std::string id;
  std::string message;
};

struct SessionStarted {
  std::vector<std::string> argv;
  std::vector<std::string> degraded;
  bool enforcing = true;
};

struct SessionEnded {
  std::string why;  // "exited", "deadline", "idle", "terminated", "preflight", ...
  std::optional<int> status;
  std::size_t killed = 0;  // processes that were still there
};

using Event = std::variant<ExecStarted, ExecEnded, Refused, Connected, ScriptRun, Finding,
                           SessionStarted, SessionEnded>;

// Where events go. Thread-safe; never throws. False: the record cannot be kept any more, and the
// session must end.
class Recorder {
 public:
  virtual ~Recorder() = default;
  virtual bool put(const Event& event) = 0;
  // So many events will never come, for nobody could see them: they count as dropped.
  virtual void left_out(std::uint64_t events) = 0;
};

}  // namespace palisade::guard
