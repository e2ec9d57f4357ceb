// What `palisade create` makes of a command line.
#include "create.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr const char* kUrl = "https://git.example.com/team/app.git";

CreateOptions task(const std::string& message = "Fix it") {
  CreateOptions out;
  out.message = message;
  out.url = kUrl;
  return out;
}

TEST(NamesOfTasks, ComeFromTheFirstLine) {
  struct Case {
    const char* message;
    const char* name;
  };
  for (const Case& c :
       {Case{"Make the login form accept spaces", "make-the-login-form-accept-spaces"},
        Case{"# Login: 500 on spaces\n\nSteps to reproduce", "login-500-on-spaces"},
        Case{"Don't crash", "dont-crash"}, Case{"  --  ", "task"}, Case{"", "task"},
        Case{"修复登录", "task"}, Case{"Prüfe ß", "pr-fe"},
        Case{"A very long headline that goes on and on about things",
             "a-very-long-headline-that-goes-on-and-on"},
        Case{"Aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
             "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
        Case{"../../etc/passwd", "etc-passwd"}, Case{"\x1b[31mred", "31mred"}}) {
    EXPECT_EQ(name_of(c.message), c.name) << c.message;
  }
}

TEST(NamesOfTasks, AreMadeAnewWhereTheyAreTaken) {
  EXPECT_THAT(another_name("fix"), MatchesRegex("fix-[a-z0-9]{5}"));
  EXPECT_THAT(another_name(std::string(50, 'a')), MatchesRegex("a{44}-[a-z0-9]{5}"));
  EXPECT_NE(another_name("fix"), another_name("fix"));
}

TEST(CommandsOfTasks, AreSplitAsAShellWould) {
  struct Case {
    const char* line;
    std::vector<std::string> words;
  };
  for (const Case& c :
       {Case{"ruff check src", {"ruff", "check", "src"}},
        Case{"  python3\t-m pytest  ", {"python3", "-m", "pytest"}},
        Case{R"(pytest -k 'not slow' "a b" c\ d)", {"pytest", "-k", "not slow", "a b", "c d"}},
        Case{R"(sh -c 'echo $HOME | wc')", {"sh", "-c", "echo $HOME | wc"}},
        Case{R"(a "" '')", {"a", "", ""}}, Case{R"("a\"b\\c\d")", {R"(a"b\c\d)"}},
        Case{"a''b", {"ab"}}}) {
    const auto words = words_of(c.line);
    ASSERT_TRUE(words) << c.line << ": " << words.error();
    EXPECT_EQ(*words, c.words) << c.line;
  }
  struct Bad {
    const char* line;
    const char* why;
  };
  for (const Bad& c :
       {Bad{"", "no command"}, Bad{"   ", "no command"}, Bad{"a 'b", "not closed"},
        Bad{"a \\", "ends in a backslash"}, Bad{"make && make test", "no shell"},
        Bad{"a | b", "no shell"}, Bad{"echo $HOME", "no shell"}, Bad{"echo \"$HOME\"", "no shell"},
        Bad{"echo `id`", "no shell"}, Bad{"a > b", "no shell"}}) {
    const auto words = words_of(c.line);
    ASSERT_FALSE(words) << c.line;
    EXPECT_THAT(words.error(), HasSubstr(c.why)) << c.line;
  }
}

TEST(MessagesOfTasks, AreTextsAsTheyWereWritten) {
  EXPECT_EQ(message_of("\xEF\xBB\xBF\r\n# Title\r\n\r\nText\t1\r\n").value_or(""),
            "# Title\n\nText\t1");
  EXPECT_EQ(message_of("a\rb").value_or(""), "a\nb");
  EXPECT_EQ(message_of(std::string(32768, 'a')).value_or("").size(), 32768U);
  struct Bad {
    std::string text;
    const char* why;
  };
  for (const Bad& c :
       {Bad{"", "no text"}, Bad{" \n\t", "no text"}, Bad{"a\xFF", "not UTF-8"},
        Bad{std::string("a\0b", 3), "control characters"}, Bad{"a\x1b[2J", "control characters"},
        Bad{std::string(32769, 'a'), "32769 bytes"}}) {
    const auto message = message_of(c.text);
    ASSERT_FALSE(message) << c.why;
    EXPECT_THAT(message.error(), HasSubstr(c.why));
  }
}

