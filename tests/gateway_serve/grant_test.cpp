#include "grant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace palisade::gateway {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

json workspace(const json& spec = json::object()) {
  json out = {{"apiVersion", "palisade.dev/v1alpha1"},
              {"kind", "AgentWorkspace"},
              {"metadata", {{"name", "fix-login"}, {"namespace", "team-a"}, {"uid", "uid-1"}}},
              {"spec",
               {{"repository",
                 {{"url", "https://git.example.com/team/app.git"},
                  {"credentials", {{"secretRef", {{"name", "token"}}}}}}}}}};
  out["spec"].merge_patch(spec);
  return slim_workspace(out);
}

Grant granted(const json& spec = json::object(), const policy::Settings& settings = {}) {
  auto grant = grant_of(workspace(spec), settings);
  if (!grant) throw std::runtime_error(grant.error());
  return *grant;
}

TEST(Grant, DefaultsAreThoseOfTheSchema) {
  const Grant grant = granted();
  EXPECT_THAT(grant.models, ElementsAre("gpt-4o"));
  EXPECT_EQ(grant.workspace_budget, Budget());
  EXPECT_EQ(grant.namespace_budget, Budget());
  ASSERT_TRUE(grant.repository);
  EXPECT_EQ(grant.repository->url, "https://git.example.com/team/app.git");
  EXPECT_EQ(grant.repository->branch, "palisade/fix-login");
  EXPECT_FALSE(grant.repository->read_only);
  EXPECT_EQ(grant.repository->username, "x-access-token");
}

TEST(Grant, ModelsAreTheAgentsAndTheOthersThatAreAllowed) {
  const json spec = {{"agent", {{"model", "small"}}}, {"llm", {{"models", {"large", "huge"}}}}};
  EXPECT_THAT(granted(spec).models, ElementsAre("small", "large", "huge"));
  policy::Settings settings;
  settings.allowed_models = {"large", "other"};
  EXPECT_THAT(granted(spec, settings).models, ElementsAre("large"));
  settings.allowed_models = std::vector<std::string>();
  EXPECT_TRUE(granted(spec, settings).models.empty());
  policy::Settings elsewhere;
  elsewhere.allowed_llm_gateways = {"other"};
  EXPECT_TRUE(granted(spec, elsewhere).models.empty());
}

TEST(Grant, BudgetsAreTheStricter) {
  const json spec = {
      {"llm", {{"budget", {{"tokens", 1000}, {"requestsPerMinute", 10}, {"cost", "5.00"}}}}}};
  EXPECT_EQ(granted(spec).workspace_budget, (Budget{1000, 10, 5'000'000}));
  policy::Settings settings;
  settings.workspace_budget = {500, 20, std::nullopt};
  settings.namespace_budget = {7, 8, 9};
  EXPECT_EQ(granted(spec, settings).workspace_budget, (Budget{500, 10, 5'000'000}));
  EXPECT_EQ(granted(spec, settings).namespace_budget, (Budget{7, 8, 9}));
  // Who asks for none has what the policy says.
  EXPECT_EQ(granted({}, settings).workspace_budget, (Budget{500, 20, std::nullopt}));
  EXPECT_EQ(stricter({1, {}, 3}, {2, 5, {}}), (Budget{1, 5, 3}));
}

TEST(Grant, TheRepositoryIsThereWhereItMayBe) {
  struct Case {
    const char* name;
    json repository;
    std::optional<std::vector<std::string>> repositories;
    std::optional<std::vector<std::string>> hosts;
    bool granted;
  };
  const Case cases[] = {
      {"usual", json::object(), {}, {}, true},
      {"direct", {{"via", "Direct"}}, {}, {}, false},
      {"a Service", {{"url", "https://git.team.svc/team/app.git"}}, {}, {}, false},
      {"a Service through the gateway",
       {{"url", "https://git.team.svc/team/app.git"}, {"via", "Gateway"}},
       {},
       {},
       true},
      {"among those allowed", json::object(), {{"https://git.example.com/team/*"}}, {}, true},
      {"not among them", json::object(), {{"https://git.example.com/other/*"}}, {}, false},
      {"none allowed", json::object(), {{}}, {}, false},
      {"its host", json::object(), {}, {{"git.example.com"}}, true},
      {"another host", json::object(), {}, {{"git.example.org"}}, false},
  };
  for (const Case& one : cases) {
    policy::Settings settings;
    settings.allowed_repositories = one.repositories;
    settings.allowed_git_hosts = one.hosts;
    EXPECT_EQ(granted({{"repository", one.repository}}, settings).repository.has_value(),
              one.granted)
        << one.name;
  }
}

