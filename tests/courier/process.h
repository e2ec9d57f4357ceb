// Programs run by the courier's tests: output kept in files, never a shell, always a deadline.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace palisade::courier::testing {

using Arguments = std::vector<std::string>;
using Environment =
    std::vector<std::string>;  // NAME=value; the whole environment, nothing is inherited
using std::chrono::milliseconds;
using std::chrono::seconds;

// PATH alone.
Environment plain_environment();

// A running program, killed (SIGKILL, its process group with it) when it is destroyed. `out` and
// `err` are created or appended to.
class Process {
 public:
  struct Options {
    Environment environment = plain_environment();
    std::filesystem::path directory = "/";
    std::filesystem::path out, err;
    std::filesystem::path in = "/dev/null";
    uid_t uid = 0;  // 0: stay who we are
    gid_t gid = 0;
    int in_fd = -1;  // instead of `in`
  };
  Process(const Arguments& arguments, const Options& options);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] pid_t id() const { return id_; }
  void signal(int number) const;
  // True when it has ended within `limit`.
  bool wait(milliseconds limit);
  // 128 + the signal where a signal ended it. Only after wait() said true.
  [[nodiscard]] int code() const { return code_; }
  // Whether anything of its process group is still there.
  [[nodiscard]] bool group_alive() const;

 private:
  pid_t id_ = -1;
  int code_ = -1;
  bool ended_ = false;
};

struct Outcome {
  int code = -1;
  std::string out, err;
};
// Runs to the end; throws std::runtime_error when that takes more than a minute.
Outcome run(const Arguments& arguments, Process::Options options = {});

std::string read_file(const std::filesystem::path& path);  // "" when there is none
// Written whole, then renamed into place.
void write_file(const std::filesystem::path& path, std::string_view text);

// Looks every 40 ms until `done` says true; false when `limit` has passed.
bool eventually(const std::function<bool()>& done, milliseconds limit = seconds(60));

// A directory of its own, removed with everything in it.
class Directory {
 public:
  Directory();
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace palisade::courier::testing
