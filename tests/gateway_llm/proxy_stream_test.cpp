// Answers that are streamed.
#include <atomic>

#include "proxy_fixture.h"
#include "sse.h"

namespace palisade::gateway::llm {
namespace {

using namespace testing;

std::vector<SseEvent> events_of(const std::string& body) {
  SseReader reader(100 << 20);
  std::vector<SseEvent> events;
  EXPECT_TRUE(reader.feed(body, events));
  EXPECT_EQ(reader.rest(), "") << "every event is whole";
  return events;
}
// The error that a stream ended with.
std::string error_of(const Reply& reply) {
  const auto events = events_of(reply.body);
  if (events.empty()) return "";
  const json last = json::parse(events.back().data, nullptr, false);
  return last.is_object() && last.contains("error") ? last["error"].value("code", "") : "";
}

TEST(ProxyStream, PassesOnAndCounts) {
  const std::string hel = chunk("Hel");
  FakeUpstream upstream(streamed({hel, chunk("lo"), kStop, kUsage, kDone}));
  Gateway gateway(Gateway::config({upstream.port()}));
  const Reply reply = gateway.chat(R"(,"stream":true)");
  EXPECT_EQ(reply.status, 200);
  EXPECT_FALSE(reply.cut);
  EXPECT_EQ(reply.fields.at("content-type"), "text/event-stream");
  EXPECT_EQ(reply.body, hel + chunk("lo") + kStop + kDone)
      << "byte by byte, without the usage that was not asked for";
  const json seen = json::parse(upstream.seen().at(0).body);
  EXPECT_EQ(seen["stream_options"]["include_usage"], true);
  EXPECT_EQ(upstream.seen().at(0).head.fields.get("Accept"), "text/event-stream");
  const json line = gateway.lines->last();
  EXPECT_EQ(line["verdict"], "allowed");
  EXPECT_EQ(line["stream"], true);
  EXPECT_EQ(line["promptTokens"], 100);
  EXPECT_EQ(line["completionTokens"], 50);
  EXPECT_EQ(line["flags"], json::array());
  EXPECT_EQ(gateway.settled().tokens, 150);

  const Reply asked = gateway.chat(R"(,"stream":true,"stream_options":{"include_usage":true})");
  EXPECT_EQ(asked.body, hel + chunk("lo") + kStop + kUsage + kDone);
}

TEST(ProxyStream, EachPieceAsItComes) {
  std::atomic<int> allowed = 0;
  FakeUpstream upstream([&](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    Fields fields;
    fields.add("Content-Type", "text/event-stream");
    auto sent = co_await exchange.begin(200, std::move(fields), std::nullopt);
    for (int i = 0; i < 5; ++i) {
      while (allowed.load() < i)
        co_await pause(1ms);
      const std::string piece = chunk("piece " + std::to_string(i));
      // Cut in the middle of a line as well.
      const std::string_view first = std::string_view(piece).substr(0, 11);
      const std::string_view second = std::string_view(piece).substr(11);
      if (sent) sent = co_await exchange.write(first);
      co_await pause(1ms);
      if (sent) sent = co_await exchange.write(second);
    }
    const std::string_view end = kDone;
    if (sent) sent = co_await exchange.write(end);
    if (sent) sent = co_await exchange.end();
  });
  Gateway gateway(Gateway::config({upstream.port()}));
  Wire wire(gateway.front.port());
  wire.send(Gateway::request("/v1/chat/completions", Gateway::body(R"(,"stream":true)")));
  for (int i = 0; i < 5; ++i) {
    // The upstream says the next only once this has arrived.
    EXPECT_NE(wire.until("piece " + std::to_string(i) + "\"}"), "") << i;
    allowed = i + 1;
  }
  EXPECT_NE(wire.rest().find("[DONE]"), std::string::npos);
}

TEST(ProxyStream, WhateverTheBorders) {
  const std::string stream =
      ": hello\r\n\r\n" + chunk("a") + "event: x\r\ndata: {}\r\n\r\n" + chunk("b") + kUsage + kDone;
  std::vector<std::string> bytes;
  for (const char c : stream)
    bytes.emplace_back(1, c);
  for (const auto& pieces : {bytes, std::vector<std::string>{stream}}) {
    FakeUpstream upstream(streamed(pieces));
    Gateway gateway(Gateway::config({upstream.port()}));
    EXPECT_EQ(gateway.chat(R"(,"stream":true)").body,
              ": hello\r\n\r\n" + chunk("a") + "event: x\r\ndata: {}\r\n\r\n" + chunk("b") + kDone);
    EXPECT_EQ(gateway.settled().tokens, 150);
  }
}

TEST(ProxyStream, Anthropic) {
  const std::string start =
      "event: message_start\ndata: "
      R"({"type":"message_start","message":{"usage":{"input_tokens":20,"output_tokens":1}}})"
      "\n\n";
  const std::string text =
      "event: content_block_delta\ndata: "
      R"({"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}})"
      "\n\n";
  const std::string delta =
      "event: message_delta\ndata: "
      R"({"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":30}})"
      "\n\n";
  const std::string stop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
  const std::string body = R"({"model":"m","max_tokens":9,"stream":true,"messages":[]})";
  {
    FakeUpstream upstream(streamed({start, text, delta, stop}));
    Gateway gateway(Gateway::config({upstream.port()}, Kind::kAnthropic));
    const Reply reply = gateway.post("/v1/messages", body);
    EXPECT_EQ(reply.body, start + text + delta + stop);
    EXPECT_EQ(upstream.seen().at(0).body,
              R"({"model":"up","max_tokens":9,"stream":true,"messages":[]})");
    EXPECT_EQ(gateway.settled().tokens, 50);
  }
  FakeUpstream upstream(streamed({start, text}));
  Gateway gateway(Gateway::config({upstream.port()}, Kind::kAnthropic));
  const Reply reply = gateway.post("/v1/messages", body);
  const auto events = events_of(reply.body);
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[2].name, "error");
  EXPECT_EQ(json::parse(events[2].data)["type"], "error");
  EXPECT_EQ(gateway.lines->last()["code"], "upstream_cut");
  EXPECT_EQ(gateway.lines->last()["promptTokens"], 20);
  EXPECT_TRUE(has_flag(gateway.lines->last(), "estimated"));
}

