// Selectors, AgentPolicies, HardeningExceptions, and what they make of settings and workspaces.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <policy/agent_policy.h>
#include <policy/exceptions.h>
#include <policy/guards.h>
#include <policy/selector.h>
#include <policy/workspace.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::expected<Selector, std::string> selector(const std::string& text) {
  return parsed(text, [](simdjson::dom::element e) { return Selector::parse(e, "spec.s"); });
}

// --- Selectors ---

TEST(Selector, MatchesAsKubernetesDoes) {
  const Labels labels{{"app", "web"}, {"tier", ""}, {"env", "prod"}};
  const struct {
    const char* selector;
    bool matches;
  } cases[] = {
      {"{}", true},
      {"null", true},
      {R"({"matchLabels": null, "matchExpressions": null})", true},
      {R"({"matchLabels": {"app": "web"}})", true},
      {R"({"matchLabels": {"app": "Web"}})", false},
      {R"({"matchLabels": {"app": "web", "env": "dev"}})", false},
      {R"({"matchLabels": {"tier": ""}})", true},
      {R"({"matchLabels": {"tier": null}})", true},
      {R"({"matchLabels": {"absent": ""}})", false},
      {R"({"matchExpressions": [{"key": "app", "operator": "In", "values": ["api", "web"]}]})",
       true},
      {R"({"matchExpressions": [{"key": "absent", "operator": "In", "values": ["web"]}]})", false},
      {R"({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]})", false},
      {R"({"matchExpressions": [{"key": "absent", "operator": "NotIn", "values": ["web"]}]})",
       true},
      {R"({"matchExpressions": [{"key": "app", "operator": "Exists"}]})", true},
      {R"({"matchExpressions": [{"key": "absent", "operator": "Exists"}]})", false},
      {R"({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]})", false},
      {R"({"matchExpressions": [{"key": "absent", "operator": "DoesNotExist"}]})", true},
      {R"({"matchLabels": {"app": "web"},
           "matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]})",
       false},
  };
  for (const auto& c : cases) {
    const auto parsed_selector = selector(c.selector);
    ASSERT_TRUE(parsed_selector) << c.selector << ": " << parsed_selector.error();
    EXPECT_EQ(parsed_selector->matches(labels), c.matches) << c.selector;
  }
  EXPECT_TRUE(selector("{}")->everything());
  EXPECT_FALSE(selector(R"({"matchLabels": {"a": "b"}})")->everything());
}

TEST(Selector, NamesWhatIsWrong) {
  const struct {
    const char* selector;
    const char* says;
  } cases[] = {
      {"[]", "spec.s must be a label selector"},
      {"7", "spec.s must be a label selector"},
      {R"({"matchLabel": {}})", "no field \"matchLabel\""},
      {R"({"matchLabels": []})", "spec.s.matchLabels must be an object"},
      {R"({"matchLabels": {"a": 1}})", "spec.s.matchLabels.a must be a text"},
      {R"({"matchExpressions": {}})", "spec.s.matchExpressions must be a list"},
      {R"({"matchExpressions": [1]})", "matchExpressions[0].key"},
      {R"({"matchExpressions": [{"operator": "Exists"}]})", "matchExpressions[0].key"},
      {R"({"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]})",
       "matchExpressions[0].operator must be one of In"},
      {R"({"matchExpressions": [{"key": "a", "operator": "In"}]})", "values must be a list"},
      {R"({"matchExpressions": [{"key": "a", "operator": "In", "values": [1]}]})",
       "values must be texts"},
      {R"({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]})",
       "values must be left out"},
  };
  for (const auto& c : cases) {
    const auto wrong = selector(c.selector);
    ASSERT_FALSE(wrong) << c.selector;
    EXPECT_THAT(wrong.error(), HasSubstr(c.says)) << c.selector;
  }
}

// --- Times ---

