// What `palisade list` and `palisade status` make of objects.
#include "workspaces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/rfc3339.h>

namespace palisade::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

const WallClock::time_point kNow = *kube::parse_rfc3339("2026-11-21T12:00:00Z");

json workspace(const std::string& name) {
  return json::parse(R"({
    "apiVersion": "palisade.dev/v1alpha1", "kind": "AgentWorkspace",
    "metadata": {"namespace": "team-a", "uid": "u1", "generation": 2, "creationTimestamp": "2026-11-21T11:30:00Z"},
    "spec": {"agent": {"model": "gpt-4o"},
             "repository": {"url": "https://git.example.com/team/app.git", "ref": "main"}},
    "status": {"phase": "Running", "observedGeneration": 2, "branch": "palisade/fix", "commits": 2,
               "head": "0123456789abcdef0123456789abcdef01234567", "expiresAt": "2026-11-21T13:30:00Z",
               "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "ok"},
                              {"type": "Ready", "status": "True", "reason": "Running", "message": "Aider runs"}]}})")
      .patch(json::array({{{"op", "add"}, {"path", "/metadata/name"}, {"value", name}}}));
}

TEST(Moments, AreReadStrictly) {
  EXPECT_TRUE(kube::parse_rfc3339("2026-11-21T12:00:00Z"));
  EXPECT_EQ(kube::parse_rfc3339("2026-11-21T12:00:00.123456Z"),
            kube::parse_rfc3339("2026-11-21T12:00:00Z"));
  for (const char* wrong :
       {"", "now", "2026-11-21", "2026-11-21T12:00:00", "2026-11-21T12:00:00+01:00",
        "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-21T25:00:00Z",
        "2026-11-21T12:00:00Zx", "2026-11-21T12:00:00.Zx"})
    EXPECT_FALSE(kube::parse_rfc3339(wrong)) << wrong;
}

TEST(Ages, AreAsKubectlTellsThem) {
  using namespace std::chrono_literals;
  for (const auto& [age, wanted] :
       std::vector<std::pair<std::chrono::seconds, const char*>>{{0s, "0s"},
                                                                 {119s, "119s"},
                                                                 {120s, "2m"},
                                                                 {3599s, "59m"},
                                                                 {3600s, "1h"},
                                                                 {2h + 5min, "2h5m"},
                                                                 {26h, "26h"},
                                                                 {49h, "2d"},
                                                                 {-5s, "0s"}})
    EXPECT_EQ(age_text(kNow - age, kNow), wanted);
  EXPECT_EQ(age_text(std::nullopt, kNow), "<unknown>");
}

TEST(Table, ColumnsStandUnderTheirNames) {
  json ended = workspace("b");
  ended["status"]["phase"] = "Failed";
  ended["status"]["conditions"][1]["reason"] = "PreflightFailed";
  ended["status"]["audit"] = {{"refusals", 7}};
  EXPECT_EQ(
      workspace_table({ended, workspace("a-longer-name")}, {}, kNow),
      "NAME            PHASE     READY             BRANCH         COMMITS   REFUSALS   AGE\n"
      "a-longer-name   Running   Running           palisade/fix   2         -          30m\n"
      "b               Failed    PreflightFailed   palisade/fix   2         7          30m\n");
  const std::string wide =
      workspace_table({workspace("a")}, {.namespaces = true, .wide = true}, kNow);
  EXPECT_THAT(wide, HasSubstr("NAMESPACE"));
  EXPECT_THAT(wide, HasSubstr("team-a"));
  EXPECT_THAT(wide, HasSubstr("https://git.example.com/team/app.git   1h30m\n"));
}

TEST(Table, WhatIsNotThereIsADash) {
  const std::string table = workspace_table({json{{"metadata", {{"name", "new"}}}}}, {}, kNow);
  EXPECT_THAT(table, HasSubstr("new    -       -       -        -         -          <unknown>\n"));
}

