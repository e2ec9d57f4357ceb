#include "reply.h"

#include <string>

#include <gtest/gtest.h>

namespace palisade::gateway::llm {
namespace {

SseEvent data(std::string text) {
  SseEvent event;
  event.data = std::move(text);
  event.has_data = true;
  return event;
}

TEST(Reply, OpenAiStream) {
  ReplyReader reader(Endpoint::kChat, 1000);
  EXPECT_EQ(reader.event(
                data(R"({"choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]})")),
            EventIs::kContent);
  EXPECT_EQ(
      reader.event(data(
          R"({"choices":[{"index":0,"delta":{"content":"lo"}},{"index":1,"delta":{"content":"x"}}],"usage":null})")),
      EventIs::kContent);
  EXPECT_EQ(
      reader.event(data(
          R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"function":{"name":"bash","arguments":"{\"a"}}]}}]})")),
      EventIs::kContent);
  EXPECT_EQ(
      reader.event(data(
          R"({"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"function":{"arguments":"\":1}"}}]}}]})")),
      EventIs::kContent);
  EXPECT_FALSE(reader.finished());
  EXPECT_EQ(reader.event(data(R"({"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]})")),
            EventIs::kContent);
  EXPECT_TRUE(reader.finished());
  EXPECT_FALSE(reader.usage().completion_known);
  EXPECT_EQ(
      reader.event(data(
          R"({"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}})")),
      EventIs::kUsageAlone);
  EXPECT_EQ(reader.event(data("[DONE]")), EventIs::kDone);
  EXPECT_EQ(reader.usage().prompt, 11);
  EXPECT_EQ(reader.usage().completion, 7);
  EXPECT_EQ(reader.said().at({0, -1}).text, "Hello");
  EXPECT_EQ(reader.said().at({1, -1}).text, "x");
  EXPECT_EQ(reader.said().at({0, 2}).tool, "bash");
  EXPECT_EQ(reader.said().at({0, 2}).text, "{\"a\":1}");
  EXPECT_EQ(reader.said_bytes(), 13U);
}

TEST(Reply, AnthropicStream) {
  ReplyReader reader(Endpoint::kMessages, 1000);
  for (
      const char* text :
      {R"({"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":20,"cache_read_input_tokens":5,"output_tokens":1}}})",
       R"({"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}})",
       R"({"type":"ping"})",
       R"({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}})",
       R"({"type":"content_block_start","index":1,"content_block":{"type":"tool_use","name":"edit","input":{}}})",
       R"({"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"p\""}})",
       R"({"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":":1}"}})"}) {
    EXPECT_EQ(reader.event(data(text)), EventIs::kContent) << text;
  }
  EXPECT_FALSE(reader.finished());
  EXPECT_EQ(
      reader.event(data(
          R"({"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":30}})")),
      EventIs::kContent);
  EXPECT_EQ(reader.event(data(R"({"type":"message_stop"})")), EventIs::kDone);
  EXPECT_EQ(reader.usage().prompt, 25);
  EXPECT_EQ(reader.usage().completion, 30);
  EXPECT_EQ(reader.said().at({0, -1}).text, "Hi");
  EXPECT_EQ(reader.said().at({0, 1}).tool, "edit");
  EXPECT_EQ(reader.said().at({0, 1}).text, "{\"p\":1}");
}

TEST(Reply, WhatEventsAre) {
  struct {
    const char* data;
    EventIs is;
  } const cases[] = {
      {"[DONE]", EventIs::kDone},
      {"not JSON", EventIs::kUnreadable},
      {"\"text\"", EventIs::kUnreadable},
      {R"({"choices":[],"choices":[]})", EventIs::kUnreadable},
      {R"({"error":{"message":"over loaded"}})", EventIs::kError},
      {R"({"type":"error","error":{"type":"overloaded_error","message":"over loaded"}})",
       EventIs::kError},
      {R"({"choices":[],"prompt_filter_results":[]})", EventIs::kContent},
      {R"({"choices":[{"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}})", EventIs::kContent},
      {"{}", EventIs::kContent},
  };
  for (const auto& test : cases) {
    ReplyReader reader(Endpoint::kChat, 100);
    EXPECT_EQ(reader.event(data(test.data)), test.is) << test.data;
  }
  ReplyReader reader(Endpoint::kChat, 100);
  EXPECT_EQ(reader.event(SseEvent{}), EventIs::kNothing);
}