TEST(Times, Rfc3339) {
  const struct {
    const char* text;
    std::int64_t seconds;
  } good[] = {
      {"1970-01-01T00:00:00Z", 0},
      {"2026-11-21T12:34:56Z", 1795264496},
      {"2026-11-21t12:34:56z", 1795264496},
      {"2026-11-21T14:34:56+02:00", 1795264496},
      {"2026-11-21T12:34:56.999999Z", 1795264496},
      {"2024-02-29T00:00:00Z", 1709164800},
      {"2000-02-29T23:59:59-00:30", 951870599},
      {"1969-12-31T23:59:59Z", -1},
  };
  for (const auto& c : good) {
    const auto time = parse_rfc3339(c.text);
    ASSERT_TRUE(time) << c.text;
    EXPECT_EQ(*time, c.seconds) << c.text;
  }
  for (const char* text :
       {"", "2026-11-21", "2026-11-21T12:34:56", "2026-11-21 12:34:56Z", "2026-13-01T00:00:00Z",
        "2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00+2:00",
        "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00Zx", "26-01-01T00:00:00Z",
        "-026-01-01T00:00:00Z", "tomorrow"}) {
    EXPECT_FALSE(parse_rfc3339(text)) << text;
  }
}

TEST(Times, Durations) {
  EXPECT_EQ(parse_duration("2h"), 7200);
  EXPECT_EQ(parse_duration("1h30m"), 5400);
  EXPECT_EQ(parse_duration("1h1m1s"), 3661);
  EXPECT_EQ(parse_duration("90s"), 90);
  for (const char* text :
       {"", "0s", "2", "h", "2d", "30m1h", "1h1h", "-1h", "1.5h", "1h ", "99999999999999999999h"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Money, IsReadToTheMillionth) {
  const std::pair<const char*, std::int64_t> good[] = {{"5", 5'000'000},
                                                       {"5.00", 5'000'000},
                                                       {"0.25", 250'000},
                                                       {"0.000001", 1},
                                                       {"999999999.999999", 999'999'999'999'999}};
  for (const auto& [text, micros] : good)
    EXPECT_EQ(parse_money(text), micros) << text;
  for (const char* text : {"", "0", "0.00", "-1", "+1", "5.", ".5", "1.0000001", "1e3", "1,000",
                           "5 ", "1.2.3", "1000000000", "$5", "0.0000001"}) {
    EXPECT_FALSE(parse_money(text)) << text;
  }
}

// --- HardeningException ---

const json kException = json::parse(R"({
  "metadata": {"name": "legacy", "uid": "u1"},
  "spec": {"namespaces": ["team-a"], "podSelector": {"matchLabels": {"app": "legacy"}},
           "controls": ["read-only-root-filesystem"], "reason": "until the image is rebuilt",
           "ticket": "OPS-7", "approver": "jane", "expires": "2026-12-01T00:00:00Z"}})");

TEST(HardeningException, CoversItsControlsItsNamespacesItsPodsUntilItExpires) {
  const auto exception = parsed(kException.dump(), parse_exception);
  ASSERT_TRUE(exception) << exception.error();
  EXPECT_EQ(exception->name, "legacy");
  EXPECT_EQ(exception->uid, "u1");
  EXPECT_EQ(exception->ticket, "OPS-7");
  const Labels legacy{{"app", "legacy"}};
  const std::int64_t before = exception->expires - 1;
  const char* const control = "read-only-root-filesystem";
  EXPECT_TRUE(exception->covers(control, "team-a", legacy, before));
  EXPECT_FALSE(exception->covers(control, "team-a", legacy, exception->expires));
  EXPECT_FALSE(exception->covers("not-privileged", "team-a", legacy, before));
  EXPECT_FALSE(exception->covers(control, "team-b", legacy, before));
  EXPECT_FALSE(exception->covers(control, "team-a", {{"app", "other"}}, before));
  json everyone = kException;
  everyone["spec"].erase("podSelector");
  EXPECT_TRUE(parsed(everyone.dump(), parse_exception)->covers(control, "team-a", {}, before));
}

TEST(HardeningException, EveryFieldIsNeededAndNamedWhereItIsWrong) {
  for (const char* field : {"namespaces", "controls", "reason", "ticket", "approver", "expires"}) {
    json without = kException;
    without["spec"].erase(field);
    const auto wrong = parsed(without.dump(), parse_exception);
    ASSERT_FALSE(wrong) << field;
    EXPECT_EQ(wrong.error(), "spec." + std::string(field) + " is missing");
    json broken = kException;
    broken["spec"][field] = 7;
    EXPECT_THAT(parsed(broken.dump(), parse_exception).error(),
                HasSubstr("spec." + std::string(field)));
  }
  json unknown = kException;
  unknown["spec"]["controls"] = {"no-such-control"};
  EXPECT_THAT(parsed(unknown.dump(), parse_exception).error(), HasSubstr("no-such-control"));
  for (const Control& guard : guards()) {
    unknown["spec"]["controls"] = {"host-ports", std::string(guard.id)};
    EXPECT_THAT(parsed(unknown.dump(), parse_exception).error(),
                HasSubstr(std::string(guard.id) + " is a guard, which nothing is excepted from"));
  }
  json late = kException;
  late["spec"]["expires"] = "next week";
  EXPECT_THAT(parsed(late.dump(), parse_exception).error(),
              HasSubstr("spec.expires must be a time"));
  json more = kException;
  more["spec"]["users"] = {"jane"};
  EXPECT_THAT(parsed(more.dump(), parse_exception).error(), HasSubstr("no field \"users\""));
}

// --- Workspaces ---

std::vector<std::string> fields_of(const json& spec, const Settings& settings) {
  std::vector<std::string> out;
  const json object{{"spec", spec}};
  for (const Finding& finding : parsed(object.dump(), [&](simdjson::dom::element e) {
         return evaluate_workspace(e, settings);
       })) {
    EXPECT_EQ(finding.control, "workspace-bounds");
    out.push_back(finding.field);
  }
  return out;
}

TEST(WorkspaceBounds, TheDefaultsLetTheUsualWorkspacePass) {
  const json usual{{"repository", {{"url", "https://git.example.com/team/app.git"}}}};
  EXPECT_THAT(fields_of(usual, {}), IsEmpty());
}

TEST(WorkspaceBounds, WhatIsBeyondThemIsNamed) {
  const json wide = json::parse(R"({
    "repository": {"url": "https://GIT.other.com:8443/team/app.git"}, "llm": {"gateway": "big"},
    "agent": {"image": "docker.io/aider:1",
              "resources": {"limits": {"cpu": "9", "memory": "64Gi", "ephemeral-storage": "64Gi"}}},
    "isolation": {"userNamespace": false, "runtimeClassName": "kata"},
    "lifecycle": {"deadline": "5h"}})");
  Settings settings;
  settings.allowed_git_hosts = std::vector<std::string>{"git.example.com"};
  settings.allowed_llm_gateways = std::vector<std::string>{"default"};
  settings.allowed_registries = std::vector<std::string>{"registry.example.com"};
  settings.allowed_runtime_classes = std::vector<std::string>{"gvisor"};
  settings.require_digests = true;
  settings.max_lifetime_seconds = 3600;
  EXPECT_THAT(fields_of(wide, settings),
              ::testing::UnorderedElementsAre(
                  "spec.repository.url", "spec.llm.gateway", "spec.isolation.runtimeClassName",
                  "spec.agent.image", "spec.agent.image", "spec.isolation.userNamespace",
                  "spec.agent.resources.limits.cpu", "spec.agent.resources.limits.memory",
                  "spec.agent.resources.limits.ephemeral-storage", "spec.lifecycle.deadline"));
  // Absent fields have the CRD's defaults.
  EXPECT_THAT(fields_of({{"repository", {{"url", "https://git.example.com/a.git"}}}}, settings),
              ::testing::UnorderedElementsAre("spec.isolation.runtimeClassName",
                                              "spec.lifecycle.deadline"));
}

TEST(WorkspaceBounds, AGitHostIsAllowedWithAnyPortOrWithOne) {
  const auto judged = [](const char* url, const char* allowed) {
    Settings settings;
    settings.allowed_git_hosts.emplace(1, allowed);
    return fields_of({{"repository", {{"url", url}}}}, settings).empty();
  };
  EXPECT_TRUE(judged("https://git.example.com/a.git", "git.example.com"));
  EXPECT_TRUE(judged("https://Git.Example.com:8443/a.git", "git.example.com"));
  EXPECT_TRUE(judged("https://git.example.com:8443/a.git", "git.example.com:8443"));
  EXPECT_FALSE(judged("https://git.example.com:9/a.git", "git.example.com:8443"));
  EXPECT_FALSE(judged("https://git.example.com.evil.com/a.git", "git.example.com"));
  EXPECT_FALSE(judged("https://git.example.com@evil.com/a.git", "git.example.com"));
  EXPECT_FALSE(judged("https://evil.com/git.example.com", "git.example.com"));
  EXPECT_FALSE(judged("https://evil.com#git.example.com", "git.example.com"));
}

TEST(WorkspaceBounds, ModelsAndBudgetsBeyondThem) {
  Settings settings;
  settings.allowed_models = std::vector<std::string>{"gpt-4o", "small"};
  settings.workspace_budget = {1000, 6, 5'000'000};
  const auto judged = [&](const char* agent, const char* llm) {
    return fields_of({{"repository", {{"url", "https://g/a"}}},
                      {"agent", json::parse(agent)},
                      {"llm", json::parse(llm)}},
                     settings);
  };
  EXPECT_THAT(judged("{}", "{}"), IsEmpty());
  EXPECT_THAT(judged(R"({"model": "small"})",
                     R"({"models": ["gpt-4o"], "budget": {"tokens": 1000, "requestsPerMinute": 6,
                                                          "cost": "5.000000"}})"),
              IsEmpty());
  EXPECT_THAT(judged(R"({"model": "large"})",
                     R"({"models": ["small", "Small"], "budget": {"tokens": 1001,
                         "requestsPerMinute": 7, "cost": "5.000001"}})"),
              ::testing::UnorderedElementsAre(
                  "spec.agent.model", "spec.llm.models[1]", "spec.llm.budget.tokens",
                  "spec.llm.budget.requestsPerMinute", "spec.llm.budget.cost"));
  settings.allowed_models = std::vector<std::string>{"small"};
  EXPECT_THAT(judged("{}", "{}"), ElementsAre("spec.agent.model"));  // gpt-4o
}

