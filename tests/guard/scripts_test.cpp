#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <guard/scripts.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace palisade::guard {
namespace {

using namespace std::chrono_literals;
using Names = std::vector<std::string>;

TEST(ScriptOperands, TheFileThatAnInterpreterRuns) {
  struct Case {
    Names argv;
    Names files;
    Names modules;
    bool reads_stdin = false;
  };
  const std::vector<Case> cases{
      {{"python3", "x.py", "y.py"}, {"x.py"}, {}},
      {{"/usr/bin/python3.11", "-u", "-W", "ignore", "x.py"}, {"x.py"}, {}},
      {{"python3", "-Wignore", "-Xdev", "x.py"}, {"x.py"}, {}},
      {{"python3", "-uBc", "print(1)", "x.py"}, {}, {}},
      {{"python3", "-m", "pytest", "-q", "tests"}, {}, {"pytest"}},
      {{"python3", "-Imtools.run"}, {}, {"tools.run"}},
      {{"python3", "--", "-x.py"}, {"-x.py"}, {}},
      {{"python3", "--check-hash-based-pycs", "never", "x.py"}, {"x.py"}, {}},
      {{"python3"}, {}, {}, true},
      {{"python3", "-", "arg"}, {}, {}, true},
      {{"python3", "-i"}, {}, {}, true},
      {{"sh", "-ex", "run.sh"}, {"run.sh"}, {}},
      {{"sh", "-c", "echo", "x"}, {}, {}},
      {{"bash", "-lc", "echo"}, {}, {}},
      {{"bash", "-o", "pipefail", "+x", "run.sh"}, {"run.sh"}, {}},
      {{"bash", "--rcfile", "rc", "-i"}, {"rc"}, {}, true},
      {{"bash", "-s"}, {}, {}, true},
      {{"-bash"}, {}, {}, true},
      {{"perl", "-I", "lib", "-w", "x.pl"}, {"x.pl"}, {}},
      {{"perl", "-ne", "print"}, {}, {}},
      {{"ruby", "-e", "puts", "x.rb"}, {}, {}},
      {{"node", "--require", "./hook.js", "app.js"}, {"./hook.js", "app.js"}, {}},
      {{"node", "-r", "./hook.js", "-e", "1"}, {"./hook.js"}, {}},
      {{"node", "--eval", "1"}, {}, {}},
      {{"awk", "-f", "x.awk", "data"}, {"x.awk"}, {}},
      {{"awk", "{print}", "data"}, {}, {}},
      {{"sed", "-fx.sed", "data"}, {"x.sed"}, {}},
      {{"make", "-C", "dir", "-f", "other.mk", "all"}, {"other.mk"}, {}},
      {{"make", "--file=other.mk"}, {"other.mk"}, {}},
      {{"cat", "x.py"}, {}, {}},
      {{"pythonic", "x.py"}, {}, {}},
      {{}, {}, {}},
  };
  for (const Case& one : cases) {
    const Operands found = script_operands(one.argv.empty() ? "python3" : one.argv[0], one.argv);
    const std::string shown = ::testing::PrintToString(one.argv);
    EXPECT_EQ(found.files, one.files) << shown;
    EXPECT_EQ(found.modules, one.modules) << shown;
    EXPECT_EQ(found.reads_stdin, one.reads_stdin) << shown;
  }
}

TEST(GitFindings, WhatArgumentsGiveAway) {
  struct Case {
    Names argv;
    Names ids;
  };
  const std::vector<Case> cases{
      {{"git", "status"}, {}},
      {{"git", "-c", "user.name=x", "commit", "-m", "core.hooksPath=x"}, {}},
      {{"git", "-c", "core.hooksPath=/tmp/h", "commit"}, {"git.command-line-config"}},
      {{"git", "-c", "CORE.HOOKSPATH=h", "commit"}, {"git.command-line-config"}},
      {{"git", "-c", "core.hooksPath=/dev/null", "commit"}, {}},
      {{"git", "-c", "core.pager=cat", "log"}, {}},
      {{"git", "-c", "core.pager=sh x", "log"}, {"git.command-line-config"}},
      {{"git", "-c", "alias.x=!sh", "x"}, {"git.command-line-config"}},
      {{"git", "-c", "alias.x=log -1", "x"}, {}},
      {{"git", "-C", "dir", "-c", "core.sshCommand=sh", "fetch"}, {"git.command-line-config"}},
      {{"git", "-c", "filter.x.clean=sh", "add", "."}, {"git.command-line-config"}},
      {{"git", "-c", "diff.x.textconv=sh", "diff"}, {"git.command-line-config"}},
      {{"git", "-c", "core.fsmonitor=true", "status"}, {"git.command-line-config"}},
      {{"git", "-c", "core.fsmonitor=false", "status"}, {}},
      {{"git", "--config-env=core.editor=EVIL", "commit"}, {"git.command-line-config"}},
      {{"git", "--config-env", "user.name=NAME", "commit"}, {}},
      {{"git", "--exec-path=/tmp/x", "status"}, {"git.exec-path"}},
      {{"git", "--exec-path"}, {}},
      {{"git", "clone", "ext::sh -c evil", "x"}, {"git.transport"}},
      {{"git", "fetch", "fd::3"}, {"git.transport"}},
      {{"git", "clone", "-c", "core.hooksPath=x", "u"}, {"git.command-line-config"}},
      {{"git", "clone", "--template=/tmp/t", "u"}, {"git.exec-path"}},
      {{"git", "clone", "-u", "sh", "u"}, {"git.exec-path"}},
      {{"git", "push", "-u", "origin", "main"}, {}},
      {{"git", "fetch", "--upload-pack", "sh", "u"}, {"git.exec-path"}},
      {{"git", "commit", "-m", "std::vector is text::wide"}, {}},
      {{"git", "config", "--global", "user.name", "x"}, {"git.global-config"}},
      {{"git", "config", "--global", "core.hooksPath", "x"},
       {"git.global-config", "git.repository-config"}},
      {{"git", "config", "--system", "--add", "a.b", "x"}, {"git.global-config"}},
      {{"git", "config", "--file", "x", "a.b", "c"}, {"git.global-config"}},
      {{"git", "config", "set", "--global", "a.b", "c"}, {"git.global-config"}},
      {{"git", "config", "--global", "--edit"}, {"git.global-config"}},
      {{"git", "config", "--global", "--unset", "a.b"}, {"git.global-config"}},
      {{"git", "config", "--global", "user.name"}, {}},
      {{"git", "config", "--global", "--get", "user.name"}, {}},
      {{"git", "config", "--global", "--list"}, {}},
      {{"git", "config", "get", "--global", "user.name"}, {}},
      {{"git", "config", "user.email", "x@y"}, {}},
      {{"git", "config", "core.hooksPath", "hooks"}, {"git.repository-config"}},
      {{"git", "config", "alias.x", "!sh"}, {"git.repository-config"}},
      {{"git"}, {}},
      {{"git", "-c"}, {}},
      {{}, {}},
  };
  for (const Case& one : cases) {
    Names ids;
    for (const GitFinding& finding : git_findings(one.argv)) {
      ids.push_back(finding.id);
      EXPECT_FALSE(finding.message.empty());
    }
    EXPECT_EQ(ids, one.ids) << ::testing::PrintToString(one.argv);
  }
}

TEST(GitFindings, AreBounded) {
  Names argv{"git"};
  for (int i = 0; i < 1000; ++i) {
    argv.emplace_back("-c");
    argv.push_back("core.editor=" + std::string(10'000, 'x'));
  }
  const auto found = git_findings(argv);
  EXPECT_LE(found.size(), 8U);
  for (const GitFinding& finding : found)
    EXPECT_LT(finding.message.size(), 400U);
}

// A child that stands still in a folder, as the caller of an exec does while it waits.
class Standing {
 public:
  Standing(const std::string& folder, const std::string& input) {
    std::array<int, 2> ready{};
    if (::pipe2(ready.data(), O_CLOEXEC) != 0) return;
    pid_ = ::fork();
    if (pid_ == 0) {
      const int in = ::open(input.c_str(), O_RDONLY);
      const bool good = ::chdir(folder.c_str()) == 0 && in >= 0 && ::dup2(in, 0) == 0;
      [[maybe_unused]] const auto told = ::write(ready[1], good ? "y" : "n", 1);
      for (;;)
        ::pause();
    }
    char answer = 'n';
    good_ = ::read(ready[0], &answer, 1) == 1 && answer == 'y';
    ::close(ready[0]);
    ::close(ready[1]);
  }
  ~Standing() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Standing(const Standing&) = delete;
  Standing& operator=(const Standing&) = delete;
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  bool good_ = false;
};

class Trail : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "guard-trail-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = std::filesystem::canonical(name);
    std::filesystem::create_directories(folder_ / "work");
    std::filesystem::create_directories(folder_ / "system");
    write("system/tool.py", "print(1)");
    write("work/before.py", "print(1)");
    std::this_thread::sleep_for(100ms);
    scripts_ = std::make_unique<Scripts>(Names{folder_ / "work/"}, digests_);
    std::this_thread::sleep_for(20ms);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
  }
  static ExecStarted exec(pid_t pid, Names argv) {
    return {.by = {.pid = pid, .parent = 1, .program = "/bin/sh"},
            .requested = argv[0],
            .resolved = "/usr/bin/" + argv[0],
            .sha256 = "",
            .argv = std::move(argv),
            .argv_bytes = 0,
            .argv_sha256 = "",
            .cwd = ""};
  }
  std::vector<Event> started(const ExecStarted& exec) {
    auto trail = scripts_->trail(exec);
    scripts_->started(exec);
    return trail;
  }
  std::vector<ScriptRun> runs(pid_t pid, Names argv) {
    std::vector<ScriptRun> out;
    for (const Event& event : started(exec(pid, std::move(argv)))) {
      if (const auto* run = std::get_if<ScriptRun>(&event)) out.push_back(*run);
    }
    return out;
  }

  std::filesystem::path folder_;
  FileDigests digests_;
  std::unique_ptr<Scripts> scripts_;
};

TEST_F(Trail, AFileOfTheSessionThatIsRun) {
  write("work/new.py", "print(2)");
  const Standing child(folder_ / "work", "/dev/null");
  ASSERT_TRUE(child.good());
  const auto found = runs(child.pid(), {"python3", "new.py"});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].path, folder_ / "work/new.py");
  EXPECT_EQ(found[0].sha256, sha256_hex("print(2)"));
  EXPECT_EQ(found[0].by.pid, child.pid());
  EXPECT_LT(std::chrono::system_clock::now() - found[0].changed, 60s);
  EXPECT_EQ(found[0].written_by, "");  // nothing that guard knows ran then
  // By its absolute name, by a way round, and by a link from elsewhere.
  EXPECT_EQ(runs(child.pid(), {"python3", folder_ / "work/new.py"}).size(), 1U);
  EXPECT_EQ(runs(child.pid(), {"python3", "../system/../work/new.py"}).size(), 1U);
  std::filesystem::create_symlink(folder_ / "work/new.py", folder_ / "system/link.py");
  EXPECT_EQ(runs(child.pid(), {"sh", folder_ / "system/link.py"}).size(), 1U);
}

