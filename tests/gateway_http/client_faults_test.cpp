// Servers that answer what is no answer, too late, in part, or not at all.
#include "gateway_http/fixture.h"

namespace palisade::gateway::testing {
namespace {

// A server that answers each connection's first request with these bytes, and closes.
struct Says {
  explicit Says(std::string text)
      : server([text = std::move(text)](Wire& wire) {
          wire.until("\r\n\r\n");
          wire.send(text);
        }) {}
  ScriptedServer server;
};

TEST(Answers, AreTakenOrRefusedAsAWhole) {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const struct {
    const char* name;
    std::string text;
    const char* body;  // where it is one
    std::optional<Fault> fault;
  } cases[] = {
      {"a length", ok + "Content-Length: 3\r\n\r\nabc", "abc", {}},
      {"chunks", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", {}},
      {"until the end", ok + "\r\nabc", "abc", {}},
      {"an interim one",
       "HTTP/1.1 103 Early\r\nX: y\r\n\r\n" + ok + "Content-Length: 1\r\n\r\na",
       "a",
       {}},
      {"bytes behind it", ok + "Content-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n", "abc", {}},
      {"cut within a length", ok + "Content-Length: 5\r\n\r\nabc", "", Fault::kClosed},
      {"cut within chunks", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "",
       Fault::kClosed},
      {"cut within a chunk", ok + "Transfer-Encoding: chunked\r\n\r\n9\r\nabc", "", Fault::kClosed},
      {"cut within the head", "HTTP/1.1 200 OK\r\nConte", "", Fault::kClosed},
      {"nothing", "", "", Fault::kClosed},
      {"both lengths", ok + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
       "", Fault::kProtocol},
      {"two lengths", ok + "Content-Length: 3\r\nContent-Length: 2\r\n\r\nabc", "",
       Fault::kProtocol},
      {"a chunk that is none", ok + "Transfer-Encoding: chunked\r\n\r\nx\r\nabc\r\n", "",
       Fault::kProtocol},
      {"another coding", ok + "Transfer-Encoding: gzip\r\n\r\nabc", "", Fault::kProtocol},
      {"another protocol", "SSH-2.0-x\r\n\r\n", "", Fault::kProtocol},
      {"a switch of protocols", "HTTP/1.1 101 x\r\nUpgrade: x\r\n\r\n", "", Fault::kProtocol},
      {"bare LFs", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "", Fault::kProtocol},
      {"a head without end", ok + "X: " + std::string(100'000, 'y'), "", Fault::kTooLarge},
  };
  std::string interim;
  for (int i = 0; i < 20; ++i)
    interim += "HTTP/1.1 102 x\r\n\r\n";
  Caller caller;
  for (const auto& c : cases) {
    Says says(c.text);
    const Origin origin = plain(says.server.port());
    caller.run([&](Clients& clients) -> Task<void> {
      RequestHead head = request("GET", "/");
      const auto answer = co_await ask(clients, origin, std::move(head));
      EXPECT_EQ(answer.fault, c.fault) << c.name << ": " << answer.message;
      if (!c.fault) {
        EXPECT_EQ(answer.body, c.body) << c.name;
      }
      if (!c.fault) co_return;
      // Nothing of this is fit for another call.
      auto next = co_await clients.open(origin, kPatience);
      EXPECT_TRUE(next && !(*next)->reused()) << c.name;
    });
  }
  Says says(interim);
  const Origin origin = plain(says.server.port());
  caller.run([&](Clients& clients) -> Task<void> {
    RequestHead head = request("GET", "/");
    const auto answer = co_await ask(clients, origin, std::move(head));
    EXPECT_EQ(answer.fault, Fault::kProtocol) << "interim answers without end";
  });
}

TEST(Answers, ThatDoNotComeAreNotWaitedFor) {
  std::atomic<int> asked{0};
  ScriptedServer server([&](Wire& wire) {
    wire.until("\r\n\r\n");
    if (++asked % 2 == 0) wire.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
    wire.rest();
  });
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    for (int i = 0; i < 2; ++i) {
      RequestHead head = request("GET", "/");
      const auto answer = co_await ask(clients, origin, std::move(head), {}, 1500ms);
      EXPECT_EQ(answer.fault, Fault::kTimeout) << i;
      EXPECT_EQ(answer.status, i == 0 ? 0 : 200);
    }
  });
}

TEST(Answers, AreNotWaitedForOnceAborted) {
  ScriptedServer server([&](Wire& wire) { wire.rest(); });
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    auto call = co_await clients.open(origin, kPatience);
    EXPECT_TRUE(call);
    if (!call) co_return;
    RequestHead head = request("GET", "/");
    std::ignore = co_await (*call)->send(std::move(head), 0);
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, 20ms);
    timer.async_wait([&](const boost::system::error_code&) { (*call)->abort(); });
    const auto answer = co_await (*call)->response(kPatience);
    EXPECT_TRUE(!answer && answer.error().fault == Fault::kStopped);
    const auto after = co_await (*call)->response(kPatience);
    EXPECT_TRUE(!after && after.error().fault == Fault::kStopped);
  });
}

