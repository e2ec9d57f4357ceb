// What the courier does with an agent that behaves and a git host that may not.
#include <thread>

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>

#include "session.h"

namespace palisade::courier::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kOtherToken = "0123456789abcdef0123456789abcdef01234567";

// The courier refuses to start: it ends by itself with a message in the termination log.
std::string refusal(Session& session) {
  session.serve();
  const Session::End end = session.end();
  EXPECT_NE(end.code, 0);
  EXPECT_FALSE(session.ready());
  EXPECT_TRUE(end.report.is_object()) << end.log;
  EXPECT_FALSE(end.report.value("pushed", true));
  EXPECT_EQ(session.token_found_in(), "");
  return end.report.value("error", "");
}

TEST(Serve, PushesWhatTheAgentCommits) {
  Session session;
  session.start();
  EXPECT_EQ(session.remote(), "") << "nothing is pushed before there is a commit";
  const std::string first = session.commit("src/login.py", "def login(name):\n    return 1\n");
  ASSERT_TRUE(session.arrives(first)) << session.said();
  const std::string second = session.commit("src/other.py", "x = 1\n");
  ASSERT_TRUE(session.arrives(second)) << session.said();
  EXPECT_EQ(git_text(session.host.repository(), {"show", second + ":src/other.py"}), "x = 1");
  const std::string main = session.host.ref("refs/heads/main");

  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << session.said();
  EXPECT_EQ(
      end.report,
      (json{
          {"commits", 2}, {"head", second}, {"branch", kBranch}, {"pushed", true}, {"error", ""}}));
  EXPECT_EQ(session.host.refs(),
            main + " commit\trefs/heads/main\n" + second + " commit\t" + kBranchRef)
      << "no other ref";
  EXPECT_EQ(session.token_found_in(), "");
  EXPECT_FALSE(session.process().group_alive());
}

Process::Options as_in(const Session& session) {
  Process::Options out;
  out.environment = session.environment;
  out.out = session.out;
  out.err = session.err;
  return out;
}

// It has come so far that a SIGTERM is its own to answer. (While it does, the kernel shows the
// signal as not blocked.)
bool takes_signals(const Process& process) {
  return read_file("/proc/" + std::to_string(process.id()) + "/syscall")
      .starts_with(std::to_string(SYS_rt_sigtimedwait) + " ");
}

// In a pod that waited in a pool the configuration comes later.
TEST(Serve, WaitsForItsConfigurationAndTheCheckoutForTheBundle) {
  Session session;
  Process serve({PALISADE_COURIER, "serve", "--wait", "--config", session.config_file},
                as_in(session));
  Process checkout({PALISADE_COURIER, "checkout", "--wait", "--config", session.config_file},
                   as_in(session));
  EXPECT_FALSE(serve.wait(milliseconds(300)));
  EXPECT_FALSE(checkout.wait(milliseconds(0)));
  write_file(session.config_file, session.config.dump(2));
  ASSERT_TRUE(checkout.wait(seconds(60))) << session.said();
  EXPECT_EQ(checkout.code(), 0) << session.said();
  EXPECT_TRUE(fs::exists(session.dot_git));
  serve.signal(SIGTERM);
  ASSERT_TRUE(serve.wait(seconds(60)));
  EXPECT_EQ(serve.code(), 0) << session.said();
}

TEST(Serve, EndsAtOnceWhereNoConfigurationCame) {
  const Session session;
  for (const char* verb : {"serve", "checkout"}) {
    Process waits({PALISADE_COURIER, verb, "--wait", "--config", session.config_file},
                  as_in(session));
    ASSERT_TRUE(eventually([&] { return takes_signals(waits); })) << verb;
    EXPECT_FALSE(waits.wait(milliseconds(100))) << verb;
    waits.signal(SIGTERM);
    ASSERT_TRUE(waits.wait(seconds(60))) << verb;
    EXPECT_EQ(waits.code(), 0) << verb;
  }
  EXPECT_EQ(read_file(session.termination_log), "");
}