TEST(ProxyStream, WithoutUsageItIsEstimated) {
  FakeUpstream upstream(streamed({chunk(std::string(400, 'x')), kStop, kDone}));
  Gateway gateway(Gateway::config({upstream.port()}));
  EXPECT_EQ(gateway.chat(R"(,"stream":true)", std::string(4000, 'y')).status, 200);
  const json line = gateway.lines->last();
  EXPECT_TRUE(has_flag(line, "estimated"));
  EXPECT_EQ(line["completionTokens"], 100);
  EXPECT_GT(line["promptTokens"], 1000);
  EXPECT_LT(line["promptTokens"], 1100);
  EXPECT_EQ(gateway.settled().tokens, line["promptTokens"].get<std::int64_t>() +
                                          line["completionTokens"].get<std::int64_t>());
}

TEST(ProxyStream, WhatEndsItBadlyIsSaid) {
  const std::string head =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
  const auto chunked = [](const std::string& text) {
    char size[20];
    std::snprintf(size, sizeof size, "%zx\r\n", text.size());
    return size + text + "\r\n";
  };
  const std::string last = "0\r\n\r\n";
  struct {
    const char* what;
    std::string bytes;
    const char* code;
    std::size_t events;  // before the error's
  } const cases[] = {
      {"cut", head + chunked(chunk("a")) + "5\r\nda", "upstream_cut", 1},
      {"cut within an event", head + chunked(chunk("a") + "data: {\"cho"), "upstream_cut", 1},
      {"ended without an end", head + chunked(chunk("a")) + last, "upstream_cut", 1},
      {"ended at once", head + last, "upstream_cut", 0},
      {"wrong JSON", head + chunked(chunk("a") + "data: {]\n\n" + chunk("b")) + last,
       "upstream_bad_answer", 1},
      {"its own error",
       head + chunked(chunk("a") + "data: {\"error\":{\"message\":\"over\"}}\n\n") + last,
       "upstream_failed", 1},
      {"a large event", head + chunked("data: " + std::string(5'000'000, 'x')) + last,
       "upstream_bad_answer", 0},
      {"bad chunk", head + "zz\r\n" + chunked(chunk("a")), "upstream_cut", 0},
  };
  for (const auto& test : cases) {
    ScriptedServer upstream([&](Wire& wire) {
      wire.until("\"stream\":true}");
      wire.send(test.bytes);
    });
    Gateway gateway(Gateway::config({upstream.port()}));
    const Reply reply = gateway.chat(R"(,"stream":true)");
    EXPECT_EQ(reply.status, 200) << test.what;
    EXPECT_FALSE(reply.cut) << test.what << ": the client gets the error whole";
    EXPECT_EQ(error_of(reply), test.code) << test.what << ": " << reply.body.substr(0, 500);
    EXPECT_EQ(events_of(reply.body).size(), test.events + 1) << test.what;
    EXPECT_EQ(reply.body.find("[DONE]"), std::string::npos) << test.what;
    const json line = gateway.lines->last();
    EXPECT_EQ(line["verdict"], "failed") << test.what;
    EXPECT_EQ(line["code"], test.code) << test.what;
    EXPECT_TRUE(has_flag(line, "estimated")) << test.what;
    EXPECT_GT(gateway.settled().tokens, 0) << test.what << ": what was used counts";
  }
}

