// `palisade diff` with a real git and real repositories: the https address is led to a folder by
// the user's own configuration (insteadOf), as people lead theirs to ssh.
#include "git_changes.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace palisade::cli {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kUrl = "https://git.example.com/team/app.git";

class Changes : public testing::ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    config("[user]\n  name = U\n  email = u@example.com\n[init]\n  defaultBranch = main\n");
    ::setenv("GIT_CONFIG_GLOBAL", (folder_ / "gitconfig").c_str(), 1);
    ::setenv("HOME", folder_.c_str(), 1);
    sh("mkdir work && git init -q --bare host.git && cd work && git init -q && "
       "printf 'one\\n' > a.txt && git add -A && git commit -qm first && "
       "git remote add origin ../host.git && git push -q origin main");
  }
  void TearDown() override {
    ::unsetenv("GIT_CONFIG_GLOBAL");
    ProgramTest::TearDown();
  }
  void config(const std::string& more) const {
    write("gitconfig", more + "[url \"" + (folder_ / "host.git").string() +
                           "\"]\n  insteadOf = https://git.example.com/team/app.git\n");
  }
  void sh(const std::string& script) const {
    ASSERT_EQ(std::system(("cd '" + folder_.string() + "' && " + script).c_str()), 0) << script;
  }
  void push(const std::string& script, const std::string& branch = "palisade/fix") const {
    sh("cd work && git checkout -q -B b main && " + script +
       " && git add -A && git commit -qm change && git push -qf origin b:" + branch);
  }
  struct Got {
    std::string out;
    std::string err;
    std::string head;
    std::string problem;
    bool related = true;
  };
  static Got get(const GitChanges::View& view = {},
                 const GitWish& wish = {kUrl, "main", "palisade/fix"}) {
    Got got;
    Interrupts interrupts;
    const Sink err = [&](std::string_view piece) {
      got.err += piece;
      return true;
    };
    const auto changes = GitChanges::fetch(wish, err, interrupts);
    if (!changes) {
      got.problem = changes.error();
      return got;
    }
    got.head = changes->head();
    got.related = changes->related();
    if (got.head.empty()) return got;
    const auto shown = changes->show(
        view,
        [&](std::string_view piece) {
          got.out += piece;
          return true;
        },
        err, interrupts);
    if (!shown) got.problem = shown.error();
    return got;
  }
};

TEST_F(Changes, AreThoseSinceTheBranchLeft) {
  push("printf 'two\\n' > a.txt && printf 'new\\n' > b.txt");
  // What others did on main meanwhile is not the session's.
  sh("cd work && git checkout -q main && printf 'x\\n' > c.txt && git add -A && "
     "git commit -qm other && git push -q origin main");
  const Got patch = get();
  EXPECT_EQ(patch.problem, "") << patch.err;
  EXPECT_THAT(patch.out, HasSubstr("-one\n+two\n"));
  EXPECT_THAT(patch.out, HasSubstr("+++ b/b.txt\n"));
  EXPECT_THAT(patch.out, Not(HasSubstr("c.txt")));
  EXPECT_THAT(patch.out, Not(HasSubstr("\x1b")));
  EXPECT_THAT(get({.coloured = true, .paths = {}}).out, HasSubstr("\x1b[32mtwo\x1b[m"));
  EXPECT_THAT(get({.shape = GitChanges::Shape::kStat, .paths = {}}).out,
              HasSubstr("2 files changed, 2 insertions(+), 1 deletion(-)"));
  EXPECT_EQ(get({.shape = GitChanges::Shape::kNames, .paths = {}}).out, "M\ta.txt\nA\tb.txt\n");
  EXPECT_THAT(get({.shape = GitChanges::Shape::kCommits, .paths = {}}).out,
              HasSubstr("  change\n"));
  EXPECT_EQ(get({.shape = GitChanges::Shape::kNames, .paths = {"b.txt"}}).out, "A\tb.txt\n");
  // A path is a path, not a pattern or a set of them.
  EXPECT_EQ(get({.shape = GitChanges::Shape::kNames, .paths = {":(exclude)b.txt"}}).out, "");
}

TEST_F(Changes, RunNothingOfTheRepository) {
  const std::string ran = (folder_ / "ran").string();
  const std::string touch = "sh -c 'echo x >> " + ran + "; cat' ";
  push("printf '* diff=evil filter=evil\\n' > .gitattributes && printf 'two\\n' > a.txt");
  config("[user]\n  name = U\n  email = u@example.com\n[diff]\n  external = " + touch +
         "\n[diff \"evil\"]\n  textconv = " + touch + "\n  command = " + touch +
         "\n[filter \"evil\"]\n  smudge = " + touch + "\n  clean = " + touch +
         "\n[core]\n  hooksPath = " + (folder_ / "hooks").string() + "\n");
  write("hooks/post-checkout", "#!/bin/sh\necho hook >> " + ran + "\n");
  write("hooks/reference-transaction", "#!/bin/sh\necho hook >> " + ran + "\n");
  sh("chmod +x hooks/*");
  ::setenv("GIT_EXTERNAL_DIFF", touch.c_str(), 1);
  const Got patch = get();
  ::unsetenv("GIT_EXTERNAL_DIFF");
  EXPECT_EQ(patch.problem, "") << patch.err;
  EXPECT_THAT(patch.out, HasSubstr("-one\n+two\n"));
  EXPECT_FALSE(std::filesystem::exists(ran)) << slurp(ran);
}

