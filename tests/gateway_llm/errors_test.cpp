#include "errors.h"

#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "sse.h"

namespace palisade::gateway::llm {
namespace {

using nlohmann::json;

TEST(Errors, HaveTheirShape) {
  struct {
    Refusal refusal;
    const char* openai;
    const char* anthropic;
  } const cases[] = {
      {{400, "invalid_request", "a \"b\"\n"}, "invalid_request_error", "invalid_request_error"},
      {{401, "x", "m"}, "authentication_error", "authentication_error"},
      {{403, "model_not_allowed", "m"}, "permission_error", "permission_error"},
      {{404, "model_not_found", "m"}, "invalid_request_error", "not_found_error"},
      {{413, "request_too_large", "m"}, "invalid_request_error", "request_too_large"},
      {{429, "budget_exceeded", "m"}, "insufficient_quota", "rate_limit_error"},
      {{429, "rate_limited", "m"}, "rate_limit_error", "rate_limit_error"},
      {{500, "x", "m"}, "server_error", "api_error"},
      {{503, "x", "m"}, "server_error", "overloaded_error"},
  };
  for (const auto& test : cases) {
    const json openai = json::parse(error_body(Kind::kOpenAi, test.refusal));
    EXPECT_EQ(openai["error"]["message"], test.refusal.message);
    EXPECT_EQ(openai["error"]["type"], test.openai);
    EXPECT_EQ(openai["error"]["code"], test.refusal.code);
    const json anthropic = json::parse(error_body(Kind::kAnthropic, test.refusal));
    EXPECT_EQ(anthropic["type"], "error");
    EXPECT_EQ(anthropic["error"]["type"], test.anthropic);
    EXPECT_EQ(anthropic["error"]["message"], test.refusal.message);
    for (const Kind kind : {Kind::kOpenAi, Kind::kAnthropic}) {
      SseReader reader(100'000);
      std::vector<SseEvent> events;
      ASSERT_TRUE(reader.feed(error_event(kind, test.refusal), events));
      ASSERT_EQ(events.size(), 1U);
      EXPECT_EQ(events[0].data, error_body(kind, test.refusal));
      EXPECT_EQ(events[0].name, kind == Kind::kAnthropic ? "error" : "");
    }
  }
}

TEST(Errors, UpstreamMessages) {
  const std::string key =
      "sk-"
      "proj-abcDEF0123456789abcDEF0123";
  struct {
    std::string body;
    std::string message;
  } const cases[] = {
      {R"({"error":{"message":"no such model","type":"x"}})", "no such model"},
      {R"({"type":"error","error":{"type":"t","message":"too long"}})", "too long"},
      {R"({"error":"model is loading"})", "model is loading"},
      {R"({"message":"plain"})", "plain"},
      {R"({"object":"error","message":"vllm","code":404})", "vllm"},
      {R"({"error":{"message":"a\nb\u001b[31m\u202ec"}})", "a b?[31m?c"},
      {R"({"error":{"message":["x"]}})", ""},
      {R"({"error":{"code":1}})", ""},
      {R"({"error":{"message":"a","message":"b"}})", ""},
      {"<html>oops</html>", ""},
      {"", ""},
      {"[]", ""},
      {R"({"error":{"message":"Incorrect API key provided: )" + key + R"("}})", ""},
      {R"({"error":{"message":"Incorrect API key provided: sk-proj-*******F0123"}})", ""},
      {R"({"error":{"message":"your token gh)"
       "p_16C7e42F292c6912E7710c838347Ae178B4a"
       R"( is bad"}})",
       "your token [masked 40 bytes] is bad"},
  };
  for (const auto& test : cases)
    EXPECT_EQ(upstream_message(test.body, key), test.message) << test.body;
  const std::string longer =
      upstream_message(R"({"error":{"message":")" + std::string(100'000, 'x') + R"("}})", key);
  EXPECT_EQ(longer, std::string(500, 'x') + "...");
}

TEST(Errors, StatusesAreKept) {
  struct {
    int status;
    int wanted;
    const char* code;
  } const cases[] = {{400, 400, "upstream_refused"},      {401, 401, "upstream_unauthorized"},
                     {404, 404, "upstream_refused"},      {422, 422, "upstream_refused"},
                     {429, 429, "upstream_rate_limited"}, {500, 500, "upstream_failed"},
                     {529, 529, "upstream_failed"},       {301, 502, "upstream_redirect"},
                     {307, 502, "upstream_redirect"},     {204, 502, "upstream_bad_answer"},
                     {999, 502, "upstream_bad_answer"},   {101, 502, "upstream_bad_answer"}};
  for (const auto& test : cases) {
    const Refusal refusal = upstream_refusal("openai", test.status, "why");
    EXPECT_EQ(refusal.status, test.wanted) << test.status;
    EXPECT_EQ(refusal.code, test.code) << test.status;
    EXPECT_NE(refusal.message.find("the upstream openai"), std::string::npos);
  }
  EXPECT_EQ(upstream_refusal("u", 401, "key sk-x").message.find("sk-"), std::string::npos);
  EXPECT_EQ(upstream_refusal("u", 400, "why").message,
            "the upstream u refused the request (400): why");
}

TEST(Errors, PlainIds) {
  EXPECT_EQ(plain_id("req_0123-a.B"), "req_0123-a.B");
  for (const std::string& bad : std::vector<std::string>{
           std::string(), std::string("a b"), std::string("a\r\nX: y"), std::string("caf\xC3\xA9"),
           std::string(129, 'a'), std::string("a\"")})
    EXPECT_EQ(plain_id(bad), "") << bad;
}

}  // namespace
}  // namespace palisade::gateway::llm
