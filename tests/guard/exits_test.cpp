// What becomes of processes whose ends are followed; the descriptor of each is held elsewhere too,
// as guard does.
#include "exits.h"

#include <csignal>
#include <functional>

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"

namespace palisade::guard {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

class ExitsTest : public ::testing::Test {
 protected:
  static pid_t start(int code) {
    const pid_t pid = fork();
    if (pid == 0) _exit(code);
    return pid;
  }
  // Dead, and not yet reaped.
  static void wait_dead(pid_t pid) {
    siginfo_t info{};
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  }
  static void reap(pid_t pid) { ASSERT_EQ(waitpid(pid, nullptr, 0), pid); }
  bool ready(int milliseconds) const {
    pollfd one{exits_.fd(), POLLIN, 0};
    return poll(&one, 1, milliseconds) == 1;
  }
  void look_until(std::size_t ends) {
    const auto until = Clock::now() + 20s;
    while (events_.all<ExecEnded>().size() < ends && Clock::now() < until) {
      ready(100);
      exits_.look();
    }
  }

  Events events_;
  Exits exits_{events_, 16};
};

TEST_F(ExitsTest, OneThatEndedBeforeItWasFollowedHasItsEnd) {
  for (const bool reaped : {false, true}) {
    SCOPED_TRACE(reaped ? "reaped" : "not reaped");
    const auto before = events_.all<ExecEnded>().size();
    const pid_t pid = start(7);
    const auto caller = caller_of(pid);
    ASSERT_TRUE(caller && caller->process);
    wait_dead(pid);
    if (reaped) reap(pid);
    EXPECT_FALSE(exits_.replaces(pid, "/bin/a"));
    exits_.follow(pid, "/bin/a", caller->process, Clock::now() - 1s);
    if (!reaped) {
      exits_.look();
      reap(pid);
    }
    look_until(before + 1);
    const auto ended = events_.all<ExecEnded>();
    ASSERT_EQ(ended.size(), before + 1);
    EXPECT_EQ(ended.back().pid, pid);
    EXPECT_GE(ended.back().took, 1s);
    if (const auto status = ended.back().status) {  // the kernel tells (6.15)
      EXPECT_EQ(WEXITSTATUS(*status), 7);
    }
    EXPECT_EQ(exits_.followed(), 0U);
    EXPECT_FALSE(ready(50)) << "its descriptor is still held, and still wakes";
  }
}

TEST_F(ExitsTest, AnotherProgramInTheSameProcessEndsTheFirst) {
  const pid_t pid = fork();
  if (pid == 0) {
    pause();
    _exit(0);
  }
  const auto caller = caller_of(pid);
  ASSERT_TRUE(caller && caller->process);
  EXPECT_FALSE(exits_.replaces(pid, "/bin/a"));
  exits_.follow(pid, "/bin/a", caller->process, Clock::now());
  EXPECT_TRUE(exits_.replaces(pid, "/bin/b"));
  ASSERT_EQ(events_.all<ExecEnded>().size(), 1U);
  EXPECT_EQ(events_.all<ExecEnded>()[0].program, "/bin/a");
  EXPECT_EQ(events_.all<ExecEnded>()[0].status, std::nullopt);
  kill(pid, SIGKILL);
  reap(pid);
  // The number is another's from now on.
  EXPECT_FALSE(exits_.replaces(pid, "/bin/c"));
  look_until(2);
  ASSERT_EQ(events_.all<ExecEnded>().size(), 2U);
  EXPECT_EQ(events_.all<ExecEnded>()[1].program, "/bin/b");
}

TEST_F(ExitsTest, NoMoreThanItMayAndNoneWithoutADescriptor) {
  exits_.follow(1, "/bin/a", nullptr, Clock::now());
  EXPECT_EQ(exits_.followed(), 0U);
  EXPECT_EQ(events_.dropped, 1U) << "its end is never seen";
  const auto self = caller_of(getpid());
  ASSERT_TRUE(self && self->process);
  EXPECT_EQ(self->kin.group, getpid());
  EXPECT_EQ(self->kin.parent, getppid());
  Exits few(events_, 1);
  few.follow(getpid(), "/bin/a", self->process, Clock::now());
  EXPECT_EQ(events_.dropped, 1U);
  few.follow(1, "/bin/b", self->process, Clock::now());
  EXPECT_EQ(few.followed(), 1U);
  EXPECT_EQ(events_.dropped, 2U) << "there is no room to follow it";
}

}  // namespace
}  // namespace palisade::guard