TEST(Serve, LogsOneJsonObjectALine) {
  Session session;
  session.start();
  ASSERT_TRUE(session.arrives(session.commit("a", "a"))) << session.said();
  session.stop();
  std::istringstream lines(read_file(session.out));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const json entry = json::parse(line, nullptr, false);
    ASSERT_TRUE(entry.is_object()) << line;
    EXPECT_TRUE(entry.contains("level") && entry.contains("message") && entry.contains("time"));
  }
  EXPECT_GE(count, 2);
  EXPECT_EQ(read_file(session.err), "");
}

TEST(Serve, TheLastCommitIsPushedOnTermination) {
  Session session;
  session.config["pollSeconds"] = 3600;
  session.start();
  const std::string tip = session.commit("a", "a");
  const Session::End end = session.stop(seconds(45));
  EXPECT_EQ(end.code, 0) << session.said();
  EXPECT_EQ(session.remote(), tip);
  EXPECT_EQ(end.report.value("commits", 0), 1);
  EXPECT_EQ(end.report.value("head", ""), tip);
}

TEST(Serve, WithoutACommitNothingIsPushed) {
  Session session;
  session.start();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << session.said();
  EXPECT_EQ(end.report.value("commits", -1), 0);
  EXPECT_EQ(end.report.value("error", "?"), "");
  EXPECT_EQ(session.remote(), "");
}

TEST(Serve, OnlyTheBranchIsPushed) {
  Session session;
  session.start();
  git_text(session.repo, {"branch", "other"});
  git_text(session.repo, {"tag", "-a", "v9", "-m", "nine"});
  git_text(session.repo, {"branch", "-f", "main", "HEAD"});
  const std::string tip = session.commit("a", "a");
  git_text(session.repo, {"tag", "v10"});
  git_text(session.repo, {"update-ref", "refs/heads/main", tip});
  const std::string main = session.host.ref("refs/heads/main");
  ASSERT_TRUE(session.arrives(tip)) << session.said();
  session.stop();
  EXPECT_EQ(session.host.refs(),
            main + " commit\trefs/heads/main\n" + tip + " commit\t" + kBranchRef);
}

TEST(Serve, ATipThatDoesNotStandIsNotPushedWhileTheSessionGoesOn) {
  Session session;
  session.config["settleSeconds"] = 5;
  session.start();
  const std::string start = git_text(session.repo, {"rev-parse", "HEAD"});
  const std::string undone = session.commit("a", "a mistake");
  session.some_polls();
  git_text(session.repo, {"reset", "-q", "--hard", start});
  const std::string kept = session.commit("a", "right");
  ASSERT_TRUE(session.arrives(kept)) << session.said();
  EXPECT_NE(git(session.host.repository(), {"cat-file", "-e", undone}).code, 0);
  EXPECT_EQ(session.stop().code, 0);
}

TEST(Serve, ReadOnlyNeverPushes) {
  Session session;
  session.config["access"] = "ReadOnly";
  session.start();
  session.commit("a", "a");
  session.some_polls();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << session.said();
  EXPECT_FALSE(end.report.value("pushed", true));
  EXPECT_EQ(end.report.value("error", "?"), "");
  EXPECT_EQ(session.remote(), "");
  for (const json& request : session.host.requests())
    EXPECT_EQ(request.dump().find("receive-pack"), std::string::npos) << request;
}

TEST(Serve, GoesOnFromABranchThatExists) {
  Session session;
  git_text(session.host.repository(), {"branch", kBranch, "main"});
  const std::string before = session.host.commit(kBranchRef, "earlier.py", "earlier = 1\n");
  session.start();
  EXPECT_TRUE(fs::exists(session.repo / "earlier.py"));
  const std::string tip = session.commit("later.py", "later = 1\n");
  ASSERT_TRUE(session.arrives(tip)) << session.said();
  EXPECT_EQ(git_text(session.host.repository(), {"rev-parse", tip + "^"}), before);
  const Session::End end = session.stop();
  EXPECT_EQ(end.report.value("commits", 0), 1) << end.log;
}

