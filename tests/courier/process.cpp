#include "process.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace palisade::courier::testing {

namespace fs = std::filesystem;

namespace {

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& string : strings)
    out.push_back(const_cast<char*>(string.c_str()));
  out.push_back(nullptr);
  return out;
}

// In the child, between fork and exec: only calls that are safe there.
[[noreturn]] void become(char* const* arguments, char* const* environment,
                         const Process::Options& options, const char* directory, int in, int out,
                         int err) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  signal(SIGPIPE, SIG_DFL);
  if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(126);
  if (chdir(directory) != 0) _exit(126);
  if (options.uid != 0 &&
      (setgroups(0, nullptr) != 0 || setgid(options.gid) != 0 || setuid(options.uid) != 0)) {
    _exit(126);
  }
  execvpe(arguments[0], arguments, environment);
  _exit(127);
}

int open_or_throw(const fs::path& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) throw std::runtime_error("open " + path.string() + ": " + std::strerror(errno));
  return fd;
}

}  // namespace

Environment plain_environment() {
  return {"PATH=/usr/local/bin:/usr/bin:/bin"};
}

Process::Process(const Arguments& arguments, const Options& options) {
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> env = pointers(options.environment);
  const fs::path nowhere = "/dev/null";
  const int in = options.in_fd >= 0 ? fcntl(options.in_fd, F_DUPFD_CLOEXEC, 3)
                                    : open_or_throw(options.in, O_RDONLY);
  const int out =
      open_or_throw(options.out.empty() ? nowhere : options.out, O_WRONLY | O_CREAT | O_APPEND);
  const int err =
      open_or_throw(options.err.empty() ? nowhere : options.err, O_WRONLY | O_CREAT | O_APPEND);
  id_ = fork();
  if (id_ == 0) {
    become(argv.data(), env.data(), options, options.directory.c_str(), in, out, err);
  }
  close(in);
  close(out);
  close(err);
  if (id_ < 0) throw std::runtime_error("fork failed");
  setpgid(id_, id_);
}

Process::~Process() {
  if (!ended_) {
    ::kill(-id_, SIGKILL);
    ::kill(id_, SIGKILL);
    waitpid(id_, nullptr, 0);
  }
}

void Process::signal(int number) const {
  if (!ended_) ::kill(id_, number);
}

bool Process::wait(milliseconds limit) {
  return ended_ || eventually(
                       [this] {
                         int status = 0;
                         if (waitpid(id_, &status, WNOHANG) != id_) return false;
                         ended_ = true;
                         code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                         return true;
                       },
                       limit);
}

bool Process::group_alive() const {
  return ::kill(-id_, 0) == 0;
}

Outcome run(const Arguments& arguments, Process::Options options) {
  const Directory scratch;
  if (options.uid != 0) {
    fs::permissions(scratch.path(), fs::perms::all);
  }
  options.out = scratch.path() / "out";
  options.err = scratch.path() / "err";
  Process process(arguments, options);
  if (!process.wait(seconds(60))) {
    throw std::runtime_error(arguments[0] + " did not end in a minute: " + read_file(options.err));
  }
  return {process.code(), read_file(options.out), read_file(options.err)};
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& path, std::string_view text) {
  const fs::path temporary = path.string() + ".new";
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out << text;
    if (!out.flush()) throw std::runtime_error("cannot write " + temporary.string());
  }
  fs::rename(temporary, path);
}

bool eventually(const std::function<bool()>& done, milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(milliseconds(40));
  }
  return true;
}

Directory::Directory() {
  std::string name = (fs::temp_directory_path() / "palisade-courier-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = name;
  fs::permissions(path_, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                             fs::perms::others_read | fs::perms::others_exec);
}

Directory::~Directory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace palisade::courier::testing