TEST(Connections, ThatTheServerClosesAreNotUsedAgain) {
  std::promise<void> closed;
  ScriptedServer server([&, first = true](Wire& wire) mutable {
    wire.until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    if (!first) {
      wire.rest();
      return;
    }
    first = false;
    std::this_thread::sleep_for(50ms);
    wire.close();
    closed.set_value();
  });
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    RequestHead head = request("GET", "/");
    const auto first = co_await ask(clients, origin, std::move(head));
    EXPECT_EQ(first.body, "ok");
    auto done = closed.get_future();
    while (done.wait_for(0s) != std::future_status::ready)
      co_await pause(2ms);
    co_await pause(20ms);
    RequestHead again = request("GET", "/");
    const auto second = co_await ask(clients, origin, std::move(again));
    EXPECT_EQ(second.body, "ok") << second.message;
    EXPECT_FALSE(second.reused);
  });
  EXPECT_EQ(server.connections, 2);
}

TEST(Connections, WithAnAnswerThatNobodyAskedForAreNotUsedAgain) {
  ScriptedServer server([&](Wire& wire) {
    wire.until("\r\n\r\n");
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    std::this_thread::sleep_for(50ms);
    wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    wire.rest();
  });
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    RequestHead head = request("GET", "/");
    const auto first = co_await ask(clients, origin, std::move(head));
    EXPECT_EQ(first.body, "ok");
    while (server.connections < 2) {
      co_await pause(100ms);
      RequestHead again = request("GET", "/");
      const auto second = co_await ask(clients, origin, std::move(again));
      EXPECT_EQ(second.body, "ok");
    }
  });
}

TEST(Connections, ThatCannotBeMadeSaySo) {
  std::uint16_t nobody = 0;
  {
    ScriptedServer gone([](Wire&) {});
    nobody = gone.port();
  }
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    RequestHead head = request("GET", "/");
    const Origin origin = plain(nobody);
    const auto answer = co_await ask(clients, origin, std::move(head));
    EXPECT_EQ(answer.fault, Fault::kConnect);
    EXPECT_NE(answer.message.find("127.0.0.1:" + std::to_string(nobody)), std::string::npos);
  });
  // TLS with who does not speak it: with silence, and with something else.
  ScriptedServer silent([](Wire& wire) { wire.rest(); });
  ScriptedServer plain_text([](Wire& wire) { wire.send("HTTP/1.1 400 Bad Request\r\n\r\n"); });
  caller.run([&](Clients& clients) -> Task<void> {
    for (const bool quiet : {true, false}) {
      Origin origin = plain(quiet ? silent.port() : plain_text.port());
      origin.tls = true;
      const auto call =
          co_await clients.open(origin, quiet ? 300ms : std::chrono::milliseconds(kPatience));
      EXPECT_FALSE(call);
      if (!call) {
        EXPECT_EQ(call.error().fault, quiet ? Fault::kTimeout : Fault::kTls);
      }
    }
  });
}

TEST(Requests, ThatCannotBeWrittenAreNotSent) {
  ScriptedServer server([](Wire& wire) { EXPECT_EQ(wire.rest(), ""); });
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    auto call = co_await clients.open(origin, kPatience);
    EXPECT_TRUE(call);
    if (!call) co_return;
    RequestHead split = request("GET", "/");
    split.fields.add("X", "a\r\nY: b");
    const auto sent = co_await (*call)->send(std::move(split), 0);
    EXPECT_TRUE(!sent && sent.error().fault == Fault::kProtocol);
    const auto early = co_await (*call)->write("x");
    EXPECT_FALSE(early);
    const auto none = co_await (*call)->response(kPatience);
    EXPECT_FALSE(none);
  });
}

TEST(Requests, AreAsLongAsTheySay) {
  ScriptedServer server([](Wire& wire) { wire.rest(); });
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    auto call = co_await clients.open(origin, kPatience);
    EXPECT_TRUE(call);
    if (!call) co_return;
    RequestHead head = request("POST", "/");
    std::ignore = co_await (*call)->send(std::move(head), 5);
    const auto some = co_await (*call)->write("abc");
    EXPECT_TRUE(some);
    const auto short_one = co_await (*call)->finish();
    EXPECT_FALSE(short_one);
    const auto long_one = co_await (*call)->write("defg");
    EXPECT_FALSE(long_one);
  });
}

TEST(Requests, ToAServerThatReadsNoMoreFailInTime) {
  // Answers early and closes, with most of the request unread.
  ScriptedServer server([](Wire& wire) {
    wire.until("\r\n\r\n");
    wire.send("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    std::this_thread::sleep_for(100ms);
  });
  const Origin origin = plain(server.port());
  Caller caller;
  caller.run([&](Clients& clients) -> Task<void> {
    auto call = co_await clients.open(origin, kPatience);
    EXPECT_TRUE(call);
    if (!call) co_return;
    RequestHead head = request("POST", "/");
    std::ignore = co_await (*call)->send(std::move(head), std::nullopt);
    const std::string piece(100'000, 'x');
    NetResult<void> written;
    for (int i = 0; i < 1000 && written; ++i)
      written = co_await (*call)->write(piece);
    EXPECT_TRUE(!written && written.error().fault == Fault::kClosed);
    // What it said before can still be read.
    const auto answer = co_await (*call)->response(kPatience);
    EXPECT_TRUE(answer && answer->status == 413);
  });
}

}  // namespace
}  // namespace palisade::gateway::testing