TEST(Table, WideTellsThePoolThatAPodComesFrom) {
  json taken = workspace("b");
  taken["status"]["warmPod"] = {{"pool", "python"}, {"name", "python-0123456789-agent"}};
  EXPECT_EQ(workspace_table({taken}, {}, kNow).find("python"), std::string::npos);
  const std::string wide = workspace_table({workspace("a"), taken}, {.wide = true}, kNow);
  EXPECT_THAT(wide, HasSubstr("MODEL    POOL     REPOSITORY"));
  EXPECT_THAT(wide, HasSubstr("gpt-4o   -        https://"));
  EXPECT_THAT(wide, HasSubstr("gpt-4o   python   https://"));
}

json pool(const std::string& name, const json& status) {
  return {
      {"metadata",
       {{"name", name}, {"namespace", "team-a"}, {"creationTimestamp", "2026-11-21T11:30:00Z"}}},
      {"spec", {{"templateRef", {{"name", "python"}}}, {"replicas", 3}}},
      {"status", status}};
}

TEST(Pools, ColumnsSayWhatWaitsAndWhyNoMoreDo) {
  const json trouble =
      pool("b", {{"replicas", 3},
                 {"readyReplicas", 0},
                 {"updatedReplicas", 2},
                 {"conditions", json::array({{{"type", "Ready"},
                                              {"status", "False"},
                                              {"reason", "Unschedulable"},
                                              {"message",
                                               "no node takes pod b-0123456789-agent: 0/1 "
                                               "nodes are available: insufficient cpu"}}})}});
  const json full = pool("a", {{"replicas", 3},
                               {"readyReplicas", 3},
                               {"updatedReplicas", 3},
                               {"conditions", json::array({{{"type", "Ready"},
                                                            {"status", "True"},
                                                            {"reason", "Warm"},
                                                            {"message", "3 pod(s) wait"}}})}});
  EXPECT_EQ(pool_table({trouble, full}, {}, kNow),
            "NAME   TEMPLATE   WANTED   WAITING   COMING   READY           AGE\n"
            "a      python     3        3         0        Warm            30m\n"
            "b      python     3        0         2        Unschedulable   30m\n");
  const std::string wide = pool_table({trouble, full}, {.namespaces = true, .wide = true}, kNow);
  EXPECT_THAT(wide, HasSubstr("NAMESPACE   NAME"));
  EXPECT_THAT(wide, HasSubstr("30m   1          no node takes pod b-0123456789-agent: 0/1 nodes "
                              "are available: insufficient cpu\n"));
}

TEST(Pools, WhatTheOperatorHasNotSeenIsADash) {
  EXPECT_THAT(pool_table({pool("new", nullptr)}, {}, kNow),
              HasSubstr("new    python     3        -         -        -       30m\n"));
  json odd = pool("odd", {{"replicas", 1}, {"readyReplicas", 5}, {"updatedReplicas", "many"}});
  EXPECT_THAT(pool_table({odd}, {}, kNow), HasSubstr("3        5         0        -       30m\n"));
}

TEST(Tree, TellsThePoolThatItsPodComesFrom) {
  WorkspaceView view;
  view.workspace = workspace("fix");
  view.pod = json{{"metadata", {{"name", "warm-0123456789-agent"}}}};
  EXPECT_THAT(workspace_tree(view, kNow), Not(HasSubstr("from pool")));
  view.workspace["status"]["warmPod"] = {{"pool", "warm"}};
  EXPECT_THAT(workspace_tree(view, kNow),
              HasSubstr("Pod warm-0123456789-agent  -, from pool warm"));
  view.pod.reset();
  EXPECT_THAT(workspace_tree(view, kNow), Not(HasSubstr("from pool")));
}

