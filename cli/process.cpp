#include "process.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace palisade::cli {
namespace {

constexpr std::array kEnding{SIGINT, SIGTERM, SIGHUP, SIGQUIT};

std::string why(int error) {
  return std::generic_category().message(error);
}

class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { close(); }
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;
  void close() {
    if (number_ >= 0) ::close(number_);
    number_ = -1;
  }
  [[nodiscard]] int get() const { return number_; }

 private:
  int number_;
};

struct Pipe {
  Descriptor read;
  Descriptor write;
};

std::optional<Pipe> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  return Pipe{Descriptor(ends[0]), Descriptor(ends[1])};
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (const std::string& text : texts)
    out.push_back(const_cast<char*>(text.c_str()));  // as exec(3) takes them
  out.push_back(nullptr);
  return out;
}

// Reads once; false at the end, or where the sink wants no more.
bool take(const Descriptor& from, const Sink& sink) {
  std::array<char, 32768> piece{};
  const ssize_t got = ::read(from.get(), piece.data(), piece.size());
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  return got > 0 && sink({piece.data(), static_cast<std::size_t>(got)});
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// The child's signals as this process had them.
void set_signals(posix_spawnattr_t& attributes, const Interrupts& interrupts) {
  sigset_t defaults;
  ::sigemptyset(&defaults);
  ::sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setsigmask(&attributes, &interrupts.mask_before());
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

}  // namespace

Interrupts::Interrupts(std::initializer_list<int> more) {
  sigset_t wanted;
  ::sigemptyset(&wanted);
  for (const int one : kEnding)
    ::sigaddset(&wanted, one);
  for (const int one : more)
    ::sigaddset(&wanted, one);
  ::pthread_sigmask(SIG_BLOCK, &wanted, &before_);
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &pipe_before_);
  descriptor_ = ::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
}

Interrupts::~Interrupts() {
  static_cast<void>(signal());
  if (descriptor_ >= 0) ::close(descriptor_);
  ::sigaction(SIGPIPE, &pipe_before_, nullptr);
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int Interrupts::next() {
  signalfd_siginfo info{};
  if (descriptor_ < 0 ||
      ::read(descriptor_, &info, sizeof info) != static_cast<ssize_t>(sizeof info))
    return 0;
  const int came = static_cast<int>(info.ssi_signo);
  if (signal_ == 0 && std::ranges::find(kEnding, came) != kEnding.end()) signal_ = came;
  return came;
}

int Interrupts::signal() {
  while (signal_ == 0 && next() != 0) {
  }
  return signal_;
}

std::expected<TemporaryFolder, std::string> TemporaryFolder::make() {
  std::error_code error;
  const std::filesystem::path base = std::filesystem::temp_directory_path(error);
  if (error) return std::unexpected("no folder for temporary files: " + error.message());
  std::string name = (base / "palisade-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr)
    return std::unexpected("no folder below " + base.string() + ": " + why(errno) +
                           "; name another with TMPDIR");
  return TemporaryFolder(name);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;  // nobody is there to tell; the folder is the user's alone
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

std::expected<int, std::string> run_program(const Program& program, const Sink& out,
                                            const Sink& err, Interrupts& interrupts) {
  auto out_pipe = make_pipe();
  auto err_pipe = make_pipe();
  if (!out_pipe || !err_pipe || interrupts.descriptor() < 0)
    return std::unexpected("no pipe to " + program.argv[0] + ": " + why(errno));
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out_pipe->write.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err_pipe->write.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_addchdir_np(&actions, program.folder.c_str());
  set_signals(attributes, interrupts);
  pid_t child = 0;
  const int failed =
      ::posix_spawnp(&child, program.argv[0].c_str(), &actions, &attributes,
                     pointers(program.argv).data(), pointers(program.environment).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0)
    return std::unexpected("cannot run " + program.argv[0] + ": " + why(failed) +
                           (failed == ENOENT ? "; install it, or put it on PATH" : ""));
  out_pipe->write.close();
  err_pipe->write.close();
  bool unwanted = false;
  while (out_pipe->read.get() >= 0 || err_pipe->read.get() >= 0) {
    std::array<pollfd, 3> waiting{{{out_pipe->read.get(), POLLIN, 0},
                                   {err_pipe->read.get(), POLLIN, 0},
                                   {interrupts.descriptor(), POLLIN, 0}}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) break;
    if (interrupts.signal() != 0 || unwanted) break;
    if (waiting[0].revents != 0 && !take(out_pipe->read, out)) {
      unwanted = (waiting[0].revents & POLLIN) != 0;
      out_pipe->read.close();
    }
    if (waiting[1].revents != 0 && !take(err_pipe->read, err)) err_pipe->read.close();
  }
  if (interrupts.signal() != 0) {
    ::kill(child, SIGTERM);
    wait_for(child);
    return std::unexpected("interrupted");
  }
  out_pipe->read.close();  // whatever it still writes ends it
  err_pipe->read.close();
  return wait_for(child);
}

}  // namespace palisade::cli