TEST_F(Trail, OnlyWhatChangedInTheSessionBelowAWritablePlace) {
  const Standing child(folder_ / "work", "/dev/null");
  ASSERT_TRUE(child.good());
  write("workshop/new.py", "x");
  ASSERT_EQ(::mkfifo((folder_ / "work/fifo").c_str(), 0600), 0);
  for (const std::string& name : {std::string("before.py"), std::string("../system/tool.py"),
                                  std::string("../workshop/new.py"), std::string("nothing.py"),
                                  std::string("fifo"), std::string("."), std::string("/dev/null")})
    EXPECT_TRUE(runs(child.pid(), {"python3", name}).empty()) << name;
  // An mtime that was set back does not hide a change.
  write("work/before.py", "print(3)");
  std::filesystem::last_write_time(folder_ / "work/before.py",
                                   std::filesystem::file_time_type::clock::now() - 24h);
  const auto found = runs(child.pid(), {"python3", "before.py"});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_GT(found[0].changed - found[0].written, 23h);
}

TEST_F(Trail, ModulesFoldersAndStandardInput) {
  write("work/pkg/__main__.py", "x");
  write("work/mod/run.py", "x");
  write("work/in.sh", "echo");
  const Standing child(folder_ / "work", folder_ / "work/in.sh");
  ASSERT_TRUE(child.good());
  EXPECT_EQ(runs(child.pid(), {"python3", "-m", "pkg"}).size(), 1U);
  EXPECT_EQ(runs(child.pid(), {"python3", "-m", "mod.run"}).size(), 1U);
  EXPECT_EQ(runs(child.pid(), {"python3", "pkg"}).size(), 1U);
  const auto fed = runs(child.pid(), {"sh"});
  ASSERT_EQ(fed.size(), 1U);
  EXPECT_EQ(fed[0].path, folder_ / "work/in.sh");
  EXPECT_TRUE(runs(child.pid(), {"sh", "-c", "x"}).empty());
}

