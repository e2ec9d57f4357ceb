// The test is guard: the agents are its children, and what they leave behind is reparented to it.
#include "guard/session.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <thread>

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "events.h"
#include "guard/processes.h"
#include "namespaces.h"

namespace palisade::guard {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLong{60'000};

// Daemonises as the book says, and writes the daemon's number to its argument.
constexpr const char* kDaemon = R"(
import os, sys, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
with open(sys.argv[1] + '.new', 'w') as file: file.write(str(os.getpid()))
os.rename(sys.argv[1] + '.new', sys.argv[1])
time.sleep(300)
)";

class SessionTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { Session::block_signals(); }
  void SetUp() override {
    std::string name = "/tmp/palisade-session-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    std::system(("rm -rf " + folder_).c_str());
    EXPECT_TRUE(descendants(getpid()).empty());
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "something was not reaped";
  }

  // As guard does for a process that waits for its answer.
  static void begin(Session& session, pid_t pid, const std::string& program) {
    if (session.started(pid, program)) return;
    if (const auto caller = caller_of(pid)) {
      session.followed(pid, program, caller->process, std::chrono::steady_clock::now());
    }
  }

  static pid_t start(const std::function<int()>& agent) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    Session::restore_signals();
    _exit(agent());
  }
  pid_t shell(const std::string& script) const {
    return start([&] {
      if (chdir(folder_.c_str()) != 0) return 126;
      setenv("DAEMON", kDaemon, 1);
      execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
      return 127;
    });
  }

  int run(const LimitPolicy& limits, const std::string& script) {
    Session session(limits, events_, options_);
    const int code = session.run(shell(script));
    outcome_ = session.outcome();
    return code;
  }
  [[nodiscard]] std::vector<std::string> findings() const {
    std::vector<std::string> found;
    for (const auto& one : events_.all<Finding>())
      found.push_back(one.id);
    return found;
  }

  std::string folder_;
  Events events_;
  SessionOptions options_{.agent_grace = milliseconds{500}, .grace = milliseconds{500}};
  SessionOutcome outcome_;
};

TEST_F(SessionTest, PassesTheAgentsExitOn) {
  struct Case {
    const char* script;
    int code;
    const char* message;
  };
  for (const auto& [script, code, message] : {
           Case{"exit 0", 0, "the agent exited with code 0"},
           Case{"exit 7", 7, "the agent exited with code 7"},
           Case{"kill -KILL $$", 137, "the agent was killed by SIGKILL"},
           Case{"kill -SEGV $$", 139, "the agent was killed by SIGSEGV"},
           Case{"no-such-program", 127, "the agent exited with code 127"},
       }) {
    EXPECT_EQ(run({}, script), code) << script;
    EXPECT_EQ(outcome_.why, "exited");
    EXPECT_EQ(outcome_.message, message);
    EXPECT_EQ(outcome_.exit_code, code);
    EXPECT_EQ(outcome_.killed, 0U) << script;
    ASSERT_TRUE(outcome_.status);
  }
  auto ended = events_.all<SessionEnded>();
  ASSERT_EQ(ended.size(), 5U);
  EXPECT_EQ(ended[1].why, "exited");
  EXPECT_EQ(ended[1].status, 7 << 8);
}

