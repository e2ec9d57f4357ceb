// What the agent is given, and under which users it works.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "session.h"

namespace palisade::courier::testing {
namespace {

namespace fs = std::filesystem;

TEST(Checkout, TheBranchIsCheckedOutAndTheHostForgotten) {
  Session session;
  session.start();
  EXPECT_EQ(git_text(session.repo, {"symbolic-ref", "HEAD"}), kBranchRef);
  EXPECT_EQ(git_text(session.repo, {"rev-parse", "HEAD"}), session.host.ref("refs/heads/main"));
  EXPECT_EQ(git_text(session.repo, {"status", "--porcelain"}), "");
  EXPECT_EQ(git_text(session.repo, {"remote"}), "");
  EXPECT_EQ(read_file(session.repo / "src" / "login.py"), "def login(name):\n    return name\n");
  EXPECT_FALSE(fs::exists(session.dot_git / "hooks"));
  EXPECT_EQ(read_file(session.dot_git / "config").find("127.0.0.1"), std::string::npos);
  EXPECT_EQ(git_text(session.repo, {"for-each-ref"}),
            session.host.ref("refs/heads/main") + " commit\t" + kBranchRef);
  EXPECT_TRUE(fs::is_directory(session.workspace / ".home"));
}

TEST(Checkout, ARepositoryThatIsThereIsLeftAlone) {
  Session session;
  session.start();
  const std::string tip = session.commit("a", "work");
  write_file(session.repo / "b", "not committed");
  EXPECT_EQ(session.courier("checkout").code, 0);
  EXPECT_EQ(git_text(session.repo, {"rev-parse", "HEAD"}), tip);
  EXPECT_EQ(read_file(session.repo / "b"), "not committed");
}

TEST(Checkout, AHalfMadeCloneIsMadeAgain) {
  Session session;
  session.serve();
  ASSERT_TRUE(eventually([&] { return session.ready(); })) << session.said();
  fs::create_directories(session.repo.string() + ".part/.git");
  const Outcome made = session.courier("checkout");
  EXPECT_EQ(made.code, 0) << made.out << made.err;
  EXPECT_TRUE(fs::exists(session.repo / "README.md"));
}

TEST(Checkout, WithoutABundleItFailsWithAReason) {
  Session session;
  EXPECT_EQ(session.courier("ready").code, 1);
  const Outcome made = session.courier("checkout");
  EXPECT_EQ(made.code, 1);
  EXPECT_NE(made.out.find("repo.bundle"), std::string::npos) << made.out;
  EXPECT_FALSE(fs::exists(session.repo));
}

TEST(Checkout, NothingInTheRepositoryRunsWhenItIsCheckedOut) {
  Session session;
  const std::string payload = session.payload();
  session.host.commit("refs/heads/main", ".gitattributes", "* filter=evil diff=evil merge=evil\n");
  session.host.commit("refs/heads/main", ".gitmodules",
                      "[submodule \"x\"]\n\tpath = x\n\turl = https://example.invalid/x.git\n"
                      "\tupdate = checkout\n");
  session.host.commit("refs/heads/main", ".gitconfig", "[core]\n\tfsmonitor = " + payload + "\n");
  session.host.commit("refs/heads/main", ".lfsconfig", "[lfs]\n\turl = https://example.invalid/\n");
  session.start();
  EXPECT_TRUE(fs::exists(session.repo / ".gitattributes"));
  EXPECT_FALSE(session.canary_touched());
}

// The pod's users: the courier 1002, the agent and the checkout 1001, one group; the token for the
// courier alone.
class Users : public ::testing::Test {
 protected:
  static constexpr uid_t kAgent = 1001, kCourier = 1002;
  static constexpr gid_t kGroup = 1001;
};

TEST_F(Users, TheCourierAndTheAgentWorkTogetherWithoutSharingTheToken) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can run programs as the pod's users";
  Session session;
  write_file(session.config_file, session.config.dump(2));
  const auto give = [](const fs::path& path, uid_t user, mode_t mode) {
    ASSERT_EQ(chown(path.c_str(), user, kGroup), 0);
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
  };
  // As fsGroup makes them: the group may write, new files inherit it.
  for (const fs::path& volume : {session.private_volume, session.seed, session.workspace})
    give(volume, 0, 02777);
  give(session.token_file.parent_path(), kCourier, 0700);
  give(session.token_file, kCourier, 0400);
  give(session.termination_log, kCourier, 0666);

  Process::Options courier;
  courier.environment = session.environment;
  courier.out = session.out;
  courier.err = session.err;
  courier.uid = kCourier;
  courier.gid = kGroup;
  Process serve({PALISADE_COURIER, "serve", "--config", session.config_file}, courier);
  ASSERT_TRUE(eventually([&] { return session.ready(); })) << session.said();

  Process::Options agent;
  agent.environment = {"PATH=/usr/bin:/bin",   "HOME=" + (session.workspace / ".home").string(),
                       "GIT_AUTHOR_NAME=A",    "GIT_AUTHOR_EMAIL=a@example.com",
                       "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.com"};
  agent.uid = kAgent;
  agent.gid = kGroup;
  const Outcome made = run({PALISADE_COURIER, "checkout", "--config", session.config_file}, agent);
  ASSERT_EQ(made.code, 0) << made.out << made.err;
  EXPECT_NE(run({"cat", session.token_file}, agent).code, 0);
  EXPECT_NE(run({"touch", session.seed / "repo.bundle"}, agent).code, 0);
  EXPECT_EQ(run({"touch", session.workspace / ".home" / "x"}, agent).code, 0);

  agent.directory = session.repo;
  ASSERT_EQ(run({"touch", "new-file"}, agent).code, 0);
  ASSERT_EQ(run({"git", "add", "new-file"}, agent).code, 0);
  const Outcome committed = run({"git", "commit", "-qm", "As the agent"}, agent);
  ASSERT_EQ(committed.code, 0) << committed.err;
  const std::string tip = run({"git", "rev-parse", "HEAD"}, agent).out.substr(0, 40);
  EXPECT_TRUE(session.arrives(tip)) << session.said();
  serve.signal(15);
  ASSERT_TRUE(serve.wait(seconds(60)));
  EXPECT_EQ(serve.code(), 0) << session.said();
}

}  // namespace
}  // namespace palisade::courier::testing
