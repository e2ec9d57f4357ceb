// mount: ReadOnly. What the agent left in its output directory becomes one commit, made of bytes.
#include <gmock/gmock.h>
#include <unistd.h>

#include "hostile_cases.h"
#include "session.h"

namespace palisade::courier::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ReadOnly : public ::testing::Test {
 protected:
  ReadOnly() {
    for (const fs::path& volume : {project, output})
      fs::create_directories(volume);
    session.config["mount"] = "ReadOnly";
    session.config["bundle"] = (session.seed / "repo.git").string();
    session.config["workspace"] = project.string();
    session.config["gitDir"] = git_dir.string();
    session.config["outputDir"] = "out";
    session.config["output"] = output.string();
    session.host.commit("refs/heads/main", "out/old.md", "old\n");
  }

  void write(const std::string& name, std::string_view text) const {
    make_text(output / name, text);
  }
  // What the branch has below out/, "MODE PATH" a line.
  [[nodiscard]] std::string collected() const {
    return git_text(session.host.repository(),
                    {"ls-tree", "-r", "--format=%(objectmode) %(path)", kBranchRef, "out/"});
  }
  [[nodiscard]] std::string content(const std::string& path) const {
    return git(session.host.repository(), {"show", std::string(kBranchRef) + ":" + path}).out;
  }
  [[nodiscard]] std::string main() const { return session.host.ref("refs/heads/main"); }
  // However it ends: one commit at most, of the output directory alone, that is sound.
  void expect_sound() const {
    EXPECT_FALSE(session.canary_touched());
    EXPECT_EQ(session.token_found_in(), "");
    EXPECT_FALSE(fs::exists(session.private_volume / "collect.stream"));
    const Outcome sound = git(session.host.repository(), {"fsck", "--strict", "--no-dangling"});
    EXPECT_EQ(sound.code, 0) << sound.out << sound.err;
    if (session.remote().empty()) return;
    EXPECT_EQ(git_text(session.host.repository(), {"rev-parse", std::string(kBranchRef) + "^"}),
              main());
    EXPECT_EQ(git(session.host.repository(),
                  {"diff", "--name-only", main(), kBranchRef, "--", ".", ":(exclude)out"})
                  .out,
              "");
  }
  // serve gives up, with the reason.
  void expect_refused(const std::string& says) {
    session.serve();
    const Session::End end = session.end();
    EXPECT_EQ(end.code, 1);
    EXPECT_THAT(end.report.value("error", ""), HasSubstr("spec.repository.outputDir: "));
    EXPECT_THAT(end.report.value("error", ""), HasSubstr(says));
    EXPECT_FALSE(session.ready());
  }

  Session session;
  const fs::path project = session.base.path() / "project";
  const fs::path output = session.base.path() / "output";
  const fs::path git_dir = session.workspace / ".home" / "repo.git";
};

TEST_F(ReadOnly, TheCheckoutIsWholeAndTheOutputBeginsAsTheRepositoryHasIt) {
  session.host.commit("refs/heads/main", "out/sub/more.md", "more\n");
  session.start();
  EXPECT_EQ(read_file(project / "src" / "login.py"), "def login(name):\n    return name\n");
  EXPECT_EQ(read_file(project / ".git"), "gitdir: " + git_dir.string() + "\n");
  EXPECT_EQ(read_file(output / "old.md"), "old\n");
  EXPECT_EQ(read_file(output / "sub" / "more.md"), "more\n");
  EXPECT_EQ(git_text(project, {"status", "--porcelain"}), "");
  EXPECT_EQ(git_text(project, {"symbolic-ref", "HEAD"}), kBranchRef);
  EXPECT_EQ(git_text(project, {"rev-list", "--count", "HEAD"}), "4");
  EXPECT_EQ(read_file(git_dir / "objects" / "info" / "alternates"),
            (session.seed / "repo.git" / "objects").string() + "\n");
  // Another start of the pod's containers.
  write("old.md", "changed\n");
  EXPECT_EQ(session.courier("checkout").code, 0);
  EXPECT_EQ(read_file(output / "old.md"), "changed\n");
}

TEST_F(ReadOnly, ANewDirectoryIsMade) {
  session.config["outputDir"] = "docs/reports/2026";
  session.start();
  EXPECT_TRUE(fs::is_directory(project / "docs" / "reports" / "2026"));
  EXPECT_TRUE(fs::is_empty(output));
  write("a.md", "a");
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(content("docs/reports/2026/a.md"), "a");
  EXPECT_EQ(content("out/old.md"), "old\n");
}

TEST_F(ReadOnly, AHalfMadeCheckoutIsMadeAgain) {
  session.serve();
  ASSERT_TRUE(eventually([&] { return session.ready(); })) << session.said();
  make_text(git_dir.string() + ".part/HEAD", "half");
  make_text(project / "src" / "half", "half");
  write("half", "half");
  const Outcome made = session.courier("checkout");
  EXPECT_EQ(made.code, 0) << made.out << made.err;
  EXPECT_EQ(git_text(project, {"status", "--porcelain"}), "");
  EXPECT_FALSE(fs::exists(output / "half"));
}

