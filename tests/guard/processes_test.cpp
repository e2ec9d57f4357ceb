#include "guard/processes.h"

#include <algorithm>
#include <csignal>

#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

TEST(ProcessState, ReadsWhatTheKernelWrites) {
  auto process = parse_process_state(
      "42 (a) b) (c) S 7 40 39 34816 42 4194304 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 20 "
      "18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0\n");
  ASSERT_TRUE(process);
  EXPECT_EQ(process->pid, 42);
  EXPECT_EQ(process->state, 'S');
  EXPECT_EQ(process->parent, 7);
  EXPECT_EQ(process->group, 40);
  EXPECT_EQ(process->session, 39);
  EXPECT_EQ(process->start, 987654U);
  EXPECT_FALSE(process->zombie());
}

TEST(ProcessState, RefusesWhatItDoesNot) {
  for (const char* text :
       {"", "x", "42", "42 (a", "42 (a) ", "42 (a) S", "42 (a) S 7", "42 (a) S 7 40 39 1 2 3",
        "42 (a) S x 40 39 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 5"}) {
    EXPECT_FALSE(parse_process_state(text)) << text;
  }
}

TEST(ProcessState, OfThisProcess) {
  auto self = process_state(getpid());
  ASSERT_TRUE(self);
  EXPECT_EQ(self->parent, getppid());
  EXPECT_EQ(self->group, getpgrp());
  EXPECT_EQ(self->session, getsid(0));
  EXPECT_EQ(self->state, 'R');
  EXPECT_FALSE(process_state(999'999'999));
}

TEST(Signal, HitsTheOneThatIsMeantAndNoOther) {
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true)
      pause();
  }
  auto process = process_state(child);
  ASSERT_TRUE(process);
  auto other = *process;
  other.start += 1;  // the number's former owner
  EXPECT_FALSE(signal_process(other, SIGKILL));
  EXPECT_EQ(waitpid(child, nullptr, WNOHANG), 0);
  EXPECT_TRUE(signal_process(*process, SIGKILL));
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, SIGKILL);
  EXPECT_FALSE(signal_process(*process, SIGKILL));
}

// Tables of processes, as an update sees them; PID 1 is guard, PID 2 the agent.
ProcessState process(pid_t pid, pid_t parent, std::uint64_t start, pid_t session = 2,
                     char state = 'S') {
  return {pid, parent, session, session, state, start};
}

class CommandsTest : public ::testing::Test {
 protected:
  std::vector<std::pair<pid_t, std::vector<pid_t>>> update(std::vector<ProcessState> all) {
    all.push_back(process(1, 0, 1, 1));
    all.push_back(process(2, 1, 2));
    std::vector<std::pair<pid_t, std::vector<pid_t>>> found;
    for (const auto& command : commands_.update(all)) {
      found.emplace_back(command.root, std::vector<pid_t>{});
      for (const auto& one : command.alive)
        found.back().second.push_back(one.pid);
      std::sort(found.back().second.begin(), found.back().second.end());
      starts_[command.root] = command.start;
    }
    return found;
  }
  using Found = std::vector<std::pair<pid_t, std::vector<pid_t>>>;

  Commands commands_{1, 2};
  std::map<pid_t, std::uint64_t> starts_;
};

TEST_F(CommandsTest, ChildrenOfTheAgentWithAllTheirs) {
  EXPECT_EQ(update({}), Found{});
  EXPECT_EQ(update({process(10, 2, 10), process(12, 11, 12), process(11, 10, 11),
                    process(20, 2, 20), process(13, 10, 13, 2, 'Z')}),
            (Found{{10, {10, 11, 12}}, {20, {20}}}));
  EXPECT_EQ(starts_[10], 10U);
}

TEST_F(CommandsTest, ParentsThatHaveGoneAreRemembered) {
  update({process(10, 2, 10), process(11, 10, 11), process(12, 11, 12)});
  EXPECT_EQ(update({process(12, 1, 12)}), (Found{{10, {12}}}));
  // And what they fork is theirs, though nobody is left who was there at the beginning.
  EXPECT_EQ(update({process(12, 1, 12), process(13, 12, 13)}), (Found{{10, {12, 13}}}));
  EXPECT_EQ(update({process(13, 1, 13)}), (Found{{10, {13}}}));
  EXPECT_EQ(update({}), Found{});
}

TEST_F(CommandsTest, OrphansAreFoundByTheirSession) {
  update({process(10, 2, 10), process(11, 10, 11, 11)});  // 11 called setsid
  EXPECT_EQ(update({process(10, 2, 10), process(12, 1, 12, 11)}), (Found{{10, {10, 12}}}));
}

TEST_F(CommandsTest, WhatWasSeenBetweenTwoLooksCounts) {
  commands_.saw(process(10, 2, 10));
  commands_.saw(process(11, 10, 11, 11));
  EXPECT_EQ(update({process(10, 2, 10), process(11, 1, 11, 11)}), (Found{{10, {10, 11}}}));
}

TEST_F(CommandsTest, UnknownOrphansAreOneCommandAsOldAsThereAreAny) {
  EXPECT_EQ(update({process(50, 1, 50, 50)}), (Found{{0, {50}}}));
  EXPECT_EQ(starts_[0], 50U);
  EXPECT_EQ(update({process(60, 1, 60, 60), process(61, 60, 61, 60)}), (Found{{0, {60, 61}}}));
  EXPECT_EQ(starts_[0], 50U) << "it hops, and is no younger for it";
  EXPECT_EQ(update({}), Found{});
  EXPECT_EQ(update({process(70, 1, 70, 70)}), (Found{{0, {70}}}));
  EXPECT_EQ(starts_[0], 70U);
}

TEST_F(CommandsTest, ANumberThatIsAnothersNowIsNotMixedUp) {
  update({process(10, 2, 10), process(11, 10, 11)});
  // 11 has gone, and its number is a child of another command's.
  EXPECT_EQ(update({process(10, 2, 10), process(20, 2, 20), process(11, 20, 30)}),
            (Found{{10, {10}}, {20, {11, 20}}}));
  // A leader that is younger than its follower led somebody else.
  EXPECT_EQ(
      update({process(10, 2, 10), process(20, 2, 20), process(11, 20, 30), process(40, 1, 15, 11)}),
      (Found{{0, {40}}, {10, {10}}, {20, {11, 20}}}));
}

TEST_F(CommandsTest, OthersAreNobodysCommand) {
  EXPECT_EQ(update({process(90, 0, 90, 90), process(91, 90, 91, 90)}), Found{});
}

}  // namespace
}  // namespace palisade::guard