TEST(Workspaces, HoldWhatWasSaidAndNothingElse) {
  const auto least = workspace_of(task());
  ASSERT_TRUE(least) << least.error();
  EXPECT_EQ(*least, json::parse(R"({"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace",
    "metadata": {"name": "fix-it"},
    "spec": {"repository": {"url": "https://git.example.com/team/app.git"},
             "task": {"message": "Fix it"}}})"));

  CreateOptions all = task();
  all.name = "all";
  all.ns = "team-a";
  all.labels = {"team=a", "empty="};
  all.files = {"src/a.py"};
  all.lint_command = "ruff check";
  all.test_command = "python3 -m pytest -q";
  all.rounds = 5;
  all.ref = "develop";
  all.branch = "bot/all";
  all.read_only = true;
  all.mount = "ReadWrite";
  all.from_template = "python";
  all.storage = "20Gi";
  all.storage_class = "";
  all.retain = true;
  all.via = "Direct";
  all.github_app = "42:app/key.pem";
  all.merge_request = "draft";
  all.title = "A title";
  all.image = "registry.example.com/aider:1";
  all.model = "gpt-4o";
  all.models = {"small"};
  all.gateway = "main";
  all.llm_secret = "llm/k";
  all.tokens = 1000;
  all.cost = "5.00";
  all.limits = {"cpu=4", "memory=4Gi"};
  all.deadline = "1h30m";
  all.idle_timeout = "10m";
  all.command_timeout = "5m";
  all.ttl = "0s";
  all.runtime_class = "gvisor";
  all.allow = {"/usr/bin/make"};
  const auto made = workspace_of(all);
  ASSERT_TRUE(made) << made.error();
  EXPECT_EQ(*made, json::parse(R"({"apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace",
    "metadata": {"name": "all", "namespace": "team-a", "labels": {"team": "a", "empty": ""}},
    "spec": {
      "agent": {"image": "registry.example.com/aider:1", "model": "gpt-4o",
                "resources": {"limits": {"cpu": "4", "memory": "4Gi"}}},
      "isolation": {"exec": {"allow": ["/usr/bin/make"]}, "runtimeClassName": "gvisor"},
      "lifecycle": {"deadline": "1h30m", "idleTimeout": "10m", "commandTimeout": "5m",
                    "ttlAfterFinished": "0s", "retain": "Retain"},
      "llm": {"budget": {"cost": "5.00", "tokens": 1000}, "gateway": "main",
              "keySecretRef": {"name": "llm", "key": "k"}, "models": ["small"]},
      "repository": {"url": "https://git.example.com/team/app.git", "ref": "develop",
                     "branch": "bot/all", "access": "ReadOnly", "mount": "ReadWrite", "via": "Direct",
                     "credentials": {"githubApp": {"appId": 42,
                       "privateKeySecretRef": {"name": "app", "key": "key.pem"}}},
                     "mergeRequest": {"draft": true, "title": "A title"}},
      "storage": {"size": "20Gi", "storageClassName": ""},
      "templateRef": {"name": "python"},
      "task": {"message": "Fix it", "files": ["src/a.py"], "lintCommand": ["ruff", "check"],
               "testCommand": ["python3", "-m", "pytest", "-q"], "rounds": 5}}})"));
}

