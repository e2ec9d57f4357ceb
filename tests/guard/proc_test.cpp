#include "guard/proc.h"

#include <cerrno>
#include <thread>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using Ask = std::expected<Kinship, int> (*)(pid_t);
class KinshipTest : public ::testing::TestWithParam<Ask> {};
INSTANTIATE_TEST_SUITE_P(BothWays, KinshipTest, ::testing::Values(&kinship, &kinship_by_status));

TEST_P(KinshipTest, OfAProcessAndItsThreads) {
  const auto own = GetParam()(getpid());
  ASSERT_TRUE(own);
  EXPECT_EQ(own->group, getpid());
  EXPECT_EQ(own->parent, getppid());
  std::thread([] {
    ASSERT_NE(gettid(), getpid());
    const auto thread = GetParam()(gettid());
    ASSERT_TRUE(thread);
    EXPECT_EQ(thread->group, getpid());
    EXPECT_EQ(thread->parent, getppid());
  }).join();
}

TEST_P(KinshipTest, OfOneThatEnded) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t end{};
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &end, WEXITED | WNOWAIT), 0);
  const auto dead = GetParam()(child);  // not reaped yet
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->group, child);
  EXPECT_EQ(dead->parent, getpid());
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  const auto gone = GetParam()(child);
  EXPECT_FALSE(gone);
  EXPECT_FALSE(GetParam()(-1));
}

}  // namespace
}  // namespace palisade::guard