TEST(Grant, WhoCannotPushIsReadOnly) {
  EXPECT_TRUE(granted({{"repository", {{"access", "ReadOnly"}}}}).repository->read_only);
  EXPECT_TRUE(granted({{"repository", {{"credentials", nullptr}}}}).repository->read_only);
  EXPECT_EQ(granted({{"repository", {{"credentials", {{"secretRef", {{"username", "bot"}}}}}}}})
                .repository->username,
            "bot");
}

// The schema may have been by-passed: an older one, a conversion.
TEST(Grant, WhatTheSchemaWouldRefuseIsRefusedByField) {
  struct Case {
    json spec;
    const char* names;
  };
  const Case cases[] = {
      {{{"agent", 3}}, "spec.agent"},
      {{{"agent", {{"model", 3}}}}, "spec.agent.model"},
      {{{"llm", {{"models", "all"}}}}, "spec.llm.models"},
      {{{"llm", {{"models", {1}}}}}, "spec.llm.models"},
      {{{"llm", {{"budget", {{"tokens", "many"}}}}}}, "spec.llm.budget.tokens"},
      {{{"llm", {{"budget", {{"tokens", -1}}}}}}, "spec.llm.budget.tokens"},
      {{{"llm", {{"budget", {{"requestsPerMinute", 1.5}}}}}}, "spec.llm.budget.requestsPerMinute"},
      {{{"llm", {{"budget", {{"cost", "free"}}}}}}, "spec.llm.budget.cost"},
      {{{"repository", {{"branch", "main"}}}}, "spec.repository.branch"},
      {{{"repository", {{"branch", "refs/heads/main"}}}}, "spec.repository.branch"},
      {{{"repository", {{"branch", "a..b"}}}}, "spec.repository.branch"},
      {{{"repository", {{"branch", "a b"}}}}, "spec.repository.branch"},
      {{{"repository", {{"branch", "a\nb"}}}}, "spec.repository.branch"},
      {{{"repository", {{"branch", "-x"}}}}, "spec.repository.branch"},
      {{{"repository", {{"access", "Full"}}}}, "spec.repository.access"},
      {{{"repository", {{"url", 4}}}}, "spec.repository.url"},
  };
  for (const Case& one : cases) {
    const auto grant = grant_of(workspace(one.spec), {});
    ASSERT_FALSE(grant) << one.spec;
    EXPECT_THAT(grant.error(), HasSubstr(one.names)) << one.spec;
  }
}

TEST(Slim, KeepsWhatIsReadAndNothingElse) {
  json pod = {{"metadata",
               {{"name", "p"},
                {"namespace", "n"},
                {"uid", "u"},
                {"annotations", {{"large", std::string(1000, 'x')}}},
                {"ownerReferences", json::array({{{"kind", "AgentWorkspace"}}})}}},
              {"spec", {{"serviceAccountName", "sa"}, {"containers", json::array()}}},
              {"status", {{"phase", "Running"}, {"podIP", "10.0.0.1"}}}};
  const json slim = slim_pod(pod);
  EXPECT_EQ(text_at(slim, "/spec/serviceAccountName"), "sa");
  EXPECT_EQ(text_at(slim, "/status/phase"), "Running");
  EXPECT_EQ(slim["metadata"]["ownerReferences"].size(), 1U);
  EXPECT_LT(slim.dump().size(), 200U);
}

}  // namespace
}  // namespace palisade::gateway
