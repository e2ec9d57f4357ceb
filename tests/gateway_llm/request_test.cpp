#include "request.h"

#include <limits>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "errors.h"

namespace palisade::gateway::llm {
namespace {

using nlohmann::json;

TEST(Request, Endpoints) {
  struct {
    const char* method;
    const char* path;
    int status;
    Endpoint endpoint;
  } const cases[] = {
      {"POST", "/v1/chat/completions", 0, Endpoint::kChat},
      {"POST", "/v1/completions", 0, Endpoint::kCompletions},
      {"POST", "/v1/embeddings", 0, Endpoint::kEmbeddings},
      {"POST", "/v1/messages", 0, Endpoint::kMessages},
      {"GET", "/v1/models", 0, Endpoint::kModels},
      {"POST", "/v1/models", 405, {}},
      {"GET", "/v1/chat/completions", 405, {}},
      {"DELETE", "/v1/messages", 405, {}},
      {"POST", "/v1/chat/completions/", 404, {}},
      {"POST", "/v1//chat/completions", 404, {}},
      {"POST", "/v1/files", 404, {}},
      {"POST", "/v1/messages/batches", 404, {}},
      {"POST", "/chat/completions", 404, {}},
      {"POST", "/v1/../v1/chat/completions", 404, {}},
      {"POST", "/v1/chat%2Fcompletions", 404, {}},
      {"POST", "", 404, {}},
  };
  for (const auto& test : cases) {
    const auto found = endpoint_of(test.method, test.path);
    EXPECT_EQ(found ? 0 : found.error().status, test.status) << test.method << " " << test.path;
    if (found) {
      EXPECT_EQ(*found, test.endpoint) << test.path;
    }
  }
}

TEST(Request, Reads) {
  const std::string body =
      R"({"model":"gpt-4o","stream":true,"max_tokens":10,"max_completion_tokens":300,"n":2,)"
      R"("messages":[{"role":"user","content":"hi","model":"other"}],"seed":123456789012345678901234})";
  const auto request = read_request(Endpoint::kChat, body);
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->model, "gpt-4o");
  EXPECT_TRUE(request->stream);
  EXPECT_FALSE(request->wants_usage);
  EXPECT_EQ(request->max_tokens, 300);
  EXPECT_EQ(request->choices, 2);
  EXPECT_EQ(estimated_completion(*request), 600);

  const auto least = read_request(Endpoint::kMessages, R"({"model":"m","stream":null})");
  ASSERT_TRUE(least);
  EXPECT_FALSE(least->stream);
  EXPECT_EQ(estimated_completion(*least), 4096);
  EXPECT_EQ(estimated_completion(*read_request(Endpoint::kEmbeddings, R"({"model":"m"})")), 0);
}

TEST(Request, NamesWhatIsWrong) {
  struct {
    Endpoint endpoint;
    std::string body;
    const char* message;
  } const cases[] = {
      {Endpoint::kChat, "", "the body is no JSON that can be served: it is empty (byte 0)"},
      {Endpoint::kChat, "hello", "a value was expected"},
      {Endpoint::kChat, "[]", "it is not an object"},
      {Endpoint::kChat, R"({"model":"a","model":"b"})", "a member's name is there twice"},
      {Endpoint::kChat, R"({"model":"a","mode\u006c":"b"})", "a member's name is there twice"},
      {Endpoint::kChat, "{\"model\":\"\xFF\"}", "it is not valid UTF-8"},
      {Endpoint::kChat, R"({})", "model is missing"},
      {Endpoint::kChat, R"({"model":null})", "model must be a string"},
      {Endpoint::kChat, R"({"model":["a"]})", "model must be a string"},
      {Endpoint::kChat, R"({"model":""})", "model must be a name"},
      {Endpoint::kChat, "{\"model\":\"" + std::string(257, 'a') + "\"}", "at most 256 characters"},
      {Endpoint::kChat, R"({"model":"a","stream":"yes"})", "stream must be true or false"},
      {Endpoint::kChat, R"({"model":"a","stream":1})", "stream must be true or false"},
      {Endpoint::kChat, R"({"model":"a","max_tokens":-1})", "max_tokens must be a whole number"},
      {Endpoint::kChat, R"({"model":"a","max_tokens":1.5})", "max_tokens must be a whole number"},
      {Endpoint::kChat, R"({"model":"a","max_tokens":"9"})", "max_tokens must be a whole number"},
      {Endpoint::kChat, R"({"model":"a","max_tokens":99999999999999999999})", "max_tokens must be"},
      {Endpoint::kChat, R"({"model":"a","n":0})", "n must be a whole number from 1 to 128"},
      {Endpoint::kChat, R"({"model":"a","n":1000000})", "n must be a whole number from 1 to 128"},
      {Endpoint::kChat, R"({"model":"a","stream_options":[]})", "stream_options must be an object"},
      {Endpoint::kChat, R"({"model":"a","stream_options":{"include_usage":1}})",
       "stream_options.include_usage must be true or false"},
      {Endpoint::kEmbeddings, R"({"model":"a","stream":true})", "embeddings are not streamed"},
  };
  for (const auto& test : cases) {
    const auto request = read_request(test.endpoint, test.body);
    ASSERT_FALSE(request) << test.body;
    EXPECT_EQ(request.error().status, 400);
    EXPECT_EQ(request.error().code, "invalid_request");
    EXPECT_NE(request.error().message.find(test.message), std::string::npos)
        << test.body << "\n  says " << request.error().message;
  }
}

TEST(Request, ChangesWhatItMustAlone) {
  struct {
    Endpoint endpoint;
    const char* body;
    const char* model;
    const char* wanted;
  } const cases[] = {
      {Endpoint::kChat, R"( { "model" : "a" , "x":1.0 })", "b", R"( { "model" : "b" , "x":1.0 })"},
      {Endpoint::kChat, R"({"model":"a","x":"\u0061"})", "a", R"({"model":"a","x":"\u0061"})"},
      {Endpoint::kChat, R"({"model":"a","stream":false})", "q\"x",
       R"({"model":"q\"x","stream":false})"},
      {Endpoint::kChat, R"({"stream":true,"model":"a"})", "a",
       R"({"stream_options":{"include_usage":true},"stream":true,"model":"a"})"},
      {Endpoint::kCompletions, R"({"model":"a","stream":true,"stream_options":null})", "b",
       R"({"model":"b","stream":true,"stream_options":{"include_usage":true}})"},
      {Endpoint::kChat, R"({"stream_options":{},"model":"a","stream":true})", "b",
       R"({"stream_options":{"include_usage":true},"model":"b","stream":true})"},
      {Endpoint::kChat, R"({"stream_options":{ "x": 1},"model":"a","stream":true})", "a",
       R"({"stream_options":{"include_usage":true, "x": 1},"model":"a","stream":true})"},
      {Endpoint::kChat,
       R"({"stream_options":{"x":1,"include_usage": false },"model":"a","stream":true})", "a",
       R"({"stream_options":{"x":1,"include_usage": true },"model":"a","stream":true})"},
      {Endpoint::kChat, R"({"stream_options":{"include_usage":true},"model":"a","stream":true})",
       "a", R"({"stream_options":{"include_usage":true},"model":"a","stream":true})"},
      {Endpoint::kMessages, R"({"model":"a","stream":true})", "b",
       R"({"model":"b","stream":true})"},
  };
  for (const auto& test : cases) {
    const auto request = read_request(test.endpoint, test.body);
    ASSERT_TRUE(request) << request.error().message;
    const std::string out = edited(test.body, edits_for(*request, test.body, test.model));
    EXPECT_EQ(out, test.wanted);
    EXPECT_TRUE(json::accept(out)) << out;
  }
}

