// Workspaces under a template: what the mutating side fills in must pass the validating side, and
// what the template fixes is refused with the field.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "judges/judge.h"
#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

json team_template(int generation = 1) {
  return {{"metadata", {{"name", "python"}, {"uid", "uid-t"}, {"generation", generation}}},
          {"spec",
           {{"workspace",
             {{"agent",
               {{"image", "registry.example.com/aider@sha256:1"},
                {"model", "claude"},
                {"resources", {{"limits", {{"cpu", "1"}, {"example.com/gpu", "0"}}}}}}},
              {"llm", {{"gateway", "default"}}},
              {"isolation", {{"egress", json::array()}, {"runtimeClassName", "gvisor"}}},
              {"lifecycle", {{"deadline", "30m"}, {"maxRestarts", 0}}}}},
            {"overridable", {"agent.model", "lifecycle"}}}}};
}

json workspace(json spec = json::object(), const json& annotations = nullptr) {
  spec["repository"] = {{"url", "https://git.example.com/team/app.git"}};
  spec["templateRef"] = {{"name", "python"}};
  json out{{"metadata", {{"name", "fix"}, {"namespace", "team-a"}}}, {"spec", std::move(spec)}};
  if (!annotations.is_null()) out["metadata"]["annotations"] = annotations;
  return out;
}

Review review_of(const json& before, const json& now) {
  return {.operation = before.is_null() ? "CREATE" : "UPDATE",
          .resource = "agentworkspaces",
          .group = "palisade.dev",
          .name = "fix",
          .user = "jane",
          .object = now,
          .old_object = before};
}

// As the API server does it: the mutating side first.
json mutated(const json& before, const json& now, const FakeCluster& cluster) {
  const Judgement judged = review_of(before, now).ask(mutate_workspace, cluster);
  EXPECT_EQ(judged.error, "");
  return judged.patch.empty() ? now : now.patch(json::parse(judged.patch));
}

struct Templates : ::testing::Test {
  Templates() {
    cluster.templates_.push_back(team_template());
    cluster.rules_["team-a"].settings.allowed_runtime_classes = std::nullopt;
  }
  void expect(const json& before, const json& now, const std::vector<std::string>& refused) {
    const json object = mutated(before, now, cluster);
    expect_refused(review_of(before, object).ask(judge_workspace, cluster), "workspace-bounds",
                   refused);
  }
  FakeCluster cluster;
};

TEST_F(Templates, FillInWhatIsLeftOut) {
  const json made = mutated(nullptr, workspace({{"agent", {{"model", "gpt-4o"}}}}), cluster);
  EXPECT_EQ(made["spec"],
            json({{"templateRef", {{"name", "python"}}},
                  {"repository", {{"url", "https://git.example.com/team/app.git"}}},
                  {"agent",
                   {{"image", "registry.example.com/aider@sha256:1"},
                    {"model", "gpt-4o"},
                    {"resources", {{"limits", {{"cpu", "1"}, {"example.com/gpu", "0"}}}}}}},
                  {"llm", {{"gateway", "default"}}},
                  {"isolation", {{"egress", json::array()}, {"runtimeClassName", "gvisor"}}},
                  {"lifecycle", {{"deadline", "30m"}, {"maxRestarts", 0}}}}));
  EXPECT_EQ(made["metadata"]["annotations"],
            json({{"palisade.dev/created-by", "jane"}, {"palisade.dev/template", "uid-t/1"}}));
  expect_passes(review_of(nullptr, made).ask(judge_workspace, cluster));
  // Done twice it is the same.
  EXPECT_EQ(mutated(nullptr, made, cluster), made);
}

