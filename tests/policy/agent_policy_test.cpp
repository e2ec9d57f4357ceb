// Bounds that administrators set: how AgentPolicies are read, and how several combine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <policy/agent_policy.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

AgentPolicy policy_of(const std::string& spec) {
  auto out = parsed(R"({"metadata": {"name": "p"}, "spec": )" + spec + "}", parse_agent_policy);
  if (!out) throw std::runtime_error(out.error());
  return std::move(*out);
}

Settings combined(const std::vector<AgentPolicy>& policies, Settings base = {}) {
  std::vector<const AgentPolicy*> pointers;
  for (const AgentPolicy& policy : policies)
    pointers.push_back(&policy);
  return tightened(std::move(base), pointers);
}

template <class Change>
Settings with(Change change) {
  Settings out;
  change(out);
  return out;
}

TEST(AgentPolicy, AnEmptyOneBoundsNothingAndSelectsEverything) {
  const AgentPolicy policy = policy_of("{}");
  EXPECT_EQ(policy.name, "p");
  EXPECT_TRUE(policy.namespaces.matches({}));
  EXPECT_EQ(combined({policy}), Settings{});
}

TEST(AgentPolicy, AnArchiveIsDemandedOrNot) {
  EXPECT_FALSE(policy_of("{}").archive_required);
  EXPECT_FALSE(policy_of(R"({"archive": {}})").archive_required);
  EXPECT_FALSE(policy_of(R"({"archive": {"required": false}})").archive_required);
  EXPECT_TRUE(policy_of(R"({"archive": {"required": true}})").archive_required);
  for (const char* wrong : {R"({"archive": true})", R"({"archive": {"required": "yes"}})",
                            R"({"archive": {"require": true}})"})
    EXPECT_THROW(policy_of(wrong), std::runtime_error) << wrong;
}

TEST(AgentPolicy, MirrorsAreThoseThatAllPoliciesNameAlike) {
  EXPECT_FALSE(combined({policy_of("{}")}).setup_mirrors);
  const AgentPolicy one = policy_of(R"({"setup": {"mirrors": [
      {"name": "pypi.example.com", "addresses": ["192.0.2.10", "2001:db8::10"]},
      {"name": "npm.example.com", "addresses": ["192.0.2.11"], "port": 8443}]}})");
  const auto mirrors = *combined({one}).setup_mirrors;
  ASSERT_EQ(mirrors.size(), 2U);
  EXPECT_EQ(mirrors[0], (SetupMirror{"pypi.example.com", {"192.0.2.10", "2001:db8::10"}, 443}));
  EXPECT_EQ(mirrors[1].port, 8443);
  const AgentPolicy two = policy_of(R"({"setup": {"mirrors": [
      {"name": "pypi.example.com", "addresses": ["192.0.2.66"]},
      {"name": "npm.example.com", "addresses": ["192.0.2.11"], "port": 8443}]}})");
  const auto both = *combined({one, policy_of("{}"), two}).setup_mirrors;
  ASSERT_EQ(both.size(), 1U);
  EXPECT_EQ(both[0].name, "npm.example.com");
  EXPECT_TRUE(combined({one, policy_of(R"({"setup": {"mirrors": []}})")}).setup_mirrors->empty());
  const std::pair<const char*, const char*> wrong[] = {
      {R"({"mirrors": {}})", "spec.setup.mirrors must be a list"},
      {R"({"mirror": []})", "spec.setup has no field \"mirror\""},
      {R"({"mirrors": [{"addresses": ["192.0.2.1"]}]})", "spec.setup.mirrors[0].name"},
      {R"({"mirrors": [{"name": "Pypi", "addresses": ["192.0.2.1"]}]})",
       "spec.setup.mirrors[0].name"},
      {R"({"mirrors": [{"name": "a b", "addresses": ["192.0.2.1"]}]})",
       "spec.setup.mirrors[0].name"},
      {R"({"mirrors": [{"name": "localhost", "addresses": ["192.0.2.1"]}]})",
       "spec.setup.mirrors[0].name"},
      {R"({"mirrors": [{"name": "a"}]})", "spec.setup.mirrors[0].addresses"},
      {R"({"mirrors": [{"name": "a", "addresses": ["192.0.2.0/24"]}]})",
       "spec.setup.mirrors[0].addresses"},
      {R"({"mirrors": [{"name": "a", "addresses": ["mirror"]}]})",
       "spec.setup.mirrors[0].addresses"},
      {R"({"mirrors": [{"name": "a", "addresses": ["192.0.2.1"], "port": 0}]})",
       "spec.setup.mirrors[0].port"},
      {R"({"mirrors": [{"name": "a", "addresses": ["192.0.2.1"]}, {"name": "a", "addresses": ["192.0.2.2"]}]})",
       "given twice"},
  };
  for (const auto& [setup, says] : wrong) {
    SCOPED_TRACE(setup);
    const auto read =
        parsed(R"({"metadata": {"name": "p"}, "spec": {"setup": )" + std::string(setup) + "}}",
               parse_agent_policy);
    ASSERT_FALSE(read);
    EXPECT_THAT(read.error(), HasSubstr(says));
  }
}

