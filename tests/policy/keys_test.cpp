// LLM keys by value: where they hide, what is let through, and that none is ever repeated.
#include <gtest/gtest.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

constexpr const char* kId = "no-llm-key-by-value";

std::vector<Finding> with(const char* field, const json& value) {
  json pod = good_pod();
  pod["spec"]["containers"][0][field] = value;
  return findings_of(pod);
}

std::vector<Finding> with_variable(const std::string& name, const std::string& value) {
  return with("env", json::array({{{"name", name}, {"value", value}}}));
}

// Made of parts so that no scanner of sources takes them for real ones.
std::string made_up(const std::string& prefix) {
  return prefix + "Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09Zz09";
}

TEST(Keys, VariablesThatNameOne) {
  for (const char* name :
       {"OPENAI_API_KEY", "openai_api_key", "ANTHROPIC_API_KEY", "AIDER_OPENAI_API_KEY",
        "AIDER_API_KEY", "API_KEY", "GEMINI_API_KEY", "SOMETHING_NEW_API_KEY", "OPENAIAPIKEY",
        "MY_APIKEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "REPLICATE_API_TOKEN",
        "ANTHROPIC_AUTH_TOKEN", "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
        "AWS_BEARER_TOKEN_BEDROCK", "AZURE_OPENAI_KEY"}) {
    const auto findings = with_variable(name, "abc");
    ASSERT_EQ(findings.size(), 1U) << name;
    EXPECT_EQ(findings[0].control, kId);
    EXPECT_EQ(findings[0].field, "spec.containers[0].env[0].value");
    EXPECT_EQ(findings[0].found, "(masked)");
  }
  for (const char* name : {"MAX_TOKEN", "TOKENIZER", "KEY", "MONKEY", "OPENAI_API_KEYS",
                           "OPENAI_API_BASE", "PUBLIC_KEY", "HOTKEY", "TOKEN_COUNT"}) {
    EXPECT_TRUE(with_variable(name, "abc").empty()) << name;
  }
}

TEST(Keys, PlaceholdersPass) {
  for (const char* value :
       {"", "none", "None", "NONE", "dummy", "placeholder", "not-needed", "not_needed", "NotNeeded",
        "unused", "sk-dummy", "sk-none", "fake-key", "xxx", "-", "<none>", "$(OTHER)"}) {
    EXPECT_TRUE(with_variable("OPENAI_API_KEY", value).empty()) << value;
  }
  for (const char* value : {"nonesuch", "sk-1", "1", "secret", "none1", "dummy.key", "openai=abc",
                            "AIzaX", "abc==", "n\xC3\xB6ne"}) {
    EXPECT_EQ(with_variable("OPENAI_API_KEY", value).size(), 1U) << value;
  }
  EXPECT_TRUE(with_variable("AIDER_API_KEY", "openai=none").empty());
}

TEST(Keys, ValuesThatLookLikeOneUnderAnyName) {
  for (const char* prefix : {"sk-", "sk-ant-", "sk-proj-", "sk-or-v1-", "AIza", "hf_", "gsk_",
                             "xai-", "r8_", "pplx-", "AKIA", "ghp_", "github_pat_", "glpat-"}) {
    const std::string key = made_up(prefix);
    for (const std::string& value :
         {key, "x " + key, "[" + key + "]", "https://u:" + key + "@example.com"}) {
      const auto findings = with_variable("HARMLESS", value);
      ASSERT_EQ(findings.size(), 1U) << value;
      EXPECT_EQ(findings[0].control, kId);
      EXPECT_EQ(explain(findings).find(key.substr(prefix == std::string("sk-") ? 3 : 2)),
                std::string::npos);
    }
    EXPECT_EQ(with("command", {"run", key}).size(), 1U) << prefix;
    EXPECT_EQ(with("args", {"x", "echo '" + key + "' | run"}).size(), 1U) << prefix;
  }
  for (const char* value :
       {"sk-short", "task-force-of-many-words-here", "risk-Zz09Zz09Zz09Zz09Zz09", "disk_0",
        "hf_hub", "AIzalea", "my-sk-", "a sk- b"}) {
    EXPECT_TRUE(with_variable("HARMLESS", value).empty()) << value;
  }
}