TEST(Reply, CountsMakeSense) {
  struct {
    const char* usage;
    std::int64_t prompt;
    std::int64_t completion;
    bool prompt_known;
    bool completion_known;
  } const cases[] = {
      {R"({"prompt_tokens":3,"completion_tokens":4})", 3, 4, true, true},
      {R"({"prompt_tokens":3,"total_tokens":10})", 3, 7, true, true},
      {R"({"prompt_tokens":8,"total_tokens":8})", 8, 0, true, true},
      {R"({"prompt_tokens":8,"total_tokens":3})", 8, 0, true, true},
      {R"({"prompt_tokens":-3,"completion_tokens":-4})", 0, 0, false, false},
      {R"({"prompt_tokens":1e3,"completion_tokens":"4"})", 0, 0, false, false},
      {R"({"prompt_tokens":9223372036854775807,"completion_tokens":18446744073709551615})",
       1'000'000'000, 0, true, false},
      {R"({"input_tokens":2,"cache_creation_input_tokens":3,"cache_read_input_tokens":4,"output_tokens":5})",
       9, 5, true, true},
      {"null", 0, 0, false, false},
      {"[]", 0, 0, false, false},
      {"{}", 0, 0, false, false},
  };
  for (const auto& test : cases) {
    const std::string body = std::string(R"({"usage":)") + test.usage + "}";
    for (const Endpoint endpoint : {Endpoint::kChat, Endpoint::kEmbeddings, Endpoint::kMessages}) {
      ReplyReader reader(endpoint, 0);
      ASSERT_TRUE(reader.body(body));
      EXPECT_EQ(reader.usage().prompt, test.prompt) << body;
      EXPECT_EQ(reader.usage().completion, test.completion) << body;
      EXPECT_EQ(reader.usage().prompt_known, test.prompt_known) << body;
      EXPECT_EQ(reader.usage().completion_known, test.completion_known) << body;
    }
  }
}

TEST(Reply, UsageOnlyGrows) {
  ReplyReader reader(Endpoint::kChat, 0);
  reader.event(data(R"({"choices":[{}],"usage":{"prompt_tokens":10,"completion_tokens":5}})"));
  reader.event(data(R"({"choices":[{}],"usage":{"prompt_tokens":10,"completion_tokens":9}})"));
  reader.event(data(R"({"choices":[],"usage":{"prompt_tokens":0,"completion_tokens":1}})"));
  EXPECT_EQ(reader.usage().prompt, 10);
  EXPECT_EQ(reader.usage().completion, 9);
}

TEST(Reply, Bodies) {
  ReplyReader chat(Endpoint::kChat, 1000);
  ASSERT_TRUE(chat.body(R"({"choices":[{"index":0,"message":{"content":"a","refusal":"b",
    "tool_calls":[{"function":{"name":"f","arguments":"{}"}},{"function":{"name":"g","arguments":"{1"}}]}},
    {"index":1,"message":{"content":[{"type":"text","text":"c"}],"function_call":{"name":"old","arguments":"x"}}}]})"));
  EXPECT_EQ(chat.said().at({0, -1}).text, "ab");
  EXPECT_EQ(chat.said().at({0, 0}).tool, "f");
  EXPECT_EQ(chat.said().at({0, 1}).text, "{1");
  EXPECT_EQ(chat.said().at({1, -1}).text, "c");
  EXPECT_EQ(chat.said().at({1, 1'000'000}).tool, "old");
  ReplyReader completion(Endpoint::kCompletions, 1000);
  ASSERT_TRUE(completion.body(R"({"choices":[{"index":0,"text":"abc"}]})"));
  EXPECT_EQ(completion.said().at({0, -1}).text, "abc");
  ReplyReader messages(Endpoint::kMessages, 1000);
  ASSERT_TRUE(messages.body(
      R"({"content":[{"type":"text","text":"a"},{"type":"tool_use","name":"t","input":{"path":"/x"}}]})"));
  EXPECT_EQ(messages.said().at({0, -1}).text, "a");
  EXPECT_EQ(messages.said().at({0, 1}).text, R"({"path":"/x"})");

  for (const char* bad :
       {"", "[]", "null", "{", "<html>", R"({"a":1,"a":2})", "{\"a\":\"\xFF\"}"}) {
    ReplyReader reader(Endpoint::kChat, 10);
    EXPECT_FALSE(reader.body(bad)) << bad;
  }
}

TEST(Reply, KeepsNoMoreThanAsked) {
  ReplyReader reader(Endpoint::kChat, 10);
  for (int i = 0; i < 5; ++i)
    reader.event(data(R"({"choices":[{"index":0,"delta":{"content":"1234"}}]})"));
  EXPECT_TRUE(reader.cut());
  EXPECT_EQ(reader.said().at({0, -1}).text, "12341234");
  EXPECT_EQ(reader.said_bytes(), 20U);
  ReplyReader none(Endpoint::kChat, 0);
  none.event(data(R"({"choices":[{"index":0,"delta":{"content":"1234"}}]})"));
  EXPECT_TRUE(none.said().empty());
  EXPECT_FALSE(none.cut());
  ReplyReader many(Endpoint::kChat, 1'000'000);
  for (int i = 0; i < 3000; ++i)
    many.event(
        data(R"({"choices":[{"index":)" + std::to_string(i) + R"(,"delta":{"content":"x"}}]})"));
  EXPECT_LE(many.said().size(), 1024U);
  EXPECT_TRUE(many.cut());
}

}  // namespace
}  // namespace palisade::gateway::llm