TEST(AgentPolicy, EveryFieldNarrows) {
  const Settings settings = combined({policy_of(R"({
    "namespaceSelector": {"matchLabels": {"team": "a"}},
    "allowedRegistries": ["registry.example.com/palisade"], "requireDigests": true,
    "allowedRuntimeClasses": ["gvisor", ""],
    "maxResources": {"cpu": "500m", "memory": "2Gi", "ephemeral-storage": 1000000},
    "maxLifetime": "4h", "allowedLLMGateways": ["default"], "allowedGitHosts": ["git.example.com"],
    "allowedTokenAudiences": ["gateway"], "allowedModels": ["gpt-4o"],
    "allowedRepositories": ["https://git.example.com/team/*"],
    "llmBudget": {"perWorkspace": {"tokens": 1000, "requestsPerMinute": 6, "cost": "5.00"},
                  "perNamespace": {"tokensPerDay": 2000, "requestsPerMinute": 7, "costPerDay": "9"}},
    "sessions": {"users": ["jane"]}, "permissions": {"agent": ["filesystem.rw"]}})")},
                                     with([](Settings& s) {
                                       s.allowed_token_audiences = {"gateway", "other"};
                                     }));
  EXPECT_THAT(*settings.allowed_registries, ElementsAre("registry.example.com/palisade"));
  EXPECT_TRUE(settings.require_digests);
  EXPECT_THAT(*settings.allowed_runtime_classes, ElementsAre("gvisor", ""));
  EXPECT_EQ(settings.max_cpu_millis, 500);
  EXPECT_EQ(settings.max_memory_bytes, 2LL << 30);
  EXPECT_EQ(settings.max_ephemeral_bytes, 1'000'000);
  EXPECT_EQ(settings.max_lifetime_seconds, 4 * 3600);
  EXPECT_THAT(*settings.allowed_llm_gateways, ElementsAre("default"));
  EXPECT_THAT(*settings.allowed_git_hosts, ElementsAre("git.example.com"));
  EXPECT_THAT(settings.allowed_token_audiences, ElementsAre("gateway"));
  EXPECT_THAT(*settings.allowed_models, ElementsAre("gpt-4o"));
  EXPECT_THAT(*settings.allowed_repositories, ElementsAre("https://git.example.com/team/*"));
  EXPECT_EQ(settings.workspace_budget, (LlmBudget{1000, 6, 5'000'000}));
  EXPECT_EQ(settings.namespace_budget, (LlmBudget{2000, 7, 9'000'000}));
  EXPECT_THAT(settings.session_users, ElementsAre("jane"));
  EXPECT_THAT(settings.session_groups, IsEmpty());
  EXPECT_THAT(*settings.agent_permissions, ElementsAre("filesystem.rw"));
}