TEST_F(Templates, WhatTheyFixCannotBeSetOtherwise) {
  struct Case {
    json spec;
    std::vector<std::string> refused;
  };
  const std::string image = "spec.agent.image";
  for (const Case& c : {
           Case{json::object(), {}},
           Case{{{"agent", {{"image", "registry.example.com/aider@sha256:1"}}}}, {}},
           Case{{{"agent", {{"model", "gpt-4o"}}}, {"lifecycle", {{"deadline", "3h"}}}}, {}},
           Case{{{"agent", {{"image", "evil"}}}}, {image}},
           Case{{{"agent", {{"resources", {{"limits", {{"cpu", "8"}, {"memory", "1Gi"}}}}}}}},
                {"spec.agent.resources.limits.cpu"}},
           Case{{{"agent", {{"resources", {{"limits", {{"example.com/gpu", "1"}}}}}}}},
                {"spec.agent.resources.limits.example.com/gpu"}},
           Case{{{"isolation", {{"egress", {{{"to", json::array()}}}}}}},
                {"spec.isolation.egress"}},
           Case{{{"isolation", {{"runtimeClassName", nullptr}}}}, {}},
           Case{{{"isolation", {{"runtimeClassName", "runc"}}}, {"llm", {{"gateway", "own"}}}},
                {"spec.isolation.runtimeClassName", "spec.llm.gateway"}},
       }) {
    SCOPED_TRACE(c.spec.dump());
    expect(nullptr, workspace(c.spec), c.refused);
  }
}

TEST_F(Templates, TheShapeCanBeFixed) {
  json given = team_template();
  given["spec"]["workspace"] = {{"repository", {{"mount", "ReadOnly"}}}};
  given["spec"].erase("overridable");
  cluster.templates_ = {given};
  json own = workspace();
  own["spec"]["repository"]["outputDir"] = "docs/reports";
  const json made = mutated(nullptr, own, cluster);
  EXPECT_EQ(made["spec"]["repository"], json({{"url", "https://git.example.com/team/app.git"},
                                              {"mount", "ReadOnly"},
                                              {"outputDir", "docs/reports"}}));
  expect(nullptr, own, {});
  own["spec"]["repository"]["mount"] = "ReadWrite";
  expect(nullptr, own, {"spec.repository.mount"});
  given["spec"]["workspace"]["repository"]["outputDir"] = "out";
  cluster.templates_ = {given};
  own["spec"]["repository"]["mount"] = "ReadOnly";
  expect(nullptr, own, {"spec.repository.outputDir"});
  given["spec"]["overridable"] = {"repository.outputDir"};
  cluster.templates_ = {given};
  expect(nullptr, own, {});
}

TEST_F(Templates, AChangedTemplateLeavesWhatWasMadeAlone) {
  const json made = mutated(nullptr, workspace(), cluster);
  json other = team_template(2);
  other["spec"]["workspace"]["agent"]["image"] = "registry.example.com/aider@sha256:2";
  other["spec"]["workspace"]["isolation"]["egress"] = {{{"to", json::array()}}};
  other["spec"]["workspace"]["llm"]["models"] = {"x"};
  cluster.templates_ = {other};
  json suspended = made;
  suspended["spec"]["lifecycle"]["suspend"] = true;
  expect(made, suspended, {});
  EXPECT_EQ(mutated(made, suspended, cluster), suspended);
  // A manifest that says nothing of what was filled in gets it back as it was.
  EXPECT_EQ(mutated(made, workspace(), cluster)["spec"], made["spec"]);
  expect(made, workspace(), {});
  // Neither the old nor the new template's.
  json wider = made;
  wider["spec"]["agent"]["image"] = "registry.example.com/aider@sha256:3";
  expect(made, wider, {"spec.agent.image"});
  // What the newer one fixes may be taken over.
  wider["spec"]["agent"]["image"] = "registry.example.com/aider@sha256:2";
  expect(made, wider, {});
}

