#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <guard/proc.h>
#include <guard/pty.h>
#include <guard/terminal.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kTerminalPiece = 16UL * 1024;
constexpr std::size_t kWaiting = 64UL * 1024;  // bytes that may wait for a slow reader

std::unexpected<std::string> failed(const std::string& what) {
  return std::unexpected("the agent's terminal: " + what + ": " + std::strerror(errno));
}

// Above the standard descriptors: what is duplicated onto those must not be one of them.
Fd above_standard(Fd fd) {
  if (!fd || fd.get() > STDERR_FILENO) return fd;
  return Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

bool make_pipe(Fd& reading, Fd& writing) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return false;
  reading = above_standard(Fd(ends[0]));
  writing = above_standard(Fd(ends[1]));
  return reading && writing;
}

bool set_non_blocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

bool is_null_device(int fd) {
  struct stat file {};
  return ::fstat(fd, &file) == 0 && S_ISCHR(file.st_mode) && major(file.st_rdev) == 1 &&
         minor(file.st_rdev) == 3;
}

// Changes a terminal from a background process without being stopped for it.
bool set_terminal(int fd, const termios& settings) {
  sigset_t output;
  sigset_t before;
  ::sigemptyset(&output);
  ::sigaddset(&output, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &output, &before);
  const int result = ::tcsetattr(fd, TCSANOW, &settings);
  const int error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return result == 0;
}

// Bytes on their way to somebody who may be slow, or gone.
struct Sink {
  int fd = -1;
  bool open = true;
  std::string waiting;

  void write() {
    while (open && !waiting.empty()) {
      const ssize_t written = ::write(fd, waiting.data(), waiting.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0 && errno == EAGAIN) return;
      if (written < 0) {
        open = false;
      } else {
        waiting.erase(0, static_cast<std::size_t>(written));
      }
    }
    if (!open) waiting.clear();
  }
};

// One stream of the agent's output.
struct Source {
  Fd fd;
  TerminalFilter filter;
  Sink* sink = nullptr;
  bool open = true;
  std::function<void(std::string_view)> printed;

  // Whether something came.
  bool read() {
    std::array<char, kTerminalPiece> piece;
    const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return false;
    if (got > 0) {
      const std::size_t before = sink->waiting.size();
      filter.feed({piece.data(), static_cast<std::size_t>(got)}, sink->waiting);
      if (printed) printed(std::string_view(sink->waiting).substr(before));
    } else {  // the end; of a pseudo-terminal it is EIO
      end();
    }
    sink->write();
    return got > 0;
  }

  void end() {
    if (!open) return;
    open = false;
    filter.finish(sink->waiting);
    sink->waiting += filter.restore();
  }
};

}  // namespace

bool own_terminal(int in, int out) {
  return ::isatty(in) != 0 && ::isatty(out) != 0;
}

struct Terminal::Impl {
  TerminalOptions options;
  std::string slave_name;
  Fd slave;  // kept open until the end: no hang-up comes while the agent has none of it open
  Fd child_in;
  Fd child_out;
  Fd child_err;

  Fd to_agent;  // a pipe, or the pseudo-terminal's other side; none where nothing is passed on
  bool reading_input = false;
  std::string typed;
  std::vector<Source> sources;
  Sink out;
  Sink err;

  Fd wake;
  Fd resized;
  std::optional<termios> before;  // of guard's own terminal
  std::array<int, 3> flags{-1, -1, -1};
  std::atomic<bool> ending = false;
  std::atomic<Clock::rep> end_by = 0;
  bool complete = true;
  std::thread thread;

  [[nodiscard]] std::array<int, 3> own() const { return {options.in, options.out, options.err}; }

  void copy_size() const {
    winsize size{};
    if (::ioctl(options.out, TIOCGWINSZ, &size) == 0)
      ::ioctl(sources.front().fd.get(), TIOCSWINSZ, &size);
  }

  void acted() const {
    if (options.activity) options.activity();
  }

  void read_input() {
    std::array<char, kTerminalPiece> piece;
    const ssize_t got = ::read(options.in, piece.data(), piece.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0) {
      reading_input = false;
      return;
    }
    typed.assign(piece.data(), static_cast<std::size_t>(got));
    acted();
  }