TEST(ProxyStream, AnErrorWithinShowsNoKey) {
  FakeUpstream upstream(streamed(
      {chunk("a"), "data: {\"error\":{\"message\":\"bad key " + std::string(kKey) + "\"}}\n\n"}));
  Gateway gateway(Gateway::config({upstream.port()}));
  const Reply reply = gateway.chat(R"(,"stream":true)");
  EXPECT_EQ(error_of(reply), "upstream_failed");
  EXPECT_EQ(reply.body.find(kKey.substr(8)), std::string::npos) << reply.body;
}

TEST(ProxyStream, NothingBehindTheEnd) {
  FakeUpstream upstream(streamed({chunk("a"), kDone + chunk("late") + "data: x\n\n"}));
  Gateway gateway(Gateway::config({upstream.port()}));
  EXPECT_EQ(gateway.chat(R"(,"stream":true)").body, chunk("a") + kDone);
  EXPECT_EQ(gateway.lines->last()["verdict"], "allowed");
}

TEST(ProxyStream, NotAStream) {
  FakeUpstream upstream(fixed(200, whole("x")));
  Gateway gateway(Gateway::config({upstream.port()}));
  const Reply reply = gateway.chat(R"(,"stream":true)");
  EXPECT_EQ(reply.status, 502);
  EXPECT_EQ(reply.code(), "upstream_bad_answer");
}

// Says the same for ever.
FakeUpstream::Answer endless(std::chrono::milliseconds between) {
  return [between](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    Fields fields;
    fields.add("Content-Type", "text/event-stream");
    auto sent = co_await exchange.begin(200, std::move(fields), std::nullopt);
    const std::string piece = chunk(std::string(100, 'x'));
    while (sent) {
      sent = co_await exchange.write(piece);
      if (between > 0ms) co_await pause(between);
    }
  };
}

