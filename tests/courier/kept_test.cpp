// A workspace that a pod before this one has worked in, on a volume that was kept.
#include <gtest/gtest.h>
#include <signal.h>

#include "session.h"

namespace palisade::courier::testing {
namespace {

namespace fs = std::filesystem;

// The next pod: what was the former's own is gone, the workspace is there.
void next_pod(Session& session) {
  for (const fs::path& volume : {session.private_volume, session.seed})
    for (const auto& entry : fs::directory_iterator(volume))
      fs::remove_all(entry.path());
  for (const fs::path& file : {session.out, session.err})
    fs::remove(file);
  write_file(session.termination_log, "");
  session.config["access"] = "ReadWrite";
  session.start();
}

// A first pod that pushes nothing, as one that is lost with its node.
void first_pod(Session& session) {
  session.config["access"] = "ReadOnly";
  session.start();
}

void lose(Session& session) {
  session.process().signal(SIGKILL);
  ASSERT_TRUE(session.process().wait(seconds(10)));
}

TEST(Kept, WorkGoesOnWhereItWas) {
  Session session;
  session.start();
  const std::string first = session.commit("a", "a");
  ASSERT_TRUE(session.arrives(first)) << session.said();
  EXPECT_EQ(session.stop().code, 0);
  write_file(session.repo / "draft", "not committed");
  next_pod(session);
  EXPECT_EQ(read_file(session.repo / "draft"), "not committed");
  const std::string second = session.commit("b", "b");
  ASSERT_TRUE(session.arrives(second)) << session.said();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << session.said();
  EXPECT_EQ(end.report.value("commits", 0), 1) << end.log;
}

TEST(Kept, WhatALostPodHadNotPushedIsPushed) {
  Session session;
  first_pod(session);
  session.commit("a", "a");
  const std::string tip = session.commit("b", "b");
  lose(session);
  next_pod(session);
  ASSERT_TRUE(session.arrives(tip)) << session.said();
  EXPECT_EQ(session.stop().report.value("commits", 0), 2);
}

TEST(Kept, TheRefMayHaveGoneOn) {
  Session session;
  first_pod(session);
  const std::string tip = session.commit("a", "a");
  lose(session);
  session.host.commit("refs/heads/main", "theirs.py", "x = 1\n");
  next_pod(session);
  ASSERT_TRUE(session.arrives(tip)) << session.said();
  // Over a restart of the courier too, and never rewritten.
  lose(session);
  const std::string next = session.commit("b", "b");
  session.serve_again();
  ASSERT_TRUE(session.arrives(next)) << session.said();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << session.said();
  EXPECT_EQ(end.report.value("commits", 0), 2) << end.log;
}

TEST(Kept, ARestartBeforeTheFirstPushForgetsNothing) {
  Session session;
  first_pod(session);
  lose(session);
  session.host.commit("refs/heads/main", "theirs.py", "x = 1\n");
  next_pod(session);
  lose(session);
  const std::string tip = session.commit("a", "a");
  session.serve_again();
  ASSERT_TRUE(session.arrives(tip)) << session.said();
  EXPECT_EQ(session.stop().report.value("commits", 0), 1);
}

TEST(Kept, ABranchThatCannotBeReadForAWhileIsToldAndNotForgotten) {
  Session session;
  first_pod(session);
  const std::string tip = session.commit("a", "a");
  lose(session);
  session.host.commit("refs/heads/main", "theirs.py", "x = 1\n");
  const fs::path reference = session.dot_git / kBranchRef;
  const fs::path aside = session.base.path() / "aside";
  fs::rename(reference, aside);
  fs::create_symlink(aside, reference);
  next_pod(session);
  session.some_polls();
  const std::string said = session.said();
  const auto told = said.find("the branch cannot be read from the workspace");
  ASSERT_NE(told, std::string::npos) << said;
  EXPECT_EQ(session.remote(), "");
  fs::remove(reference);
  fs::rename(aside, reference);
  ASSERT_TRUE(session.arrives(tip)) << session.said();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << session.said();
  EXPECT_EQ(end.report.value("commits", 0), 1) << end.log;
}

TEST(Kept, WhatTheHostHasAlreadyIsNotPushed) {
  for (const char* ref : {"refs/heads/main", kBranchRef}) {
    SCOPED_TRACE(ref);
    Session session;
    session.start();
    if (ref == std::string(kBranchRef)) {
      const std::string tip = session.commit("a", "a");
      ASSERT_TRUE(session.arrives(tip)) << session.said();
    }
    EXPECT_EQ(session.stop().code, 0);
    session.host.commit(ref, "theirs.py", "x = 1\n");
    const std::string remote = session.remote();
    next_pod(session);
    session.some_polls();
    const Session::End end = session.stop();
    EXPECT_EQ(end.code, 0) << session.said();
    EXPECT_TRUE(end.report.value("pushed", false)) << end.log;
    EXPECT_EQ(end.report.value("commits", -1), 0) << end.log;
    EXPECT_EQ(session.remote(), remote);
  }
}

TEST(Kept, NothingIsForcedAndNothingForeignIsPushed) {
  {
    SCOPED_TRACE("others have pushed to the branch");
    Session session;
    session.start();
    const std::string tip = session.commit("a", "a");
    ASSERT_TRUE(session.arrives(tip)) << session.said();
    EXPECT_EQ(session.stop().code, 0);
    const std::string theirs = session.host.commit(kBranchRef, "theirs.py", "x = 1\n");
    next_pod(session);
    session.commit("b", "b");
    session.some_polls();
    const Session::End end = session.stop();
    EXPECT_EQ(end.code, 1);
    EXPECT_NE(end.report.value("error", "").find("does not follow"), std::string::npos) << end.log;
    EXPECT_EQ(session.remote(), theirs);
  }
  {
    SCOPED_TRACE("a history of its own");
    Session session;
    first_pod(session);
    const std::string tree = git_text(session.repo, {"rev-parse", "HEAD^{tree}"});
    session.set_tip(git_text(session.repo, {"commit-tree", tree, "-m", "Root"}) + "\n");
    lose(session);
    next_pod(session);
    session.some_polls();
    const Session::End end = session.stop();
    EXPECT_EQ(end.code, 1);
    EXPECT_NE(end.report.value("error", "").find("does not follow"), std::string::npos) << end.log;
    EXPECT_EQ(session.remote(), "");
  }
}

}  // namespace
}  // namespace palisade::courier::testing
