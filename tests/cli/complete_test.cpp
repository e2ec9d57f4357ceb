// What a shell is offered, by the program's own commands.
#include "complete.h"

#include <array>
#include <cstdio>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "cli/program.h"
#include "commands.h"

namespace palisade::cli {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Words = std::vector<std::string>;

class Completions : public testing::ProgramTest {
 protected:
  Completions() {
    for (const auto add : {add_list, add_pools, add_status, add_create, add_logs, add_scan,
                           add_controls, add_completion})
      static_cast<void>(add(app_));
    names_.workspaces = [this](const Names::Where& where) {
      asked_ = where;
      return Words{"fix-login", "fix-logout", "other", "$(id)", "a b"};
    };
    names_.namespaces = [this](const Names::Where& where) {
      asked_ = where;
      return Words{"team-a", "team-b", "kube-system"};
    };
  }
  // Runs a script of that shell with the program first on PATH; what it prints.
  std::string said_by(const std::string& shell, const std::string& script) const {
    std::filesystem::create_directories(folder_ / "bin");
    std::filesystem::create_symlink(PALISADE_PROGRAM, folder_ / "bin/palisade");
    write("try", script);
    const std::string command = "cd '" + folder_.string() +
                                "' && HOME=\"$PWD\" PATH=\"$PWD/bin:$PATH\" " + shell +
                                " try > said 2>&1";
    EXPECT_EQ(std::system(command.c_str()), 0) << shell << ": is it installed? make packages";
    return slurp(folder_ / "said");
  }
  Words of(const Words& words) { return complete(app_, words, names_); }

  CLI::App app_{"x", "palisade"};
  Names names_;
  Names::Where asked_;
};

TEST_F(Completions, AreWhatFitsThere) {
  struct Case {
    Words words;
    Words offered;
  };
  for (const Case& c : {
           Case{{""},
                {"completion", "controls", "create", "list", "logs", "pools", "scan", "status"}},
           Case{{"l"}, {"list", "logs"}},
           Case{{"nothing", ""}, {}},
           Case{{"status", "fix"}, {"fix-login", "fix-logout"}},
           Case{{"status", "fix-login", ""}, {}},
           Case{{"status", "-n", "team"}, {"team-a", "team-b"}},
           Case{{"status", "--namespace", "k"}, {"kube-system"}},
           Case{{"status", "-o", ""}, {"json", "tree", "wide", "yaml"}},
           Case{{"scan", "-o", "w"}, {"wide"}},
           Case{{"controls", "-o", "w"}, {"wide"}},
           Case{{"list", "--output", "w"}, {"wide"}},
           Case{{"status", "--cont"}, {"--context"}},
           Case{{"logs", "-f", "o"}, {"other"}},
           Case{{"completion", ""}, {"bash", "fish", "zsh"}},
           Case{{"create", "--via", ""}, {"Direct", "Gateway"}},
           Case{{"create", "-F", ""}, {}},  // a file
           Case{{}, {}},
       }) {
    EXPECT_EQ(of(c.words), c.offered) << ::testing::PrintToString(c.words);
  }
}

TEST_F(Completions, AskTheClusterThatTheLineNames) {
  of({"status", "--context", "prod", "-n", "team-a", "--kubeconfig=/k", "--as", "eve",
      "--as-group=a", "--as-group", "b", "--as-uid=u", "x"});
  EXPECT_EQ(asked_.as.user, "eve");
  EXPECT_EQ(asked_.as.uid, "u");
  EXPECT_EQ(asked_.as.groups, (Words{"a", "b"}));
  EXPECT_EQ(asked_.context, "prod");
  EXPECT_EQ(asked_.ns, "team-a");
  EXPECT_EQ(asked_.kubeconfig, "/k");
}

TEST_F(Completions, AreNeverWhatAShellWouldExpand) {
  EXPECT_THAT(of({"status", ""}), ElementsAre("fix-login", "fix-logout", "other"));
}

TEST_F(Completions, OfTheProgramAreQuietWithoutACluster) {
  const auto none = run("__complete status --kubeconfig /nonexistent ''");
  EXPECT_EQ(none.status, 0);
  EXPECT_EQ(none.out, "");
  EXPECT_EQ(none.err, "");
  EXPECT_THAT(run("__complete ''").out, HasSubstr("attach\n"));
  EXPECT_THAT(run("--help").out, Not(HasSubstr("__complete")));
  EXPECT_EQ(run("completion tcsh").status, 2);
}

TEST_F(Completions, WorkInARealZsh) {
  // As its line editor would; `compadd` is where it takes what is offered.
  EXPECT_EQ(
      said_by("zsh -f", R"(
autoload -Uz compinit && compinit -D -u
source <(palisade completion zsh)
print "of ${_comps[palisade]} and ${_comps[kubectl-palisade]}"
compadd() { shift; print -r -- "offered: $*" }
_files() { print files }
words=(palisade li); CURRENT=2; _palisade
words=(palisade list -o ''); CURRENT=4; _palisade
words=(palisade create -F ''); CURRENT=4; _palisade
)"),
      "of _palisade and _palisade\noffered: list\noffered: json name table wide yaml\nfiles\n");
}

TEST_F(Completions, WorkInARealFish) {
  EXPECT_EQ(said_by("fish --no-config", R"(
palisade completion fish | source
for line in 'palisade li' 'palisade list -o ' 'palisade create -F sa'
  complete -C $line
end
)"),
            "list\njson\nname\ntable\nwide\nyaml\nsaid\n");
}

TEST_F(Completions, WorkInARealBash) {
  // As readline would: the function is called with the words, and its answer looked at.
  write("try.sh", "source <('" PALISADE_PROGRAM
                  "' completion bash)\n"
                  "COMP_WORDS=('" PALISADE_PROGRAM
                  "' li); COMP_CWORD=1; _palisade\n"
                  "echo \"${COMPREPLY[@]}\"\n"
                  "COMP_WORDS=('" PALISADE_PROGRAM
                  "' list -o ''); COMP_CWORD=3; _palisade\n"
                  "echo \"${COMPREPLY[@]}\"\n");
  ASSERT_EQ(std::system(("bash '" + (folder_ / "try.sh").string() + "' > '" +
                         (folder_ / "said").string() + "'")
                            .c_str()),
            0);
  EXPECT_EQ(slurp(folder_ / "said"), "list\njson name table wide yaml\n");
}

}  // namespace
}  // namespace palisade::cli