TEST(AgentPolicy, NoneWidensTheClustersOwnSettings) {
  const Settings settings = combined(
      {policy_of(
          R"({"maxResources": {"cpu": "1000"}, "maxLifetime": "999h", "requireDigests": false,
                     "allowedRegistries": ["other.example.com"],
                     "allowedTokenAudiences": ["https://kubernetes.default.svc"]})")},
      with([](Settings& s) {
        s.max_lifetime_seconds = 60;
        s.max_cpu_millis = 100;
        s.allowed_registries = std::vector<std::string>{"registry.example.com"};
        s.require_digests = true;
      }));
  EXPECT_EQ(settings.max_cpu_millis, 100);
  EXPECT_EQ(settings.max_lifetime_seconds, 60);
  EXPECT_TRUE(settings.require_digests);
  EXPECT_THAT(*settings.allowed_registries, IsEmpty());
  EXPECT_THAT(settings.allowed_token_audiences, IsEmpty());
}

TEST(AgentPolicy, OverlappingOnesCombineToTheStricterWhateverTheirOrder) {
  const AgentPolicy a = policy_of(R"({
    "allowedRegistries": ["registry.example.com", "mirror.example.com/a"], "maxLifetime": "2h",
    "maxResources": {"cpu": "4"}, "allowedGitHosts": ["a.example.com", "b.example.com"],
    "sessions": {"users": ["jane", "joe"], "groups": ["ops"]}, "requireDigests": true})");
  const AgentPolicy b = policy_of(R"({
    "allowedRegistries": ["registry.example.com/palisade/", "mirror.example.com"],
    "maxLifetime": "3h", "maxResources": {"cpu": "2", "memory": "1Gi"},
    "allowedGitHosts": ["b.example.com", "c.example.com"], "sessions": {"users": ["joe"]}})");
  for (const auto& settings : {combined({a, b}), combined({b, a})}) {
    EXPECT_THAT(
        *settings.allowed_registries,
        ::testing::UnorderedElementsAre("registry.example.com/palisade/", "mirror.example.com/a"));
    EXPECT_EQ(settings.max_lifetime_seconds, 7200);
    EXPECT_EQ(settings.max_cpu_millis, 2000);
    EXPECT_EQ(settings.max_memory_bytes, 1LL << 30);
    EXPECT_THAT(*settings.allowed_git_hosts, ElementsAre("b.example.com"));
    EXPECT_THAT(settings.session_users, ElementsAre("joe"));
    EXPECT_THAT(settings.session_groups, IsEmpty());
    EXPECT_TRUE(settings.require_digests);
  }
}

TEST(AgentPolicy, OverlappingOnesCombineToTheStricterInWhatPodsAreHeldTo) {
  const AgentPolicy a = policy_of(R"({
    "allowedRuntimeClasses": ["gvisor", "kata"], "allowedLLMGateways": ["default", "cheap"],
    "allowedTokenAudiences": ["gateway", "vault"],
    "maxResources": {"ephemeral-storage": "4Gi", "memory": "1Gi"}})");
  const AgentPolicy b = policy_of(R"({
    "allowedRuntimeClasses": ["kata", ""], "allowedLLMGateways": ["cheap", "big"],
    "allowedTokenAudiences": ["vault", "registry"],
    "maxResources": {"ephemeral-storage": "2Gi", "memory": "2Gi"}})");
  // Classes that no policy of both allows: none at all is left, not any.
  const AgentPolicy c = policy_of(R"({
    "allowedRuntimeClasses": ["runc"], "allowedLLMGateways": ["other"],
    "allowedTokenAudiences": ["other"]})");
  const Settings own = with([](Settings& s) {
    s.allowed_token_audiences = {"gateway", "vault", "registry"};
    s.max_ephemeral_bytes = 3LL << 30;
  });
  for (const auto& settings : {combined({a, b}, own), combined({b, a}, own)}) {
    EXPECT_THAT(*settings.allowed_runtime_classes, ElementsAre("kata"));
    EXPECT_THAT(*settings.allowed_llm_gateways, ElementsAre("cheap"));
    EXPECT_THAT(settings.allowed_token_audiences, ElementsAre("vault"));
    EXPECT_EQ(settings.max_ephemeral_bytes, 2LL << 30);
    EXPECT_EQ(settings.max_memory_bytes, 1LL << 30);
  }
  // The cluster's own bound is one of them.
  EXPECT_EQ(combined({a}, own).max_ephemeral_bytes, 3LL << 30);
  EXPECT_THAT(combined({a}, own).allowed_token_audiences, ElementsAre("gateway", "vault"));
  for (const auto& settings : {combined({a, c}, own), combined({c, b, a}, own)}) {
    ASSERT_TRUE(settings.allowed_runtime_classes && settings.allowed_llm_gateways);
    EXPECT_THAT(*settings.allowed_runtime_classes, IsEmpty());
    EXPECT_THAT(*settings.allowed_llm_gateways, IsEmpty());
    EXPECT_THAT(settings.allowed_token_audiences, IsEmpty());
  }
}