TEST_F(ReadOnly, WhatIsLeftBecomesOneCommitAtTheEnd) {
  session.start();
  write("report.md", "# Report\n");
  write("a b/we\"ird's \xc3\xbc.txt", std::string("\0\n\"\\", 4));
  write("tool", "#!/bin/sh\n");
  fs::permissions(output / "tool", fs::perms::owner_all);
  fs::remove(output / "old.md");
  session.some_polls();
  EXPECT_EQ(session.remote(), "") << "half a file is none";
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(end.report["commits"], 1);
  EXPECT_EQ(end.report["pushed"], true);
  EXPECT_EQ(end.report["head"], session.remote());
  EXPECT_FALSE(end.report.contains("note"));
  const std::string odd = "out/a b/we\"ird's \xc3\xbc.txt";
  std::string names;
  for (const std::string& name : {odd, std::string("out/report.md"), std::string("out/tool")})
    names += name + '\0';
  EXPECT_EQ(
      git(session.host.repository(), {"ls-tree", "-rz", "--name-only", kBranchRef, "out/"}).out,
      names);
  EXPECT_EQ(content(odd), std::string("\0\n\"\\", 4));
  EXPECT_THAT(collected(), HasSubstr("100644 out/tool")) << "nothing becomes a program";
  EXPECT_EQ(git_text(session.host.repository(), {"log", "-1", "--format=%an|%cn|%s", kBranchRef}),
            "Aider (Palisade)|Palisade|Collect out");
  expect_sound();
}

TEST_F(ReadOnly, WhereNothingChangedNothingIsPushed) {
  session.start();
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(end.report["commits"], 0);
  EXPECT_EQ(end.report["pushed"], true);
  EXPECT_EQ(session.remote(), "");
  expect_sound();
}

TEST_F(ReadOnly, AProgramThatWasOneStaysOne) {
  const Directory clone;
  git_text(clone.path(), {"clone", "-q", session.host.repository(), "."});
  make_text(clone.path() / "out" / "run.sh", "#!/bin/sh\n");
  fs::permissions(clone.path() / "out" / "run.sh", fs::perms::owner_all);
  git_text(clone.path(), {"add", "."});
  git_text(clone.path(), {"commit", "-qm", "A program"});
  git_text(session.host.repository(), {"fetch", "-q", clone.path(), "+HEAD:refs/heads/main"});
  session.start();
  make_text(output / "run.sh", "#!/bin/sh\ntrue\n");
  EXPECT_EQ(session.stop().code, 0) << session.said();
  EXPECT_EQ(collected(), "100644 out/old.md\n100755 out/run.sh");
  expect_sound();
}

TEST_F(ReadOnly, TheAgentsCommitsAreItsOwn) {
  session.start();
  write("report.md", "# Report\n");
  git_text(project, {"add", "--all", "."});
  git_text(project, {"commit", "-qm", "Of the agent's", "--allow-empty"});
  make_text(project / "src" / "login.py", "changed past the mount\n");
  git_text(project, {"commit", "-qam", "Of the agent's"});
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(end.report["commits"], 1);
  EXPECT_EQ(content("src/login.py"), "def login(name):\n    return name\n");
  expect_sound();
}

TEST_F(ReadOnly, WorkGoesOnFromTheBranch) {
  session.start();
  write("one.md", "1");
  ASSERT_EQ(session.stop().code, 0) << session.said();
  const std::string first = session.remote();
  // Another pod: other volumes.
  for (const fs::path& volume :
       {session.private_volume, session.seed, session.workspace, project, output}) {
    fs::remove_all(volume);
    fs::create_directories(volume);
  }
  session.start();
  EXPECT_EQ(read_file(output / "one.md"), "1");
  write("two.md", "2");
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(end.report["commits"], 1);
  EXPECT_EQ(git_text(session.host.repository(), {"rev-parse", std::string(kBranchRef) + "^"}),
            first);
  EXPECT_EQ(collected(), "100644 out/old.md\n100644 out/one.md\n100644 out/two.md");
}

TEST_F(ReadOnly, ARestartedCourierCollectsWhatIsNewAlone) {
  session.start();
  write("one.md", "1");
  ASSERT_EQ(session.stop().code, 0) << session.said();
  const std::string first = session.remote();
  session.serve_again();
  Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(session.remote(), first);
  EXPECT_EQ(end.report["commits"], 1);
  session.serve_again();
  write("two.md", "2");
  end = session.stop();
  EXPECT_EQ(end.report["commits"], 2) << end.log;
}

TEST_F(ReadOnly, WithoutAccessNothingIsCollected) {
  session.config["access"] = "ReadOnly";
  session.start();
  write("report.md", "# Report\n");
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(end.report["pushed"], false);
  EXPECT_EQ(session.remote(), "");
}