TEST_F(Changes, LeaveNothingBehindAndTakeNothingFromWhereOneIs) {
  push("printf 'two\\n' > a.txt");
  sh("mkdir tmp elsewhere && cd elsewhere && git init -q && "
     "printf '* -diff\\n' > .gitattributes && git config diff.external false");
  ::setenv("TMPDIR", (folder_ / "tmp").c_str(), 1);
  ::setenv("GIT_DIR", (folder_ / "elsewhere/.git").c_str(), 1);
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder_ / "elsewhere");
  const Got patch = get();
  std::filesystem::current_path(before);
  ::unsetenv("GIT_DIR");
  ::unsetenv("TMPDIR");
  EXPECT_EQ(patch.problem, "") << patch.err;
  EXPECT_THAT(patch.out, HasSubstr("-one\n+two\n"));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "tmp"));
}

TEST_F(Changes, ThatAreNotThereAreSaid) {
  const Got none = get();
  EXPECT_EQ(none.problem, "");
  EXPECT_EQ(none.head, "");
  EXPECT_THAT(get({}, {kUrl, "gone", "palisade/fix"}).problem,
              HasSubstr("there is no branch or tag gone in https://git.example.com"));
  config("[url \"/nonexistent\"]\n  insteadOf = https://git.example.com/other\n");
  EXPECT_THAT(get({}, {"https://git.example.com/other", "main", "b"}).problem,
              HasSubstr("try git ls-remote https://git.example.com/other"));
  for (const GitWish& wish :
       {GitWish{"ext::sh -c id", "main", "b"}, GitWish{"--upload-pack=id", "main", "b"},
        GitWish{"https://a/b c", "main", "b"}, GitWish{kUrl, "--x", "b"},
        GitWish{kUrl, "main", "a:b"}, GitWish{kUrl, "main", "refs/heads/b"}}) {
    EXPECT_THAT(get({}, wish).problem, HasSubstr("the workspace's ")) << wish.url << wish.branch;
  }
}

TEST_F(Changes, OfATagAndOfAnUnrelatedBranch) {
  sh("cd work && git tag -a v1 -m v1 && git push -q origin v1");
  push("printf 'two\\n' > a.txt");
  EXPECT_THAT(get({}, {kUrl, "v1", "palisade/fix"}).out, HasSubstr("-one\n+two\n"));
  sh("cd work && git checkout -q --orphan lone && printf 'three\\n' > a.txt && git add -A && "
     "git commit -qm lone && git push -qf origin lone:palisade/fix");
  const Got lone = get();
  EXPECT_EQ(lone.problem, "") << lone.err;
  EXPECT_FALSE(lone.related);
  EXPECT_THAT(lone.out, HasSubstr("-one\n+three\n"));
}

TEST(Environments, LeadGitNowhereElse) {
  const auto out = git_environment({"PATH=/bin", "GIT_DIR=/x", "GIT_SSH_COMMAND=ssh -i k",
                                    "GIT_EXTERNAL_DIFF=evil", "GIT_CONFIG_GLOBAL=/g", "EMPTY="});
  for (const char* kept : {"PATH=/bin", "GIT_SSH_COMMAND=ssh -i k", "GIT_CONFIG_GLOBAL=/g",
                           "EMPTY=", "GIT_ATTR_NOSYSTEM=1"})
    EXPECT_THAT(out, Contains(kept));
  EXPECT_THAT(out, Not(Contains("GIT_DIR=/x")));
  EXPECT_THAT(out, Not(Contains("GIT_EXTERNAL_DIFF=evil")));
}

TEST(Refs, AreReadStrictly) {
  const std::string object(40, 'a');
  const std::string lines = object + "\trefs/heads/main-2\n" + std::string(40, 'b') +
                            "\trefs/heads/main\nnonsense\n" + std::string(39, 'c') +
                            "\trefs/heads/short\n" + std::string(40, 'Z') + "\trefs/heads/odd";
  EXPECT_EQ(object_of_ref(lines, "refs/heads/main"), std::string(40, 'b'));
  EXPECT_EQ(object_of_ref(lines, "refs/heads/main-2"), object);
  for (const char* name : {"refs/heads/short", "refs/heads/odd", "refs/heads", "nonsense", ""})
    EXPECT_EQ(object_of_ref(lines, name), "") << name;
}

TEST(Programs, AreEndedWhereNobodyReads) {
  Interrupts interrupts;
  const Program yes{{"yes"}, {"PATH=/usr/bin:/bin"}, "/"};
  std::size_t pieces = 0;
  const auto status = run_program(
      yes, [&](std::string_view) { return ++pieces < 3; }, [](std::string_view) { return true; },
      interrupts);
  ASSERT_TRUE(status) << status.error();
  EXPECT_EQ(*status, 128 + SIGPIPE);
  EXPECT_EQ(pieces, 3U);
  const auto missing = run_program(
      {{"no-such-program"}, {"PATH=/usr/bin:/bin"}, "/"}, [](std::string_view) { return true; },
      [](std::string_view) { return true; }, interrupts);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error(), HasSubstr("install it, or put it on PATH"));
}

TEST(Programs, AreEndedByASignal) {
  Interrupts interrupts;
  ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
  const auto status = run_program(
      {{"sleep", "600"}, {"PATH=/usr/bin:/bin"}, "/"}, [](std::string_view) { return true; },
      [](std::string_view) { return true; }, interrupts);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error(), "interrupted");
  EXPECT_EQ(interrupts.signal(), SIGTERM);
}

}  // namespace
}  // namespace palisade::cli