TEST(Workspaces, AreRefusedByTheOptionThatIsWrong) {
  struct Case {
    std::function<void(CreateOptions&)> change;
    const char* says;
  };
  using O = CreateOptions;
  const std::vector<Case> cases{
      {[](O& o) { o.url.clear(); }, "--repo URL is missing"},
      {[](O& o) { o.url = "http://git.example.com/a"; }, "spec.repository.url must be an https"},
      {[](O& o) { o.url = "https://user:pw@git.example.com/a"; }, "without credentials"},
      {[](O& o) { o.name = "Upper"; }, "the name Upper cannot be"},
      {[](O& o) { o.name = "a.b"; }, "the name a.b cannot be"},
      {[](O& o) { o.name = "-a"; }, "the name -a cannot be"},
      {[](O& o) { o.name = std::string(51, 'a'); }, "at most 50"},
      {[](O& o) { o.name = "a\x1b[2J"; }, "the name a?[2J cannot be"},
      {[](O& o) { o.ref = "--upload-pack=id"; }, "spec.repository.ref"},
      {[](O& o) { o.branch = "main"; }, "must differ from"},
      {[](O& o) { o.git_secret = "/key"; }, "--git-secret /key"},
      {[](O& o) { o.git_secret = "a/"; }, "--git-secret a/"},
      {[](O& o) { o.git_secret = o.gitlab_secret = "a"; }, "give one of them"},
      {[](O& o) { o.github_app = "12"; }, "--github-app 12: write ID:SECRET"},
      {[](O& o) { o.github_app = "x:a"; }, "write ID:SECRET"},
      {[](O& o) { o.github_app = "0:a"; }, "write ID:SECRET"},
      {[](O& o) { o.gitea_secret = "a/b"; }, "name the Secret alone"},
      {[](O& o) { o.labels = {"a"}; }, "--label a: write KEY=VALUE"},
      {[](O& o) {
         o.labels = {"a=1", "a=2"};
       },
       "given twice"},
      {[](O& o) { o.limits = {"=1"}; }, "--limit =1"},
      {[](O& o) { o.title = "t"; }, "add --merge-request"},
      {[](O& o) { o.test_command = "make && make"; }, "--test: no shell"},
      {[](O& o) { o.files = {"../../etc/passwd"}; }, "spec.task.files"},
      {[](O& o) { o.files = {"a\xff"}; }, "--file has a name that is not UTF-8"},
      {[](O& o) { o.allow = {"/workspace/x"}; }, "spec.isolation.exec.allow"},
      {[](O& o) { o.storage = "-1Gi"; }, "spec.storage.size"},
      {[](O& o) { o.storage_class = "fast"; }, "give a --storage SIZE too"},
      {[](O& o) { o.retain = true; }, "give a --storage SIZE too"},
      {[](O& o) { o.mount = "Everything"; }, "spec.repository.mount"},
      {[](O& o) { o.mount = "ReadOnly"; }, "spec.repository.outputDir goes with"},
      {[](O& o) { o.output_dir = "out"; }, "spec.repository.outputDir goes with"},
      {[](O& o) {
         o.mount = "ReadOnly";
         o.output_dir = "../out";
       },
       "spec.repository.outputDir must be a path"},
      {[](O& o) {
         o.mount = "GitDirOnly";
         o.storage = "1Gi";
       },
       "leave one of them out"},
      {[](O& o) { o.deadline = "tomorrow"; }, "spec.lifecycle.deadline"},
      {[](O& o) { o.deadline = "25h"; }, "spec.lifecycle.deadline"},
      {[](O& o) {
         o.message.clear();
         o.name = "shell";
         o.rounds = 2;
       },
       "belong to a task"},
  };
  for (const Case& c : cases) {
    CreateOptions options = task();
    c.change(options);
    const auto made = workspace_of(options);
    ASSERT_FALSE(made) << c.says;
    EXPECT_THAT(made.error(), HasSubstr(c.says));
  }
}

class CreateProgram : public testing::ProgramTest {};

