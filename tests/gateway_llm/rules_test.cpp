#include "rules.h"

#include <string>

#include <gtest/gtest.h>

namespace palisade::gateway::llm {
namespace {

struct Case {
  const char* what;
  std::string text;
  bool found;
};

void check(std::string (*rule)(std::string_view), const std::vector<Case>& cases) {
  for (const Case& test : cases) {
    const std::string found = rule(test.text);
    EXPECT_EQ(!found.empty(), test.found) << test.what << ": " << test.text << "\n  " << found;
  }
}

TEST(Rules, ShellBlocks) {
  check(shell_block,
        {{"bash", "Run this:\n```bash\nmake\n```\n", true},
         {"sh at the beginning", "```sh\nls\n```", true},
         {"indented", "1. do\n   ```shell\n   ls\n   ```", true},
         {"upper case", "```Bash\nls\n```", true},
         {"more marks", "````console\n$ ls\n````", true},
         {"tildes", "~~~zsh\nls\n~~~", true},
         {"a prefix", "```bash-session\nls\n```", true},
         {"attributes", "```sh {.run}\nls\n```", true},
         {"powershell", "```powershell\nGet-Item\n```", true},
         {"prompt", "```\n$ rm -rf /\n```", true},
         {"script", "```\n#!/bin/bash\nls\n```", true},
         {"behind another block", "```python\nx\n```\n\n```bash\nls\n```", true},
         {"within one that is not closed", "```python\nx\n```bash\nls\n```", true},
         {"python", "```python\nimport os\n```", false},
         {"none", "Use `bash` for that.", false},
         {"an edit of a script",
          "run.sh\n```bash\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```", false},
         {"shader", "```glsl\nx\n```", false},
         {"the end of a block, then text", "```js\nx\n```\n$ is a name\n", false},
         {"empty", "", false}});
}

std::string edit(const std::string& name) {
  return "Change it:\n\n" + name +
         "\n```python\n<<<<<<< SEARCH\na\n=======\nb\n>>>>>>> REPLACE\n```\n";
}

TEST(Rules, OutsidePaths) {
  check(outside_path,
        {{"inside", edit("src/app.py"), false},
         {"dots in names", edit("src/..a/b..c/...d"), false},
         {"absolute", edit("/etc/passwd"), true},
         {"parent", edit("../other/app.py"), true},
         {"parent within", edit("src/../../other.py"), true},
         {"home", edit("~/.ssh/authorized_keys"), true},
         {"marks", edit("**`/etc/passwd`**:"), true},
         {"title", edit("### ../x.py"), true},
         {"drive", edit("C:\\Windows\\x.ini"), true},
         {"share", edit("\\\\server\\x"), true},
         {"backslashes", edit("src\\..\\..\\x"), true},
         {"URL", edit("file:///etc/passwd"), true},
         {"spaces", edit("../my notes.txt"), true},
         {"name inside the fence's line", "```python ../x.py\n<<<<<<< SEARCH\n", true},
         {"name as the fence's word", "```/etc/passwd\nroot\n```", true},
         {"whole file", "/etc/cron.d/x\n```\n* * * * *\n```", true},
         {"whole file inside", "src/x.py\n```\nx\n```", false},
         {"before the head", "../a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n", true},
         {"diff", "```diff\n--- a/src/x.py\n+++ b/src/x.py\n@@ -1 +1 @@\n```", false},
         {"new file", "```diff\n--- /dev/null\n+++ b/src/x.py\n```", false},
         {"diff outside", "```diff\n--- src/x.py\n+++ ../../x.py\n```", true},
         {"diff absolute", "--- /etc/passwd\t2024-01-01\n+++ /etc/passwd\n", true},
         {"patch", "*** Begin Patch\n*** Update File: /etc/passwd\n", true},
         {"patch inside", "*** Begin Patch\n*** Add File: a/b.txt\n", false},
         {"patch move", "*** Move to: ../x\n", true},
         {"rename", "rename to ../x\n", true},
         {"prose", "See /etc/passwd and ../README for more:\n```python\nx\n```", false},
         {"prose without blocks", "/etc/passwd\nis a file", false}});
}

TEST(Rules, GitOptions) {
  check(git_option,
        {{"hooks path", "git config core.hooksPath ./x", true},
         {"-c", "git -c core.sshCommand='sh x' fetch", true},
         {"case", "git -c CORE.SSHCOMMAND=x fetch", true},
         {"upload pack", "git fetch --upload-pack=./x origin", true},
         {"receive pack", "git push --receive-pack ./x", true},
         {"ext", "git clone ext::sh -c id", true},
         {"ext in a URL", "url = ext::./x", true},
         {"filter", "git config filter.x.clean 'sh y'", true},
         {"textconv", "git config diff.my-diff.textconv ./x", true},
         {"merge", "git config merge.ours.driver true", true},
         {"alias", "git config alias.st '!sh x'", true},
         {"section", "[filter \"x\"]\n  smudge = ./y", true},
         {"key", "[core]\n\tsshCommand = ./y", true},
         {"fsmonitor", "[core]\n  fsmonitor = ./y", true},
         {"include", "[include]\n\tpath = ../x", true},
         {"submodule", "  update = !./x", true},
         {"environment", "GIT_SSH_COMMAND=./x git pull", true},
         {"exec path", "git --exec-path=./x status", true},
         {"helper", "git config --global credential.helper store", true},
         {"hook", "echo x > .git/hooks/pre-commit", true},
         {"edit of the configuration", edit(".git/config"), true},
         {"edit of a hook", edit("sub/.git/hooks/post-checkout"), true},
         {"case of the folder", edit(".GIT/config"), true},
         {"short name", edit("git~1/config"), true},
         {"attributes", ".gitattributes\n```\n*.c filter=x\n```", true},
         {"attributes that run nothing", ".gitattributes\n```\n*.c text eol=lf\n```", false},
         {"gitignore", edit(".gitignore"), false},
         {"github", edit(".github/workflows/x.yml"), false},
         {"plain git", "git add -A && git commit -m x && git push origin main", false},
         {"C++", "ext::foo(x); auto y = std::ext::z;", false},
         {"a program's filter", "rows = list.filter.a.clean()\nfilter=lambda x: x", false},
         {"attribute access", "self.core.editor.open()", false},
         {"a word that begins so", "core.hookspathology", false},
         {"alias", "alias.name = 'x'", false},
         {"update", "update = True", false},
         {"assignments", "driver == x or smudge", false}});
}

TEST(Rules, LookAlikes) {
  check(look_alike,
        {{"ASCII", "plain text\twith\r\nlines", false},
         {"accents", "caf\u00e9 \u00fcber na\u00efve \u2014 \u201cquotes\u201d \u2026", false},
         {"Russian",
          "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440: API-\u0448\u043d\u044b\u0439",
          false},
         {"Greek", "the angle \u03b8 and \u0394x", false},
         {"Chinese", "\u4f60\u597d\uff0c\u4e16\u754c\uff01", false},
         {"emoji", "done \u2705 \U0001F468\u200d\U0001F469\u200d\U0001F467 \u2764\ufe0f", false},
         {"Persian joiner", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", false},
         {"Cyrillic a in a Latin word", "p\u0430ssword", true},
         {"at the end", "scop\u0435", true},
         {"Greek O", "R\u039fOT", true},
         {"right to left override", "if x: \u202e} return", true},
         {"isolate", "a\u2066b", true},
         {"zero width space", "pass\u200bword", true},
         {"joiner in a Latin word", "pass\u200dword", true},
         {"byte order mark within", "a\ufeff", true},
         {"tags", "x\U000E0041", true},
         {"escape", "\x1b[31mred", true},
         {"DEL", "a\x7f", true},
         {"NUL", std::string("a\0b", 3), true},
         {"full width letter", "a\uff21b", true},
         {"mathematical letter", "\U0001D41A", true},
         {"division slash", "src\u2215app", true},
         {"fraction", "\u00bd and 1 \u2044 2", false},
         {"broken UTF-8", "a\xFFz", true}});
}

TEST(Rules, JudgesWhatIsSwitchedOn) {
  std::map<ReplyReader::Key, Said> said;
  said[{0, -1}].text = "```bash\nls\n```\n" + edit("/etc/passwd") + "git -c core.pager=x\np\u0430y";
  EXPECT_TRUE(judge(said, {}).empty());
  ReplyRules rules;
  rules.shell_blocks = Action::kFlag;
  rules.git_options = Action::kRefuse;
  auto found = judge(said, rules);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].rule, "shellBlocks");
  EXPECT_EQ(found[0].action, Action::kFlag);
  EXPECT_EQ(found[0].what, "a block of \"bash\" commands");
  EXPECT_EQ(found[1].rule, "gitOptions");
  EXPECT_EQ(found[1].action, Action::kRefuse);
  rules.outside_paths = rules.look_alikes = Action::kFlag;
  found = judge(said, rules);
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[1].what, "an edit of \"/etc/passwd\"");
}

