#include <fstream>
#include <sstream>

#include <gateway/serve/config.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "routes.h"

namespace palisade::gateway {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json usual() {
  return json::parse(R"({
    "audience": "gateway",
    "llm": {
      "upstreams": [{"name": "openai", "url": "https://api.openai.com/v1", "keySecret": {"name": "openai", "key": "api-key"}}],
      "models": [{"name": "gpt-4o", "routes": [{"upstream": "openai"}],
                  "price": {"inputPerMillion": "2.50", "outputPerMillion": "10.00"}}]},
    "git": {"spool": "/tmp/spool"},
    "budgets": {"perWorkspace": {"tokens": 1000, "requestsPerMinute": 10, "cost": "5.00"},
                "perNamespace": {"tokensPerDay": 2000, "requestsPerMinute": 20, "costPerDay": "50"}}})");
}

TEST(Config, IsReadWhole) {
  const auto config = parse_gateway_config(usual().dump());
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->audience, "gateway");
  EXPECT_EQ(config->llm.models.at(0).name, "gpt-4o");
  EXPECT_EQ(config->git.spool, "/tmp/spool");
  EXPECT_EQ(config->per_workspace, (policy::LlmBudget{1000, 10, 5'000'000}));
  EXPECT_EQ(config->per_namespace, (policy::LlmBudget{2000, 20, 50'000'000}));
}

TEST(Config, AllButTheModelsHasDefaults) {
  const auto config = parse_gateway_config(json{{"llm", usual()["llm"]}}.dump());
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->audience, "palisade-gateway");
  EXPECT_EQ(config->per_workspace, policy::LlmBudget());
  EXPECT_EQ(config->git.spool, "/spool");
}

TEST(Config, AnArchiveIsReadOrThereIsNone) {
  EXPECT_FALSE(parse_gateway_config(usual().dump())->archive);
  json kept = usual();
  kept["archive"] = {{"directory", "/archive"}, {"retentionDays", 7}};
  const auto config = parse_gateway_config(kept.dump());
  ASSERT_TRUE(config && config->archive);
  EXPECT_EQ(config->archive->directory, "/archive");
  EXPECT_EQ(config->archive->retention_days, 7);
  kept["archive"]["sessionBytes"] = 5;
  EXPECT_THAT(parse_gateway_config(kept.dump()).error(),
              ::testing::StartsWith("archive.sessionBytes: must be"));
  kept["archive"] = "/archive";
  EXPECT_THAT(parse_gateway_config(kept.dump()).error(), ::testing::StartsWith("archive"));
}

// What the folder's README shows is what is read.
TEST(Config, TheDocumentedOneIsGood) {
  const char* source = std::getenv("PALISADE_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  std::ifstream in(std::string(source) + "/gateway/README.md");
  std::ostringstream text;
  text << in.rdbuf();
  const std::string readme = text.str();
  const auto begin = readme.find("```json\n");
  ASSERT_NE(begin, std::string::npos);
  const auto end = readme.find("```", begin + 8);
  const auto config = parse_gateway_config(readme.substr(begin + 8, end - begin - 8));
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->per_namespace, (policy::LlmBudget{20'000'000, 600, 50'000'000}));
}

TEST(Config, ErrorsNameTheField) {
  const auto with = [](const char* at, const json& value) {
    json out = usual();
    out[json::json_pointer(at)] = value;
    return out.dump();
  };
  const auto without = [](const char* key) {
    json out = usual();
    out.erase(key);
    return out.dump();
  };
  struct Case {
    std::string text;
    const char* names;
  };
  const Case cases[] = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"[]", "is not an object"},
      {usual().dump() + "x", "not JSON"},
      {R"({"llm": {}, "llm": {}})", "llm: is there twice"},
      {R"({"audience": "a", "llm": {"upstreams": [], "upstreams": []}})",
       "upstreams: is there twice"},
      {without("llm"), "llm: is missing"},
      {with("/extra", 1), "extra: is not known"},
      {with("/audience", 3), "audience:"},
      {with("/audience", ""), "audience:"},
      {with("/llm", 3), "llm"},
      {with("/llm/modells", 3), "modells"},
      {with("/llm/models/0/routes/0/upstream", "other"), "llm.models[0].routes[0].upstream"},
      {with("/git", 3), "git"},
      {with("/git/spools", "x"), "git.spools"},
      {with("/git/maxPackBytes", -1), "git.maxPackBytes"},
      {with("/budgets", 3), "budgets:"},
      {with("/budgets/perPod", json::object()), "budgets.perPod"},
      {with("/budgets/perWorkspace", 3), "budgets.perWorkspace"},
      {with("/budgets/perWorkspace/tokensPerDay", 3), "budgets.perWorkspace.tokensPerDay"},
      {with("/budgets/perWorkspace/tokens", -1), "budgets.perWorkspace.tokens"},
      {with("/budgets/perWorkspace/tokens", "1"), "budgets.perWorkspace.tokens"},
      {with("/budgets/perWorkspace/tokens", 1.5), "budgets.perWorkspace.tokens"},
      {with("/budgets/perWorkspace/tokens", 18446744073709551615U), "budgets.perWorkspace.tokens"},
      {with("/budgets/perWorkspace/cost", 5), "budgets.perWorkspace.cost"},
      {with("/budgets/perWorkspace/cost", "five"), "budgets.perWorkspace.cost"},
      {with("/budgets/perNamespace/tokens", 5), "budgets.perNamespace.tokens"},
      {with("/budgets/perNamespace/costPerDay", "-1"), "budgets.perNamespace.costPerDay"},
  };
  for (const Case& broken : cases) {
    const auto config = parse_gateway_config(broken.text);
    ASSERT_FALSE(config) << broken.text;
    EXPECT_THAT(config.error(), HasSubstr(broken.names)) << broken.text;
  }
}

TEST(Routes, ATokenIsOneBearerField) {
  const auto bearer = [](std::initializer_list<Field> fields) { return bearer_of(Fields(fields)); };
  EXPECT_EQ(bearer({{"Authorization", "Bearer abc"}}), "abc");
  EXPECT_EQ(bearer({{"authorization", "bearer abc"}}), "abc");
  EXPECT_EQ(bearer({}), "");
  EXPECT_EQ(bearer({{"Authorization", "Bearer"}}), "");
  EXPECT_EQ(bearer({{"Authorization", "Basic abc"}}), "");
  EXPECT_EQ(bearer({{"Authorization", "Bearerabc"}}), "");
  EXPECT_EQ(bearer({{"Authorization", "Bearer a"}, {"Authorization", "Bearer b"}}), "");
  EXPECT_EQ(bearer({{"Authorization", "Bearer a"}, {"AUTHORIZATION", ""}}), "");
}

}  // namespace
}  // namespace palisade::gateway