TEST(ProxyStream, EndlessOnesAreCut) {
  FakeUpstream upstream(endless(0ms));
  LlmConfig config = Gateway::config({upstream.port()});
  config.limits.reply_bytes = 100'000;
  {
    Gateway gateway(config);
    const Reply reply = gateway.chat(R"(,"stream":true)");
    EXPECT_EQ(error_of(reply), "reply_too_large");
    EXPECT_FALSE(reply.cut);
    EXPECT_LE(reply.body.size(), 101'000U);
    EXPECT_GT(reply.body.size(), 50'000U);
    EXPECT_EQ(gateway.lines->last()["verdict"], "failed");
    EXPECT_GT(gateway.settled().tokens, 5'000);
  }
  config.limits.reply_bytes = 100'000'000;
  config.replies.max_bytes = 5'000;
  {
    Gateway gateway(config);
    const Reply reply = gateway.chat(R"(,"stream":true)");
    EXPECT_EQ(error_of(reply), "reply_too_large");
    EXPECT_EQ(gateway.lines->last()["verdict"], "refused");
    EXPECT_LE(events_of(reply.body).size(), 52U);
  }
  FakeUpstream slow(endless(20ms));
  config = Gateway::config({slow.port()});
  config.limits.deadline = 1500ms;
  Gateway gateway(config);
  const Reply reply = gateway.chat(R"(,"stream":true)");
  EXPECT_EQ(error_of(reply), "deadline_exceeded");
  EXPECT_GE(events_of(reply.body).size(), 2U);
}

TEST(ProxyStream, SilenceIsCut) {
  std::atomic<bool> over = false;
  FakeUpstream upstream([&](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    Fields fields;
    fields.add("Content-Type", "text/event-stream");
    auto sent = co_await exchange.begin(200, std::move(fields), std::nullopt);
    const std::string piece = chunk("a");
    if (sent) sent = co_await exchange.write(piece);
    while (!over)
      co_await pause(5ms);
  });
  LlmConfig config = Gateway::config({upstream.port()});
  config.upstreams[0].idle_timeout = 200ms;
  Gateway gateway(config);
  const Reply reply = gateway.chat(R"(,"stream":true)");
  over = true;
  EXPECT_EQ(error_of(reply), "upstream_timeout");
  EXPECT_EQ(events_of(reply.body).size(), 2U);
}

TEST(ProxyStream, AClientThatLeavesPaysForWhatItGot) {
  FakeUpstream upstream(endless(5ms));
  Gateway gateway(Gateway::config({upstream.port()}));
  {
    Wire wire(gateway.front.port());
    wire.send(Gateway::request("/v1/chat/completions", Gateway::body(R"(,"stream":true)")));
    EXPECT_NE(wire.until("xxx\"}"), "");
  }
  ASSERT_TRUE(eventually([&] { return gateway.lines->count() == 1; }));
  const json line = gateway.lines->last();
  EXPECT_EQ(line["verdict"], "failed");
  EXPECT_EQ(line["code"], "client_gone");
  EXPECT_GE(line["completionTokens"], 25);
  EXPECT_GE(gateway.settled().tokens, 25);
  EXPECT_TRUE(has_flag(line, "estimated"));
}

TEST(ProxyStream, AClientThatLeavesBeforeTheAnswerEndsTheCall) {
  std::atomic<bool> asked = false;
  std::atomic<bool> left = false;
  FakeUpstream upstream([&](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    asked = true;
    exchange.when_gone([&] { left = true; });
    while (!left)
      co_await pause(5ms);
  });
  Gateway gateway(Gateway::config({upstream.port()}));
  {
    Wire wire(gateway.front.port());
    wire.send(Gateway::request("/v1/chat/completions", Gateway::body()));
    ASSERT_TRUE(eventually([&] { return asked.load(); }));
  }
  EXPECT_TRUE(eventually([&] { return left.load(); })) << "the upstream is told";
  ASSERT_TRUE(eventually([&] { return gateway.lines->count() == 1; }));
  EXPECT_EQ(gateway.lines->last()["code"], "client_gone");
  EXPECT_GT(gateway.settled().tokens, 0) << "the prompt had gone out";
  left = true;
}

TEST(ProxyStream, TheGatewayEnds) {
  FakeUpstream upstream(endless(5ms));
  const auto gateway = std::make_unique<Gateway>(Gateway::config({upstream.port()}));
  Wire wire(gateway->front.port());
  wire.send(Gateway::request("/v1/chat/completions", Gateway::body(R"(,"stream":true)")));
  EXPECT_NE(wire.until("xxx\"}"), "");
  gateway->front.server.stop(0ms);
  EXPECT_EQ(gateway->lines->count(), 1U) << "also of what was ended";
  EXPECT_EQ(gateway->lines->last()["verdict"], "failed");
  EXPECT_GT(gateway->settled().tokens, 0);
}

TEST(ProxyStream, ConnectionsAreKept) {
  FakeUpstream upstream(streamed({chunk("a"), kStop, kUsage, kDone}));
  Gateway gateway(Gateway::config({upstream.port()}));
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(gateway.chat(R"(,"stream":true)").status, 200);
  EXPECT_EQ(upstream.seen().size(), 5U);
  EXPECT_LE(upstream.connections(), 1U);
}

}  // namespace
}  // namespace palisade::gateway::llm