TEST(Serve, StartsFromATag) {
  Session session;
  git_text(session.host.repository(), {"-c", "user.name=T", "-c", "user.email=t@example.com", "tag",
                                       "-a", "v1", "-m", "one", "main~1"});
  session.config["ref"] = "v1";
  session.start();
  EXPECT_EQ(git_text(session.repo, {"rev-parse", "HEAD"}), session.host.ref("main~1"));
  const std::string tip = session.commit("a", "a");
  EXPECT_TRUE(session.arrives(tip)) << session.said();
}

TEST(Serve, PicksUpARotatedToken) {
  Session session;
  session.start();
  const std::string first = session.commit("a", "a");
  ASSERT_TRUE(session.arrives(first)) << session.said();
  session.host.set_token(kOtherToken);
  write_file(session.token_file, std::string(kOtherToken) + "\n");
  const std::string second = session.commit("b", "b");
  ASSERT_TRUE(session.arrives(second)) << session.said();
  EXPECT_EQ(session.stop().code, 0);
  EXPECT_EQ(session.token_found_in(), "");
  EXPECT_EQ(session.token_found_in(kOtherToken), "");
}

TEST(Serve, ARefusedPushIsTriedAgain) {
  Session session;
  session.start();
  session.host.set_token(kOtherToken);
  const std::string tip = session.commit("a", "a");
  ASSERT_TRUE(eventually([&] { return session.said().find("push") != std::string::npos; }));
  EXPECT_EQ(session.remote(), "");
  session.host.set_token(kToken);
  EXPECT_TRUE(session.arrives(tip)) << session.said();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0);
  EXPECT_EQ(end.report.value("error", "?"), "");
}

TEST(Serve, TheReasonOfARefusedPushIsReported) {
  Session session;
  session.host.hook("pre-receive", "echo 'this branch is protected' >&2; exit 1\n");
  session.start();
  session.commit("a", "a");
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 1);
  EXPECT_FALSE(end.report.value("pushed", true));
  EXPECT_NE(end.report.value("error", "").find("this branch is protected"), std::string::npos)
      << end.log;
  EXPECT_EQ(session.remote(), "");
}

TEST(Serve, AHostThatTalksTooMuchOrStrangelyStillLeavesAReadableReport) {
  const std::vector<std::string> scripts = {
      "head -c 200000 /dev/zero | tr '\\0' x >&2; exit 1\n",
      "for i in $(seq 3000); do printf '\\001\\002\\033[31m' >&2; done; exit 1\n",
      "for i in $(seq 3000); do printf '\\377\\376\\200' >&2; done; exit 1\n",
      "for i in $(seq 3000); do printf '\"\\\\' >&2; done; exit 1\n",
  };
  Session session;
  session.config["pollSeconds"] = 3600;
  session.start();
  session.commit("a", "a");
  for (const std::string& script : scripts) {
    session.process().signal(SIGKILL);
    ASSERT_TRUE(session.process().wait(seconds(10)));
    session.host.hook("pre-receive", script);
    session.serve_again();
    const Session::End end = session.stop();
    EXPECT_EQ(end.code, 1);
    EXPECT_LE(end.log.size(), kMaxTerminationLog);
    ASSERT_TRUE(end.report.is_object()) << script << end.log;
    EXPECT_NE(end.report.value("error", ""), "");
  }
}

TEST(Serve, ATokenThatTheHostPlaysBackIsNotRepeated) {
  Session session;
  session.config["url"] = session.host.url("echo");
  const std::string error = refusal(session);
  EXPECT_NE(error.find("you sent"), std::string::npos) << error;
}

TEST(Serve, ATokenInALongMessageIsNotRepeatedInPart) {
  // The end of the message is kept: wherever it is cut, no part of the token may begin it.
  Session session;
  session.config["pollSeconds"] = 3600;
  session.start();
  session.commit("a", "a");
  for (const int padding : {3990, 4010, 4030, 4050, 4070}) {
    session.process().signal(SIGKILL);
    ASSERT_TRUE(session.process().wait(seconds(10)));
    session.host.hook("pre-receive", "printf '" + std::string(kToken) + "' >&2; head -c " +
                                         std::to_string(padding) +
                                         " /dev/zero | tr '\\0' y >&2; exit 1\n");
    session.serve_again();
    const Session::End end = session.stop();
    EXPECT_NE(end.report.value("error", "").find("yyyy"), std::string::npos) << end.log;
    const std::string tail = std::string(kToken).substr(30);
    EXPECT_EQ(session.said().find(tail), std::string::npos);
    EXPECT_EQ(end.log.find(tail), std::string::npos);
  }
}

