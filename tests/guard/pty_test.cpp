#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <guard/proc.h>
#include <guard/pty.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;

constexpr auto kLong = 20s;

pid_t start(const Terminal& terminal, const std::string& script) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (!terminal.adopt()) ::_exit(99);
  ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
  ::_exit(98);
}

int status_of(pid_t pid) {
  int status = -1;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct Pipe {
  Fd reading;
  Fd writing;
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return;
    reading = Fd(ends[0]);
    writing = Fd(ends[1]);
  }
};

// Reads until `until` is there, or the end.
std::string read_until(int fd, std::string_view until) {
  const auto deadline = std::chrono::steady_clock::now() + kLong;
  std::string out;
  std::array<char, 4096> piece{};
  while (std::chrono::steady_clock::now() < deadline) {
    if (!until.empty() && out.find(until) != std::string::npos) return out;
    pollfd polled{fd, POLLIN, 0};
    if (::poll(&polled, 1, 100) <= 0) continue;
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got <= 0) return out;
    out.append(piece.data(), static_cast<std::size_t>(got));
  }
  ADD_FAILURE() << "waited in vain for " << until << " in " << ::testing::PrintToString(out);
  return out;
}

std::unique_ptr<Terminal> opened(TerminalOptions options) {
  auto terminal = Terminal::open(std::move(options));
  if (!terminal) ADD_FAILURE() << terminal.error();
  return terminal ? std::move(*terminal) : nullptr;
}

TEST(TaskStreams, OutputIsFilteredAndKeptApart) {
  Pipe out;
  Pipe err;
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  std::atomic<int> acted = 0;
  auto terminal = opened({.interactive = false,
                          .in = null.get(),
                          .out = out.writing.get(),
                          .err = err.writing.get(),
                          .activity = [&] { ++acted; }});
  ASSERT_TRUE(terminal);
  const pid_t pid = start(*terminal,
                          "printf 'a\\033]0;evil\\007b\\033[31mc'; printf 'x\\033[6ny' >&2;"
                          "test ! -t 0 && test ! -t 1 && cat");
  ASSERT_TRUE(terminal->start());
  EXPECT_EQ(status_of(pid), 0);
  EXPECT_TRUE(terminal->drain(kLong));
  out.writing = Fd();
  err.writing = Fd();
  EXPECT_EQ(read_until(out.reading.get(), ""), "ab\x1b[31mc\x1b[0m");  // the colour is undone
  EXPECT_EQ(read_until(err.reading.get(), ""), "xy");
  EXPECT_GE(acted, 1);
}

TEST(TaskStreams, TheAgentHoldsNothingOfGuardsOwn) {
  // What this program was started with is none of it.
  ASSERT_EQ(::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC), 0) << std::strerror(errno);
  Pipe out;
  Pipe in;
  auto terminal =
      opened({.in = in.reading.get(), .out = out.writing.get(), .err = out.writing.get()});
  ASSERT_TRUE(terminal);
  const pid_t pid =
      start(*terminal, "ls -l /proc/self/fd; ps -o sid= -p $$ 2>/dev/null; echo; tty");
  ASSERT_TRUE(terminal->start());
  status_of(pid);
  EXPECT_TRUE(terminal->drain(kLong));
  out.writing = Fd();
  const std::string listing = read_until(out.reading.get(), "");
  struct stat own {};
  ASSERT_EQ(::fstat(out.reading.get(), &own), 0);
  EXPECT_EQ(listing.find("pipe:[" + std::to_string(own.st_ino) + "]"), std::string::npos)
      << listing;
  ASSERT_EQ(::fstat(in.reading.get(), &own), 0);
  EXPECT_EQ(listing.find("pipe:[" + std::to_string(own.st_ino) + "]"), std::string::npos)
      << listing;
  EXPECT_NE(listing.find(" 0 -> pipe:"), std::string::npos) << listing;
  EXPECT_EQ(listing.find(" 4 -> "), std::string::npos) << listing;  // 3 is the listing's own
  EXPECT_NE(listing.find("not a tty"), std::string::npos) << listing;
}