TEST(Rules, ToolCalls) {
  ReplyRules rules;
  rules.shell_blocks = rules.outside_paths = rules.git_options = rules.look_alikes = Action::kFlag;
  struct {
    Said said;
    std::string rules;
  } const cases[] = {
      {{"{}", "edit_file"}, ""},
      {{R"({"command":"ls"})", "bash"}, "shellBlocks "},
      {{R"({"command":"ls"})", "run_shell_command"}, "shellBlocks "},
      {{R"({"file_path":"src/a.py","content":"x"})", "write"}, ""},
      {{R"({"file_path":"/etc/passwd","content":"x"})", "write"}, "outsidePaths "},
      {{R"({"edits":[{"path":"..\/x"}]})", "write"}, "outsidePaths "},
      {{R"({"path":".git\/config"})", "write"}, "gitOptions "},
      {{R"({"content":"[core]\n  hooksPath = x"})", "write"}, "gitOptions "},
      {{R"({"content":"p\u0430y"})", "write"}, "lookAlikes "},
      {{R"({"content":"git -c core.pager=x)", "write"}, "gitOptions "},
  };
  for (const auto& test : cases) {
    std::string found;
    for (const Finding& finding : judge({{{0, 0}, test.said}}, rules))
      found += std::string(finding.rule) + " ";
    EXPECT_EQ(found, test.rules) << test.said.text;
  }
}

}  // namespace
}  // namespace palisade::gateway::llm