TEST(Serve, AWrongTokenIsSaidWithoutTheToken) {
  Session session;
  session.host.set_token(kOtherToken);
  const std::string error = refusal(session);
  EXPECT_NE(error.find("Authentication failed"), std::string::npos) << error;
}

TEST(Serve, AMissingTokenFileIsSaid) {
  Session session;
  fs::remove(session.token_file);
  const std::string error = refusal(session);
  EXPECT_NE(error.find(session.token_file.string()), std::string::npos) << error;
}

TEST(Serve, AMissingRefIsSaid) {
  Session session;
  session.config["ref"] = "nothing-here";
  EXPECT_NE(refusal(session).find("nothing-here"), std::string::npos);
}

TEST(Serve, AMissingRepositoryIsSaid) {
  Session session;
  session.config["url"] = session.host.url("git", "absent");
  EXPECT_NE(refusal(session).find("not found"), std::string::npos);
}

TEST(Serve, AnEmptyRepositoryIsSaid) {
  Session session;
  git_text(session.host.repository().parent_path(), {"init", "-q", "--bare", "empty.git"});
  session.config["url"] = session.host.url("git", "empty");
  EXPECT_NE(refusal(session).find("main"), std::string::npos);
}

TEST(Serve, AnUnknownAuthorityIsRefused) {
  Session session;
  session.config["caFile"] = "";
  EXPECT_NE(refusal(session).find("certificate"), std::string::npos);
  for (const json& request : session.host.requests())
    EXPECT_FALSE(request.value("authorization", true));
}

TEST(Serve, AnAuthorityFileThatIsNotThereIsSaid) {
  Session session;
  session.config["caFile"] = (session.base.path() / "absent.pem").string();
  EXPECT_NE(refusal(session).find("absent.pem"), std::string::npos);
}

TEST(Serve, ARedirectIsNotFollowed) {
  Session session;
  session.config["url"] = session.host.url("redirect");
  EXPECT_NE(refusal(session).find("302"), std::string::npos);
  EXPECT_TRUE(session.host.thief_requests().empty());
}

TEST(Serve, ARedirectOfThePushIsNotFollowedEither) {
  Session session;
  session.start();
  session.host.redirect_everything();
  session.commit("a", "a");
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 1);
  EXPECT_FALSE(end.report.value("pushed", true));
  EXPECT_NE(end.report.value("error", "").find("302"), std::string::npos) << end.log;
  EXPECT_TRUE(session.host.thief_requests().empty());
}

TEST(Serve, WhatSomeoneElsePushedIsNeverOverwritten) {
  Session session;
  session.start();
  const std::string first = session.commit("a", "a");
  ASSERT_TRUE(session.arrives(first)) << session.said();
  const std::string theirs = session.host.commit(kBranchRef, "theirs.py", "x = 1\n");
  session.commit("b", "b");
  session.some_polls();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 1);
  EXPECT_FALSE(end.report.value("pushed", true));
  EXPECT_NE(end.report.value("error", ""), "");
  EXPECT_EQ(session.remote(), theirs);
  EXPECT_EQ(end.report.value("head", ""), first);
}

TEST(Serve, ARestartedCourierGoesOn) {
  Session session;
  session.start();
  const std::string first = session.commit("a", "a");
  ASSERT_TRUE(session.arrives(first)) << session.said();
  session.process().signal(SIGKILL);
  ASSERT_TRUE(session.process().wait(seconds(10)));
  const std::string second = session.commit("b", "b");
  session.serve();
  ASSERT_TRUE(session.arrives(second)) << session.said();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log << session.said();
  EXPECT_EQ(end.report.value("commits", 0), 2) << end.log << session.said();
}