  void write_input() {
    const ssize_t written = ::write(to_agent.get(), typed.data(), typed.size());
    if (written >= 0) {
      typed.erase(0, static_cast<std::size_t>(written));
    } else if (errno != EINTR && errno != EAGAIN) {
      typed.clear();
      reading_input = false;
    }
  }

  [[nodiscard]] bool done() const {
    return std::ranges::none_of(sources, [](const Source& source) { return source.open; }) &&
           out.waiting.empty() && err.waiting.empty();
  }

  void pump();
  void step(int timeout);
  void settle();
};

// Waits for one thing to do, and does it.
void Terminal::Impl::step(int timeout) {
  enum Slot : std::size_t { kWake, kResized, kTyped, kToAgent, kOut, kErr, kFirstSource };
  std::array<pollfd, kFirstSource + 2> polled{};
  polled.fill({-1, 0, 0});  // poll(2) passes over these
  polled[kWake] = {wake.get(), POLLIN, 0};
  if (resized) polled[kResized] = {resized.get(), POLLIN, 0};
  if (reading_input && typed.empty()) polled[kTyped] = {options.in, POLLIN, 0};
  if (!typed.empty()) polled[kToAgent] = {to_agent.get(), POLLOUT, 0};
  if (!out.waiting.empty()) polled[kOut] = {out.fd, POLLOUT, 0};
  if (!err.waiting.empty()) polled[kErr] = {err.fd, POLLOUT, 0};
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const Source& source = sources[i];
    if (source.open && source.sink->waiting.size() < kWaiting)
      polled.at(kFirstSource + i) = {source.fd.get(), POLLIN, 0};
  }
  if (::poll(polled.data(), polled.size(), timeout) <= 0) return;
  if (polled[kWake].revents != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake.get(), &count, sizeof count);
  }
  if (polled[kResized].revents != 0) {
    signalfd_siginfo signal{};
    [[maybe_unused]] const ssize_t got = ::read(resized.get(), &signal, sizeof signal);
    copy_size();
  }
  if (polled[kOut].revents != 0) out.write();
  if (polled[kErr].revents != 0) err.write();
  if (polled[kTyped].revents != 0) read_input();
  if (polled[kToAgent].revents != 0) write_input();
  // The end of what is typed is the end of the agent's input; a terminal has no such end.
  if (!options.interactive && !reading_input && typed.empty()) to_agent = Fd();
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (polled.at(kFirstSource + i).revents != 0 && sources[i].read()) acted();
  }
}

void Terminal::Impl::pump() {
  ::pthread_setname_np(::pthread_self(), "terminal");
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);  // SIGPIPE too: a write says EPIPE
  for (;;) {
    int timeout = -1;
    if (ending) {
      slave = Fd();
      reading_input = false;
      if (done()) return;
      const auto left = Clock::time_point(Clock::duration(end_by.load())) - Clock::now();
      if (left <= Clock::duration::zero()) {
        complete = false;
        return;
      }
      timeout =
          static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(left).count() + 1);
    }
    step(timeout);
  }
}

// Guard's own streams as they were.
void Terminal::Impl::settle() {
  const std::array<int, 3> fds = own();
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (flags.at(i) >= 0) ::fcntl(fds.at(i), F_SETFL, flags.at(i));
    flags.at(i) = -1;
  }
  if (before) static_cast<void>(set_terminal(options.in, *before));
  before.reset();
}

