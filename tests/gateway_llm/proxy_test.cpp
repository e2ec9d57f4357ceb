// Answers as a whole, refusals, retries and what an upstream may do wrong.
#include "call.h"
#include "proxy_fixture.h"
#include "upstreams.h"

namespace palisade::gateway::llm {
namespace {

using namespace testing;

TEST(Proxy, PassesOneOnAndCountsIt) {
  FakeUpstream upstream(fixed(
      200, whole("hi"), {{"x-request-id", "req_7"}, {"Set-Cookie", "a=b"}, {"X-Other", "y"}}));
  Gateway gateway(Gateway::config({upstream.port()}));
  const std::string body =
      R"({ "model": "alias", "messages":[{"role":"user","content":"h\u00e9llo"}],  "max_tokens": 7 })";
  const Reply reply =
      gateway.post("/v1/chat/completions", body, "Cookie: c=1\r\nX-Evil: 1\r\nOpenAI-Beta: x\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, whole("hi"));
  EXPECT_EQ(reply.fields.at("content-type"), "application/json");
  EXPECT_EQ(reply.fields.at("x-request-id"), "req_7");
  EXPECT_FALSE(reply.fields.contains("set-cookie"));
  EXPECT_FALSE(reply.fields.contains("x-other"));

  ASSERT_EQ(upstream.seen().size(), 1U);
  const auto seen = upstream.seen()[0];
  EXPECT_EQ(seen.head.method, "POST");
  EXPECT_EQ(seen.head.target, "/base/v1/chat/completions");
  EXPECT_EQ(seen.head.fields.get("Authorization"), "Bearer " + std::string(kKey));
  EXPECT_EQ(seen.head.fields.count("Authorization"), 1U);
  for (const char* name : {"Cookie", "X-Evil", "OpenAI-Beta", "x-api-key", "anthropic-version"})
    EXPECT_FALSE(seen.head.fields.has(name)) << name;
  EXPECT_EQ(
      seen.body,
      R"({ "model": "up", "messages":[{"role":"user","content":"h\u00e9llo"}],  "max_tokens": 7 })")
      << "nothing but the model's name changes";

  const json line = gateway.lines->last();
  EXPECT_EQ(line["kind"], "llm");
  EXPECT_EQ(line["namespace"], "team-a");
  EXPECT_EQ(line["workspace"], "fix-login");
  EXPECT_EQ(line["pod"], "fix-login-agent");
  EXPECT_EQ(line["verdict"], "allowed");
  EXPECT_EQ(line["code"], "ok");
  EXPECT_EQ(line["status"], 200);
  EXPECT_EQ(line["model"], "m");
  EXPECT_EQ(line["upstream"], "u0");
  EXPECT_EQ(line["upstreamModel"], "up");
  EXPECT_EQ(line["stream"], false);
  EXPECT_EQ(line["promptTokens"], 100);
  EXPECT_EQ(line["completionTokens"], 50);
  EXPECT_EQ(line["costMicros"], 700);
  EXPECT_EQ(line["requestBytes"], body.size());
  EXPECT_EQ(line["replyBytes"], reply.body.size());
  EXPECT_EQ(line["retries"], 0);
  EXPECT_EQ(line["flags"], json::array());
  EXPECT_EQ(line["upstreamRequest"], "req_7");
  EXPECT_TRUE(line.contains("firstByteMs"));
  EXPECT_TRUE(line.contains("durationMs"));
  EXPECT_FALSE(line.contains("requestBody"));
  EXPECT_FALSE(line.contains("replyBody"));
  const auto entry = gateway.ledger->entries().at(0);
  EXPECT_EQ(entry.reserved.tokens, static_cast<std::int64_t>(body.size() / 4 + 1) + 7);
  EXPECT_EQ(gateway.settled().tokens, 150);
  EXPECT_EQ(gateway.settled().cost, 700);
}

TEST(Proxy, Models) {
  Gateway gateway(Gateway::config({1}));
  Wire wire(gateway.front.port());
  wire.send("GET /v1/models HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n");
  const Reply reply = read_reply(wire.rest());
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.read()["data"][0]["id"], "m");
  EXPECT_EQ(reply.read()["data"][1]["id"], "alias");
  Wire other(gateway.front.port());
  other.send(
      "GET /v1/models HTTP/1.1\r\nHost: g\r\nConnection: close\r\nanthropic-version: x\r\n\r\n");
  EXPECT_EQ(read_reply(other.rest()).read()["first_id"], "m");
  EXPECT_TRUE(eventually([&] { return gateway.lines->count() == 2; }));
  EXPECT_TRUE(gateway.ledger->entries().empty());
}

TEST(Proxy, RefusesBeforeAnyUpstream) {
  FakeUpstream upstream(fixed(200, whole("x")));
  LlmConfig config = Gateway::config({upstream.port()});
  config.limits.request_bytes = 100'000;
  Model other;
  other.name = "other";
  other.routes = {{0, "o", 1}};
  config.models.push_back(other);
  Model unpriced = other;
  unpriced.name = "unpriced";
  config.models.push_back(unpriced);
  Grant grant = Gateway::grant_of({"m", "unpriced"});
  grant.namespace_budget.cost = 1'000'000;
  Gateway gateway(config, grant);
  struct {
    const char* what;
    std::string path;
    std::string body;
    std::string fields;
    int status;
    const char* code;
    const char* message;
  } const cases[] = {
      {"no JSON", "/v1/chat/completions", "x", "", 400, "invalid_request", "no JSON"},
      {"twice", "/v1/chat/completions", R"({"model":"m","model":"m"})", "", 400, "invalid_request",
       "twice"},
      {"UTF-8", "/v1/chat/completions", "{\"model\":\"\xFF\"}", "", 400, "invalid_request",
       "UTF-8"},
      {"deep", "/v1/chat/completions", "{\"model\":\"m\",\"x\":" + std::string(10'000, '['), "",
       400, "invalid_request", "nested deeper"},
      {"type", "/v1/chat/completions", R"({"model":7})", "", 400, "invalid_request",
       "model must be a string"},
      {"large", "/v1/chat/completions", std::string(100'001, ' '), "", 413, "request_too_large",
       "larger than 100000 bytes"},
      {"compressed", "/v1/chat/completions", "x", "Content-Encoding: gzip\r\n", 415,
       "unsupported_encoding", "must not be compressed"},
      {"unknown model", "/v1/chat/completions", R"({"model":"gpt"})", "", 404, "model_not_found",
       "this workspace may use m, unpriced"},
      {"another's model", "/v1/embeddings", R"({"model":"other"})", "", 403, "model_not_allowed",
       "this workspace may use m, unpriced"},
      {"no price", "/v1/completions", R"({"model":"unpriced"})", "", 403, "model_without_price",
       "no price"},
      {"other endpoint", "/v1/files", "{}", "", 404, "not_found", "/v1/chat/completions"},
  };
  for (const auto& test : cases) {
    const Reply reply = gateway.post(test.path, test.body, test.fields);
    EXPECT_EQ(reply.status, test.status) << test.what;
    EXPECT_EQ(reply.code(), test.code) << test.what << ": " << reply.body;
    const std::string message = reply.read()["error"]["message"];
    EXPECT_NE(message.find(test.message), std::string::npos) << test.what << ": " << message;
    const json line = gateway.lines->last();
    EXPECT_EQ(line["verdict"], "refused") << test.what;
    EXPECT_EQ(line["code"], test.code) << test.what;
    EXPECT_EQ(line["status"], test.status) << test.what;
    EXPECT_EQ(line["costMicros"], 0) << test.what;
  }
  const Reply anthropic = gateway.post("/v1/messages", R"({"model":"m"})");
  EXPECT_EQ(anthropic.status, 400);
  EXPECT_EQ(anthropic.read()["type"], "error") << anthropic.body;
  EXPECT_NE(anthropic.body.find("served at /v1/chat/completions only"), std::string::npos);
  EXPECT_TRUE(upstream.seen().empty());
  EXPECT_TRUE(gateway.ledger->entries().empty());
}

TEST(Proxy, Budgets) {
  FakeUpstream upstream(fixed(200, whole("x")));
  Gateway gateway(Gateway::config({upstream.port()}));
  gateway.ledger->refusal = Refusal{429, "budget_exceeded", "no tokens are left"};
  Reply reply = gateway.chat();
  EXPECT_EQ(reply.status, 429);
  EXPECT_EQ(reply.read()["error"]["type"], "insufficient_quota");
  EXPECT_EQ(reply.read()["error"]["message"], "no tokens are left");
  EXPECT_EQ(reply.fields.at("x-should-retry"), "false");
  EXPECT_EQ(reply.fields.at("x-palisade-refusal"), "budget_exceeded");
  EXPECT_EQ(gateway.lines->last()["verdict"], "refused");
  gateway.ledger->refusal = Refusal{503, "budget_unknown", "cannot be told"};
  reply = gateway.chat();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(gateway.lines->last()["verdict"], "failed");
  EXPECT_TRUE(upstream.seen().empty());
}

// What one upstream says that is no good answer: as the client sees it, and what it cost.
TEST(Proxy, UpstreamsThatFail) {
  struct {
    const char* what;
    FakeUpstream::Answer answer;
    int status;
    const char* code;
    const char* message;
    std::size_t calls;
    bool counted;
  } const cases[] = {
      {"400", fixed(400, R"({"error":{"message":"too long"}})"), 400, "upstream_refused",
       "the upstream u0 refused the request (400): too long", 1, false},
      {"401", fixed(401, R"({"error":{"message":"bad key )" + std::string(kKey) + R"("}})"), 401,
       "upstream_unauthorized", "did not take the gateway's key", 1, false},
      {"403 with the key",
       fixed(403, R"({"error":{"message":"bad key )" + std::string(kKey) + R"("}})"), 403,
       "upstream_refused", "(403)", 1, false},
      {"404", fixed(404, "nothing"), 404, "upstream_refused", "(404)", 1, false},
      {"500", fixed(500, "<html>"), 500, "upstream_failed", "(500)", 2, false},
      {"503", fixed(503, R"({"error":{"message":"loading"}})", {{"Retry-After", "0"}}), 503,
       "upstream_failed", "(503): loading", 2, false},
      {"429", fixed(429, R"({"error":{"message":"slow down"}})"), 429, "upstream_rate_limited",
       "has no room for more now: slow down", 2, false},
      {"429, long", fixed(429, "{}", {{"Retry-After", "77"}}), 429, "upstream_rate_limited",
       "has no room", 1, false},
      {"redirect", fixed(302, "", {{"Location", "http://127.0.0.1:1/"}}), 502, "upstream_redirect",
       "a redirect, which is not followed", 1, false},
      {"HTML", fixed(200, "<html>", {}, "text/html"), 502, "upstream_bad_answer",
       "did not answer with JSON", 1, true},
      {"wrong JSON", fixed(200, R"({"choices":[)"), 502, "upstream_bad_answer", "JSON that is none",
       1, true},
      {"a list", fixed(200, "[]"), 502, "upstream_bad_answer", "JSON that is none", 1, true},
      {"two readings", fixed(200, R"({"choices":[],"choices":[]})"), 502, "upstream_bad_answer",
       "JSON that is none", 1, true},
      {"compressed", fixed(200, "{}", {{"Content-Encoding", "gzip"}}), 502, "upstream_bad_answer",
       "an encoding that was not asked for", 1, true},
      {"large", fixed(200, "{\"x\":\"" + std::string(50'000, 'x') + "\"}"), 502, "reply_too_large",
       "larger than 50000 bytes", 1, true},
      {"204", fixed(204, ""), 502, "upstream_bad_answer", "status 204", 1, false},
      {"huge header", fixed(200, "{}", {{"X-Long", std::string(100'000, 'x')}}), 502,
       "upstream_bad_answer", "did not answer in HTTP", 2, false},
  };
  for (const auto& test : cases) {
    FakeUpstream upstream(test.answer);
    LlmConfig config = Gateway::config({upstream.port()});
    config.limits.reply_bytes = 50'000;
    Gateway gateway(config);
    const Reply reply = gateway.chat();
    EXPECT_EQ(reply.status, test.status) << test.what;
    EXPECT_EQ(reply.code(), test.code) << test.what << ": " << reply.body;
    EXPECT_NE(reply.body.find(test.message), std::string::npos) << test.what << ": " << reply.body;
    EXPECT_EQ(reply.body.find(kKey.substr(8)), std::string::npos) << test.what;
    EXPECT_EQ(gateway.lines->texts().find(kKey.substr(8)), std::string::npos) << test.what;
    EXPECT_EQ(upstream.seen().size(), test.calls) << test.what;
    const json line = gateway.lines->last();
    EXPECT_EQ(line["verdict"], "failed") << test.what;
    EXPECT_EQ(line["code"], test.code) << test.what;
    EXPECT_EQ(line["retries"], test.calls - 1) << test.what;
    EXPECT_EQ(gateway.settled().tokens > 0, test.counted) << test.what;
  }
}

TEST(Proxy, RetryAfterIsPassedOnAsANumber) {
  for (const auto& [given, wanted] : {std::pair{"77", "77"}, std::pair{"soon\tX-Evil: 1", ""}}) {
    FakeUpstream upstream(fixed(429, "{}", {{"Retry-After", given}}));
    Gateway gateway(Gateway::config({upstream.port()}));
    const Reply reply = gateway.chat();
    EXPECT_EQ(reply.status, 429);
    EXPECT_EQ(reply.fields.contains("retry-after") ? reply.fields.at("retry-after") : "", wanted);
  }
}

TEST(Proxy, WhatIsOnTheWireCannotBeHttp) {
  struct {
    const char* what;
    const char* bytes;
    const char* code;
  } const cases[] = {
      {"no HTTP", "hello\r\n\r\n", "upstream_bad_answer"},
      {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
       "upstream_bad_answer"},
      {"switched", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", "upstream_bad_answer"},
      {"closed", "", "upstream_cut"},
      {"cut body",
       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
       "upstream_cut"},
      {"cut chunk",
       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: "
       "chunked\r\n\r\n9\r\n{",
       "upstream_cut"},
      {"bad chunk",
       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: "
       "chunked\r\n\r\nzz\r\n{",
       "upstream_cut"},
  };
  for (const auto& test : cases) {
    ScriptedServer upstream([&](Wire& wire) {
      wire.until("\"hello\"}]}");
      wire.send(test.bytes);
    });
    Gateway gateway(Gateway::config({upstream.port()}));
    const Reply reply = gateway.chat();
    EXPECT_EQ(reply.status, 502) << test.what;
    EXPECT_EQ(reply.code(), test.code) << test.what << ": " << reply.body;
    EXPECT_EQ(gateway.lines->last()["verdict"], "failed") << test.what;
  }
}

TEST(Proxy, ASecondUpstreamTakesOver) {
  FakeUpstream bad(fixed(500, "{}"));
  FakeUpstream limited(fixed(429, "{}", {{"Retry-After", "60"}}));
  FakeUpstream good(fixed(200, whole("x")));
  Gateway gateway(Gateway::config({bad.port(), limited.port(), good.port()}));
  for (int i = 0; i < 20; ++i) {
    const Reply reply = gateway.chat();
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_EQ(gateway.lines->last()["upstream"], "u2");
    EXPECT_EQ(gateway.settled().tokens, 150) << "counted once";
  }
  EXPECT_EQ(good.seen().size(), 20U);
  EXPECT_LE(limited.seen().size(), 1U) << "it asked for silence";
  EXPECT_LE(bad.seen().size(), static_cast<std::size_t>(Breaker::kMostFailures))
      << "its breaker opened";
}

TEST(Proxy, OneThatCannotBeReachedOpensItsBreaker) {
  std::uint16_t nobody = 0;
  {
    TestServer gone([](Exchange&) -> Task<void> { co_return; });
    nobody = gone.port();
  }
  Gateway gateway(Gateway::config({nobody}));
  Reply reply;
  int unreachable = 0;
  for (int i = 0; i < 8; ++i) {
    reply = gateway.chat();
    if (reply.code() == "upstream_unreachable") ++unreachable;
  }
  EXPECT_GE(unreachable, 1);
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.code(), "upstream_unavailable");
  EXPECT_GE(std::stoi(reply.fields.at("retry-after")), 1);
  EXPECT_EQ(gateway.settled().tokens, 0);
}

TEST(Proxy, AKeyThatIsMissing) {
  FakeUpstream upstream(fixed(200, whole("x")));
  LlmConfig config = Gateway::config({upstream.port()});
  config.upstreams[0].key = KeyReference{"keys", "gone"};
  Gateway gateway(config);
  const Reply reply = gateway.chat();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.code(), "upstream_key_missing");
  EXPECT_NE(reply.body.find("the key gone of the Secret keys"), std::string::npos) << reply.body;
  EXPECT_TRUE(upstream.seen().empty());

  config.upstreams[0].key = KeyReference{"keys", "with-line-feed"};
  Gateway other(config);
  EXPECT_EQ(other.chat().status, 200);
  EXPECT_EQ(upstream.seen().at(0).head.fields.get("Authorization"), "Bearer " + std::string(kKey));
  config.upstreams[0].key = KeyReference{"keys", "two-lines"};
  Gateway two(config);
  EXPECT_EQ(two.chat().code(), "upstream_key_missing");
  config.upstreams[0].key.reset();
  Gateway without(config);
  EXPECT_EQ(without.chat().status, 200);
  EXPECT_FALSE(upstream.seen().at(1).head.fields.has("Authorization"));
}

TEST(Proxy, ASlowFirstByte) {
  FakeUpstream upstream([](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    co_await pause(2s);
    Fields fields;
    fields.add("Content-Type", "application/json");
    const std::string body = whole("late");
    std::ignore = co_await exchange.reply(200, std::move(fields), body);
  });
  LlmConfig config = Gateway::config({upstream.port()});
  {
    Gateway gateway(config);
    EXPECT_EQ(gateway.chat().status, 200);
  }
  config.upstreams[0].first_byte_timeout = 100ms;
  Gateway gateway(config);
  const Reply reply = gateway.chat();
  EXPECT_EQ(reply.status, 504);
  EXPECT_EQ(reply.code(), "upstream_timeout");
  EXPECT_EQ(upstream.seen().size(), 2U) << "silence is not asked for again";
}

TEST(Proxy, TheDeadlineHolds) {
  FakeUpstream upstream([](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    Fields fields;
    fields.add("Content-Type", "application/json");
    auto sent = co_await exchange.begin(200, std::move(fields), std::nullopt);
    const std::string_view space = " ";
    while (sent) {
      sent = co_await exchange.write(space);
      co_await pause(20ms);
    }
  });
  LlmConfig config = Gateway::config({upstream.port()});
  config.limits.deadline = 1500ms;
  Gateway gateway(config);
  const Reply reply = gateway.chat();
  EXPECT_EQ(reply.status, 504) << reply.body;
  EXPECT_EQ(gateway.lines->last()["verdict"], "failed");
}

TEST(Proxy, AKeptConnectionThatIsGoneIsNoFailure) {
  // Closes after each answer without saying so.
  ScriptedServer upstream([](Wire& wire) {
    if (wire.until("\"hello\"}]}").empty()) return;
    const std::string body = whole("x");
    wire.send("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  });
  Gateway gateway(Gateway::config({upstream.port()}));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(gateway.chat().status, 200);
    EXPECT_EQ(gateway.lines->last()["retries"], 0);
  }
}

TEST(Proxy, Anthropic) {
  const std::string answer =
      R"({"type":"message","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"output_tokens":4}})";
  FakeUpstream upstream(fixed(200, answer, {{"request-id", "req_a"}}));
  Gateway gateway(Gateway::config({upstream.port()}, Kind::kAnthropic));
  const Reply reply = gateway.post(
      "/v1/messages", R"({"model":"m","max_tokens":5,"messages":[]})",
      "anthropic-version: 2024-01-02\r\nanthropic-beta: some-beta-1\r\nx-api-key: none\r\n");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, answer);
  EXPECT_EQ(reply.fields.at("x-request-id"), "req_a");
  const auto seen = upstream.seen().at(0);
  EXPECT_EQ(seen.head.target, "/base/v1/messages");
  EXPECT_EQ(seen.head.fields.get("x-api-key"), kKey);
  EXPECT_EQ(seen.head.fields.count("x-api-key"), 1U);
  EXPECT_FALSE(seen.head.fields.has("Authorization"));
  EXPECT_EQ(seen.head.fields.get("anthropic-version"), "2024-01-02");
  EXPECT_EQ(seen.head.fields.get("anthropic-beta"), "some-beta-1");
  EXPECT_EQ(gateway.settled().tokens, 14);
  gateway.post("/v1/messages", R"({"model":"m"})",
               "anthropic-version: <script>\r\nanthropic-beta: a\"b\r\n");
  EXPECT_EQ(upstream.seen().at(1).head.fields.get("anthropic-version"), "2023-06-01");
  EXPECT_FALSE(upstream.seen().at(1).head.fields.has("anthropic-beta"));
  const Reply wrong = gateway.chat();
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.code(), "wrong_endpoint");
}

TEST(Proxy, LargeBodiesGoThrough) {
  const std::string reply_text(3'000'000, 'y');
  FakeUpstream upstream(fixed(200, whole(reply_text)));
  Gateway gateway(Gateway::config({upstream.port()}));
  const std::string content(5'000'000, 'x');
  const Reply reply = gateway.chat("", content);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.read()["choices"][0]["message"]["content"], reply_text);
  EXPECT_EQ(json::parse(upstream.seen().at(0).body)["messages"][0]["content"], content);
  EXPECT_EQ(gateway.settled().tokens, 150);
}

TEST(Proxy, MemoryIsBoundedForEachAndForAll) {
  Memory memory;
  Memory::Hold first(memory, "a");
  EXPECT_TRUE(first.grow(40 << 20));
  {
    Memory::Hold second(memory, "a");
    EXPECT_FALSE(second.grow(30 << 20)) << "of one workspace";
    EXPECT_TRUE(second.grow(20 << 20));
    EXPECT_FALSE(first.grow(10 << 20));
  }
  EXPECT_TRUE(first.grow(20 << 20)) << "what was held is given back";
  std::deque<Memory::Hold> others;
  for (const char* owner : {"b", "c", "d"})
    EXPECT_TRUE(others.emplace_back(memory, owner).grow(60 << 20));
  Memory::Hold last(memory, "e");
  EXPECT_FALSE(last.grow(60 << 20)) << "of all";
  first.release();
  EXPECT_TRUE(last.grow(60 << 20));
}

TEST(Proxy, ManyAtTheSameTime) {
  FakeUpstream upstream(fixed(200, whole("x")));
  Gateway gateway(Gateway::config({upstream.port()}));
  constexpr int kCalls = 100;
  std::vector<Wire> wires;
  for (int i = 0; i < kCalls; ++i) {
    wires.emplace_back(gateway.front.port());
    wires.back().send(Gateway::request("/v1/chat/completions", Gateway::body()));
  }
  for (Wire& wire : wires)
    EXPECT_EQ(read_reply(wire.rest()).status, 200);
  EXPECT_TRUE(eventually([&] { return gateway.lines->count() == kCalls; }));
  for (const auto& entry : gateway.ledger->entries())
    EXPECT_EQ(entry.settled ? entry.settled->tokens : -1, 150);
}

}  // namespace
}  // namespace palisade::gateway::llm