TEST(Serve, ARestartAfterThePushStillReportsIt) {
  Session session;
  session.start();
  const std::string tip = session.commit("a", "a");
  ASSERT_TRUE(session.arrives(tip)) << session.said();
  // The push may be known to the host a moment before the courier notes it.
  ASSERT_TRUE(eventually([&] { return session.said().find("pushed") != std::string::npos; }));
  std::this_thread::sleep_for(milliseconds(300));
  session.process().signal(SIGKILL);
  ASSERT_TRUE(session.process().wait(seconds(10)));
  session.serve();
  session.some_polls();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(end.report.value("head", ""), tip) << end.log;
  EXPECT_EQ(end.report.value("commits", 0), 1) << end.log;
  EXPECT_TRUE(end.report.value("pushed", false));
}

TEST(Serve, AStartThatFailedHalfwayIsTakenUpAgain) {
  Session session;
  session.host.set_token(kOtherToken);
  refusal(session);
  session.host.set_token(kToken);
  session.start();
  const std::string tip = session.commit("a", "a");
  EXPECT_TRUE(session.arrives(tip)) << session.said();
}

TEST(Serve, TerminationDuringTheFetchEndsAtOnce) {
  Session session;
  session.config["url"] = session.host.url("stall");
  session.serve();
  ASSERT_TRUE(eventually([&] { return !session.host.requests().empty(); }));
  const auto before = std::chrono::steady_clock::now();
  const Session::End end = session.stop(seconds(20));
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(10));
  EXPECT_NE(end.code, 0);
  EXPECT_TRUE(eventually([&] { return !session.process().group_alive(); }, seconds(5)));
}

TEST(Serve, AHostThatHangsDoesNotOutlastTheGracePeriod) {
  Session session;
  session.host.hook("pre-receive", "sleep 90 >/dev/null 2>&1 </dev/null\n");
  session.config["pollSeconds"] = 3600;
  session.config["finalSeconds"] = 6;
  session.start();
  session.commit("a", "a");
  const auto before = std::chrono::steady_clock::now();
  const Session::End end = session.stop(seconds(58));
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(40));
  EXPECT_EQ(end.code, 1);
  EXPECT_NE(end.report.value("error", ""), "");
}

// The environment and arguments of everything that runs below the courier while the host makes it
// wait.
TEST(Serve, GitRunsInACleanEnvironmentWithoutTheToken) {
  Session session;
  session.config["url"] = session.host.url("stall");
  for (const char* entry :
       {"GIT_DIR=/tmp", "GIT_SSH_COMMAND=false", "GIT_SSL_NO_VERIFY=1", "GIT_TRACE_CURL=1",
        "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.fsmonitor", "GIT_CONFIG_VALUE_0=/bin/false",
        "HTTPS_PROXY=http://127.0.0.1:1", "SECRET=from-outside", "GIT_EXEC_PATH=/nonexistent",
        "GIT_TEMPLATE_DIR=/nonexistent"}) {
    session.environment.emplace_back(entry);
  }
  session.serve();
  ASSERT_TRUE(eventually([&] { return !session.host.requests().empty(); })) << session.said();
  int seen = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::string environment = read_file(entry.path() / "environ");
    const std::string arguments = read_file(entry.path() / "cmdline");
    if (!environment.starts_with("PATH=") && environment.find("GIT_ASKPASS=") == std::string::npos)
      continue;
    if (environment.find(session.config_file.string()) == std::string::npos) continue;
    ++seen;
    for (const char* foreign : {"SECRET=", "GIT_DIR=/tmp", "GIT_SSH_COMMAND", "GIT_SSL_NO_VERIFY",
                                "GIT_TRACE", "core.fsmonitor=/bin/false", "HTTPS_PROXY",
                                "GIT_TEMPLATE_DIR", "GIT_EXEC_PATH=/nonexistent"}) {
      EXPECT_EQ(environment.find(foreign), std::string::npos) << foreign << " in " << arguments;
    }
    EXPECT_EQ(environment.find(kToken), std::string::npos);
    EXPECT_EQ(arguments.find(kToken), std::string::npos);
  }
  EXPECT_GT(seen, 0);
  session.stop();
}

}  // namespace
}  // namespace palisade::courier::testing
