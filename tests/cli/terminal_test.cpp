// Raw mode and the keys that leave a session.
#include "terminal.h"

#include <cstdlib>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "process.h"

namespace palisade::cli {
namespace {

using ::testing::HasSubstr;

TEST(KeysThatLeave, AreNamed) {
  for (const char* good : {"ctrl-p,ctrl-q", "ctrl-]", "ctrl-a,d", "q", "~,."})
    EXPECT_TRUE(DetachKeys::parse(good)) << good;
  struct Bad {
    const char* text;
    const char* why;
  };
  for (const Bad& c : {Bad{"", "\"\" is no key"}, Bad{"ctrl-", "no key"}, Bad{"ctrl-1", "no key"},
                       Bad{"ctrl-p,", "\"\" is no key"}, Bad{"alt-x", "no key"},
                       Bad{"\x1b", "\"?\" is no key"}, Bad{"a,b,c,d,e,f,g,h,i", "more than 8"}}) {
    const auto keys = DetachKeys::parse(c.text);
    ASSERT_FALSE(keys) << c.text;
    EXPECT_THAT(keys.error(), HasSubstr(c.why));
  }
}

TEST(KeysThatLeave, AreSeenAcrossPiecesAndNeverSent) {
  struct Case {
    const char* keys;
    std::vector<std::string> typed;
    std::string sent;
    bool left;
  };
  for (const Case& c : {Case{"ctrl-p,ctrl-q",
                             {"ab\x10\x11"
                              "cd"},
                             "ab",
                             true},
                        Case{"ctrl-p,ctrl-q", {"a\x10", "\x11"}, "a", true},
                        Case{"ctrl-p,ctrl-q", {"\x10", "x"}, "\x10x", false},
                        Case{"ctrl-p,ctrl-q", {"\x10\x10\x11"}, "\x10", true},
                        Case{"a,a,b", {"aa", "ab"}, "a", true},
                        Case{"ctrl-]", {"hello\n", "\x1d"}, "hello\n", true},
                        Case{"ctrl-p,ctrl-q", {"\x11\x11"}, "\x11\x11", false}}) {
    auto keys = DetachKeys::parse(c.keys);
    ASSERT_TRUE(keys);
    std::string sent;
    bool left = false;
    for (const std::string& piece : c.typed)
      left = keys->feed(piece, sent);
    EXPECT_EQ(sent, c.sent) << c.keys;
    EXPECT_EQ(left, c.left) << c.keys;
  }
}

class Terminals : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(::openpty(&master_, &slave_, nullptr, nullptr, nullptr), 0); }
  void TearDown() override {
    ::close(master_);
    ::close(slave_);
  }
  [[nodiscard]] termios mode() const {
    termios out{};
    EXPECT_EQ(::tcgetattr(slave_, &out), 0);
    return out;
  }
  int master_ = -1;
  int slave_ = -1;
};

TEST_F(Terminals, AreAsTheyWere) {
  const termios before = mode();
  ASSERT_NE(before.c_lflag & ECHO, 0U);
  {
    const auto raw = RawTerminal::enter(slave_);
    ASSERT_TRUE(raw) << raw.error();
    EXPECT_EQ(mode().c_lflag & (ECHO | ICANON | ISIG), 0U);
    // A shell has set its own mode while the process was stopped.
    ASSERT_EQ(::tcsetattr(slave_, TCSANOW, &before), 0);
    raw->again();
    EXPECT_EQ(mode().c_lflag & ECHO, 0U);
  }
  EXPECT_EQ(mode().c_lflag, before.c_lflag);
  EXPECT_EQ(mode().c_iflag, before.c_iflag);
  EXPECT_EQ(mode().c_oflag, before.c_oflag);
}

TEST_F(Terminals, HaveASize) {
  const winsize narrow{7, 20, 0, 0};
  ASSERT_EQ(::ioctl(slave_, TIOCSWINSZ, &narrow), 0);
  EXPECT_EQ(terminal_size(slave_), std::pair(20U, 7U));
  const int file = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(terminal_size(file), std::pair(80U, 24U));
  EXPECT_FALSE(RawTerminal::enter(file));
  ::close(file);
}

TEST(Signals, OfAllKindsComeToTheDescriptor) {
  Interrupts interrupts{SIGWINCH};
  EXPECT_EQ(interrupts.next(), 0);
  ASSERT_EQ(::kill(::getpid(), SIGWINCH), 0);
  EXPECT_EQ(interrupts.next(), SIGWINCH);
  EXPECT_EQ(interrupts.signal(), 0);
  ASSERT_EQ(::kill(::getpid(), SIGHUP), 0);
  EXPECT_EQ(interrupts.next(), SIGHUP);
  EXPECT_EQ(interrupts.signal(), SIGHUP);
}

}  // namespace
}  // namespace palisade::cli