TEST(TaskStreams, InputIsPassedOnToItsEnd) {
  Pipe in;
  Pipe out;
  auto terminal =
      opened({.in = in.reading.get(), .out = out.writing.get(), .err = out.writing.get()});
  ASSERT_TRUE(terminal);
  const pid_t pid = start(*terminal, "wc -c");
  ASSERT_TRUE(terminal->start());
  const std::string text(300'000, 'x');
  std::jthread writer([&] {
    std::size_t at = 0;
    while (at < text.size()) {
      const ssize_t n = ::write(in.writing.get(), text.data() + at, text.size() - at);
      if (n <= 0) break;
      at += static_cast<std::size_t>(n);
    }
    in.writing = Fd();
  });
  EXPECT_EQ(status_of(pid), 0);
  EXPECT_TRUE(terminal->drain(kLong));
  EXPECT_EQ(read_until(out.reading.get(), "\n"), "300000\n");
}

TEST(TaskStreams, AllOfALongOutputArrives) {
  Pipe out;
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto terminal = opened({.in = null.get(), .out = out.writing.get(), .err = out.writing.get()});
  ASSERT_TRUE(terminal);
  const pid_t pid = start(*terminal, "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end");
  ASSERT_TRUE(terminal->start());
  const std::string text = read_until(out.reading.get(), "end\n");
  EXPECT_EQ(text.size(), 3'000'005U);
  EXPECT_EQ(status_of(pid), 0);
  EXPECT_TRUE(terminal->drain(kLong));
}

TEST(TaskStreams, AReaderThatDoesNotReadHoldsBackTheAgentAlone) {
  Pipe out;
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto terminal = opened({.in = null.get(), .out = out.writing.get(), .err = out.writing.get()});
  ASSERT_TRUE(terminal);
  const pid_t pid = start(*terminal, "exec yes");
  ASSERT_TRUE(terminal->start());
  // This thread goes on; the agent stands in its write.
  std::this_thread::sleep_for(200ms);
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0);
  ::kill(pid, SIGKILL);
  EXPECT_EQ(status_of(pid), 128 + SIGKILL);
  EXPECT_FALSE(terminal->drain(100ms));  // and the end does not wait for ever
}

TEST(TaskStreams, AReaderThatHasGoneStopsNobody) {
  Pipe out;
  out.reading = Fd();
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto terminal = opened({.in = null.get(), .out = out.writing.get(), .err = out.writing.get()});
  ASSERT_TRUE(terminal);
  const pid_t pid = start(*terminal, "yes | head -c 5000000; exit 7");
  ASSERT_TRUE(terminal->start());
  EXPECT_EQ(status_of(pid), 7);
  EXPECT_TRUE(terminal->drain(kLong));
}

TEST(TaskStreams, FlagsOfGuardsOwnStreamsAreRestored) {
  Pipe out;
  const int before = ::fcntl(out.writing.get(), F_GETFL);
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  {
    auto terminal = opened({.in = null.get(), .out = out.writing.get(), .err = out.writing.get()});
    ASSERT_TRUE(terminal);
    ASSERT_TRUE(terminal->start());
    EXPECT_NE(::fcntl(out.writing.get(), F_GETFL), before);
  }
  EXPECT_EQ(::fcntl(out.writing.get(), F_GETFL), before);
}

TEST(TaskStreams, WhoeverIsLeftBehindDoesNotHoldUpTheEnd) {
  Pipe out;
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  auto terminal = opened({.in = null.get(), .out = out.writing.get(), .err = out.writing.get()});
  ASSERT_TRUE(terminal);
  const pid_t pid = start(*terminal, "echo first; exec sleep 600");
  ASSERT_TRUE(terminal->start());
  EXPECT_EQ(read_until(out.reading.get(), "first\n"), "first\n");
  EXPECT_FALSE(terminal->drain(100ms));
  ::kill(pid, SIGKILL);
  status_of(pid);
}