TEST(WorkspaceBounds, ARepositoryIsAllowedByNameOrByItsBeginning) {
  const auto judged = [](const char* url, const char* allowed) {
    Settings settings;
    settings.allowed_repositories.emplace(1, allowed);
    return fields_of({{"repository", {{"url", url}}}}, settings).empty();
  };
  const char* const team = "https://git.example.com/team/*";
  EXPECT_TRUE(judged("https://git.example.com/team/app.git", team));
  EXPECT_TRUE(judged("https://git.example.com/team/sub/app.git", team));
  EXPECT_TRUE(judged("https://GIT.example.com:443/team/app.git/", team));
  EXPECT_TRUE(
      judged("https://git.example.com/team/app.git/", "https://git.example.com/team/app.git"));
  EXPECT_FALSE(judged("https://git.example.com/team/app", "https://git.example.com/team/app.git"));
  EXPECT_FALSE(judged("https://git.example.com:8443/team/app.git", team));
  EXPECT_FALSE(judged("https://git.example.com/team", team));
  EXPECT_FALSE(judged("https://git.example.com/team/", team));
  EXPECT_FALSE(judged("https://git.example.com/teams/app.git", team));
  EXPECT_FALSE(judged("https://git.example.com/team/../other/app.git", team));
  EXPECT_FALSE(judged("https://git.example.com/team/%2e%2e/other/app.git", team));
  EXPECT_FALSE(judged("https://git.example.com/team//app.git", team));
  EXPECT_FALSE(judged("https://evil.com/https://git.example.com/team/app.git", team));
  EXPECT_FALSE(judged("https://x@git.example.com/team/app.git", team));
  EXPECT_FALSE(judged("http://git.example.com/team/app.git", team));
}