// The network is the relay's and the courier's, whatever an administrator writes.
TEST(AgentPolicy, NoneGivesAnAgentTheNetwork) {
  for (const char* name : {"network", "network.egress", "network.egress.llm", "network.egress.git",
                           "network.egress.gateway", "network.egress.extra", "network.egress.any",
                           "network.egress.api.llm"}) {
    const auto refused = parsed(std::string(R"({"metadata": {"name": "p"},
        "spec": {"permissions": {"agent": ["filesystem.rw", ")") +
                                    name + "\"]}}}",
                                parse_agent_policy);
    ASSERT_FALSE(refused) << name;
    EXPECT_THAT(refused.error(), ::testing::HasSubstr("spec.permissions.agent")) << name;
    EXPECT_THAT(refused.error(), ::testing::HasSubstr(name));
    EXPECT_THAT(refused.error(), ::testing::HasSubstr("take it out"));
  }
  // What has no such name is none of it.
  EXPECT_THAT(
      *policy_of(R"({"permissions": {"agent": ["filesystem.rw", "git.api", "network.ingress",
                            "network.loopback", "networks"]}})")
           .agent_permissions,
      ::testing::SizeIs(5));
}

TEST(AgentPolicy, BudgetsTakeTheSmallerFieldByField) {
  const AgentPolicy a = policy_of(R"({"llmBudget": {
    "perWorkspace": {"tokens": 10, "cost": "2"}, "perNamespace": {"tokensPerDay": 100}}})");
  const AgentPolicy b = policy_of(R"({"llmBudget": {
    "perWorkspace": {"tokens": 20, "requestsPerMinute": 3, "cost": "1.5"},
    "perNamespace": {"costPerDay": "4"}}})");
  Settings own;
  own.workspace_budget.requests_per_minute = 2;
  for (const auto& settings : {combined({a, b}, own), combined({b, a}, own)}) {
    EXPECT_EQ(settings.workspace_budget, (LlmBudget{10, 2, 1'500'000}));
    EXPECT_EQ(settings.namespace_budget, (LlmBudget{100, std::nullopt, 4'000'000}));
  }
}

TEST(AgentPolicy, RepositoriesIntersectByWhatTheyHold) {
  const auto both = [](const char* x, const char* y) {
    const auto of = [](const char* url) {
      return policy_of(std::string(R"({"allowedRepositories": [")") + url + "\"]}");
    };
    const auto there = *combined({of(x), of(y)}).allowed_repositories;
    EXPECT_EQ(there, *combined({of(y), of(x)}).allowed_repositories) << x << " " << y;
    return there;
  };
  EXPECT_THAT(both("https://g/*", "https://g/team/*"), ElementsAre("https://g/team/*"));
  EXPECT_THAT(both("https://g/team/*", "https://g/team/app.git"),
              ElementsAre("https://g/team/app.git"));
  EXPECT_THAT(both("https://g/team/*", "https://g/teams/*"), IsEmpty());
  EXPECT_THAT(both("https://g/team/*", "https://g/team"), IsEmpty());
  EXPECT_THAT(both("https://G:443/team/app/", "https://g/team/app"),
              ElementsAre("https://g/team/app"));
  EXPECT_THAT(both("https://g:444/*", "https://g/*"), IsEmpty());
}

TEST(AgentPolicy, WhatIsGivenTwiceCountsOnce) {
  const AgentPolicy twice = policy_of(
      R"({"allowedRegistries": ["a.example.com", "a.example.com"], "allowedGitHosts": ["g", "g"]})");
  EXPECT_THAT(*combined({twice}).allowed_registries, ElementsAre("a.example.com"));
  EXPECT_THAT(*combined({twice}).allowed_git_hosts, ElementsAre("g"));
  EXPECT_EQ(combined({twice}), combined({twice, twice}));
}

