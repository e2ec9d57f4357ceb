// What clients do wrong, by mistake or not, and what handlers do: refused, bounded, and of no
// consequence to others.
#include "gateway_http/fixture.h"

namespace palisade::gateway::testing {
namespace {

struct Seen {
  std::mutex mutex;
  std::vector<std::string> targets;
};

// Answers "ok" to what it can read in full, and notes every target.
Handler noting(Seen& seen) {
  return [&seen](Exchange& exchange) -> Task<void> {
    {
      const std::scoped_lock lock(seen.mutex);
      seen.targets.push_back(exchange.request().target);
    }
    const auto body = co_await exchange.read_all(1000);
    Fields none;
    if (body)
      std::ignore = co_await exchange.reply(200, std::move(none), "ok");
    else
      std::ignore = co_await exchange.reply(400, std::move(none), name_of(body.error().fault));
  };
}

TEST(Smuggling, NoRequestHidesInAnother) {
  const std::string hidden = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string first = "POST /first HTTP/1.1\r\nHost: x\r\n";
  const std::string size = std::to_string(hidden.size());
  const struct {
    const char* name;
    std::string text;
    int status;
  } cases[] = {
      {"CL.TE", first + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden,
       400},
      {"TE.CL", first + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + hidden, 400},
      {"TE.TE",
       first + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + hidden, 400},
      {"TE behind a vertical tab", first + "Transfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n" + hidden,
       400},
      {"an unknown TE", first + "Transfer-Encoding: xchunked\r\n\r\n" + hidden, 501},
      {"TE and a blank", first + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden, 400},
      {"two CLs", first + "Content-Length: 0\r\nContent-Length: " + size + "\r\n\r\n" + hidden,
       400},
      {"a list of CLs", first + "Content-Length: 0, " + size + "\r\n\r\n" + hidden, 400},
      {"a folded CL", first + "Content-Length:\r\n " + size + "\r\n\r\n" + hidden, 400},
      {"a bare LF", first + "X: y\n\r\n" + hidden, 400},
      {"a bare LF for an empty line", first + "\n" + hidden, 400},
      {"a bare CR", first + "X: y\rContent-Length: " + size + "\r\n\r\n" + hidden, 400},
      {"a NUL", first + std::string("X: y\0z\r\n\r\n", 10) + hidden, 400},
      {"HTTP/1.0 and chunks",
       "POST /first HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 400},
      {"HTTP/0.9", "GET /first\r\n\r\n" + hidden, 400},
      {"an upgrade", first + "Upgrade: h2c\r\nConnection: upgrade\r\n\r\n" + hidden, 400},
      {"CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" + hidden, 400},
      // The handler sees these begin; their bodies are none.
      {"a chunk size of sixteen digits",
       first + "Transfer-Encoding: chunked\r\n\r\n8000000000000000\r\n" + hidden, 400},
      {"a chunk size with a blank", first + "Transfer-Encoding: chunked\r\n\r\n0 \r\n\r\n" + hidden,
       400},
      {"a chunk that ends in LF",
       first + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n" + hidden, 400},
      {"a last chunk that ends in LF", first + "Transfer-Encoding: chunked\r\n\r\n0\r\n\n" + hidden,
       400},
      {"a request for a trailer", first + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + hidden, 400},
  };
  Seen seen;
  TestServer server(noting(seen));
  for (const auto& c : cases) {
    Wire wire(server.port());
    wire.send(c.text);
    const std::string answer = wire.rest();
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 " + std::to_string(c.status)) << c.name;
    EXPECT_EQ(answer.find("HTTP/1.1", 1), std::string::npos) << c.name << ": two answers";
  }
  // Behind a body that is one, it is a request of its own.
  Wire wire(server.port());
  wire.send(first + "Content-Length: 2\r\n\r\nab" + "GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
  wire.until("ok");
  wire.until("ok");
  const std::scoped_lock lock(seen.mutex);
  EXPECT_EQ(std::ranges::count(seen.targets, "/smuggled"), 0);
  EXPECT_EQ(std::ranges::count(seen.targets, "/next"), 1);
}

TEST(Heads, ThatAreTooLargeOrTooSlowAreRefused) {
  Seen seen;
  auto options = local();
  options.max_head_bytes = 8192;
  options.head_deadline = 200ms;
  TestServer server(noting(seen), options);
  const auto status = [&](const std::string& text) {
    Wire wire(server.port());
    wire.send(text);
    return wire.rest().substr(0, 12);
  };
  const std::string line = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
  EXPECT_EQ(status(line + "X: " + std::string(8000, 'y') + "\r\n\r\n"), "HTTP/1.1 200");
  EXPECT_EQ(status(line + "X: " + std::string(9000, 'y') + "\r\n\r\n"), "HTTP/1.1 431");
  EXPECT_EQ(status(line + "X: " + std::string(500'000, 'y')), "HTTP/1.1 431");
  EXPECT_EQ(status(std::string(500'000, 'y')), "HTTP/1.1 431");
  EXPECT_EQ(status("GET /" + std::string(9000, 'y') + " HTTP/1.1\r\nHost: x\r\n\r\n"),
            "HTTP/1.1 431");
  EXPECT_EQ(status("GET / HTTP"), "HTTP/1.1 408");
  EXPECT_EQ(status(line), "HTTP/1.1 408");
  // Byte by byte is no faster.
  Wire wire(server.port());
  const auto begun = std::chrono::steady_clock::now();
  while (wire.send("G") && std::chrono::steady_clock::now() - begun < kPatience)
    std::this_thread::sleep_for(20ms);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, kPatience);
}

TEST(Clients, ThatAreSilentAreLetGo) {
  auto options = local();
  options.idle = 1s;
  options.read_idle = 1s;
  Seen seen;
  TestServer server(noting(seen), options);
  Wire never(server.port());
  EXPECT_EQ(never.rest(), "") << "nothing was asked, so nothing is said";
  Wire once(server.port());
  once.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(once.rest(), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  Wire within(server.port());
  within.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_NE(within.rest().find("timeout"), std::string::npos);
  Wire cut(server.port());
  cut.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
  cut.end_writing();
  EXPECT_NE(cut.rest().find("closed"), std::string::npos);
  Wire head(server.port());
  head.send("POST / HTTP/1.1\r\nHo");
  head.end_writing();
  EXPECT_EQ(head.rest(), "");
}

TEST(Clients, ThatDoNotReadHoldNobodyUp) {
  std::promise<NetError> failed;
  auto options = local();
  options.write_idle = 500ms;
  TestServer server(
      [&](Exchange& exchange) -> Task<void> {
        Fields none;
        if (exchange.request().target == "/other") {
          std::ignore = co_await exchange.reply(200, std::move(none), "other");
          co_return;
        }
        std::ignore = co_await exchange.begin(200, std::move(none), std::nullopt);
        const std::string piece(100'000, 'x');
        for (;;) {
          const auto written = co_await exchange.write(piece);
          if (written) continue;
          failed.set_value(written.error());
          co_return;
        }
      },
      options);
  Wire slow(server.port(), 4096);
  slow.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  Wire other(server.port());
  for (int i = 0; i < 5; ++i) {
    other.send("GET /other HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_NE(other.until("other"), "");
  }
  auto error = failed.get_future();
  ASSERT_EQ(error.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(error.get().fault, Fault::kTimeout);
  const std::string all = slow.rest();
  EXPECT_EQ(all.find("\r\n0\r\n\r\n"), std::string::npos) << "cut, and it shows";
}

TEST(Clients, ThatReadSlowlyGetEverything) {
  std::string body;
  for (int i = 0; body.size() < 2'000'000; ++i)
    body += std::to_string(i) + ",";
  TestServer server([&](Exchange& exchange) -> Task<void> {
    Fields none;
    if (exchange.request().target == "/whole") {
      std::ignore = co_await exchange.reply(200, std::move(none), body);
      co_return;
    }
    std::ignore = co_await exchange.begin(200, std::move(none), body.size());
    for (std::size_t at = 0; at < body.size(); at += 5000)
      std::ignore = co_await exchange.write(std::string_view(body).substr(at, 5000));
    std::ignore = co_await exchange.end();
  });
  for (const char* target : {"/whole", "/pieces"}) {
    Wire wire(server.port(), 4096);
    wire.send(std::string("GET ") + target + " HTTP/1.1\r\nHost: x\r\n\r\n");
    wire.until("\r\n\r\n");
    std::string got;
    while (got.size() < body.size()) {
      const std::string some =
          wire.exactly(std::min<std::size_t>(40'000, body.size() - got.size()));
      ASSERT_NE(some, "");
      got += some;
      std::this_thread::sleep_for(1ms);
    }
    EXPECT_TRUE(got == body) << target;
  }
}

TEST(Handlers, LearnThatTheClientHasGone) {
  std::atomic<int> told{0};
  std::atomic<int> ended{0};
  TestServer server([&](Exchange& exchange) -> Task<void> {
    bool gone = false;
    exchange.when_gone([&] {
      gone = true;
      ++told;
    });
    while (!gone)
      co_await pause(2ms);
    // Who asks again is told at once.
    exchange.when_gone([&] { ++told; });
    ++ended;
  });
  {
    Wire wire(server.port());
    wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(eventually([&] { return server.server.connections() == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return ended == 1 && server.server.connections() == 0; }));
  EXPECT_EQ(told, 2);
}

TEST(Handlers, ThatFailAreAnsweredFor) {
  std::string logged;
  auto options = local();
  options.log = [&](const std::string& line) { logged = line; };
  TestServer server(
      [](Exchange& exchange) -> Task<void> {
        const std::string target = exchange.request().target;
        Fields fields;
        if (target == "/throws") throw std::runtime_error("broken");
        if (target == "/split") {
          fields.add("X", "a\r\nSet-Cookie: b");
          const auto refused = co_await exchange.reply(200, std::move(fields), "x");
          EXPECT_FALSE(refused);
          EXPECT_FALSE(exchange.begun());
          co_return;
        }
        if (target == "/nothing") co_return;
        const bool sized = target.starts_with("/sized");
        std::optional<std::uint64_t> length;
        if (sized) length = 10;
        std::ignore = co_await exchange.begin(200, std::move(fields), length);
        std::ignore = co_await exchange.write("abc");
        if (target == "/cut-throws") throw std::runtime_error("broken");
        if (target == "/sized-short") {
          const auto ended = co_await exchange.end();
          EXPECT_FALSE(ended);
        }
        if (target == "/sized-long") {
          const auto written = co_await exchange.write("0123456789");
          EXPECT_FALSE(written);
        }
        if (target == "/twice") {
          Fields more;
          const auto again = co_await exchange.reply(200, std::move(more), "x");
          EXPECT_FALSE(again);
        }
      },
      options);
  const auto get = [&](const std::string& target) {
    Wire wire(server.port());
    wire.send("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return wire.rest();
  };
  for (const char* target : {"/throws", "/nothing", "/split"}) {
    const std::string answer = get(target);
    EXPECT_EQ(answer.substr(0, 12), "HTTP/1.1 500") << target;
    EXPECT_EQ(answer.find("broken"), std::string::npos) << target;
    EXPECT_EQ(answer.find("Set-Cookie"), std::string::npos) << target;
  }
  EXPECT_NE(logged.find("broken"), std::string::npos);
  // A length that is not reached and chunks without a last one: cut, for all to see.
  for (const char* target :
       {"/cut", "/cut-throws", "/sized", "/sized-short", "/sized-long", "/twice"}) {
    const std::string answer = get(target);
    EXPECT_TRUE(answer.ends_with("abc") || answer.ends_with("abc\r\n")) << target << answer;
  }
}

TEST(Handlers, MayEndTheirReading) {
  TestServer server([](Exchange& exchange) -> Task<void> {
    exchange.stop_reading();
    const auto piece = co_await exchange.read();
    EXPECT_TRUE(!piece && piece.error().fault == Fault::kStopped);
    Fields none;
    std::ignore = co_await exchange.reply(200, std::move(none), "ok");
  });
  Wire wire(server.port());
  wire.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_TRUE(wire.until("ok").starts_with("HTTP/1.1 200"));
  EXPECT_EQ(wire.rest(), "");
}

TEST(Bodies, AreBoundedByWhoReadsThem) {
  Seen seen;
  TestServer server(noting(seen));
  const auto post = [&](const std::string& fields, const std::string& body) {
    Wire wire(server.port());
    wire.send("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + fields + "\r\n" + body);
    return wire.rest();
  };
  EXPECT_TRUE(post("Content-Length: 1000\r\n", std::string(1000, 'x')).ends_with("ok"));
  // Said is enough: it need not come.
  EXPECT_TRUE(post("Content-Length: 1001\r\n", "").ends_with("too_large"));
  EXPECT_TRUE(post("Content-Length: 9000000000000000000\r\n", "").ends_with("too_large"));
  EXPECT_TRUE(post("Transfer-Encoding: chunked\r\n", "3e9\r\n" + std::string(1001, 'x'))
                  .ends_with("too_large"));
}

}  // namespace
}  // namespace palisade::gateway::testing