LlmConfig config() {
  return *parse_llm_config(json::parse(R"({
    "upstreams": [{"name": "u", "url": "https://u/v1"}, {"name": "c", "url": "https://c", "kind": "anthropic"}],
    "models": [{"name": "gpt-4o", "aliases": ["default"], "routes": [{"upstream": "u"}]},
               {"name": "gpt-mini", "routes": [{"upstream": "u"}]},
               {"name": "claude-x", "routes": [{"upstream": "c"}]}]})"));
}

TEST(Request, Models) {
  const LlmConfig known = config();
  Grant grant;
  grant.models = {"default", "claude-x", "gone", "gpt-4o"};
  for (const char* name : {"gpt-4o", "default"}) {
    const auto model = allowed_model(known, grant, name);
    ASSERT_TRUE(model) << name;
    EXPECT_EQ((*model)->name, "gpt-4o");
  }
  const auto unknown = allowed_model(known, grant, "gpt-\"5");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().status, 404);
  EXPECT_EQ(unknown.error().code, "model_not_found");
  EXPECT_EQ(unknown.error().message,
            "the gateway has no model of that name; this workspace may use gpt-4o, claude-x");
  const auto other = allowed_model(known, grant, "gpt-mini");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().status, 403);
  EXPECT_EQ(other.error().code, "model_not_allowed");
  EXPECT_NE(
      other.error().message.find("gpt-mini is not this workspace's; this workspace may use gpt-4o"),
      std::string::npos);
  const auto none = allowed_model(known, Grant{}, "gpt-4o");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("may use none"), std::string::npos);

  const json list = json::parse(models_list(known, grant, Kind::kOpenAi));
  EXPECT_EQ(list["object"], "list");
  std::string ids;
  for (const json& item : list["data"])
    ids += item["id"].get<std::string>() + " ";
  EXPECT_EQ(ids, "gpt-4o default claude-x ");
  const json other_shape = json::parse(models_list(known, grant, Kind::kAnthropic));
  EXPECT_EQ(other_shape["first_id"], "gpt-4o");
  EXPECT_EQ(other_shape["last_id"], "claude-x");
  EXPECT_EQ(json::parse(models_list(known, Grant{}, Kind::kAnthropic))["first_id"], nullptr);
}

TEST(Request, CostIsExact) {
  const Price price{2'500'000, 10'000'000};
  struct {
    std::int64_t input;
    std::int64_t output;
    MicroDollars cost;
  } const cases[] = {{0, 0, 0},
                     {1, 0, 3},
                     {2, 0, 5},
                     {1'000'000, 0, 2'500'000},
                     {1000, 500, 7500},
                     {-5, 1, 10},
                     {123'456'789, 987'654'321, 10'185'185'183}};
  for (const auto& test : cases)
    EXPECT_EQ(cost_of(price, test.input, test.output), test.cost) << test.input;
  EXPECT_EQ(cost_of(std::nullopt, 1'000'000, 1), 0);
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(cost_of(Price{1'000'000'000'000, 1'000'000'000'000}, kMost, kMost),
            2'000'000'000'000'000'000);
}

}  // namespace
}  // namespace palisade::gateway::llm