// Each is left out and told; the proper result arrives.
TEST_F(ReadOnly, WhatIsHostileIsLeftOut) {
  session.start();
  write("report.md", "# Report\n");
  const std::string payload = session.payload();
  make_link(output / "a-link-to-the-token", session.token_file);
  make_link(output / "link-to-a-directory", session.private_volume);
  make_link(output / "old.md", "../src/login.py");
  make_pipe(output / "pipe");
  write(".git/hooks/post-commit", "#!/bin/sh\n" + payload + "\n");
  write(".git/config", "[core]\n\tfsmonitor = " + payload + "\n");
  write("sub/.GIT/config", "[core]\n\tfsmonitor = " + payload + "\n");
  write(".gitattributes", "* filter=evil -diff\n");
  write(".gitmodules", "[submodule \"x\"]\n\tpath = x\n\turl = -u./payload\n");
  write("line\nM 100755 inline src/login.py\ndata 1\nx", "names are no commands");
  write("\xe2\x80\xaetxt.exe", "x");
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 0) << end.log;
  EXPECT_EQ(end.report.value("error", "?"), "");
  EXPECT_EQ(end.report["commits"], 1);
  EXPECT_EQ(collected(), "100644 out/report.md");
  const std::string note = end.report.value("note", "");
  EXPECT_THAT(note, HasSubstr("spec.repository.outputDir: .git has a name that means something"));
  EXPECT_THAT(note, HasSubstr("and was left out, as were 9 more"));
  EXPECT_LE(end.log.size(), kMaxTerminationLog);
  expect_sound();
}

// Contents that git or its fast-import could take for something.
TEST_F(ReadOnly, ContentsAreBytes) {
  session.start();
  const std::string commands = "\ndone\ncommit refs/heads/main\nM 100755 inline src/login.py\n";
  write("commands", commands);
  write("empty", "");
  std::string zeros(1 << 20, '\0');
  write("zeros", zeros);
  EXPECT_EQ(session.stop().code, 0) << session.said();
  EXPECT_EQ(content("out/commands"), commands);
  EXPECT_EQ(content("out/empty"), "");
  EXPECT_EQ(content("out/zeros"), zeros);
  expect_sound();
}

TEST_F(ReadOnly, BeyondALimitNothingIsCollectedAndItIsTold) {
  struct Row {
    const char* says;
    std::function<void()> make;
  };
  const Row rows[] = {
      {"huge is larger than 16 MiB", [&] { make_sparse(output / "huge", 1ULL << 40); }},
      {"it holds more than 1000 files",
       [&] {
         for (int i = 0; i < 1001; ++i)
           write("f" + std::to_string(i), "x");
       }},
      {"it holds more than 64 MiB in all",
       [&] {
         for (int i = 0; i < 5; ++i)
           make_sparse(output / ("m" + std::to_string(i)), 15 << 20);
       }},
  };
  session.start();
  ASSERT_EQ(session.stop().code, 0);
  for (const Row& row : rows) {
    SCOPED_TRACE(row.says);
    fs::remove_all(output);
    fs::create_directories(output);
    write("report.md", "# Report\n");
    row.make();
    session.serve_again();
    const Session::End end = session.stop();
    EXPECT_EQ(end.code, 1);
    const std::string error = end.report.value("error", "");
    EXPECT_THAT(error, HasSubstr("spec.repository.outputDir: "));
    EXPECT_THAT(error, HasSubstr(row.says));
    EXPECT_THAT(error, HasSubstr("nothing of it was collected"));
    EXPECT_EQ(end.report["pushed"], false);
    EXPECT_EQ(session.remote(), "");
    expect_sound();
  }
}

TEST_F(ReadOnly, AnOutputDirectoryThatWasTakenAwayIsTold) {
  session.start();
  fs::remove_all(output);
  make_link(output, session.private_volume);
  const Session::End end = session.stop();
  EXPECT_EQ(end.code, 1);
  EXPECT_THAT(end.report.value("error", ""), HasSubstr("not followed"));
  EXPECT_EQ(session.remote(), "");
}

TEST_F(ReadOnly, ADirectoryThatCouldNotBeCollectedIsRefusedAtOnce) {
  session.config["outputDir"] = "src/login.py";
  expect_refused("src/login.py is no directory in the repository");
}

TEST_F(ReadOnly, SoIsOneBehindALink) {
  const Directory clone;
  git_text(clone.path(), {"clone", "-q", session.host.repository(), "."});
  fs::create_symlink("/etc", clone.path() / "link");
  git_text(clone.path(), {"add", "."});
  git_text(clone.path(), {"commit", "-qm", "A link"});
  git_text(session.host.repository(), {"fetch", "-q", clone.path(), "+HEAD:refs/heads/main"});
  session.config["outputDir"] = "link/reports";
  expect_refused("link is no directory in the repository");
}

TEST_F(ReadOnly, SoIsOneWithALinkOrAnAttributesFileInIt) {
  session.host.commit("refs/heads/main", "out/.gitattributes", "* -diff\n");
  expect_refused("out/.gitattributes has a name that means something to git");
}

}  // namespace
}  // namespace palisade::courier::testing
