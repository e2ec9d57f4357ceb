// The relay between a caller that says bytes and a TLS gateway with a certificate of the test's.
#include <filesystem>
#include <fstream>

#include <gateway/relay/relay.h>

#include "gateway_http/fixture.h"
#include "gateway_http/pki.h"

namespace palisade::gateway::relay {
namespace {

using namespace palisade::gateway::testing;
namespace fs = std::filesystem;

const std::string kEnd = "Connection: close\r\n\r\n";

class RelayTest : public ::testing::Test {
 protected:
  RelayTest() {
    static std::atomic<int> next{0};
    folder_ = fs::temp_directory_path() /
              ("relay-" + std::to_string(::getpid()) + "-" + std::to_string(++next));
    fs::create_directory(folder_);
    put("token", "token-one\n");
    put("ca.pem", authority_.certificate);
  }
  ~RelayTest() override {
    relay_.reset();
    gateway_.reset();
    fs::remove_all(folder_);
  }

  // As kubelet does: a new file takes the place of the old one.
  void put(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / (name + ".new"), std::ios::binary) << text;
    fs::rename(folder_ / (name + ".new"), folder_ / name);
  }

  void start_gateway(Handler handler) {
    const auto served = test_pki::issue(authority_, leaf({"gateway.test"}));
    auto options = local();
    options.tls = ServingIdentity{served.certificate, served.key};
    gateway_ = std::make_unique<TestServer>(std::move(handler), options);
  }

  Route route(const std::string& name) const {
    Route out;
    out.name = name;
    out.address = "127.0.0.1";
    out.path = name == "git" ? "/git" : "/v1";
    out.url.host = "gateway.test";
    out.url.port = gateway_->port();
    out.url.path = out.path;
    out.connect_to = "127.0.0.1";
    out.token_file = folder_ / "token";
    out.ca_file = folder_ / "ca.pem";
    return out;
  }

  void start_relay(const std::function<void(Route&)>& change = {}) {
    Config config;
    config.routes = {route("llm"), route("git")};
    if (change) {
      for (Route& one : config.routes)
        change(one);
    }
    relay_ = std::make_unique<Relay>(config);
    const auto started = relay_->start();
    ASSERT_TRUE(started) << started.error();
  }

  // What an answer to this is, whole.
  std::string say(const std::string& text, std::size_t route = 0) {
    Wire wire(relay_->ports()[route]);
    wire.send(text);
    return wire.rest();
  }
  std::string get(const std::string& target, std::size_t route = 0) {
    return say("GET " + target + " HTTP/1.1\r\nHost: x\r\n" + kEnd, route);
  }
  // Until an answer has this in it.
  bool comes_to(const std::string& target, const std::string& wanted) {
    return eventually([&] { return get(target).find(wanted) != std::string::npos; });
  }