TEST_F(SessionTest, TheAgentGetsDefaultSignals) {
  // Those that libc keeps to itself too: a container runtime or a test runner may have ignored
  // them.
  const struct {
    void (*handler)(int);
    unsigned long flags;
    void* restorer;
    std::uint64_t mask;
  } ignored{SIG_IGN, 0, nullptr, 0};
  for (const int signal : {SIGPIPE, SIGHUP, 32, 33, 40}) {
    ASSERT_EQ(syscall(SYS_rt_sigaction, signal, &ignored, nullptr, sizeof ignored.mask), 0);
  }
  // The shell becomes grep: what a shell does to its children's signals is not looked at.
  const int code = run({}, "exec grep -E '^Sig(Blk|Ign):' /proc/self/status > signals");
  Session::restore_signals();  // for the tests to come
  Session::block_signals();
  EXPECT_EQ(code, 0);
  std::ifstream file(folder_ + "/signals");
  const std::string seen(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(seen, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(SessionTest, NothingOutlivesIt) {
  struct Case {
    const char* name;
    std::string script;
    std::size_t killed;
  };
  for (const auto& [name, script, killed] : {
           Case{"background", "sleep 300 & exit 3", 1},
           Case{"own session",
                "setsid sh -c 'echo > ready; sleep 300; true' & "
                "while ! test -e ready; do sleep 0.01; done; exit 3",
                2},
           Case{"nohup",
                "nohup sh -c 'trap : TERM; echo > ready; while true; do sleep 300; done' "
                ">/dev/null 2>&1 & while ! test -e ready; do sleep 0.01; done; exit 3",
                2},
           Case{"daemon",
                "/usr/bin/python3 -c \"$DAEMON\" ready; "
                "while ! test -e ready; do sleep 0.01; done; exit 3",
                1},
           Case{"stopped", "sleep 300 & kill -STOP $!; exit 3", 1},
           Case{"deaf",
                "sh -c 'trap \"\" TERM HUP INT; echo > ready; while true; do sleep 1; done' & "
                "while ! test -e ready; do sleep 0.01; done; exit 3",
                2},
           Case{"many",
                "/usr/bin/python3 -c 'import os, signal, time\n"
                "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                "for i in range(6): os.fork()\n"
                "with open(\"there\", \"a\") as file: file.write(\"x\")\n"
                "time.sleep(300)' & touch there; "
                "while test $(wc -c <there) -lt 64; do sleep 0.05; done; exit 3",
                64},
       }) {
    EXPECT_EQ(run({}, "rm -f ready; " + script), 3) << name;
    EXPECT_EQ(outcome_.why, "exited") << name;
    EXPECT_GE(outcome_.killed, killed) << name;
    EXPECT_TRUE(descendants(getpid()).empty()) << name;
  }
}

TEST_F(SessionTest, OrphansAreReapedWhileItRuns) {
  // The agent itself looks for zombies below guard.
  EXPECT_EQ(run({},
                "for i in 1 2 3 4 5 6 7 8; do (sh -c 'exit 1' & ); done; i=0; "
                "while cat /proc/[0-9]*/stat 2>/dev/null | grep -q \") Z $PPID \"; do "
                "i=$((i+1)); test $i -lt 500 || exit 9; sleep 0.02; done; exit 4"),
            4);
}

TEST_F(SessionTest, Deadline) {
  LimitPolicy limits;
  limits.deadline = milliseconds{300};
  EXPECT_EQ(run(limits, "sleep 300 & trap '' TERM; while true; do sleep 1; done"), kExitLimit);
  EXPECT_EQ(outcome_.why, "deadline");
  EXPECT_EQ(outcome_.message, "the session's deadline is over (limits.deadline is 300ms)");
  EXPECT_GE(outcome_.killed, 2U);
}

TEST_F(SessionTest, Idle) {
  LimitPolicy limits;
  limits.idle = milliseconds{200};
  EXPECT_EQ(run(limits, "sleep 300"), kExitLimit);
  EXPECT_EQ(outcome_.why, "idle");
  EXPECT_EQ(outcome_.message, "nothing was executed, connected or printed for 200ms (limits.idle)");
  EXPECT_GE(outcome_.killed, 1U);
}

TEST_F(SessionTest, ActivityIsNotIdle) {
  LimitPolicy limits;
  limits.idle = milliseconds{5'000};
  Session session(limits, events_, options_);
  std::atomic<bool> stop = false;
  std::thread busy([&] {
    while (!stop) {
      session.activity();
      std::this_thread::sleep_for(milliseconds{10});
    }
  });
  EXPECT_EQ(session.run(shell("sleep 6; exit 2")), 2);
  stop = true;
  busy.join();
}

TEST_F(SessionTest, SignalsArePassedOn) {
  options_.agent_grace = kLong;
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    Session session({}, events_, options_);
    const pid_t agent = shell(
        "trap 'exit 40' TERM; trap 'exit 41' INT; trap 'exit 42' HUP; trap 'exit 43' QUIT; "
        "echo > ready; while true; do sleep 0.02; done");
    while (access((folder_ + "/ready").c_str(), F_OK) != 0)
      usleep(10'000);
    kill(getpid(), signal);
    const int code = session.run(agent);
    EXPECT_EQ(code, signal == SIGTERM ? 40 : signal == SIGINT ? 41 : signal == SIGHUP ? 42 : 43);
    EXPECT_EQ(session.outcome().why, "terminated");
    unlink((folder_ + "/ready").c_str());
  }
}

TEST_F(SessionTest, WhoDoesNotGoIsKilled) {
  Session session({}, events_, options_);
  const pid_t agent = shell("trap '' TERM; sleep 300 & echo > ready; while true; do sleep 1; done");
  while (access((folder_ + "/ready").c_str(), F_OK) != 0)
    usleep(10'000);
  kill(getpid(), SIGTERM);
  EXPECT_EQ(session.run(agent), kExitLimit);
  EXPECT_EQ(session.outcome().why, "terminated");
  EXPECT_EQ(session.outcome().message,
            "the session was ended from outside (SIGTERM); the agent had not gone 500ms later");
  ASSERT_TRUE(session.outcome().status);
  EXPECT_EQ(WTERMSIG(*session.outcome().status), SIGKILL);
}

TEST_F(SessionTest, StoppedFromWithin) {
  Session session({}, events_, options_);
  std::thread other([&] {
    session.stop("record", "the record cannot be written: no space", 125);
    session.stop("internal", "too late", 126);
  });
  EXPECT_EQ(session.run(shell("sleep 300")), 125);
  other.join();
  EXPECT_EQ(session.outcome().why, "record");
  EXPECT_EQ(session.outcome().message, "the record cannot be written: no space");
}

TEST_F(SessionTest, ALostRecordIsNoSuccess) {
  events_.broken = true;
  EXPECT_EQ(run({}, "exit 0"), 125);
  EXPECT_EQ(outcome_.why, "record");
}

// Commands: children of the agent with all that is theirs.

TEST_F(SessionTest, ACommandOverItsBudgetGoesWhole) {
  LimitPolicy limits;
  limits.command = milliseconds{2'000};
  limits.deadline = kLong;
  EXPECT_EQ(
      run(limits,
          "sh -c 'sh -c \"sleep 301 & echo \\$! >>pids; sleep 302 & echo \\$! >>pids; wait\" & "
          "echo $! >>pids; wait'; test $(wc -l <pids) = 3 || exit 9; "
          "for pid in $(cat pids); do while kill -0 $pid 2>/dev/null; do sleep 0.02; done; done; "
          "exit 5"),
      5);
  EXPECT_EQ(outcome_.why, "exited");
  EXPECT_EQ(outcome_.killed, 0U) << "all had been killed before";
  EXPECT_FALSE(findings().empty());
  EXPECT_EQ(findings()[0], "limit.command");
}

TEST_F(SessionTest, ADeafCommandGoesToo) {
  LimitPolicy limits;
  limits.command = milliseconds{1'000};
  limits.deadline = kLong;
  EXPECT_EQ(run(limits, "sh -c 'trap \"\" TERM; while true; do sleep 0.1; done'; exit 6"), 6);
  EXPECT_EQ(outcome_.why, "exited");
}

TEST_F(SessionTest, ADaemonOfACommandGoesToo) {
  LimitPolicy limits;
  limits.command = milliseconds{2'000};
  limits.deadline = kLong;
  EXPECT_EQ(run(limits,
                "/usr/bin/python3 -c \"$DAEMON\" pid; while ! test -e pid; do sleep 0.02; done; "
                "while kill -0 $(cat pid) 2>/dev/null; do sleep 0.02; done; exit 7"),
            7);
  EXPECT_EQ(outcome_.why, "exited");
  EXPECT_EQ(outcome_.killed, 0U);
}

TEST_F(SessionTest, ACommandWithinItsBudgetIsLeftAlone) {
  LimitPolicy limits;
  limits.command = kLong;
  EXPECT_EQ(run(limits, "sh -c 'sleep 1; exit 8'"), 8);
  EXPECT_TRUE(findings().empty());
}

TEST_F(SessionTest, TheAgentIsNoCommand) {
  LimitPolicy limits;
  limits.command = milliseconds{100};
  EXPECT_EQ(run(limits, "i=0; while test $i -lt 2000; do i=$((i+1)); done; exec sleep 1"), 0);
  EXPECT_TRUE(findings().empty());
}

// Ends on record.

TEST_F(SessionTest, TheEndOfPrograms) {
  std::array<int, 2> told{};
  std::array<int, 2> go{};
  ASSERT_EQ(pipe2(told.data(), O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(go.data(), O_CLOEXEC), 0);
  Session session({}, events_, options_);
  // Each waits until guard knows of it, as behind a notified execve.
  const auto announce = [&] {
    const pid_t self = getpid();
    char byte = 0;
    if (write(told[1], &self, sizeof self) != ssize_t{sizeof self}) _exit(99);
    if (read(go[0], &byte, 1) != 1) _exit(99);
  };
  const pid_t agent = start([&] {
    for (const int how : {0, 3, -SIGKILL}) {
      const pid_t child = fork();
      if (child == 0) {
        announce();
        if (how < 0) kill(getpid(), -how);
        _exit(how);
      }
      int status = 0;
      waitpid(child, &status, 0);
    }
    announce();  // another program in the same process
    announce();
    return 9;
  });
  std::vector<pid_t> pids;
  std::thread supervisor([&] {
    for (int i = 0; i < 5; ++i) {
      pid_t pid = 0;
      if (read(told[0], &pid, sizeof pid) != ssize_t{sizeof pid}) return;
      pids.push_back(pid);
      begin(session, pid, "/bin/" + std::to_string(i));
      if (write(go[1], "g", 1) != 1) return;
    }
  });
  EXPECT_EQ(session.run(agent), 9);
  supervisor.join();
  auto ended = events_.all<ExecEnded>();
  ASSERT_EQ(ended.size(), 5U);
  std::sort(ended.begin(), ended.end(),
            [](const auto& a, const auto& b) { return a.program < b.program; });
  ASSERT_EQ(pids.size(), 5U);
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(ended[i].program, "/bin/" + std::to_string(i));
    EXPECT_EQ(ended[i].pid, pids[i]);
    EXPECT_GT(ended[i].took.count(), 0);
    EXPECT_LT(ended[i].took, std::chrono::seconds{60});
  }
  EXPECT_EQ(ended[3].status, std::nullopt) << "it was replaced";
  if (ended[0].status) {  // the kernel tells, or it tells of none
    EXPECT_EQ(ended[0].status, 0);
    EXPECT_EQ(ended[1].status, 3 << 8);
    EXPECT_EQ(ended[2].status, SIGKILL);
    EXPECT_EQ(ended[4].status, 9 << 8);
  } else {
    for (const auto& one : ended)
      EXPECT_EQ(one.status, std::nullopt);
  }
}

TEST_F(SessionTest, FollowsNoMoreThanItMay) {
  options_.watched = 4;
  Session session({}, events_, options_);
  std::vector<pid_t> children;
  for (int i = 0; i < 16; ++i) {
    children.push_back(start([] { return pause(); }));
    begin(session, children.back(), "/bin/true");
  }
  begin(session, 999'999'999, "/bin/none");
  EXPECT_EQ(session.run(shell("exit 0")), 0);
  EXPECT_EQ(session.outcome().killed, 16U);
  EXPECT_EQ(events_.all<ExecEnded>().size(), 4U);
}

TEST_F(SessionTest, SleepsWhileNothingEnds) {
  Session session({}, events_, options_);
  begin(session, start([] { return 0; }), "/bin/true");
  rusage before{};
  ASSERT_EQ(getrusage(RUSAGE_SELF, &before), 0);
  EXPECT_EQ(session.run(shell("sleep 2")), 0);
  rusage after{};
  ASSERT_EQ(getrusage(RUSAGE_SELF, &after), 0);
  EXPECT_EQ(events_.all<ExecEnded>().size(), 1U);
  EXPECT_LT(after.ru_nvcsw - before.ru_nvcsw, 60) << "it wakes though nothing happens";
}

TEST_F(SessionTest, LeavesNoDescriptor) {
  const auto next = [] {
    const int fd = dup(0);
    close(fd);
    return fd;
  };
  const int before = next();
  for (int i = 0; i < 5; ++i) {
    Session session({}, events_, options_);
    const pid_t agent = shell("sleep 300 & exit 0");
    begin(session, agent, "/bin/sh");
    EXPECT_EQ(session.run(agent), 0);
  }
  EXPECT_EQ(next(), before);
}

// As in a pod: guard is PID 1. What hops from process to process cannot be caught by its number.
TEST(SessionPidOne, NothingGetsAway) {
  constexpr int kFine = 0;
  const pid_t outer = fork();
  if (outer == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (geteuid() != 0 || unshare(CLONE_NEWPID | CLONE_NEWNS) != 0) {
      if (!enter_namespaces(CLONE_NEWPID | CLONE_NEWNS).empty()) _exit(11);
    }
    const pid_t guard = fork();
    if (guard != 0) {
      int status = 0;
      waitpid(guard, &status, 0);
      _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 12);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("proc", "/proc", "proc", 0, nullptr) != 0) {
      _exit(13);
    }
    if (getpid() != 1) _exit(14);
    Session::block_signals();
    Events events;
    LimitPolicy limits;
    limits.command = milliseconds{400};
    limits.deadline = kLong;
    Session session(limits, events, {.agent_grace = milliseconds{500}, .grace = milliseconds{300}});
    const pid_t agent = fork();
    if (agent == 0) {
      Session::restore_signals();
      // Three that are never the same for long, each time in a session of its own; with a brood
      // that hears nothing.
      for (int i = 0; i < 3; ++i) {
        if (fork() != 0) continue;
        std::signal(SIGTERM, SIG_IGN);
        for (int generation = 0;; ++generation) {
          if (fork() != 0) _exit(0);
          setsid();
          if (generation % 512 == 0 && fork() == 0) {
            while (true)
              pause();
          }
        }
      }
      // They are gone, and not at the session's end: the agent sees it.
      for (int i = 0; i < 2000; ++i) {
        usleep(20'000);
        while (waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        if (all_processes().size() == 2) _exit(21);
      }
      _exit(22);
    }
    const int code = session.run(agent);
    if (code != 21) {
      fprintf(stderr, "code %d: %s\n", code, session.outcome().message.c_str());
      _exit(15);
    }
    if (all_processes().size() != 1) _exit(16);

    // Once more without a limit for commands: then the session's end is theirs.
    Session last({}, events, {.agent_grace = milliseconds{500}, .grace = milliseconds{300}});
    const pid_t second = fork();
    if (second == 0) {
      Session::restore_signals();
      for (int i = 0; i < 3; ++i) {
        if (fork() != 0) continue;
        std::signal(SIGTERM, SIG_IGN);
        while (true) {
          if (fork() != 0) _exit(0);
          setsid();
        }
      }
      usleep(200'000);
      _exit(23);
    }
    if (last.run(second) != 23) _exit(17);
    if (last.outcome().killed == 0) _exit(18);
    _exit(all_processes().size() == 1 ? kFine : 19);
  }
  int status = 0;
  waitpid(outer, &status, 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), kFine);
}

}  // namespace
}  // namespace palisade::guard