// A terminal as a person sits at one: the test holds the other side.
struct Person {
  Fd screen;
  Fd terminal;
  Person() {
    screen = Fd(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    std::array<char, 64> name{};
    if (!screen || ::unlockpt(screen.get()) != 0 ||
        ::ptsname_r(screen.get(), name.data(), name.size()) != 0)
      return;
    terminal = Fd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    resize(33, 101);
  }
  void resize(unsigned short rows, unsigned short columns) const {
    const winsize size{rows, columns, 0, 0};
    ::ioctl(screen.get(), TIOCSWINSZ, &size);
  }
  void type(std::string_view text) const {
    ASSERT_EQ(::write(screen.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  [[nodiscard]] TerminalOptions options() const {
    return {
        .interactive = true, .in = terminal.get(), .out = terminal.get(), .err = terminal.get()};
  }
};

TEST(InteractiveTerminal, AShellAsAtATerminal) {
  const Person person;
  ASSERT_TRUE(person.terminal);
  termios before{};
  ASSERT_EQ(::tcgetattr(person.terminal.get(), &before), 0);
  auto terminal = opened(person.options());
  ASSERT_TRUE(terminal);
  const pid_t pid = start(
      *terminal,
      "test -t 0 && test -t 1 && test -t 2 && echo terminal; stty size;"
      "echo tty=$(tty); : </dev/tty && echo controlling; printf 'a\\033]0;t\\007b\\033[6n\\n';"
      "read line; echo got=$line; trap 'echo interrupted; exit 5' INT; echo ready;"
      "while :; do sleep 0.1; done");
  ASSERT_TRUE(terminal->start());
  termios raw{};
  ASSERT_EQ(::tcgetattr(person.terminal.get(), &raw), 0);
  EXPECT_EQ(raw.c_lflag & static_cast<tcflag_t>(ICANON | ECHO | ISIG), 0U);
  std::string seen = read_until(person.screen.get(), "ab\r\n");
  EXPECT_NE(seen.find("terminal\r\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("33 101\r\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("tty=/dev/pts/"), std::string::npos) << seen;
  EXPECT_NE(seen.find("controlling\r\n"), std::string::npos) << seen;
  person.type("hello\r");
  seen = read_until(person.screen.get(), "ready\r\n");
  EXPECT_NE(seen.find("got=hello\r\n"), std::string::npos) << seen;
  person.type("\x03");  // the agent's own terminal makes a signal of it
  seen = read_until(person.screen.get(), "interrupted\r\n");
  EXPECT_EQ(status_of(pid), 5);
  EXPECT_TRUE(terminal->drain(kLong));
  termios after{};
  ASSERT_EQ(::tcgetattr(person.terminal.get(), &after), 0);
  EXPECT_EQ(after.c_lflag, before.c_lflag);
  EXPECT_EQ(after.c_oflag, before.c_oflag);
}

TEST(InteractiveTerminal, PassesOnItsSizeAndUndoesModes) {
  const Person person;
  ASSERT_TRUE(person.terminal);
  auto terminal = opened(person.options());
  ASSERT_TRUE(terminal);
  const pid_t pid =
      start(*terminal,
            "printf '\\033[?1049h\\033[?25l'; trap 'stty size; exit 0' WINCH; echo ready;"
            "while :; do sleep 0.1; done");
  ASSERT_TRUE(terminal->start());
  read_until(person.screen.get(), "ready\r\n");
  person.resize(50, 120);
  ::kill(::getpid(), SIGWINCH);  // the kernel sends it to a terminal's own session
  const std::string seen = read_until(person.screen.get(), "50 120\r\n");
  EXPECT_EQ(status_of(pid), 0);
  EXPECT_TRUE(terminal->drain(kLong));
  EXPECT_EQ(read_until(person.screen.get(), "\x1b[?25h"), "\x1b[?1049l\x1b[?25h");
}

TEST(InteractiveTerminal, OutputBeforeTheEndArrivesAndADaemonDoesNotHoldItUp) {
  const Person person;
  ASSERT_TRUE(person.terminal);
  auto terminal = opened(person.options());
  ASSERT_TRUE(terminal);
  const pid_t pid =
      start(*terminal, "i=0; while test $i -lt 2000; do echo line $i; i=$((i+1)); done");
  ASSERT_TRUE(terminal->start());
  std::string seen;
  std::jthread reader([&] { seen = read_until(person.screen.get(), "line 1999\r\n"); });
  EXPECT_EQ(status_of(pid), 0);
  EXPECT_TRUE(terminal->drain(kLong));
  reader.join();
  EXPECT_NE(seen.find("line 0\r\n"), std::string::npos);
  EXPECT_NE(seen.find("line 1000\r\n"), std::string::npos);
}

TEST(InteractiveTerminal, NeedsATerminal) {
  Pipe pipe;
  const auto terminal = Terminal::open({.interactive = true,
                                        .in = pipe.reading.get(),
                                        .out = pipe.writing.get(),
                                        .err = pipe.writing.get()});
  ASSERT_FALSE(terminal);
  EXPECT_NE(terminal.error().find("tty: true"), std::string::npos) << terminal.error();
  EXPECT_FALSE(own_terminal(pipe.reading.get(), pipe.writing.get()));
  const Person person;
  EXPECT_TRUE(own_terminal(person.terminal.get(), person.terminal.get()));
}

}  // namespace
}  // namespace palisade::guard