TEST(WorkspaceBounds, WhatHasTheWrongTypeIsRefused) {
  for (
      const char* spec :
      {R"({"repository": 7})", R"({"repository": {"url": []}})",
       R"({"repository": {"url": "https://g/a"}, "llm": {"gateway": 7}})",
       R"({"repository": {"url": "https://g/a"}, "llm": {"models": "gpt-4o"}})",
       R"({"repository": {"url": "https://g/a"}, "llm": {"models": [7]}})",
       R"({"repository": {"url": "https://g/a"}, "llm": {"budget": 7}})",
       R"({"repository": {"url": "https://g/a"}, "llm": {"budget": {"tokens": "7"}}})",
       R"({"repository": {"url": "https://g/a"}, "llm": {"budget": {"tokens": 0}}})",
       R"({"repository": {"url": "https://g/a"}, "llm": {"budget": {"cost": 5}}})",
       R"({"repository": {"url": "https://g/a"}, "agent": {"model": 7}})",
       R"({"repository": {"url": "https://g/a"}, "lifecycle": {"deadline": "never"}})",
       R"({"repository": {"url": "https://g/a"}, "agent": {"resources": {"limits": {"cpu": {}}}}})"}) {
    EXPECT_FALSE(fields_of(json::parse(spec), {}).empty()) << spec;
  }
}

}  // namespace
}  // namespace palisade::policy::testing
