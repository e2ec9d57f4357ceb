#include <string>

#include <gateway/llm/config.h>
#include <gtest/gtest.h>

namespace palisade::gateway::llm {
namespace {

using nlohmann::json;

json good() {
  return json::parse(R"({
    "upstreams": [
      {"name": "openai", "url": "https://api.example.com/v1", "kind": "openai",
       "keySecret": {"name": "openai", "key": "api-key"}, "authorities": "",
       "connectTimeout": "5s", "firstByteTimeout": "120s", "idleTimeout": "1m30s"},
      {"name": "own", "url": "http://[fd00::1]:8000/openai/v1/", "kind": "openai"},
      {"name": "claude", "url": "https://api.example.org", "kind": "anthropic"}],
    "models": [
      {"name": "gpt-4o", "aliases": ["default", "fast"],
       "routes": [{"upstream": "openai", "model": "gpt-4o-2024", "weight": 3}, {"upstream": "own"}],
       "price": {"inputPerMillion": "2.50", "outputPerMillion": "10.000001"}},
      {"name": "claude-x", "routes": [{"upstream": "claude", "model": "claude-x-1"}]}],
    "limits": {"requestBytes": 10485760, "replyBytes": 33554432, "deadline": "15m"},
    "record": {"bodies": true},
    "outbound": {"credentials": "refuse"},
    "replies": {"shellBlocks": "off", "outsidePaths": "flag", "gitOptions": "refuse",
                "lookAlikes": "flag", "maxBytes": 100000}})");
}

TEST(Config, ReadsAll) {
  const auto config = parse_llm_config(good());
  ASSERT_TRUE(config) << config.error();
  ASSERT_EQ(config->upstreams.size(), 3U);
  const Upstream& first = config->upstreams[0];
  EXPECT_TRUE(first.origin.tls);
  EXPECT_EQ(first.origin.host, "api.example.com");
  EXPECT_EQ(first.origin.port, 443);
  EXPECT_EQ(first.path, "/v1");
  EXPECT_EQ(first.key, (KeyReference{"openai", "api-key"}));
  EXPECT_EQ(first.idle_timeout, std::chrono::seconds(90));
  const Upstream& second = config->upstreams[1];
  EXPECT_FALSE(second.origin.tls);
  EXPECT_EQ(second.origin.host, "fd00::1");
  EXPECT_EQ(second.origin.port, 8000);
  EXPECT_EQ(second.path, "/openai/v1");
  EXPECT_EQ(second.first_byte_timeout, std::chrono::seconds(120));
  EXPECT_FALSE(second.key);
  EXPECT_EQ(config->upstreams[2].kind, Kind::kAnthropic);
  EXPECT_EQ(config->upstreams[2].path, "");

  ASSERT_EQ(config->models.size(), 2U);
  EXPECT_EQ(config->models[0].routes[0].weight, 3U);
  EXPECT_EQ(config->models[0].routes[0].model, "gpt-4o-2024");
  EXPECT_EQ(config->models[0].routes[1].model, "gpt-4o") << "the same name, where none is said";
  EXPECT_EQ(config->models[0].routes[1].upstream, 1U);
  EXPECT_EQ(config->models[0].price->input, 2'500'000);
  EXPECT_EQ(config->models[0].price->output, 10'000'001);
  EXPECT_FALSE(config->models[1].price);
  EXPECT_EQ(config->find("fast"), config->models.data());
  EXPECT_EQ(config->find("gpt-5"), nullptr);

  EXPECT_EQ(config->limits.deadline, std::chrono::minutes(15));
  EXPECT_TRUE(config->record_bodies);
  EXPECT_EQ(config->credentials, Outbound::kRefuse);
  EXPECT_EQ(config->replies.git_options, Action::kRefuse);
  EXPECT_TRUE(config->replies.any());
  EXPECT_TRUE(config->replies.holds_back());
}

TEST(Config, Defaults) {
  const auto config = parse_llm_config(json::parse(R"({"upstreams": [], "models": []})"));
  ASSERT_TRUE(config) << config.error();
  EXPECT_EQ(config->limits.request_bytes, 10485760U);
  EXPECT_EQ(config->limits.reply_bytes, 33554432U);
  EXPECT_EQ(config->limits.deadline, std::chrono::minutes(15));
  EXPECT_FALSE(config->record_bodies);
  EXPECT_EQ(config->credentials, Outbound::kMask) << "what leaves is checked unless it is said";
  EXPECT_FALSE(config->replies.any());
}

TEST(Config, PricesAreExact) {
  struct {
    const char* text;
    MicroDollars micros;
  } const cases[] = {
      {"0", 0},          {"0.00", 0},      {"0.000001", 1},           {"0.0375", 37'500},
      {"2.50", 2500000}, {"15", 15000000}, {"1000000", 1000000000000}};
  for (const auto& test : cases) {
    json document = good();
    document["models"][0]["price"]["inputPerMillion"] = test.text;
    const auto config = parse_llm_config(document);
    ASSERT_TRUE(config) << test.text << ": " << config.error();
    EXPECT_EQ(config->models[0].price->input, test.micros) << test.text;
  }
}

TEST(Config, NamesWhatIsWrong) {
  struct {
    const char* pointer;
    json value;
    const char* error;
  } const cases[] = {
      {"/upstreams/0/extra", 1, "llm.upstreams[0].\"extra\": is not a field"},
      {"/upstreams/0/name", "", "llm.upstreams[0].name: must not be empty"},
      {"/upstreams/0/name", "a b", "llm.upstreams[0].name: \"a b\" must be at most 256"},
      {"/upstreams/0/url", "ftp://x", "llm.upstreams[0].url: \"ftp://x\" must begin with https://"},
      {"/upstreams/0/url", "https://a@b/v1", "must be scheme://host[:port][/path] alone"},
      {"/upstreams/0/url", "https://a/v1?x=1", "must be scheme://host[:port][/path] alone"},
      {"/upstreams/0/url", "https:///v1", "names no host"},
      {"/upstreams/0/url", "https://a:0/v1", "must have a port from 1 to 65535"},
      {"/upstreams/0/url", "https://a:99999/v1", "must have a port from 1 to 65535"},
      {"/upstreams/0/url", "https://a:/v1", "must have a port from 1 to 65535"},
      {"/upstreams/0/url", "https://a/v1/../x", "must have a path without empty and .. parts"},
      {"/upstreams/0/url", "http://api.example.com/v1", "must be https://, since a key goes there"},
      {"/upstreams/0/kind", "azure", "llm.upstreams[0].kind: must be one of openai, anthropic"},
      {"/upstreams/0/keySecret/name", 1, "llm.upstreams[0].keySecret.name: must be a string"},
      {"/upstreams/0/keySecret/x", "y", "llm.upstreams[0].keySecret.\"x\": is not a field"},
      {"/upstreams/0/authorities", "nothing", "llm.upstreams[0].authorities: has no PEM"},
      {"/upstreams/0/connectTimeout", "5", "llm.upstreams[0].connectTimeout: \"5\" must be a dur"},
      {"/upstreams/0/idleTimeout", "0s", "must be a duration from 1s to 24h"},
      {"/upstreams/0/idleTimeout", "48h", "must be a duration from 1s to 24h"},
      {"/upstreams/1/name", "openai", "llm.upstreams: two are named \"openai\""},
      {"/models/0/routes/0/upstream", "other", "llm.models[0].routes[0].upstream: \"other\" is no"},
      {"/models/0/routes/0/weight", 0, "llm.models[0].routes[0].weight: must be a whole number"},
      {"/models/0/routes/0/weight", 1.5, "llm.models[0].routes[0].weight: must be a whole number"},
      {"/models/0/routes", json::array(), "llm.models[0].routes: must name at least one"},
      {"/models/0/aliases/0", "claude-x", "llm.models: two are named \"claude-x\""},
      {"/models/0/aliases/0", "gpt-4o", "llm.models: two are named \"gpt-4o\""},
      {"/models/0/aliases/0", "a,b", "llm.models[0].aliases[0]"},
      {"/models/0/price/inputPerMillion", 2.5, "inputPerMillion: must be a string"},
      {"/models/0/price/inputPerMillion", "2,5", "must be US dollars as text"},
      {"/models/0/price/inputPerMillion", "-1", "must be US dollars as text"},
      {"/models/0/price/inputPerMillion", "1e3", "must be US dollars as text"},
      {"/models/0/price/inputPerMillion", "0.0000001", "at most six decimals"},
      {"/models/0/price/inputPerMillion", "1000001", "at most a million"},
      {"/limits/requestBytes", 10, "llm.limits.requestBytes: must be a whole number from 1024"},
      {"/limits/requestBytes", -1, "llm.limits.requestBytes: must be a whole number"},
      {"/limits/deadline", 900, "llm.limits.deadline: must be a string"},
      {"/record/bodies", "yes", "llm.record.bodies: must be true or false"},
      {"/outbound/credentials", "warn", "llm.outbound.credentials: must be one of off, mask, ref"},
      {"/outbound/providerSide", true, "llm.outbound.providerSide: must be one of refuse, allow"},
      {"/replies/shellBlocks", true, "llm.replies.shellBlocks: must be one of off, flag, refuse"},
      {"/replies/maxBytes", "1", "llm.replies.maxBytes: must be a whole number"},
      {"/upstreams", json::object(), "llm.upstreams: must be a list"},
      {"/limits", json::array(), "llm.limits: must be an object"},
  };
  for (const auto& test : cases) {
    json document = good();
    document[json::json_pointer(test.pointer)] = test.value;
    const auto config = parse_llm_config(document);
    ASSERT_FALSE(config) << test.pointer << " = " << test.value.dump();
    EXPECT_NE(config.error().find(test.error), std::string::npos)
        << test.pointer << " = " << test.value.dump() << "\n  says " << config.error();
  }
  for (const char* missing : {"upstreams", "models"}) {
    json document = good();
    document.erase(missing);
    const auto config = parse_llm_config(document);
    ASSERT_FALSE(config);
    EXPECT_EQ(config.error(), std::string("llm.") + missing + ": is missing");
  }
  EXPECT_EQ(parse_llm_config(json::array()).error(), "llm: must be an object");
}

TEST(Config, AKeyMayGoUnencryptedInsideAlone) {
  for (const auto& [url, allowed] :
       {std::pair{"http://localhost:1/v1", true}, std::pair{"http://127.0.0.1:1/v1", true},
        std::pair{"http://vllm.models.svc:8000/v1", true},
        std::pair{"http://vllm.models.svc.example.com/v1", false},
        std::pair{"http://10.0.0.1/v1", false}}) {
    json document = good();
    document["upstreams"][0]["url"] = url;
    EXPECT_EQ(parse_llm_config(document).has_value(), allowed) << url;
  }
}

}  // namespace
}  // namespace palisade::gateway::llm