Terminal::Terminal(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Terminal::~Terminal() {
  drain(std::chrono::milliseconds(0));
}

std::expected<std::unique_ptr<Terminal>, std::string> Terminal::open(TerminalOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  impl->out.fd = impl->options.out;
  impl->err.fd = impl->options.err;
  impl->wake = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl->wake) return failed("eventfd");
  const auto source = [&](Fd fd, Sink& sink) {
    Source one;
    one.fd = std::move(fd);
    one.sink = &sink;
    one.printed = impl->options.printed;
    impl->sources.push_back(std::move(one));
  };
  if (!impl->options.interactive) {
    Fd out;
    Fd err;
    if (!make_pipe(out, impl->child_out) || !make_pipe(err, impl->child_err)) return failed("pipe");
    const int in = impl->options.in;
    impl->reading_input = ::fcntl(in, F_GETFD) >= 0 && ::isatty(in) == 0 && !is_null_device(in);
    if (impl->reading_input) {
      if (!make_pipe(impl->child_in, impl->to_agent)) return failed("pipe");
    } else {
      impl->child_in = above_standard(Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
      if (!impl->child_in) return failed("/dev/null");
    }
    source(std::move(out), impl->out);
    source(std::move(err), impl->err);
    return std::unique_ptr<Terminal>(new Terminal(std::move(impl)));
  }

  termios settings{};
  if (!own_terminal(impl->options.in, impl->options.out) ||
      ::tcgetattr(impl->options.in, &settings) != 0) {
    errno = ENOTTY;
    return failed(
        "guard's own standard input and output; the container needs `tty: true` and "
        "`stdin: true`");
  }
  Fd master = above_standard(Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)));
  std::array<char, 64> name{};
  if (!master || ::unlockpt(master.get()) != 0 ||
      ::ptsname_r(master.get(), name.data(), name.size()) != 0)
    return failed("/dev/ptmx");
  impl->slave_name = name.data();
  impl->slave = above_standard(Fd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC)));
  if (!impl->slave || ::tcsetattr(impl->slave.get(), TCSANOW, &settings) != 0)
    return failed(impl->slave_name);
  sigset_t resize;
  ::sigemptyset(&resize);
  ::sigaddset(&resize, SIGWINCH);
  ::pthread_sigmask(SIG_BLOCK, &resize, nullptr);
  impl->resized = Fd(::signalfd(-1, &resize, SFD_CLOEXEC | SFD_NONBLOCK));
  impl->to_agent = Fd(::fcntl(master.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!impl->resized || !impl->to_agent) return failed("signalfd");
  source(std::move(master), impl->out);
  impl->copy_size();
  impl->reading_input = true;
  return std::unique_ptr<Terminal>(new Terminal(std::move(impl)));
}

bool Terminal::adopt() const noexcept {
  const Impl& impl = *impl_;
  if (::setsid() < 0) return false;
  if (!impl.options.interactive) {
    return ::dup2(impl.child_in.get(), STDIN_FILENO) >= 0 &&
           ::dup2(impl.child_out.get(), STDOUT_FILENO) >= 0 &&
           ::dup2(impl.child_err.get(), STDERR_FILENO) >= 0;
  }
  // The first terminal that a session's leader opens becomes its controlling one.
  const int slave = ::open(impl.slave_name.c_str(), O_RDWR | O_CLOEXEC);
  if (slave < 0) return false;
  if (slave > STDERR_FILENO) {
    return ::dup2(slave, STDIN_FILENO) >= 0 && ::dup2(slave, STDOUT_FILENO) >= 0 &&
           ::dup2(slave, STDERR_FILENO) >= 0 && ::close(slave) == 0;
  }
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (fd == slave ? ::fcntl(fd, F_SETFD, 0) != 0 : ::dup2(slave, fd) < 0) return false;
  }
  return true;
}

std::expected<void, std::string> Terminal::start() {
  Impl& impl = *impl_;
  impl.child_in = Fd();
  impl.child_out = Fd();
  impl.child_err = Fd();
  for (const Source& source : impl.sources) {
    if (!set_non_blocking(source.fd.get())) return failed("fcntl");
  }
  if (impl.to_agent && !set_non_blocking(impl.to_agent.get())) return failed("fcntl");
  // All are read before any is changed: two of them may be one open file.
  const std::array<int, 3> fds = impl.own();
  for (std::size_t i = 0; i < fds.size(); ++i)
    impl.flags.at(i) = ::fcntl(fds.at(i), F_GETFL);
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (impl.flags.at(i) >= 0 && !set_non_blocking(fds.at(i))) return failed("fcntl");
  }
  if (impl.options.interactive) {
    termios settings{};
    if (::tcgetattr(impl.options.in, &settings) != 0) return failed("guard's own terminal");
    impl.before = settings;
    ::cfmakeraw(&settings);
    if (!set_terminal(impl.options.in, settings)) return failed("guard's own terminal");
  }
  impl.thread = std::thread([&impl] { impl.pump(); });
  return {};
}

bool Terminal::drain(std::chrono::milliseconds within) {
  Impl& impl = *impl_;
  if (impl.thread.joinable()) {
    impl.end_by = (Clock::now() + within).time_since_epoch().count();
    impl.ending = true;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t woken = ::write(impl.wake.get(), &one, sizeof one);
    impl.thread.join();
  }
  impl.settle();
  return impl.complete;
}

}  // namespace palisade::guard
