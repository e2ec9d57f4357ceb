// mount: GitDirOnly. The agent's checkout stands on a repository that it can only read.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hostile_cases.h"
#include "session.h"

namespace palisade::courier::testing {
namespace {

namespace fs = std::filesystem;

class GitDirOnly : public ::testing::Test {
 protected:
  GitDirOnly() {
    session.config["mount"] = "GitDirOnly";
    session.config["bundle"] = project.string();
  }

  [[nodiscard]] fs::path alternates() const {
    return session.dot_git / "objects" / "info" / "alternates";
  }
  // The handed out repository is as whole as the host's, and holds no more.
  void expect_project_untouched() const {
    const Outcome sound = git(project, {"fsck", "--strict", "--no-dangling"});
    EXPECT_EQ(sound.code, 0) << sound.out << sound.err;
    EXPECT_EQ(git_text(project, {"for-each-ref"}),
              session.host.ref("refs/heads/main") + " commit\t" + kBranchRef);
  }

  Session session;
  const fs::path project = session.seed / "repo.git";
};

std::size_t files_below(const fs::path& directory) {
  std::size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(directory))
    count += entry.is_regular_file() ? 1U : 0U;
  return count;
}

TEST_F(GitDirOnly, TheCheckoutStandsOnTheProjectsObjects) {
  session.start();
  EXPECT_EQ(read_file(alternates()), (project / "objects").string() + "\n");
  EXPECT_EQ(files_below(session.dot_git / "objects"), 1U) << "an object was copied";
  EXPECT_EQ(git_text(session.repo, {"symbolic-ref", "HEAD"}), kBranchRef);
  EXPECT_EQ(git_text(session.repo, {"rev-parse", "HEAD"}), session.host.ref("refs/heads/main"));
  EXPECT_EQ(git_text(session.repo, {"rev-list", "--count", "HEAD"}), "2");
  EXPECT_EQ(git_text(session.repo, {"status", "--porcelain"}), "");
  EXPECT_EQ(git_text(session.repo, {"remote"}), "");
  EXPECT_EQ(read_file(session.repo / "src" / "login.py"), "def login(name):\n    return name\n");
  for (const fs::path& place : {session.dot_git, project}) {
    EXPECT_FALSE(fs::exists(place / "hooks"));
    EXPECT_EQ(read_file(place / "config").find("127.0.0.1"), std::string::npos);
  }
  EXPECT_FALSE(fs::exists(session.seed / "repo.bundle"));
  EXPECT_TRUE(fs::is_directory(session.workspace / ".home"));
  expect_project_untouched();
}

TEST_F(GitDirOnly, WhatIsCommittedIsPushed) {
  session.start();
  const std::string first = session.commit("a", "one");
  EXPECT_TRUE(session.arrives(first)) << session.said();
  git_text(session.repo, {"repack", "-adq"});  // its own pack now holds the project's objects too
  const std::string second = session.commit("b", "two");
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(session.remote(), second);
  EXPECT_EQ(end.report["commits"], 2);
  EXPECT_EQ(session.token_found_in(), "");
  expect_project_untouched();
}

TEST_F(GitDirOnly, ARestartedCourierLeavesWhatItHandedOut) {
  session.start();
  ASSERT_EQ(session.stop().code, 0) << session.said();
  const auto before = fs::last_write_time(project);
  session.serve_again();
  const std::string tip = session.commit("a", "one");
  EXPECT_TRUE(session.arrives(tip)) << session.said();
  EXPECT_EQ(fs::last_write_time(project), before);
  expect_project_untouched();
}

TEST_F(GitDirOnly, HalvesAreMadeAgain) {
  make_text(project.string() + ".part/HEAD", "half");
  session.serve();
  ASSERT_TRUE(eventually([&] { return session.ready(); })) << session.said();
  fs::create_directories(session.repo.string() + ".part/.git");
  const Outcome made = session.courier("checkout");
  EXPECT_EQ(made.code, 0) << made.out << made.err;
  EXPECT_FALSE(fs::exists(project.string() + ".part"));
  EXPECT_EQ(git_text(session.repo, {"status", "--porcelain"}), "");
}

TEST_F(GitDirOnly, WithoutAProjectTheCheckoutFailsWithAReason) {
  EXPECT_EQ(session.courier("ready").code, 1);
  const Outcome made = session.courier("checkout");
  EXPECT_EQ(made.code, 1);
  EXPECT_NE(made.out.find("repo.git"), std::string::npos) << made.out;
  EXPECT_FALSE(fs::exists(session.repo));
}

// Whatever the agent makes of its alternates, the courier reads none.
TEST_F(GitDirOnly, AlternatesOfTheAgentsLeadNowhere) {
  session.start();
  const Directory other;
  git_text(other.path(), {"init", "-q", "."});
  const std::string stolen = [&] {
    write_file(other.path() / "secret", "of another project");
    return git_text(other.path(), {"hash-object", "-w", "secret"});
  }();
  append(alternates(), (other.path() / ".git" / "objects").string() + "\n");
  const std::string tree_file = other.path() / "tree";
  write_file(tree_file, "100644 blob " + stolen + "\tstolen\n");
  Process::Options options;
  options.directory = session.repo;
  options.in = tree_file;
  const Outcome tree = run({"git", "-c", "safe.directory=*", "mktree"}, options);
  ASSERT_EQ(tree.code, 0) << tree.err;
  const std::string tip = git_text(
      session.repo, {"commit-tree", tree.out.substr(0, 40), "-p", "HEAD", "-m", "Take it"});
  session.set_tip(tip + "\n");
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 1);
  EXPECT_NE(end.report.value("error", "").find("cannot be read from the workspace"),
            std::string::npos)
      << end.log;
  EXPECT_EQ(end.report.value("error", "").find("not used"), std::string::npos)
      << "that there are alternates is no fault: " << end.log;
  EXPECT_EQ(session.remote(), "");
  expect_project_untouched();
}

// The pod's users, as far as they go without its mounts: those say it once more.
TEST_F(GitDirOnly, AStrayWriteReachesNothingElse) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can run programs as the pod's users";
  PodUsers users(session);
  EXPECT_NE(users.as_agent({"touch", project / "objects" / "stray"}).code, 0);
  EXPECT_NE(users.as_agent({"git", "--git-dir", project, "update-ref", "-d", kBranchRef}).code, 0);
  EXPECT_NE(users.as_agent({"git", "--git-dir", project, "config", "core.fsmonitor", "x"}).code, 0);
  EXPECT_NE(users.as_agent({"sh", "-c", "rm -rf '" + project.string() + "/objects'"}).code, 0);
  expect_project_untouched();

  const auto tip = users.commit("new-file");
  ASSERT_NE(tip.id, "") << tip.err;
  EXPECT_TRUE(session.arrives(tip.id)) << session.said();
  EXPECT_EQ(users.stop(), 0) << session.said();
}

}  // namespace
}  // namespace palisade::courier::testing
