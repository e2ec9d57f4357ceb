#include "run_program.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "url.h"

namespace kube {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kLook = std::chrono::milliseconds(20);

std::unexpected<Error> failed(std::string why) {
  return transport_error(kTransportReasonConnect, std::move(why));
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (const std::string& text : texts)
    out.push_back(const_cast<char*>(text.c_str()));  // as exec(3) takes them
  out.push_back(nullptr);
  return out;
}

// The reading end of a pipe and the program at the other one, which does not outlive it.
class Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (output_ >= 0) ::close(output_);
    if (id_ <= 0) return;
    ::kill(group_ ? -id_ : id_, SIGKILL);
    static_cast<void>(ended(0));
  }

  // 0, or an errno.
  int start(const ProgramRun& run) {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return errno;
    output_ = ends[0];
    ::fcntl(output_, F_SETFL, O_NONBLOCK);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    if (!run.keep_input)
      ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    // Whatever libraries have open without O_CLOEXEC is not the program's.
    ::posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    // Signals as a program expects them; we may have blocked or ignored some.
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    // A group of its own, so that what it has started ends with it; not where it reads a terminal,
    // which the terminal would stop.
    group_ = !run.keep_input;
    if (group_) {
      flags |= POSIX_SPAWN_SETPGROUP;
      ::posix_spawnattr_setpgroup(&attributes, 0);
    }
    ::posix_spawnattr_setflags(&attributes, flags);
    std::vector<std::string> words{run.file};
    words.insert(words.end(), run.arguments.begin(), run.arguments.end());
    const int error = ::posix_spawn(&id_, run.file.c_str(), &actions, &attributes,
                                    pointers(words).data(), pointers(run.environment).data());
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    ::close(ends[1]);
    if (error != 0) id_ = -1;
    return error;
  }

  // Whether it has ended by now. With 0 for WNOHANG: waits for that.
  bool ended(int how = WNOHANG) {
    pid_t got = 0;
    while (id_ > 0 && (got = ::waitpid(id_, &status_, how)) < 0 && errno == EINTR) {
    }
    if (got != 0) id_ = -1;
    return id_ < 0;
  }
  [[nodiscard]] int code() const {
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }

  // False at the end of what it prints. Never blocks.
  bool read(std::string& text) const {
    std::array<char, 16UL * 1024> piece{};
    const ssize_t got = ::read(output_, piece.data(), piece.size());
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    text.append(piece.data(), static_cast<std::size_t>(got));
    return got > 0;
  }
  [[nodiscard]] int output() const { return output_; }

 private:
  pid_t id_ = -1;
  bool group_ = false;
  int output_ = -1;
  int status_ = 0;
};

}  // namespace

Result<ProgramEnd> run_program(const ProgramRun& run, const std::stop_token& stop) {
  const auto deadline = Clock::now() + run.longest;
  Child child;
  if (const int error = child.start(run); error != 0)
    return failed("cannot be run: " + std::generic_category().message(error));
  ProgramEnd out;
  bool open = true;
  while (true) {
    // What it left running may hold its output open: that is not waited for.
    const bool ended = child.ended();
    if (open) {
      pollfd waiting{child.output(), POLLIN, 0};
      const int ready = ::poll(&waiting, 1, ended ? 0 : static_cast<int>(kLook.count()));
      if (ready > 0) {
        open = child.read(out.output);
      } else if (ready == 0 && ended) {
        open = false;
      }
    } else if (!ended) {
      std::this_thread::sleep_for(kLook);
    }
    if (out.output.size() > run.most_output)
      return failed("prints more than " + std::to_string(run.most_output) + " bytes");
    if (ended && !open) break;
    if (stop.stop_requested()) return transport_error(kTransportReasonCancelled, "was cancelled");
    if (Clock::now() >= deadline)
      return transport_error(
          kTransportReasonTimeout,
          "takes longer than " +
              std::to_string(
                  std::chrono::duration_cast<std::chrono::seconds>(run.longest).count()) +
              " s");
  }
  out.code = child.code();
  return out;
}

}  // namespace kube
