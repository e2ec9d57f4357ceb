#include <gtest/gtest.h>

#include <policy/policy.h>

namespace palisade::policy {
namespace {

TEST(Settings, EmptyIsTheStrictDefault) {
  const auto settings = parse_settings("{}");
  ASSERT_TRUE(settings.has_value()) << settings.error();
  EXPECT_TRUE(settings->require_user_namespace);
  EXPECT_TRUE(settings->allowed_seccomp_localhost_profiles.empty());
  EXPECT_TRUE(settings->allowed_token_audiences.empty());
  EXPECT_EQ(settings->max_lifetime_seconds, 86400);
  EXPECT_EQ(settings->allowed_volume_types, Settings{}.allowed_volume_types);
}

TEST(Settings, EveryFieldIsRead) {
  const auto settings = parse_settings(R"({
    "allowedSeccompLocalhostProfiles": ["a.json", "b.json"], "allowedVolumeTypes": ["emptyDir", "csi"],
    "allowedTokenAudiences": ["vault"], "requireUserNamespace": false, "maxLifetimeSeconds": 60,
    "maxCpuMillis": 500, "maxMemoryBytes": "1Gi", "maxEphemeralBytes": 1024, "maxEmptyDirBytes": "2Mi",
    "allowedModels": ["gpt-4o"], "allowedRepositories": ["https://Git.example.com:443/team/*"],
    "llmBudget": {"perWorkspace": {"tokens": 7, "requestsPerMinute": 8, "cost": "0.5"},
                  "perNamespace": {"tokensPerDay": 9, "requestsPerMinute": 10, "costPerDay": "11"}}})");
  ASSERT_TRUE(settings.has_value()) << settings.error();
  EXPECT_EQ(settings->allowed_seccomp_localhost_profiles,
            (std::vector<std::string>{"a.json", "b.json"}));
  EXPECT_EQ(settings->allowed_volume_types, (std::vector<std::string>{"emptyDir", "csi"}));
  EXPECT_EQ(settings->allowed_token_audiences, std::vector<std::string>{"vault"});
  EXPECT_FALSE(settings->require_user_namespace);
  EXPECT_EQ(settings->max_lifetime_seconds, 60);
  EXPECT_EQ(settings->max_cpu_millis, 500);
  EXPECT_EQ(settings->max_memory_bytes, 1LL << 30);
  EXPECT_EQ(settings->max_ephemeral_bytes, 1024);
  EXPECT_EQ(settings->max_empty_dir_bytes, 2LL << 20);
  EXPECT_EQ(settings->allowed_models, std::vector<std::string>{"gpt-4o"});
  EXPECT_EQ(settings->allowed_repositories,
            std::vector<std::string>{"https://git.example.com/team/*"});
  EXPECT_EQ(settings->workspace_budget, (LlmBudget{7, 8, 500'000}));
  EXPECT_EQ(settings->namespace_budget, (LlmBudget{9, 10, 11'000'000}));
}

struct Bad {
  const char* json;
  const char* names;  // what the error must name
};

TEST(Settings, ErrorsNameTheField) {
  for (const Bad& bad : {
           Bad{"", "JSON"},
           Bad{"{", "JSON"},
           Bad{"requireUserNamespace: false", "JSON"},
           Bad{"[]", "object"},
           Bad{"null", "object"},
           Bad{R"({"maxCpu": 1})", "maxCpu"},
           Bad{R"({"maxCpuMilli": 1})", "maxCpuMillis"},
           Bad{R"({"MaxCpuMillis": 1})", "MaxCpuMillis"},
           Bad{R"({"maxCpuMillis": "1"})", "maxCpuMillis"},
           Bad{R"({"maxCpuMillis": 0})", "maxCpuMillis"},
           Bad{R"({"maxCpuMillis": -1})", "maxCpuMillis"},
           Bad{R"({"maxCpuMillis": 1.5})", "maxCpuMillis"},
           Bad{R"({"maxCpuMillis": 18446744073709551615})", "maxCpuMillis"},
           Bad{R"({"maxCpuMillis": 99999999999999999999})", "number"},
           Bad{R"({"maxCpuMillis": null})", "maxCpuMillis"},
           Bad{R"({"maxCpuMillis": 1, "maxCpuMillis": 2})", "maxCpuMillis is given twice"},
           Bad{R"({"maxLifetimeSeconds": true})", "maxLifetimeSeconds"},
           Bad{R"({"maxMemoryBytes": "lots"})", "maxMemoryBytes"},
           Bad{R"({"maxMemoryBytes": "-1Gi"})", "maxMemoryBytes"},
           Bad{R"({"maxEphemeralBytes": []})", "maxEphemeralBytes"},
           Bad{R"({"maxEmptyDirBytes": 0})", "maxEmptyDirBytes"},
           Bad{R"({"requireUserNamespace": "false"})", "requireUserNamespace"},
           Bad{R"({"requireUserNamespace": 0})", "requireUserNamespace"},
           Bad{R"({"allowedTokenAudiences": "vault"})", "allowedTokenAudiences"},
           Bad{R"({"allowedTokenAudiences": [""]})", "allowedTokenAudiences"},
           Bad{R"({"allowedTokenAudiences": [1]})", "allowedTokenAudiences"},
           Bad{R"({"allowedSeccompLocalhostProfiles": {}})", "allowedSeccompLocalhostProfiles"},
           Bad{R"({"allowedVolumeTypes": ["emptyDir", "hostPath"]})", "allowedVolumeTypes"},
           Bad{R"({"allowedVolumeTypes": ["emptydir"]})", "allowedVolumeTypes"},
           Bad{R"({"allowedModels": [""]})", "allowedModels"},
           Bad{R"({"allowedRepositories": ["git.example.com/*"]})", "allowedRepositories"},
           Bad{R"({"llmBudget": 7})", "llmBudget must be an object"},
           Bad{R"({"llmBudget": {"perWorkspace": {"cost": 5}}})", "llmBudget.perWorkspace.cost"},
           Bad{R"({"llmBudget": {"perNamespace": {"tokens": 5}}})",
               "llmBudget.perNamespace has no field"},
       }) {
    const auto settings = parse_settings(bad.json);
    ASSERT_FALSE(settings.has_value()) << bad.json;
    EXPECT_NE(settings.error().find(bad.names), std::string::npos)
        << bad.json << ": " << settings.error();
    EXPECT_TRUE(settings.error().starts_with("policy settings")) << settings.error();
  }
}

// Errors go to terminals, logs and answers: they repeat nothing that reorders or breaks them.
TEST(Settings, ErrorsAreFitToBeShown) {
  for (const std::string& name : {std::string("a\\u0000b"), std::string("\\u001b[2J"),
                                  std::string("\xE2\x80\xAE"), std::string(99, 'x') + "\xC3\xA9"}) {
    const auto settings = parse_settings("{\"" + name + "\": 1}");
    ASSERT_FALSE(settings.has_value());
    EXPECT_TRUE(simdjson::validate_utf8(settings.error())) << settings.error();
    EXPECT_EQ(settings.error(), shown(settings.error()));
  }
}

}  // namespace
}  // namespace palisade::policy
