// Reading an AgentWorkspace: defaults, and whatever a by-passed schema may let through.
#include <gmock/gmock.h>

#include "operator/fixture.h"

namespace palisade::op::testing {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

// "" where it is read; the error otherwise.
std::string refusal(const Json& object) {
  const auto workspace = parse_workspace(object);
  return workspace ? std::string() : workspace.error();
}

Json with(const std::string& pointer, const Json& value, Json object = usual_workspace()) {
  object[Json::json_pointer(pointer)] = value;
  return object;
}

TEST(Workspace, DefaultsAreTheSchemas) {
  const Workspace w = parsed(minimal_workspace());
  EXPECT_EQ(w.name, "fix-login");
  EXPECT_EQ(w.ns, "team-a");
  EXPECT_EQ(w.uid, kUid);
  EXPECT_EQ(w.generation, 1);
  EXPECT_FALSE(w.deleting);
  EXPECT_FALSE(w.has_finalizer);
  EXPECT_EQ(w.image, "");
  EXPECT_EQ(w.model, "gpt-4o");
  EXPECT_EQ(w.ref, "main");
  EXPECT_EQ(w.branch, "palisade/fix-login");
  EXPECT_FALSE(w.read_only);
  EXPECT_FALSE(w.secret);
  EXPECT_FALSE(w.task);
  EXPECT_EQ(w.gateway, "default");
  EXPECT_TRUE(w.user_namespace);
  EXPECT_EQ(w.runtime_class, "");
  EXPECT_EQ(w.egress, Json::array());
  EXPECT_EQ(w.deadline, seconds(7200));
  EXPECT_EQ(w.ttl_after_finished, seconds(3600));
  EXPECT_FALSE(w.suspend);
  EXPECT_EQ(w.max_restarts, 3);
  EXPECT_EQ(w.agent_object(), "fix-login-agent");
  EXPECT_EQ(w.git_secret(), "fix-login-git");
  EXPECT_EQ(w.limits, Json({{"cpu", "2"}, {"memory", "2Gi"}, {"ephemeral-storage", "4Gi"}}));
  EXPECT_EQ(w.requests, Json({{"cpu", "250m"}, {"memory", "512Mi"}}));
}

TEST(Workspace, GivenFieldsAreTaken) {
  Json object = usual_workspace();
  object["metadata"]["finalizers"] = {"other/x", kFinalizer};
  object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  object["spec"]["repository"]["branch"] = "team/x";
  object["spec"]["repository"]["access"] = "ReadOnly";
  object["spec"]["lifecycle"] = {
      {"deadline", "1h30m"}, {"ttlAfterFinished", "0s"}, {"suspend", true}};
  object["spec"]["agent"]["resources"]["limits"] = {{"cpu", 1}};
  const Workspace w = parsed(object);
  EXPECT_TRUE(w.deleting);
  EXPECT_TRUE(w.has_finalizer);
  EXPECT_EQ(w.branch, "team/x");
  EXPECT_TRUE(w.read_only);
  ASSERT_TRUE(w.secret);
  EXPECT_EQ(w.secret->name, "app-git-token");
  EXPECT_EQ(w.secret->key, "token");
  EXPECT_EQ(w.secret->username, "x-access-token");
  ASSERT_TRUE(w.task);
  EXPECT_EQ(w.task->files, std::vector<std::string>{"src/login.py"});
  EXPECT_EQ(w.task->test_command.size(), 4U);
  EXPECT_EQ(w.deadline, seconds(5400));
  EXPECT_EQ(w.ttl_after_finished, seconds(0));
  EXPECT_TRUE(w.suspend);
  EXPECT_EQ(w.limits, Json({{"cpu", "1"}, {"memory", "2Gi"}, {"ephemeral-storage", "4Gi"}}));
}

TEST(Workspace, CommandsAndRoundsAreBounded) {
  Json object = usual_workspace();
  EXPECT_EQ(parsed(object).task->rounds, 3);
  for (const auto& [field, value] : {std::pair<const char*, Json>{"rounds", 0},
                                     {"rounds", 21},
                                     {"rounds", "3"},
                                     {"lintCommand", {""}},
                                     {"lintCommand", "ruff"},
                                     {"testCommand", {std::string("a\0b", 3)}},
                                     {"testCommand", std::vector<std::string>(33, "a")}}) {
    Json broken = object;
    broken["spec"]["task"][field] = value;
    const auto read = parse_workspace(broken);
    ASSERT_FALSE(read) << field << ": " << value;
    EXPECT_TRUE(read.error().starts_with(std::string("spec.task.") + field)) << read.error();
  }
  object["spec"]["task"]["rounds"] = 20;
  EXPECT_EQ(parsed(object).task->rounds, 20);
}

TEST(Workspace, EveryFieldOfAnotherTypeIsRefusedByName) {
  const Json object = [] {
    Json full = usual_workspace();
    full["spec"]["agent"] = {
        {"image", "i"},
        {"model", "m"},
        {"resources", {{"limits", {{"cpu", "1"}}}, {"requests", {{"cpu", "1"}}}}}};
    full["spec"]["repository"]["ref"] = "dev";
    full["spec"]["repository"]["branch"] = "team/x";
    full["spec"]["repository"]["access"] = "ReadWrite";
    full["spec"]["repository"]["mount"] = "GitDirOnly";
    full["spec"]["repository"]["credentials"]["secretRef"]["key"] = "k";
    full["spec"]["repository"]["credentials"]["secretRef"]["username"] = "u";
    full["spec"]["llm"] = {{"gateway", "default"}};
    full["spec"]["isolation"] = {
        {"userNamespace", true}, {"runtimeClassName", "r"}, {"egress", Json::array()}};
    full["spec"]["lifecycle"] = {
        {"deadline", "1h"}, {"ttlAfterFinished", "1h"}, {"maxRestarts", 3}, {"suspend", false}};
    return full;
  }();
  ASSERT_EQ(refusal(object), "");
  const Json values[] = {1,          -1.5,          true, "a text", Json::array({1}), Json::array(),
                         {{"a", 1}}, Json::object()};
  // Every place below spec, replaced by every type that is not its own.
  std::vector<std::string> pointers;
  const Json flat = object.at("spec").flatten();
  for (const auto& [pointer, value] : flat.items()) {
    for (Json::json_pointer at(pointer); !at.empty(); at.pop_back())
      pointers.push_back(at.to_string());
  }
  ASSERT_GT(pointers.size(), 30U);
  for (const std::string& pointer : pointers) {
    const Json& own = object.at("spec").at(Json::json_pointer(pointer));
    for (const Json& value : values) {
      if (value.type() == own.type() || (value.is_number() && own.is_number())) continue;
      // Quantities are numbers too.
      if (value.is_number_integer() && pointer.ends_with("/cpu")) continue;
      const std::string error = refusal(with("/spec" + pointer, value, object));
      EXPECT_THAT(error, HasSubstr("spec.")) << pointer << " = " << value;
    }
  }
}

TEST(Workspace, ObjectsThatAreNoneAreRefused) {
  for (const Json& nothing : {Json(), Json(1), Json("x"), Json::array(), Json::object()})
    EXPECT_NE(refusal(nothing), "") << nothing;
  EXPECT_NE(refusal(with("/metadata", "x")), "");
  EXPECT_NE(refusal(with("/metadata/name", "")), "");
  EXPECT_NE(refusal(with("/metadata/name", "a.b")), "");
  EXPECT_NE(refusal(with("/metadata/name", std::string(51, 'a'))), "");
  EXPECT_NE(refusal(with("/metadata/finalizers", "x")), "");
  EXPECT_NE(refusal(with("/spec", nullptr)), "");
}

TEST(Workspace, BadUrlsAreRefused) {
  for (const char* url : {"", "ext::sh -c reboot", "file:///etc/passwd", "/etc/passwd", "ssh://h/x",
                          "git@h:x", "git://h/x", "http://h/x", "HTTPS://h/x", " https://h/x",
                          "https://user:secret@h/x", "https://token@h/x", "https://h/x y",
                          "https://h/x\n", "https://h/\x7f", "https://h/x\t", "-uupload-pack"}) {
    EXPECT_THAT(refusal(with("/spec/repository/url", url)), HasSubstr("spec.repository.url"))
        << url;
  }
  EXPECT_NE(refusal(with("/spec/repository/url", std::string("https://h/\0x", 12))), "");
  EXPECT_EQ(refusal(with("/spec/repository/url", "https://h:8443/a/b.git")), "");
}

TEST(Workspace, TheErrorTellsNoPartOfTheUrl) {
  EXPECT_THAT(refusal(with("/spec/repository/url", "https://user:hunter2@h/x")),
              Not(HasSubstr("hunter2")));
}

TEST(Workspace, RefNamesThatGitCouldMistakeAreRefused) {
  for (const char* good : {"main", "v1.2.3", "team/fix-1", "a_b", "x+y", "_x", "lock", "a.b/c"})
    EXPECT_TRUE(is_safe_ref_name(good)) << good;
  for (const char* bad : {"",        "-x",           "--upload-pack=x",
                          "HEAD",    "refs/heads/x", "a..b",
                          "a//b",    "a/",           "/a",
                          ".a",      "a/.b",         "a.",
                          "a.lock",  "a.lock/b",     "a b",
                          "a~1",     "a^",           "a:b",
                          "+a:b",    "a?",           "a*",
                          "a[b",     "a\\b",         "@{-1}",
                          "a@{1}",   "a\n",          "$(id)",
                          "\xc3\xa9"}) {
    EXPECT_FALSE(is_safe_ref_name(bad)) << bad;
    EXPECT_NE(refusal(with("/spec/repository/ref", bad)), "") << bad;
    EXPECT_NE(refusal(with("/spec/repository/branch", bad)), "") << bad;
  }
  EXPECT_FALSE(is_safe_ref_name(std::string("a\0b", 3)));
  EXPECT_TRUE(is_safe_ref_name(std::string(200, 'a')));
  EXPECT_FALSE(is_safe_ref_name(std::string(201, 'a')));
}

TEST(Workspace, BranchIsNeverTheOneItStartedFrom) {
  EXPECT_NE(refusal(with("/spec/repository/branch", "main")), "");
  EXPECT_NE(refusal(with("/spec/repository/ref", "palisade/fix-login")), "");
  EXPECT_NE(refusal(with("/spec/repository/access", "Admin")), "");
}

TEST(Workspace, TaskFilesStayInTheRepository) {
  for (const char* good : {"a", "src/a b.py", "..a", "a..", "a/..b", "./a"})
    EXPECT_EQ(refusal(with("/spec/task/files", Json::array({good}))), "") << good;
  for (const char* bad : {"", "/etc/passwd", "-x", "..", "../a", "a/..", "a/../../b"})
    EXPECT_THAT(refusal(with("/spec/task/files", Json::array({bad}))), HasSubstr("spec.task.files"))
        << bad;
  EXPECT_NE(refusal(with("/spec/task/files", Json::array({std::string("a\0b", 3)}))), "");
  EXPECT_NE(refusal(with("/spec/task/message", "")), "");
}

TEST(Workspace, Durations) {
  const std::pair<const char*, int> good[] = {{"0s", 0},        {"1s", 1},      {"90s", 90},
                                              {"1m", 60},       {"2h", 7200},   {"1h30m", 5400},
                                              {"1h1m1s", 3661}, {"1h5s", 3605}, {"007s", 7}};
  for (const auto& [text, value] : good)
    EXPECT_EQ(parse_duration(text), seconds(value)) << text;
  for (const char* bad : {"", "1", "s", "h1", "1d", "1.5h", "-1h", "+1h", " 1h", "1h ", "1m1h",
                          "1h1h", "1H", "1ms", "1h\n", "99999999999999999999h", "0x1h"})
    EXPECT_FALSE(parse_duration(bad)) << bad;
  struct Row {
    const char *field, *value;
    bool good;
  };
  const Row rows[] = {{"deadline", "1m", true},
                      {"deadline", "24h", true},
                      {"deadline", "59s", false},
                      {"deadline", "24h1s", false},
                      {"deadline", "0s", false},
                      {"deadline", "999999999h", false},
                      {"deadline", "", false},
                      {"ttlAfterFinished", "0s", true},
                      {"ttlAfterFinished", "168h", true},
                      {"ttlAfterFinished", "168h1s", false}};
  for (const Row& row : rows) {
    const std::string error = refusal(with(std::string("/spec/lifecycle/") + row.field, row.value));
    EXPECT_EQ(error.empty(), row.good) << row.field << " " << row.value << ": " << error;
  }
}

TEST(Workspace, TheMountIsReadStrictly) {
  const auto mounted = [](const Json& mount) {
    return with("/spec/repository/mount", mount, usual_workspace());
  };
  EXPECT_EQ(parsed(usual_workspace()).mount, Mount::kReadWrite);
  EXPECT_EQ(parsed(mounted("ReadWrite")).mount, Mount::kReadWrite);
  EXPECT_EQ(parsed(mounted("GitDirOnly")).mount, Mount::kGitDirOnly);
  for (const Json& wrong : {Json("gitdironly"), Json(""), Json(1), Json("Everything")})
    EXPECT_THAT(refusal(mounted(wrong)), HasSubstr("spec.repository.mount")) << wrong;
  Json stored = mounted("GitDirOnly");
  stored["spec"]["storage"] = Json::object();
  EXPECT_THAT(refusal(stored), HasSubstr("spec.storage: with spec.repository.mount"));
}

TEST(Workspace, TheOutputDirectoryGoesWithReadOnly) {
  const auto read_only = [](const Json& directory) {
    return with("/spec/repository/outputDir", directory,
                with("/spec/repository/mount", "ReadOnly"));
  };
  const Workspace w = parsed(read_only("docs/reports"));
  EXPECT_EQ(w.mount, Mount::kReadOnly);
  EXPECT_EQ(w.output_dir, "docs/reports");
  for (const char* good : {"a", "A_1", "a/b/c", "a.b", "a-b", "_x", "a..b", "0"})
    EXPECT_EQ(refusal(read_only(good)), "") << good;
  for (const std::string& wrong :
       {std::string("/a"), std::string("a/"), std::string("a//b"), std::string(".."),
        std::string("a/../b"), std::string("./a"), std::string(".git"), std::string("a/.git"),
        std::string("-a"), std::string("a/-b"), std::string("a b"), std::string("a\nb"),
        std::string("\xc3\xbc"), std::string("a\0b", 3), std::string(201, 'a')}) {
    EXPECT_THAT(refusal(read_only(wrong)), HasSubstr("spec.repository.outputDir must be a path"))
        << wrong;
  }
  EXPECT_THAT(refusal(with("/spec/repository/mount", "ReadOnly")), HasSubstr("which needs it"));
  EXPECT_THAT(refusal(read_only("")), HasSubstr("which needs it"));
  for (const char* mount : {"ReadWrite", "GitDirOnly"}) {
    EXPECT_THAT(refusal(with("/spec/repository/mount", mount, read_only("a"))),
                HasSubstr("goes with spec.repository.mount ReadOnly"));
  }
  EXPECT_THAT(refusal(with("/spec/storage", Json::object(), read_only("a"))),
              HasSubstr("spec.storage: with spec.repository.mount"));
}

TEST(Workspace, ATemplateMustHaveBeenFilledIn) {
  Json object = usual_workspace();
  object["spec"]["templateRef"] = {{"name", "python"}};
  const auto raw = parse_workspace(object);
  ASSERT_FALSE(raw);
  EXPECT_TRUE(raw.error().starts_with("spec.templateRef: ")) << raw.error();
  object["metadata"]["annotations"]["palisade.dev/template"] = "uid/1";
  EXPECT_TRUE(parse_workspace(object));
}

}  // namespace
}  // namespace palisade::op::testing