struct Line {
  std::vector<std::string> words;
  std::vector<int> found;  // indices of the words that are found
};

TEST(Keys, CommandLines) {
  for (const Line& line : std::vector<Line>{
           {{"--openai-api-key", "abc"}, {1}},
           {{"--openai-api-key=abc"}, {0}},
           {{"--anthropic-api-key=abc", "--openai-api-key", "def"}, {0, 2}},
           {{"--api-key", "openrouter=abc"}, {1}},
           {{"--api-key=openrouter=abc"}, {0}},
           {{"--api-key", "abc"}, {1}},
           {{"--ant", "abc"}, {1}},
           {{"--anthropic=abc"}, {0}},
           {{"--openai-api-k", "abc"}, {1}},
           {{"--api", "gemini=abc"}, {1}},
           {{"--set-env", "OPENAI_API_KEY=abc"}, {1}},
           {{"--set-env=OPENAI_API_KEY=abc"}, {0}},
           {{"env", "OPENAI_API_KEY=abc", "run"}, {1}},
           {{"sh", "-c", "export GEMINI_API_KEY='abc'; run"}, {2}},
           {{"sh", "-c", "run --openai-api-key abc"}, {2}},
           {{"sh", "-c", "run --api-key \"openai=abc\""}, {2}},
           {{"--openai-api-key", "none"}, {}},
           {{"--openai-api-key=dummy"}, {}},
           {{"--openai-api-key"}, {}},
           {{"--openai-api-key", "$KEY"}, {}},
           {{"--api-key", "openai=none"}, {}},
           {{"--openai-api-base", "http://llm"}, {}},
           {{"--openai-api-base=http://llm?x=y"}, {}},
           {{"--openai-api-type", "azure"}, {}},
           {{"--model", "openai/gpt-4o"}, {}},
           {{"--message", "explain how OPENAI_API_KEY is read"}, {}},
           {{"--analytics-disable"}, {}},
           {{"sh", "-c",
             "OPENAI_API_KEY=$(cat /run/key) run; OPENAI_API_KEY=${X} run; OPENAI_API_KEY= run"},
            {}},
       }) {
    for (const char* field : {"command", "args"}) {
      std::vector<std::string> fields;
      for (const int index : line.found) {
        fields.push_back("spec.containers[0]." + std::string(field) + "[" + std::to_string(index) +
                         "]");
      }
      const auto findings = with(field, line.words);
      EXPECT_EQ(fields_of(findings), fields) << json(line.words).dump() << tell(findings);
      for (const Finding& finding : findings)
        EXPECT_EQ(finding.found, "(masked)");
    }
  }
}

TEST(Keys, ProbesAndHooks) {
  const json exec = {{"exec", {{"command", {"run", "--openai-api-key=abc"}}}}};
  EXPECT_EQ(fields_of(with("livenessProbe", exec)),
            std::vector<std::string>{"spec.containers[0].livenessProbe.exec.command[1]"});
  EXPECT_EQ(fields_of(with("lifecycle", {{"preStop", exec}})),
            std::vector<std::string>{"spec.containers[0].lifecycle.preStop.exec.command[1]"});
}

TEST(Keys, AreNotRepeatedWhereTheTypeIsWrongEither) {
  const std::string key = made_up("sk-");
  for (const auto& [field, value] : std::vector<std::pair<std::string, json>>{
           {"env", {{"OPENAI_API_KEY", key}}},
           {"env", key},
           {"env", {key}},
           {"env", json::array({{{"name", "OPENAI_API_KEY"}, {"value", {key}}}})},
           {"env", json::array({{{"name", {key}}, {"value", "x"}}})},
           {"env", json::array({{{"name", "A"}, {"valueFrom", key}}})},
           {"envFrom", {key}},
           {"args", key},
           {"args", {{key, key}}},
           {"command", {{{"k", key}}}},
       }) {
    const auto findings = with(field.c_str(), value);
    ASSERT_FALSE(findings.empty()) << field << value.dump();
    EXPECT_EQ((tell(findings) + explain(findings)).find(key), std::string::npos)
        << field << value.dump() << tell(findings);
  }
}

}  // namespace
}  // namespace palisade::policy::testing