TEST_F(Templates, OneThatHasGoneHoldsAllStill) {
  const json made = mutated(nullptr, workspace(), cluster);
  cluster.templates_.clear();
  json now = made;
  now["spec"]["lifecycle"]["suspend"] = true;
  now["metadata"]["finalizers"] = {"palisade.dev/workspace"};
  expect(made, now, {});
  now["spec"]["lifecycle"]["deadline"] = "24h";
  now["spec"]["agent"].erase("image");
  expect(made, now, {"spec.agent.image", "spec.lifecycle.deadline"});
  now["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  expect(made, now, {});
  expect(nullptr, workspace(), {"spec.templateRef.name"});
}

TEST_F(Templates, AreNotByPassed) {
  const std::string at = R"(metadata.annotations["palisade.dev/template"])";
  const json made = mutated(nullptr, workspace(), cluster);
  const auto refused = [&](const json& before, const json& now,
                           const std::vector<std::string>& fields) {
    SCOPED_TRACE(now.dump());
    expect_refused(review_of(before, now).ask(judge_workspace, cluster), "workspace-bounds",
                   fields);
  };
  // As if no mutation had come.
  json raw = made;
  raw["metadata"]["annotations"].erase("palisade.dev/template");
  refused(nullptr, raw, {at});
  raw = made;
  raw["spec"]["isolation"].erase("runtimeClassName");
  refused(nullptr, raw, {"spec.isolation.runtimeClassName"});
  refused(made, raw, {"spec.isolation.runtimeClassName"});
  // Filled in from another state of the template.
  cluster.templates_ = {team_template(2)};
  refused(nullptr, made, {at});
  refused(made, made, {});
  json forged = made;
  forged["metadata"]["annotations"]["palisade.dev/template"] = "uid-t/2";
  refused(made, forged, {at});
  forged = made;
  forged["spec"].erase("templateRef");
  refused(nullptr, forged, {at});
  expect_needs(judge_workspace, review_of(nullptr, made), cluster, {"workspace_template"});
  expect_needs(mutate_workspace, review_of(nullptr, made), cluster, {"workspace_template"});
  for (const json& odd : {json(nullptr), json("python"), json::object(), json{{"name", 1}}}) {
    json object = made;
    object["spec"]["templateRef"] = odd;
    if (odd.is_null()) continue;
    expect_unsure(review_of(nullptr, object).ask(judge_workspace, cluster), "spec.templateRef");
  }
}

TEST(TemplateObjects, AreReadStrictly) {
  const FakeCluster cluster;
  struct Case {
    std::string pointer;
    json value;
    std::string refused;  // "": taken
  };
  for (const Case& c : {
           Case{"/spec/overridable", json::array(), ""},
           Case{"/spec/overridable", {"agent"}, ""},
           Case{"/spec/overridable", {"agent.modell"}, "spec.overridable[0]"},
           Case{"/spec/overridable", {"agent", ""}, "spec.overridable"},
           Case{"/spec/overridable", "agent", "spec.overridable"},
           Case{"/spec/workspace", json::object(), "fixes nothing"},
           Case{"/spec/workspace", {{"agent", json::object()}}, "fixes nothing"},
           Case{"/spec/workspace/agent", 1, "spec.workspace.agent must be an object"},
           Case{"/spec/workspace/repository",
                {{"url", "x"}},
                "spec.workspace.repository has no field \"url\""},
           Case{"/spec/workspace/repository",
                {{"mount", 1}},
                "spec.workspace.repository.mount must be a text"},
           Case{"/spec/workspace/repository", "ReadOnly", "spec.workspace.repository must be"},
           Case{"/spec/workspace/repository", {{"mount", "GitDirOnly"}}, ""},
           Case{"/spec/workspace/task", {{"message", "x"}}, "has no field \"task\""},
           Case{"/spec/workspace/lifecycle/suspend", true, "lifecycle.suspend"},
           Case{"/spec/workspace/llm/keySecretRef", {{"name", "key"}}, "llm.keySecretRef"},
           Case{"/spec/more", 1, "has no field \"more\""},
           Case{"/spec", 1, "spec must be an object"},
       }) {
    SCOPED_TRACE(c.pointer + " " + c.value.dump());
    json object = team_template();
    object[json::json_pointer(c.pointer)] = c.value;
    const Review review{.resource = "agentworkspacetemplates",
                        .group = "palisade.dev",
                        .name = "python",
                        .object = object};
    const Judgement judged = review.ask(judge_workspace_template, cluster);
    expect_refused(
        judged, "workspace-bounds",
        c.refused.empty() ? std::vector<std::string>() : std::vector<std::string>{"spec"});
    if (!c.refused.empty()) {
      EXPECT_THAT(judged.findings.at(0).message, HasSubstr(c.refused));
    }
  }
}

}  // namespace
}  // namespace palisade::webhook::testing
