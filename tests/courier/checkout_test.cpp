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

TEST(Users, TheCourierAndTheAgentWorkTogetherWithoutSharingTheToken) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can run programs as the pod's users";
  const Session session;
  PodUsers users(session);
  EXPECT_NE(users.as_agent({"cat", session.token_file}).code, 0);
  EXPECT_NE(users.as_agent({"touch", session.seed / "repo.bundle"}).code, 0);
  EXPECT_EQ(users.as_agent({"touch", session.workspace / ".home" / "x"}).code, 0);

  const auto tip = users.commit("new-file");
  ASSERT_NE(tip.id, "") << tip.err;
  EXPECT_TRUE(session.arrives(tip.id)) << session.said();
  EXPECT_EQ(users.stop(), 0) << session.said();
}

}  // namespace
}  // namespace palisade::courier::testing