TEST_F(CreateProgram, PrintsWithoutACluster) {
  const auto made = run(std::string("create --repo ") + kUrl +
                        " -m 'Fix the login' --test 'python3 -m pytest' --dry-run "
                        "--kubeconfig /nonexistent");
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("name: \"fix-the-login\""));
  EXPECT_THAT(made.out, HasSubstr("- \"pytest\""));
  const auto text = run(std::string("create --repo ") + kUrl + " -F - --dry-run=client -o json",
                        "# Spaces\n\nThe form \"eats\" them.\n");
  EXPECT_EQ(text.status, 0) << text.err;
  const auto parsed = json::parse(text.out);
  EXPECT_EQ(parsed["metadata"]["name"], "spaces");
  EXPECT_EQ(parsed["spec"]["task"]["message"], "# Spaces\n\nThe form \"eats\" them.");
  EXPECT_EQ(run(std::string("create x -i --repo ") + kUrl + " --dry-run -o name").out,
            "agentworkspace/x\n");
}

TEST_F(CreateProgram, TakesTheShapeTheVolumeAndTheTemplate) {
  const std::string repo = std::string("create x -m y --dry-run -o json --repo ") + kUrl;
  const auto shaped = run(repo + " --mount GitDirOnly --template python");
  ASSERT_EQ(shaped.status, 0) << shaped.err;
  const json spec = json::parse(shaped.out)["spec"];
  EXPECT_EQ(spec["repository"]["mount"], "GitDirOnly");
  EXPECT_EQ(spec["templateRef"], json({{"name", "python"}}));
  EXPECT_FALSE(spec.contains("storage"));
  const auto stored = run(repo + " --storage 2Gi --storage-class '' --retain");
  ASSERT_EQ(stored.status, 0) << stored.err;
  EXPECT_EQ(json::parse(stored.out)["spec"]["storage"],
            json({{"size", "2Gi"}, {"storageClassName", ""}}));
  EXPECT_EQ(json::parse(stored.out)["spec"]["lifecycle"]["retain"], "Retain");
  const auto fixed = run(repo + " --mount ReadOnly --output-dir docs/reports");
  ASSERT_EQ(fixed.status, 0) << fixed.err;
  EXPECT_EQ(json::parse(fixed.out)["spec"]["repository"]["outputDir"], "docs/reports");
  EXPECT_EQ(run(repo + " --mount ReadOnly").status, 2);
  EXPECT_EQ(run(repo + " --mount Everything").status, 2);
}

TEST_F(CreateProgram, HoldsItToSettingsThatAreAtHand) {
  write("policy.json", R"({"allowedModels": ["small"]})");
  const auto refused = run(std::string("create --repo ") + kUrl +
                           " -m x --model big --dry-run --settings policy.json");
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(refused.out, "");
  EXPECT_THAT(refused.err, HasSubstr("policy.json refuse it: spec.agent.model"));
}

TEST_F(CreateProgram, SaysInOneLineWhatIsWrong) {
  struct Case {
    std::string arguments;
    std::string input;
    const char* says;
  };
  const std::string repo = std::string("create --repo ") + kUrl + " ";
  for (const Case& c : {Case{"create -m x --dry-run", "", "--repo URL is missing"},
                        Case{repo + "--dry-run", "", "say what is to be done"},
                        Case{repo + "-F - --dry-run", "", "<stdin>: there is no text in it"},
                        Case{repo + "-F none.md --dry-run", "", "none.md: "},
                        Case{repo + "-m x -F -", "", "excludes"},
                        Case{repo + "-m x --wait --dry-run", "", "leave one of them out"},
                        Case{repo + "-m x --wait --timeout soon", "", "--timeout soon: write it"},
                        Case{repo + "-m x --wait=never", "", "--wait"},
                        Case{repo + "-m x --kubeconfig /nonexistent", "", "no cluster to read"}}) {
    const auto refused = run(c.arguments, c.input);
    EXPECT_EQ(refused.status, 2) << c.arguments;
    EXPECT_EQ(refused.out, "") << c.arguments;
    EXPECT_THAT(refused.err, HasSubstr(c.says)) << c.arguments;
  }
}

}  // namespace
}  // namespace palisade::cli
