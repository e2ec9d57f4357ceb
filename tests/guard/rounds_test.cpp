// `palisade-guard rounds` under `palisade-guard run`: what goes back to the agent, when it stops,
// and what nobody in the sandbox can make guard believe of it.
#include "guard/rounds.h"

#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard/guarded.h"
#include "guard/session.h"

namespace palisade::guard::testing {
namespace {

using nlohmann::json;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A folder of root's: guard's program must be one that the agent cannot change.
class Installed {
 public:
  Installed() {
    std::string name = "/tmp/palisade-rounds-XXXXXX";
    if (mkdtemp(name.data()) == nullptr || chmod(name.c_str(), 0755) != 0)
      throw std::system_error(errno, std::generic_category(), "mkdtemp");
    folder_ = name;
    std::filesystem::copy_file(PALISADE_GUARD, guard());
    if (chmod(guard().c_str(), 0755) != 0)
      throw std::system_error(errno, std::generic_category(), "chmod");
  }
  ~Installed() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Installed(const Installed&) = delete;
  Installed& operator=(const Installed&) = delete;
  [[nodiscard]] std::string guard() const { return folder_ + "/palisade-guard"; }

 private:
  std::string folder_;
};

struct Ended {
  int code = -1;
  std::string output;
  std::string errors;
  json summary;
  [[nodiscard]] json feedback() const {
    return summary.is_object() && summary.contains("feedback") ? summary["feedback"] : json();
  }
};

// The agent: writes down each task that it is given, and "repairs" once it has had so many.
constexpr const char* kAgent = R"(
import sys
task = [word for word in sys.argv if word.startswith('--message=')][0][len('--message='):]
with open('tasks', 'a') as tasks: tasks.write(repr(task) + '\n')
given = len(open('tasks').readlines())
if given > int(sys.argv[1]): open('repaired', 'w').close()
print('agent', given)
)";

class RoundsTest : public ::testing::Test {
 protected:
  json policy() const {
    return {
        {"version", "palisade.dev/guard/v1"},
        {"exec", {{"commands", {"python3", "sh"}}}},
        {"files",
         {{"read", {"/usr", "/lib", "/lib64", "/bin", "/etc", "/dev", "/proc", workspace.path()}},
          {"write", {workspace.path()}}}},
        {"record", {{"path", record.path() + "/record.jsonl"}}}};
  }
  std::vector<std::string> command(const std::vector<std::string>& options,
                                   const std::vector<std::string>& agent) const {
    std::vector<std::string> words{installed.guard(), "rounds", "--message=--do it; $(x)"};
    words.insert(words.end(), options.begin(), options.end());
    words.emplace_back("--");
    words.insert(words.end(), agent.begin(), agent.end());
    return words;
  }
  Ended run(const json& with, const std::vector<std::string>& words) const {
    const auto file = config.write("guard.json", with.dump(), 0644);
    const auto out = config.write("out", "", 0644);
    const auto err = config.write("err", "", 0644);
    const auto log = config.write("termination-log", "", 0644);
    std::vector<std::string> all{installed.guard(),   "run", "--policy", file,
                                 "--termination-log", log,   "--"};
    all.insert(all.end(), words.begin(), words.end());
    const pid_t child = fork();
    if (child == 0) {
      const bool ready =
          dup2(open("/dev/null", O_RDONLY), 0) == 0 && dup2(open(out.c_str(), O_WRONLY), 1) == 1 &&
          dup2(open(err.c_str(), O_WRONLY), 2) == 2 && chdir(workspace.path().c_str()) == 0 &&
          (geteuid() != 0 ||
           (setgroups(0, nullptr) == 0 && setgid(kNobody) == 0 && setuid(kNobody) == 0));
      std::vector<char*> arguments;
      for (auto& word : all)
        arguments.push_back(word.data());
      arguments.push_back(nullptr);
      std::string path = "PATH=/usr/bin:/bin";
      // Within the sandbox nothing can be traced, as the leak checker would.
      std::string sanitizer = "ASAN_OPTIONS=detect_leaks=0";
      std::array<char*, 3> environment{path.data(), sanitizer.data(), nullptr};
      if (ready) execve(all[0].c_str(), arguments.data(), environment.data());
      _exit(99);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    Ended ended;
    ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    ended.output = content(out);
    ended.errors = content(err);
    ended.summary = json::parse(content(log), nullptr, false);
    return ended;
  }
  // The agent repairs the work once it has been told `repairs` times.
  Ended rounds(int repairs, const std::vector<std::string>& options) const {
    return run(policy(), command(options, {"python3", "-c", kAgent, std::to_string(repairs)}));
  }
  std::vector<std::string> tasks() const {
    std::vector<std::string> out;
    std::ifstream file(workspace.path() + "/tasks");
    for (std::string line; std::getline(file, line);)
      out.push_back(line);
    return out;
  }
  static std::string test(const std::string& code) {
    return "--test=" + json({"python3", "-c", code}).dump();
  }
  static std::string lint(const std::string& code) {
    return "--lint=" + json({"python3", "-c", code}).dump();
  }

  const Installed installed;
  const Folder workspace;
  const Folder record;
  const Folder config;
};

constexpr const char* kUntilRepaired =
    "import os, sys\nif not os.path.exists('repaired'): print('assert 1 == 2'); sys.exit(3)";

TEST_F(RoundsTest, WhatPassesAtOnceIsToldOnce) {
  const auto ended = rounds(0, {test("print('fine')")});
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(ended.feedback(), json({{"rounds", 0}, {"stopped", "Passed"}, {"lastFailure", ""}}))
      << ended.summary;
  EXPECT_EQ(tasks(), std::vector<std::string>{"'--do it; $(x)'"});
  EXPECT_NE(ended.output.find("fine"), std::string::npos) << "its log shows what the test printed";
}

TEST_F(RoundsTest, TheOutputGoesBackUntilItPasses) {
  const auto ended = rounds(1, {test(kUntilRepaired)});
  EXPECT_EQ(ended.code, 0) << ended.errors;
  const json feedback = ended.feedback();
  EXPECT_EQ(feedback.value("stopped", ""), "Passed") << ended.summary << ended.errors;
  EXPECT_EQ(feedback.value("rounds", -1), 1);
  EXPECT_EQ(feedback.value("lastFailure", ""),
            "the test command ended with exit code 3: assert 1 == 2\n");
  ASSERT_EQ(tasks().size(), 2U);
  for (const char* part : {"--do it; $(x)", "assert 1 == 2", "exit code 3"})
    EXPECT_NE(tasks()[1].find(part), std::string::npos) << tasks()[1];
  EXPECT_EQ(tasks()[1].find("The task was"), 1U) << "never what a program printed";
}

TEST_F(RoundsTest, TheRoundsAreCounted) {
  const auto ended = rounds(99, {"--rounds=2", test(kUntilRepaired)});
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(ended.feedback().value("stopped", ""), "RoundsSpent") << ended.summary;
  EXPECT_EQ(ended.feedback().value("rounds", -1), 2);
  EXPECT_EQ(tasks().size(), 3U);
}

TEST_F(RoundsTest, TheTestWaitsForTheLint) {
  const auto ended = rounds(1, {lint(kUntilRepaired), test("open('tested', 'a').write('x')")});
  EXPECT_EQ(ended.feedback().value("stopped", ""), "Passed") << ended.summary << ended.errors;
  EXPECT_TRUE(ended.feedback().value("lastFailure", "").starts_with("the lint command"))
      << ended.summary;
  EXPECT_EQ(content(workspace.path() + "/tested"), "x");
}

TEST_F(RoundsTest, ACommandThatIsNotThereIsNoFaultOfTheAgents) {
  const auto ended = rounds(9, {"--test=" + json({"/usr/bin/no-such-test"}).dump()});
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(ended.feedback().value("stopped", ""), "CommandUnusable") << ended.summary;
  EXPECT_NE(ended.feedback().value("lastFailure", "").find("/usr/bin/no-such-test"),
            std::string::npos);
  EXPECT_EQ(tasks().size(), 1U);
}

TEST_F(RoundsTest, AnAgentThatFailsIsNotRunAgain) {
  const auto ended = run(
      policy(), command({test("raise SystemExit(1)")}, {"python3", "-c", "raise SystemExit(7)"}));
  EXPECT_EQ(ended.code, 7) << ended.errors;
  EXPECT_EQ(ended.feedback().value("stopped", ""), "AgentFailed") << ended.summary;
}

TEST_F(RoundsTest, SecretsAndControlCharactersStayOut) {
  const auto ended = rounds(
      1,
      {test("import os, sys\nif not os.path.exists('repaired'):\n"
            " print('\\x1b[31mghp_0123456789abcdefghijABCDEFGHIJ012345\\x1b]0;t\\x07\\x00\\x08')\n"
            " sys.stdout.flush(); os.write(1, b'\\xff\\xfe'); sys.exit(1)")});
  const std::string last = ended.feedback().value("lastFailure", "");
  EXPECT_EQ(last.find("0123456789"), std::string::npos) << last;
  EXPECT_NE(last.find("masked"), std::string::npos) << last;
  ASSERT_EQ(tasks().size(), 2U) << ended.errors;
  const auto printed = tasks()[1].find("What it printed");
  ASSERT_NE(printed, std::string::npos);
  for (const char* bad : {"\\x1b", "\\x00", "\\x08", "\\udc", "[31m"})
    EXPECT_EQ(tasks()[1].find(bad, printed), std::string::npos) << bad << " in " << tasks()[1];
}

TEST_F(RoundsTest, ALongOutputIsCutInTheMiddle) {
  const auto ended =
      rounds(1, {test("import os, sys\nif not os.path.exists('repaired'):\n"
                      " print('BEGIN'); print('x' * 30_000_000); print('END'); sys.exit(1)")});
  EXPECT_EQ(ended.feedback().value("stopped", ""), "Passed") << ended.errors;
  ASSERT_EQ(tasks().size(), 2U);
  EXPECT_LT(tasks()[1].size(), 20'000U);
  for (const char* part : {"BEGIN", "END", "bytes are left out"})
    EXPECT_NE(tasks()[1].find(part), std::string::npos) << part;
  EXPECT_LT(ended.summary.dump().size(), 4096U);
  EXPECT_TRUE(ended.feedback().value("lastFailure", "").find("END") != std::string::npos);
}

TEST_F(RoundsTest, WhatATestLeavesRunningHoldsNothingUp) {
  const auto ended = rounds(
      0,
      {test("import os, time\nif os.fork() == 0:\n os.setsid()\n time.sleep(600)\nprint('ok')")});
  EXPECT_EQ(ended.feedback().value("stopped", ""), "Passed") << ended.summary << ended.errors;
}

// A test that says what guard would take from the rounds, itself and by a child.
TEST_F(RoundsTest, NobodyElseCanSayHowTheyWent) {
  const std::string guard = installed.guard();
  const auto ended =
      rounds(99, {"--rounds=1", test("import os, subprocess, sys\n"
                                     "p = '" +
                                     guard +
                                     "'\n"
                                     "said = [p, 'feedback', '0', '0', 'Passed', '']\n"
                                     "for way in (subprocess.run, lambda x: os.execv(p, x)):\n"
                                     " try: way(said)\n"
                                     " except PermissionError: print('refused')\n"
                                     "sys.exit(1)")});
  const std::string last = ended.feedback().value("lastFailure", "");
  EXPECT_NE(last.find("refused\nrefused\n"), std::string::npos) << last << ended.errors;
  EXPECT_EQ(ended.feedback().value("stopped", ""), "RoundsSpent") << ended.summary;
  EXPECT_EQ(ended.feedback().value("rounds", -1), 1);
  EXPECT_EQ(ended.summary.value("deniedExecs", 0), 4) << ended.summary;
}

TEST_F(RoundsTest, TheCommandLimitIsForTheChecksNotForTheAgent) {
  json with = policy();
  with["limits"] = {{"command", "2s"}};
  // The agent takes longer than a command may. The first test never ends, and becomes the agent's
  // own program, which gains it nothing.
  const std::string test =
      "test -e repaired || exec python3 -c 'import time; time.sleep(60); raise SystemExit(5)'";
  const auto ended = run(
      with, command({"--test=" + json({"sh", "-c", test}).dump()},
                    {"python3", "-c", std::string("import time; time.sleep(4)\n") + kAgent, "1"}));
  EXPECT_EQ(ended.code, 0) << ended.errors;
  EXPECT_EQ(ended.feedback().value("stopped", ""), "Passed") << ended.summary;
  EXPECT_EQ(ended.feedback().value("rounds", -1), 1);
  EXPECT_EQ(ended.feedback().value("lastFailure", ""), "the test command was ended by signal 15");
}

TEST_F(RoundsTest, TheDeadlineIsToldToo) {
  json with = policy();
  with["limits"] = {{"deadline", "3s"}};
  const auto ended =
      run(with, command({test("import time; time.sleep(600)")}, {"python3", "-c", kAgent, "1"}));
  EXPECT_EQ(ended.code, kExitLimit) << ended.errors;
  EXPECT_EQ(ended.summary.value("ended", ""), "deadline");
  EXPECT_EQ(ended.feedback().value("stopped", ""), "TimedOut") << ended.summary;
}

TEST(RoundsWords, FeedbackIsReadStrictly) {
  const Feedback some{2, "Passed", "the test command ended with exit code 1: a\nb"};
  auto words = feedback_arguments(some, 0);
  words.insert(words.begin(), "palisade-guard");
  ASSERT_TRUE(read_feedback(words));
  EXPECT_EQ(*read_feedback(words), some);
  const auto broken = [&](std::size_t at, const std::string& value) {
    auto copy = words;
    copy.at(at) = value;
    return read_feedback(copy);
  };
  EXPECT_FALSE(broken(1, "rounds"));
  EXPECT_FALSE(broken(2, "256"));
  EXPECT_FALSE(broken(3, "-1"));
  EXPECT_FALSE(broken(3, "1001"));
  EXPECT_FALSE(broken(3, "1x"));
  EXPECT_FALSE(broken(4, "Passed "));
  EXPECT_FALSE(broken(5, std::string(5000, 'x')));
  words.emplace_back("more");
  EXPECT_FALSE(read_feedback(words));
}

TEST(RoundsWords, CommandsAreListsOfWords) {
  EXPECT_EQ(read_words(R"(["a","b c"])"), (std::vector<std::string>{"a", "b c"}));
  for (const char* bad : {"", "[]", "{}", "\"a\"", "[1]", "[\"\"]", "[\"a\\u0000b\"]", "[\"a\""})
    EXPECT_FALSE(read_words(bad)) << bad;
}

}  // namespace
}  // namespace palisade::guard::testing