  test_pki::Pair authority_ = test_pki::make_ca();
  fs::path folder_;
  std::unique_ptr<TestServer> gateway_;
  std::unique_ptr<Relay> relay_;
};

// Answers with what arrived: the request line, every field, and the body.
Task<void> mirror(Exchange& exchange) {
  const RequestHead& head = exchange.request();
  std::string text = head.method + " " + head.target + "\n";
  for (const Field& field : head.fields.all())
    text += field.name + ": " + field.value + "\n";
  auto body = co_await exchange.read_all(32 * 1024 * 1024);
  if (!body) co_return;
  text += "[" + *body + "]";
  Fields fields;
  fields.add("Content-Type", "text/plain");
  fields.add("Set-Cookie", "a=b");
  fields.add("X-Request-Id", "7");
  std::ignore = co_await exchange.reply(200, std::move(fields), text);
}

TEST_F(RelayTest, PassesRequestsOnWithTheSessionsIdentity) {
  start_gateway(mirror);
  start_relay();
  const std::string answer =
      say("POST /v1/chat/completions?x=y HTTP/1.1\r\nHost: 127.0.0.1:4000\r\n"
          "Authorization: Bearer stolen\r\nX-Forwarded-For: 1.2.3.4\r\nCookie: c\r\n"
          "Content-Type: application/json\r\nContent-Length: 4\r\n" +
          kEnd + "body");
  const std::string expected =
      "POST /v1/chat/completions?x=y\nHost: gateway.test:" + std::to_string(gateway_->port()) +
      "\ncontent-type: application/json\nAuthorization: Bearer token-one\n"
      "Content-Length: 4\n[body]";
  EXPECT_EQ(answer,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Request-Id: 7\r\n"
            "Content-Length: " +
                std::to_string(expected.size()) + "\r\nConnection: close\r\n\r\n" + expected);
  const std::string chunked =
      say("POST /git/git-upload-pack HTTP/1.1\r\nHost: x\r\nGit-Protocol: version=2\r\n"
          "Transfer-Encoding: chunked\r\n" +
              kEnd + "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
          1);
  EXPECT_NE(chunked.find("git-protocol: version=2\n"), std::string::npos) << chunked;
  EXPECT_TRUE(chunked.ends_with("[abcdefg]")) << chunked;
  EXPECT_TRUE(get("/v1/models").ends_with("[]"));
  // Each route passes on its own path alone.
  EXPECT_TRUE(get("/git/info/refs").starts_with("HTTP/1.1 404"));
  EXPECT_TRUE(get("/v1/models", 1).starts_with("HTTP/1.1 404"));
  EXPECT_TRUE(get("/").starts_with("HTTP/1.1 404"));
  EXPECT_TRUE(eventually([&] { return relay_->counts().requests == 6; }));
  const Counts counts = relay_->counts();
  EXPECT_EQ(counts.failures, 0U);
  EXPECT_EQ(counts.bytes_up, 11U);
  EXPECT_GT(counts.bytes_down, 100U);
  EXPECT_LT(counts.idle_seconds, 60);
}

TEST_F(RelayTest, StreamsBothWays) {
  std::promise<void> go;
  const auto gone = go.get_future().share();
  start_gateway([gone](Exchange& exchange) -> Task<void> {
    Fields fields;
    fields.add("Content-Type", "text/event-stream");
    std::ignore = co_await exchange.begin(200, std::move(fields), std::nullopt);
    const auto piece = co_await exchange.read();
    const std::string first = "data: " + std::string(piece ? *piece : "cut") + "\n\n";
    std::ignore = co_await exchange.write(first);
    for (;;) {
      const auto more = co_await exchange.read();
      if (!more || more->empty()) break;
    }
    while (gone.wait_for(0s) != std::future_status::ready)
      co_await pause(2ms);
    std::ignore = co_await exchange.write("data: [DONE]\n\n");
    std::ignore = co_await exchange.end();
  });
  start_relay();
  Wire wire(relay_->ports()[0]);
  wire.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + kEnd +
            "5\r\nfirst\r\n");
  // Before the request's end, and before the answer's.
  EXPECT_NE(wire.until("data: first\n\n"), "");
  wire.send("4\r\nmore\r\n0\r\n\r\n");
  go.set_value();
  EXPECT_TRUE(wire.rest().ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
}

TEST_F(RelayTest, PassesTenMegabytesWithoutHoldingThem) {
  start_gateway(mirror);
  start_relay();
  std::string body;
  for (int i = 0; body.size() < 10'000'000; ++i)
    body += std::to_string(i) + " ";
  Wire wire(relay_->ports()[0]);
  wire.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
            "\r\n" + kEnd);
  wire.send(body);
  const std::string answer = wire.rest();
  EXPECT_TRUE(answer.ends_with("[" + body + "]")) << answer.substr(0, 200);
  EXPECT_EQ(relay_->counts().bytes_up, body.size());
}

TEST_F(RelayTest, TakesTheTokenAndTheAuthoritiesThatAreThereNow) {
  start_gateway(mirror);
  start_relay();
  EXPECT_NE(get("/v1/x").find("Bearer token-one"), std::string::npos);
  put("token", "token-two");
  EXPECT_TRUE(comes_to("/v1/x", "Bearer token-two"));
  // Gone, or no token: the last one stays, as half of a rotation.
  fs::remove(folder_ / "token");
  std::this_thread::sleep_for(2500ms);
  EXPECT_NE(get("/v1/x").find("Bearer token-two"), std::string::npos);
  put("token", "token-three");
  EXPECT_TRUE(comes_to("/v1/x", "Bearer token-three"));

  // The gateway's certificate is of another authority now.
  const auto old = authority_;
  authority_ = test_pki::make_ca("the next");
  const auto served = test_pki::issue(authority_, leaf({"gateway.test"}));
  ASSERT_TRUE(gateway_->server.set_identity({served.certificate, served.key}));
  put("ca.pem", authority_.certificate);
  EXPECT_TRUE(eventually([&] {
    return get("/v1/x").starts_with("HTTP/1.1 200") && get("/git/x", 1).starts_with("HTTP/1.1 200");
  }));
}