TEST_F(Trail, WhoRanWhenItChanged) {
  const Standing child(folder_ / "work", "/dev/null");
  ASSERT_TRUE(child.good());
  EXPECT_TRUE(started(exec(100, {"aider"})).empty());
  EXPECT_TRUE(started(exec(101, {"git", "checkout", "x"})).empty());
  scripts_->ended(101);
  std::this_thread::sleep_for(100ms);
  write("work/new.py", "x");
  std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(started(exec(102, {"ls"})).empty());
  const auto found = runs(child.pid(), {"python3", "new.py"});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].written_by, "aider");
}

TEST_F(Trail, FindingsOfGitComeWithTheExec) {
  const auto events = scripts_->trail(exec(::getpid(), {"git", "config", "--global", "a.b", "c"}));
  ASSERT_EQ(events.size(), 1U);
  const auto* finding = std::get_if<Finding>(&events[0]);
  ASSERT_NE(finding, nullptr);
  EXPECT_EQ(finding->id, "git.global-config");
  EXPECT_EQ(finding->by.pid, ::getpid());
}

TEST_F(Trail, ManyProcessesAreForgottenInTheEnd) {
  for (pid_t pid = 1; pid < 5'000; ++pid) {
    scripts_->started(exec(pid, {"ls"}));
    if (pid % 2 == 0) scripts_->ended(pid);
  }
  write("work/new.py", "x");
  const Standing child(folder_ / "work", "/dev/null");
  ASSERT_TRUE(child.good());
  EXPECT_EQ(runs(child.pid(), {"python3", "new.py"}).size(), 1U);
}

}  // namespace
}  // namespace palisade::guard
