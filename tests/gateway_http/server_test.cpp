// The server with a handler that echoes: requests in, answers out, over plain sockets and TLS.
#include "gateway_http/fixture.h"
#include "gateway_http/pki.h"
#include "kube/raw_client.h"

namespace palisade::gateway::testing {
namespace {

// Answers with "METHOD TARGET BODY".
Task<void> echo(Exchange& exchange) {
  auto body = co_await exchange.read_all(64 * 1024 * 1024);
  if (!body) co_return;
  const std::string answer =
      exchange.request().method + " " + exchange.request().target + " " + *body;
  Fields fields;
  fields.add("Content-Type", "text/plain");
  std::ignore = co_await exchange.reply(200, std::move(fields), answer);
}

// Answers with the body, piece by piece as it comes.
Task<void> stream(Exchange& exchange) {
  Fields fields;
  const auto length = exchange.content_length();
  const auto begun = co_await exchange.begin(200, std::move(fields), length);
  if (!begun) co_return;
  for (;;) {
    const auto piece = co_await exchange.read();
    if (!piece) co_return;
    if (piece->empty()) break;
    const auto written = co_await exchange.write(*piece);
    if (!written) co_return;
  }
  std::ignore = co_await exchange.end();
}

std::string answer(const std::string& body, const char* more = "") {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
}

TEST(Server, AnswersPipelinedRequestsInTheirOrder) {
  TestServer server(echo);
  Wire wire(server.port());
  std::string all;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string n = std::to_string(i);
    if (i % 3 == 0) {
      all += "GET /" + n + " HTTP/1.1\r\nHost: x\r\n\r\n";
      expected += answer("GET /" + n + " ");
    } else if (i % 3 == 1) {
      all += "POST /" + n + " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
      expected += answer("POST /" + n + " abc");
    } else {
      all += "POST /" + n +
             " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
             "chunked\r\n\r\n1\r\nx\r\n2\r\nyz\r\n0\r\n\r\n";
      expected += answer("POST /" + n + " xyz");
    }
  }
  ASSERT_TRUE(wire.send(all));
  EXPECT_EQ(wire.exactly(expected.size()), expected);
}

TEST(Server, TakesARequestHoweverItIsCut) {
  TestServer server(echo);
  const std::string text =
      "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
  Wire wire(server.port());
  const std::string expected = answer("POST /x abc");
  for (std::size_t cut = 1; cut < text.size(); cut += 3) {
    ASSERT_TRUE(wire.send(text.substr(0, cut)));
    std::this_thread::sleep_for(1ms);
    ASSERT_TRUE(wire.send(text.substr(cut)));
    ASSERT_EQ(wire.exactly(expected.size()), expected) << cut;
  }
}

TEST(Server, SpeaksHttp10AsItIsSpoken) {
  TestServer whole(echo);
  Wire closed(whole.port());
  closed.send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(closed.rest(), answer("GET / ", "Connection: close\r\n"));
  Wire kept(whole.port());
  for (int i = 0; i < 2; ++i) {
    kept.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const auto expected = answer("GET / ", "Connection: keep-alive\r\n");
    EXPECT_EQ(kept.exactly(expected.size()), expected);
  }
  // It knows no chunks: the end of the connection is the end of the answer.
  TestServer pieces([](Exchange& exchange) -> Task<void> {
    Fields fields;
    std::ignore = co_await exchange.begin(200, std::move(fields), std::nullopt);
    for (int i = 0; i < 3; ++i)
      std::ignore = co_await exchange.write("abc");
    std::ignore = co_await exchange.end();
  });
  Wire wire(pieces.port());
  wire.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(wire.rest(), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabcabcabc");
}

TEST(Server, SendsNoBodyWhereThereIsNone) {
  TestServer server([](Exchange& exchange) -> Task<void> {
    Fields fields;
    const int status = std::stoi(exchange.request().target.substr(1));
    if (exchange.request().query() == "pieces") {
      std::ignore = co_await exchange.begin(status, std::move(fields), std::nullopt);
      std::ignore = co_await exchange.write("abc");
      std::ignore = co_await exchange.end();
    } else {
      std::ignore = co_await exchange.reply(status, std::move(fields), "abc");
    }
  });
  const struct {
    const char* request;
    const char* answer;
  } cases[] = {
      {"HEAD /200", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"},
      {"GET /204", "HTTP/1.1 204 No Content\r\n\r\n"},
      {"GET /304", "HTTP/1.1 304 Not Modified\r\n\r\n"},
      {"HEAD /200?pieces", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"GET /204?pieces", "HTTP/1.1 204 No Content\r\n\r\n"},
      {"GET /200", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"},
  };
  Wire wire(server.port());
  for (const auto& c : cases) {
    wire.send(std::string(c.request) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_EQ(wire.exactly(std::strlen(c.answer)), c.answer) << c.request;
  }
}

TEST(Server, TellsAClientThatWaitsToGoOnOnceItsBodyIsWanted) {
  TestServer server(echo);
  Wire wire(server.port());
  wire.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(wire.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  wire.send("abc");
  const auto expected = answer("POST / abc");
  EXPECT_EQ(wire.exactly(expected.size()), expected);

  // Not wanted: whether it comes is unknown, so nothing on this connection is a request any more.
  TestServer refuses([](Exchange& exchange) -> Task<void> {
    Fields none;
    std::ignore = co_await exchange.reply(413, std::move(none), "no");
  });
  Wire told(refuses.port());
  told.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(told.rest(),
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
}

TEST(Server, SendsWhatIsWrittenAtOnce) {
  std::promise<void> go;
  const auto gone = go.get_future().share();
  TestServer server([gone](Exchange& exchange) -> Task<void> {
    Fields fields;
    std::ignore = co_await exchange.begin(200, std::move(fields), std::nullopt);
    std::ignore = co_await exchange.write("one");
    while (gone.wait_for(0s) != std::future_status::ready)
      co_await pause(2ms);
    std::ignore = co_await exchange.write("two");
    std::ignore = co_await exchange.end();
  });
  Wire wire(server.port());
  wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  // While the handler waits for something else.
  EXPECT_EQ(wire.until("one\r\n"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
  go.set_value();
  EXPECT_EQ(wire.until("0\r\n\r\n"), "3\r\ntwo\r\n0\r\n\r\n");
}

TEST(Server, ReadsAwayASmallRestAndClosesBeforeALargeOne) {
  TestServer server([](Exchange& exchange) -> Task<void> {
    Fields none;
    std::ignore = co_await exchange.reply(200, std::move(none), "early");
  });
  const std::string early = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
  for (const bool chunked : {false, true}) {
    Wire wire(server.port());
    const std::string body(1000, 'x');
    const std::string request =
        chunked ? "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + body +
                      "\r\n0\r\n\r\n"
                : "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + body;
    wire.send(request + request);
    EXPECT_EQ(wire.exactly(2 * early.size()), early + early);
  }
  // The answer arrives though nobody reads the 10 MB, and no part of them is a request.
  for (const bool chunked : {false, true}) {
    Wire wire(server.port());
    std::string body;
    while (body.size() < 10'000'000)
      body += "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    body.resize(10'000'000);
    std::string request = "POST / HTTP/1.1\r\nHost: x\r\n";
    request += chunked ? "Transfer-Encoding: chunked\r\n\r\n989680\r\n"
                       : "Content-Length: 10000000\r\n\r\n";
    wire.send(request);
    wire.send(body);
    EXPECT_EQ(wire.exactly(early.size()), early) << chunked;
    const std::string rest = wire.rest();
    EXPECT_EQ(rest, "") << rest.substr(0, 100);
  }
}

TEST(Server, PassesTenMegabytesBothWaysOverEitherWire) {
  const auto authority = test_pki::make_ca();
  const auto served = test_pki::issue(authority, leaf());
  std::string body;
  for (int i = 0; body.size() < 10'000'000; ++i)
    body += std::to_string(i) + " ";
  for (const bool secure : {false, true}) {
    auto options = local();
    if (secure) options.tls = ServingIdentity{served.certificate, served.key};
    TestServer server(stream, options);
    Origin origin = plain(server.port());
    origin.tls = secure;
    if (secure) origin.authorities = authority.certificate;
    Caller caller;
    caller.run([&](Clients& clients) -> Task<void> {
      RequestHead head = request("POST", "/");
      const auto read = co_await ask(clients, origin, std::move(head), "small");
      EXPECT_EQ(read.body, "small");
      for (const bool sized : {true, false}) {
        auto call = co_await clients.open(origin, kPatience);
        EXPECT_TRUE(call && (*call)->reused());
        if (!call) co_return;
        RequestHead large = request("POST", "/");
        std::optional<std::uint64_t> length;
        if (sized) length = body.size();
        const auto sent = co_await (*call)->send(std::move(large), length);
        EXPECT_TRUE(sent);
        // Larger than all buffers between: it is taken only while what comes back is read.
        std::string back;
        bool headed = false;
        std::size_t at = 0;
        while (at < body.size()) {
          const std::string_view piece = std::string_view(body).substr(at, 50'000);
          const auto written = co_await (*call)->write(piece);
          EXPECT_TRUE(written);
          at += piece.size();
          if (!headed) {
            const auto begun = co_await (*call)->response(kPatience);
            EXPECT_TRUE(begun && begun->status == 200);
            headed = true;
          }
          while (back.size() < at) {
            const auto got = co_await (*call)->read(kPatience);
            if (!got || got->empty()) break;
            back += *got;
          }
        }
        const auto finished = co_await (*call)->finish();
        EXPECT_TRUE(finished);
        const auto end = co_await (*call)->read(kPatience);
        EXPECT_TRUE(end && end->empty());
        EXPECT_TRUE(back == body) << back.size();
      }
    });
  }
}

TEST(Server, HasTheIdentityThatWasSetLast) {
  const auto authority = test_pki::make_ca();
  const auto old_one = test_pki::issue(authority, leaf({}, "old"));
  const auto new_one = test_pki::issue(authority, leaf({}, "new"));
  auto options = local();
  options.tls = ServingIdentity{old_one.certificate, old_one.key};
  TestServer server(echo, options);
  raw::Client before(server.port(), true);
  ASSERT_TRUE(before.secured());
  EXPECT_EQ(before.peer_name(), "old");
  ASSERT_TRUE(server.server.set_identity({new_one.certificate, new_one.key}));
  raw::Client after(server.port(), true);
  EXPECT_EQ(after.peer_name(), "new");
  // Who was there goes on.
  before.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto reply = before.reply();
  EXPECT_EQ(reply ? reply->body : "none", "GET / ");

  const struct {
    std::string certificate;
    std::string key;
    const char* said;
  } wrong[] = {
      {"", new_one.key, "serving certificate: not valid PEM"},
      {"nonsense", new_one.key, "serving certificate: not valid PEM"},
      {new_one.certificate, "", "serving key: not a PEM private key without passphrase"},
      {new_one.certificate, old_one.key, "serving key: not that of the serving certificate"},
  };
  for (const auto& c : wrong) {
    const auto set = server.server.set_identity({c.certificate, c.key});
    ASSERT_FALSE(set);
    EXPECT_EQ(set.error().message, c.said);
  }
  EXPECT_EQ(raw::Client(server.port(), true).peer_name(), "new");
}

TEST(Server, SpeaksTlsOfNowAlone) {
  const auto authority = test_pki::make_ca();
  const auto served = test_pki::issue(authority, leaf());
  auto options = local();
  options.tls = ServingIdentity{served.certificate, served.key};
  options.handshake_deadline = 3s;
  TestServer server(echo, options);
  EXPECT_TRUE(raw::Client(server.port(), true, TLS1_3_VERSION).secured());
  EXPECT_TRUE(raw::Client(server.port(), true, TLS1_2_VERSION).secured());
  EXPECT_FALSE(raw::Client(server.port(), true, TLS1_1_VERSION).secured());
  // Plain HTTP, a request in another's handshake, silence.
  Wire wire(server.port());
  wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(wire.rest().find("HTTP"), std::string::npos);
  Wire silent(server.port());
  EXPECT_EQ(silent.rest(), "");
  EXPECT_TRUE(eventually([&] { return server.server.connections() == 0; }));
}

}  // namespace
}  // namespace palisade::gateway::testing