TEST_F(RelayTest, SendsNoTokenToAGatewayThatItDoesNotTrust) {
  std::atomic<int> asked{0};
  start_gateway([&](Exchange&) -> Task<void> {
    ++asked;
    co_return;
  });
  const struct {
    const char* name;
    std::function<void(Route&)> change;
    const char* code;
  } cases[] = {
      {"another authority",
       [&](Route& one) {
         put("other.pem", test_pki::make_ca("a stranger").certificate);
         one.ca_file = folder_ / "other.pem";
       },
       "gateway_not_trusted"},
      {"the system's authorities", [](Route& one) { one.ca_file.clear(); }, "gateway_not_trusted"},
      {"another name", [](Route& one) { one.url.host = "other.test"; }, "gateway_not_trusted"},
      {"no authorities yet", [&](Route& one) { one.ca_file = folder_ / "none.pem"; },
       "no_authorities"},
      {"authorities that are none",
       [&](Route& one) {
         put("broken.pem", "-----BEGIN CERTIFICATE-----\nx\n");
         one.ca_file = folder_ / "broken.pem";
       },
       "gateway_not_trusted"},
      {"an empty file of authorities",
       [&](Route& one) {
         put("empty.pem", "\n");
         one.ca_file = folder_ / "empty.pem";
       },
       "no_authorities"},
      {"no token yet", [&](Route& one) { one.token_file = folder_ / "none"; }, "no_token"},
      {"a token of two lines",
       [&](Route& one) {
         put("two", "a\r\nX-Other: b");
         one.token_file = folder_ / "two";
       },
       "no_token"},
  };
  for (const auto& c : cases) {
    start_relay(c.change);
    const std::string answer = get("/v1/x");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 502")) << c.name << answer;
    EXPECT_NE(answer.find(c.code), std::string::npos) << c.name << answer;
    EXPECT_EQ(answer.find("X-Other"), std::string::npos);
    EXPECT_EQ(relay_->counts().failures, 1U) << c.name;
    relay_.reset();
  }
  EXPECT_EQ(asked, 0);
}

TEST_F(RelayTest, SaysThatTheGatewayIsDownAndGoesOnOnceItIsThere) {
  start_gateway(mirror);
  start_relay();
  EXPECT_TRUE(get("/v1/x").starts_with("HTTP/1.1 200"));
  const std::uint16_t port = gateway_->port();
  gateway_.reset();
  const std::string llm = get("/v1/x");
  EXPECT_TRUE(llm.starts_with("HTTP/1.1 502")) << llm;
  EXPECT_NE(llm.find("\"code\":\"gateway_unreachable\""), std::string::npos) << llm;
  EXPECT_NE(llm.find("Content-Type: application/json"), std::string::npos);
  const std::string git = get("/git/x", 1);
  EXPECT_TRUE(git.starts_with("HTTP/1.1 502")) << git;
  EXPECT_NE(git.find("Content-Type: text/plain"), std::string::npos) << git;
  EXPECT_EQ(relay_->counts().failures, 2U);
  const auto served = test_pki::issue(authority_, leaf({"gateway.test"}));
  auto options = local();
  options.tls = ServingIdentity{served.certificate, served.key};
  options.port = port;
  gateway_ = std::make_unique<TestServer>(mirror, options);
  EXPECT_TRUE(get("/v1/x").starts_with("HTTP/1.1 200"));
}

TEST_F(RelayTest, CutsAnAnswerThatTheGatewayCuts) {
  start_gateway([](Exchange& exchange) -> Task<void> {
    Fields none;
    if (exchange.request().target == "/v1/sized") {
      std::ignore = co_await exchange.begin(200, std::move(none), 100);
    } else {
      std::ignore = co_await exchange.begin(200, std::move(none), std::nullopt);
    }
    std::ignore = co_await exchange.write("half");
  });
  start_relay();
  for (const char* target : {"/v1/sized", "/v1/chunked"}) {
    const std::string answer = get(target);
    EXPECT_NE(answer.find("half"), std::string::npos) << target;
    EXPECT_EQ(answer.find("0\r\n\r\n"), std::string::npos) << target;
  }
  EXPECT_EQ(relay_->counts().failures, 2U);
}

TEST_F(RelayTest, CountsTheGatewaysFailuresAndPassesThemOn) {
  start_gateway([](Exchange& exchange) -> Task<void> {
    Fields fields;
    fields.add("Retry-After", "3");
    const int status = std::stoi(exchange.request().target.substr(4));
    std::ignore = co_await exchange.reply(status, std::move(fields), "why");
  });
  start_relay();
  for (const char* status : {"429", "500", "503", "403", "200"}) {
    const std::string answer = get(std::string("/v1/") + status);
    EXPECT_TRUE(answer.starts_with(std::string("HTTP/1.1 ") + status)) << answer;
    EXPECT_NE(answer.find("Retry-After: 3\r\n"), std::string::npos);
    EXPECT_TRUE(answer.ends_with("why"));
  }
  EXPECT_EQ(relay_->counts().requests, 5U);
  EXPECT_EQ(relay_->counts().failures, 2U);
}

TEST_F(RelayTest, CountsWhatABudgetRefuses) {
  start_gateway([](Exchange& exchange) -> Task<void> {
    const std::string target(exchange.request().target);
    Fields fields;
    if (!target.ends_with("slower")) fields.add("x-should-retry", "false");
    std::ignore = co_await exchange.reply(target.find("429") != std::string::npos ? 429 : 403,
                                          std::move(fields), "why");
  });
  start_relay();
  for (const char* target : {"/v1/429", "/v1/429-slower", "/v1/403", "/v1/429"})
    EXPECT_TRUE(get(target).ends_with("why")) << target;
  EXPECT_EQ(relay_->counts().budget_refusals, 2U);
}