TEST(Tree, TellsAllOfARunningSession) {
  WorkspaceView view;
  view.workspace = workspace("fix");
  view.parts = {{"ServiceAccount", "fix-agent", true, ""},
                {"NetworkPolicy", "fix-agent", false, ""},
                {"ConfigMap", "fix-agent", true, "not this workspace's own"}};
  view.pod = json::parse(R"({
    "metadata": {"name": "fix-agent"},
    "spec": {"nodeName": "node-1", "initContainers": [{"name": "relay"}], "containers": [{"name": "aider"}]},
    "status": {"phase": "Running",
      "initContainerStatuses": [{"name": "relay", "state": {"running": {"startedAt": "2026-11-21T11:55:00Z"}}}],
      "containerStatuses": [{"name": "aider", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}})");
  for (int i = 0; i < 10; ++i)
    view.events.push_back({{"type", i == 9 ? "Warning" : "Normal"},
                           {"reason", "Reason" + std::to_string(i)},
                           {"note", "note"},
                           {"eventTime", "2026-11-21T11:5" + std::to_string(i) + ":00.000000Z"}});
  EXPECT_EQ(workspace_tree(view, kNow), R"(AgentWorkspace team-a/fix  Running
├─ repository  https://git.example.com/team/app.git, from main to palisade/fix
├─ pushed      2 commit(s), the last is 0123456789ab
├─ ends        in 1h30m
├─ Conditions
│  ├─ Accepted         True    Accepted: ok
│  └─ Ready            True    Running: Aider runs
├─ Objects
│  ├─ ServiceAccount fix-agent
│  ├─ NetworkPolicy fix-agent  MISSING
│  ├─ ConfigMap fix-agent  (not this workspace's own)
│  └─ Pod fix-agent  Running on node node-1
│     ├─ relay     running for 5m
│     └─ aider     waiting: ErrImagePull: no such image
└─ Events (2 earlier ones left out)
   ├─ 8m ago  Reason2: note
   ├─ 7m ago  Reason3: note
   ├─ 6m ago  Reason4: note
   ├─ 5m ago  Reason5: note
   ├─ 4m ago  Reason6: note
   ├─ 3m ago  Reason7: note
   ├─ 2m ago  Reason8: note
   └─ 60s ago  WARNING Reason9: note
)");
}

TEST(Tree, WideLeavesNothingOut) {
  WorkspaceView view;
  view.workspace = workspace("fix");
  const std::string message(90, 'm');
  view.pod =
      json{{"metadata", {{"name", "fix-agent"}}},
           {"spec",
            {{"initContainers", {{{"name", "relay"}, {"image", "registry.example.com/relay:1"}}}},
             {"containers", {{{"name", "aider"}, {"image", "registry.example.com/aider:1"}}}}}},
           {"status",
            {{"phase", "Pending"},
             {"initContainerStatuses",
              {{{"name", "relay"}, {"restartCount", 2}, {"state", json::object()}}}},
             {"containerStatuses",
              {{{"name", "aider"},
                {"restartCount", 0},
                {"state", {{"waiting", {{"reason", "ErrImagePull"}, {"message", message}}}}}}}}}}};
  for (int i = 0; i < 12; ++i)
    view.events.push_back({{"reason", "Reason" + std::to_string(i)},
                           {"note", "note"},
                           {"eventTime", "2026-11-21T11:00:00Z"}});
  const std::string tree = workspace_tree(view, kNow);
  EXPECT_THAT(tree, Not(HasSubstr(message)));
  EXPECT_THAT(tree, Not(HasSubstr("registry.example.com")));
  EXPECT_THAT(tree, HasSubstr("Events (4 earlier ones left out)\n"));
  const std::string wide = workspace_tree(view, kNow, true);
  EXPECT_THAT(wide, HasSubstr(message));
  EXPECT_THAT(wide, HasSubstr("   │  ├─ image registry.example.com/relay:1\n"));
  EXPECT_THAT(wide, HasSubstr("   │  └─ restarted 2 times\n"));
  EXPECT_THAT(wide, HasSubstr("      └─ image registry.example.com/aider:1\n"));
  EXPECT_THAT(wide, HasSubstr("─ Events\n"));
  EXPECT_THAT(wide, HasSubstr("Reason0: note\n"));
}

TEST(Tree, TellsWhatAnEndedSessionLeft) {
  WorkspaceView view;
  view.workspace = workspace("fix");
  view.workspace["status"]["llm"] = {{"requests", 12}, {"failures", 1}};
  view.workspace["status"]["mergeRequest"] = {{"url", "https://git.example.com/team/app/pulls/7"},
                                              {"number", 7}};
  const std::string tree = workspace_tree(view, kNow);
  EXPECT_THAT(tree, HasSubstr("├─ relay       12 requests, 1 that failed\n"));
  EXPECT_THAT(tree, HasSubstr("├─ request     https://git.example.com/team/app/pulls/7\n"));
}

TEST(Tree, SaysWhatToDoNext) {
  struct Case {
    const char* type;
    const char* reason;
    const char* step;
  };
  for (const auto& [type, reason, step] :
       {Case{"Ready", "AiderFailed", "palisade logs fix -n team-a"},
        Case{"Ready", "PushFailed", "palisade logs fix -n team-a -c courier"},
        Case{"Ready", "RecordFailed", "palisade audit fix -n team-a"},
        Case{"Accepted", "ExceedsPermissions", "palisade permissions fix -n team-a"},
        Case{"Isolated", "PreflightFailed", "palisade doctor"}}) {
    WorkspaceView view;
    view.workspace = workspace("fix");
    view.workspace["status"]["conditions"] = json::array(
        {{{"type", type}, {"status", "False"}, {"reason", reason}, {"message", "why"}},
         {{"type", "Ready"}, {"status", "False"}, {"reason", reason}, {"message", "why"}}});
    EXPECT_FALSE(in_order(view.workspace));
    EXPECT_THAT(workspace_tree(view, kNow), HasSubstr(std::string("\nNext: ") + step)) << reason;
  }
}

TEST(Tree, AnUnseenWorkspaceSaysSo) {
  WorkspaceView view;
  view.workspace = workspace("fix");
  view.workspace.erase("status");
  EXPECT_THAT(workspace_tree(view, kNow), HasSubstr("the operator has not seen it yet"));
  EXPECT_THAT(workspace_tree(view, kNow), HasSubstr("Pod: there is none"));
  view.workspace = workspace("fix");
  view.workspace["metadata"]["generation"] = 3;
  EXPECT_THAT(workspace_tree(view, kNow), HasSubstr("has not seen its last change yet"));
}

// What the agent, or whoever names objects, wrote is text: it moves no cursor and begins no line.
TEST(Tree, HostileTextsStayOnTheirLine) {
  WorkspaceView view;
  view.workspace = workspace("fix");
  const std::string evil = "x\x1b[2J\nAgentWorkspace team-a/other  Succeeded\xe2\x80\xae";
  view.workspace["status"]["conditions"][1]["message"] = evil;
  view.workspace["status"]["branch"] = evil;
  view.parts = {{"ConfigMap", evil, true, evil}};
  view.events = {{{"type", evil}, {"reason", evil}, {"note", evil}, {"eventTime", 7}}};
  view.pod = json{{"metadata", {{"name", evil}}},
                  {"spec", {{"containers", {{{"name", evil}}}}}},
                  {"status", {{"phase", evil}, {"containerStatuses", "none"}}}};
  const std::string tree = workspace_tree(view, kNow);
  EXPECT_THAT(tree, Not(HasSubstr("\x1b")));
  EXPECT_THAT(tree, Not(HasSubstr("\nAgentWorkspace")));
  EXPECT_THAT(tree, Not(HasSubstr("\xe2\x80\xae")));
  EXPECT_THAT(workspace_table({view.workspace}, {}, kNow), Not(HasSubstr("\nAgentWorkspace")));
}

TEST(Tree, ValuesOfWrongTypesAreNoTrouble) {
  for (const char* text :
       {"{}", "[]", "7", R"({"metadata": 7})", R"({"metadata": {"name": []}, "status": "x"})",
        R"({"status": {"conditions": {"a": 1}, "audit": []}})",
        R"({"status": {"conditions": [7, null, {"type": "Ready"}]}})"}) {
    WorkspaceView view;
    view.workspace = json::parse(text);
    view.pod = json::parse(text);
    view.events = {json::parse(text)};
    EXPECT_FALSE(workspace_tree(view, kNow).empty()) << text;
    EXPECT_FALSE(
        workspace_table({view.workspace}, {.namespaces = true, .wide = true}, kNow).empty());
  }
}

}  // namespace
}  // namespace palisade::cli