TEST(AgentPolicy, ARegistryIsAPrefixOfWholeParts) {
  const Settings settings =
      combined({policy_of(R"({"allowedRegistries": ["registry.example.com/pal"]})"),
                policy_of(R"({"allowedRegistries": ["registry.example.com/palisade"]})")});
  EXPECT_THAT(*settings.allowed_registries, IsEmpty());
}

TEST(AgentPolicy, TheClustersSessionUsersStayBesideThePolicies) {
  const Settings settings = combined({policy_of(R"({"sessions": {"users": ["jane"]}})")},
                                     with([](Settings& s) { s.session_users = {"on-call"}; }));
  EXPECT_THAT(settings.session_users, ElementsAre("on-call", "jane"));
}

TEST(AgentPolicy, NamesWhatIsWrong) {
  const struct {
    const char* spec;
    const char* says;
  } cases[] = {
      {"7", "spec must be an object"},
      {R"({"allowedRegistry": []})", "spec has no field \"allowedRegistry\""},
      {R"({"requireDigests": "yes"})", "spec.requireDigests must be true or false"},
      {R"({"allowedRegistries": [""]})", "spec.allowedRegistries must be a list"},
      {R"({"allowedRegistries": [1]})", "spec.allowedRegistries must be a list"},
      {R"({"maxResources": {"gpu": 1}})", "spec.maxResources has no field \"gpu\""},
      {R"({"maxResources": {"cpu": "0"}})", "spec.maxResources.cpu must be a quantity"},
      {R"({"maxResources": {"cpu": "lots"}})", "spec.maxResources.cpu must be a quantity"},
      {R"({"maxLifetime": "soon"})", "spec.maxLifetime must be a duration"},
      {R"({"maxLifetime": 7})", "spec.maxLifetime must be a duration"},
      {R"({"allowedModels": [""]})", "spec.allowedModels must be a list"},
      {R"({"allowedRepositories": ["git.example.com/*"]})", "spec.allowedRepositories must be"},
      {R"({"allowedRepositories": ["https://git.example.com"]})", "spec.allowedRepositories must"},
      {R"({"allowedRepositories": ["https://g/team*"]})", "spec.allowedRepositories must be"},
      {R"({"allowedRepositories": ["https://g/a/../*"]})", "spec.allowedRepositories must be"},
      {R"({"allowedRepositories": ["https://jane@g/a"]})", "spec.allowedRepositories must be"},
      {R"({"llmBudget": {"perUser": {}}})", "spec.llmBudget has no field \"perUser\""},
      {R"({"llmBudget": {"perWorkspace": {"tokensPerDay": 1}}})",
       "spec.llmBudget.perWorkspace has no field"},
      {R"({"llmBudget": {"perWorkspace": {"tokens": 0}}})",
       "spec.llmBudget.perWorkspace.tokens must be a whole number above 0"},
      {R"({"llmBudget": {"perWorkspace": {"cost": 5}}})",
       "spec.llmBudget.perWorkspace.cost must be an amount"},
      {R"({"llmBudget": {"perNamespace": {"costPerDay": "free"}}})",
       "spec.llmBudget.perNamespace.costPerDay must be an amount"},
      {R"({"sessions": {"user": ["jane"]}})", "spec.sessions has no field \"user\""},
      {R"({"namespaceSelector": {"matchLabels": 1}})",
       "spec.namespaceSelector.matchLabels must be"},
      {R"({"requireDigests": true, "requireDigests": false})",
       "spec.requireDigests is given twice"},
  };
  for (const auto& c : cases) {
    const auto wrong = parsed(std::string(R"({"spec": )") + c.spec + "}", parse_agent_policy);
    ASSERT_FALSE(wrong) << c.spec;
    EXPECT_THAT(wrong.error(), HasSubstr(c.says)) << c.spec;
  }
  EXPECT_FALSE(parsed("{}", parse_agent_policy));
}

}  // namespace
}  // namespace palisade::policy::testing