TEST_F(RelayTest, DeliversAnEarlyAnswerToALargeRequest) {
  start_gateway([](Exchange& exchange) -> Task<void> {
    Fields none;
    std::ignore = co_await exchange.reply(413, std::move(none), "too much");
  });
  start_relay();
  // All of it is on its way; then: most of it never comes.
  for (const std::size_t sent : {20'000'000U, 100'000U}) {
    Wire wire(relay_->ports()[0]);
    wire.send("POST /v1/x HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n");
    wire.send(std::string(sent, 'x'));
    EXPECT_NE(wire.until("too much"), "") << sent;
    EXPECT_EQ(wire.rest(), "") << sent;
  }
}

TEST_F(RelayTest, EndsItsCallWhereTheCallerGoes) {
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  start_gateway([&](Exchange& exchange) -> Task<void> {
    bool gone = false;
    exchange.when_gone([&] { gone = true; });
    ++begun;
    if (exchange.request().target == "/v1/streaming") {
      Fields none;
      std::ignore = co_await exchange.begin(200, std::move(none), std::nullopt);
    }
    while (!gone)
      co_await pause(2ms);
    ++ended;
  });
  start_relay();
  int count = 0;
  for (const char* head :
       {"GET /v1/waiting HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/streaming HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /v1/up HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\nabc"}) {
    {
      Wire wire(relay_->ports()[0]);
      wire.send(head);
      ++count;
      ASSERT_TRUE(eventually([&] { return begun == count; })) << head;
    }
    EXPECT_TRUE(eventually([&] { return ended == count; })) << head;
  }
  // The caller's doing, not the gateway's.
  EXPECT_EQ(relay_->counts().failures, 0U);
}

TEST_F(RelayTest, LetsNothingThroughThatIsNoRequest) {
  std::atomic<int> smuggled{0};
  start_gateway([&](Exchange& exchange) -> Task<void> {
    if (exchange.request().target.find("smuggled") != std::string::npos) ++smuggled;
    std::ignore = co_await exchange.read_all(100'000);
    Fields none;
    std::ignore = co_await exchange.reply(200, std::move(none), "ok");
  });
  start_relay();
  const std::string hidden = "GET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string post = "POST /v1/x HTTP/1.1\r\nHost: x\r\n";
  for (const std::string& text :
       {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
        post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + hidden,
        post + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n" + hidden,
        "GET http://gateway.test/v1/x HTTP/1.1\r\nHost: x\r\n\r\n" + hidden,
        "GET /v1/x HTTP/1.1\r\nHost: x\r\nX: a\n\r\n" + hidden,
        "CONNECT gateway.test:443 HTTP/1.1\r\nHost: x\r\n\r\n" + hidden}) {
    const std::string answer = say(text);
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400")) << text << answer;
  }
  EXPECT_EQ(smuggled, 0);
}

TEST_F(RelayTest, TellsItsCountsOnEachRoute) {
  start_gateway(mirror);
  start_relay();
  for (const std::size_t route : {0U, 1U}) {
    const std::string answer = get(kStatusPath, route);
    EXPECT_TRUE(
        answer.ends_with("{\"requests\":0,\"failures\":0,\"bytesUp\":0,\"bytesDown\":0,"
                         "\"idleSeconds\":0,\"budgetRefusals\":0}\n"))
        << answer;
  }
}

TEST_F(RelayTest, FinishesWhatIsInFlight) {
  std::promise<void> go;
  const auto gone = go.get_future().share();
  std::atomic<bool> within{false};
  start_gateway([&, gone](Exchange& exchange) -> Task<void> {
    Fields none;
    std::ignore = co_await exchange.begin(200, std::move(none), std::nullopt);
    std::ignore = co_await exchange.write("one");
    within = true;
    while (gone.wait_for(0s) != std::future_status::ready)
      co_await pause(2ms);
    std::ignore = co_await exchange.write("two");
    std::ignore = co_await exchange.end();
  });
  start_relay();
  Wire wire(relay_->ports()[0]);
  wire.send("GET /v1/x HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_NE(wire.until("one\r\n"), "");
  auto stopped = std::async(std::launch::async, [&] { relay_->stop(kPatience); });
  EXPECT_EQ(stopped.wait_for(50ms), std::future_status::timeout);
  go.set_value();
  EXPECT_EQ(wire.rest(), "3\r\ntwo\r\n0\r\n\r\n");
  EXPECT_EQ(stopped.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(relay_->counts().failures, 0U);
}

}  // namespace
}  // namespace palisade::gateway::relay
