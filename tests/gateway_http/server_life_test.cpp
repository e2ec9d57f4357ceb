// The server's beginning and end, and how many it serves at a time.
#include "gateway_http/fixture.h"

namespace palisade::gateway::testing {
namespace {

Task<void> ok(Exchange& exchange) {
  Fields none;
  std::ignore = co_await exchange.reply(200, std::move(none), "ok");
}

const std::string kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

TEST(ServerLife, SaysWhyItCannotListen) {
  TestServer taken(ok);
  auto options = local();
  options.port = taken.port();
  Server second(options, ok);
  const auto started = second.start();
  ASSERT_FALSE(started);
  EXPECT_NE(started.error().message.find("127.0.0.1:" + std::to_string(taken.port())),
            std::string::npos);
  options.address = "localhost";
  EXPECT_NE(Server(options, ok).start().error().message.find("not an IP address"),
            std::string::npos);
}

TEST(ServerLife, FinishesWhatIsInFlightAndTakesNothingNew) {
  std::promise<void> release;
  const auto released = release.get_future().share();
  std::atomic<int> within{0};
  TestServer server([&](Exchange& exchange) -> Task<void> {
    ++within;
    while (released.wait_for(0s) != std::future_status::ready)
      co_await pause(2ms);
    Fields none;
    std::ignore = co_await exchange.reply(200, std::move(none), "late");
  });
  Wire idle(server.port());
  Wire busy(server.port());
  busy.send(kGet + kGet);
  ASSERT_TRUE(eventually([&] { return within == 1 && server.server.connections() == 2; }));
  auto stopped = std::async(std::launch::async, [&] { server.server.stop(kPatience); });
  EXPECT_EQ(idle.rest(), "") << "nothing is in flight there";
  EXPECT_THROW(
      {
        Wire refused(server.port());
        if (refused.rest().empty()) throw std::runtime_error("closed");
      },
      std::runtime_error);
  release.set_value();
  // The one that had begun, and not the one behind it.
  EXPECT_EQ(busy.rest(), "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate");
  ASSERT_EQ(stopped.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(within, 1);
}

TEST(ServerLife, EndsWhatDoesNotEndInTime) {
  std::atomic<int> stopped{0};
  std::atomic<int> within{0};
  ScriptedServer silent([](Wire& wire) { wire.rest(); });
  {
    TestServer server([&](Exchange& exchange) -> Task<void> {
      ++within;
      NetResult<void> result;
      if (exchange.request().target == "/read") {
        const auto piece = co_await exchange.read();
        if (!piece && piece.error().fault == Fault::kStopped) ++stopped;
      } else {
        RequestHead head = request("GET", "/");
        const Origin origin = plain(silent.port());
        const auto answer = co_await ask(exchange.clients(), origin, std::move(head), {}, 60s);
        if (answer.fault == Fault::kStopped) ++stopped;
        const auto again = co_await exchange.clients().open(origin, 1s);
        if (!again && again.error().fault == Fault::kStopped) ++stopped;
      }
    });
    Wire reading(server.port());
    reading.send("POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
    Wire calling(server.port());
    calling.send(kGet);
    ASSERT_TRUE(eventually([&] { return within == 2 && silent.connections == 1; }));
    server.server.stop(0ms);
  }
  EXPECT_EQ(stopped, 3);
}

TEST(ServerLife, EndsThoughAHandlerWaitsForSomethingElse) {
  std::atomic<bool> within{false};
  {
    TestServer server([&](Exchange&) -> Task<void> {
      within = true;
      co_await pause(1h);
    });
    Wire wire(server.port());
    wire.send(kGet);
    ASSERT_TRUE(eventually([&] { return within.load(); }));
  }
  SUCCEED();
}

TEST(ServerLife, MakesRoomByTheConnectionThatIsIdleLongest) {
  auto options = local();
  options.max_connections = 4;
  TestServer server(ok, options);
  std::vector<Wire> wires;
  for (int i = 0; i < 4; ++i) {
    wires.emplace_back(server.port());
    wires.back().send(kGet);
    ASSERT_NE(wires.back().until("ok"), "");
  }
  // The first is the newest now.
  wires[0].send(kGet);
  ASSERT_NE(wires[0].until("ok"), "");
  Wire fifth(server.port());
  fifth.send(kGet);
  EXPECT_NE(fifth.until("ok"), "");
  EXPECT_EQ(wires[1].rest(), "");
  for (const std::size_t i : {0U, 2U, 3U}) {
    wires[i].send(kGet);
    EXPECT_NE(wires[i].until("ok"), "") << i;
  }
}

TEST(ServerLife, ServesOnSeveralThreads) {
  auto options = local();
  options.threads = 3;
  std::mutex mutex;
  std::set<std::thread::id> threads;
  TestServer server(
      [&](Exchange& exchange) -> Task<void> {
        {
          const std::scoped_lock lock(mutex);
          threads.insert(std::this_thread::get_id());
        }
        Fields none;
        std::ignore = co_await exchange.reply(200, std::move(none), "ok");
      },
      options);
  std::vector<std::thread> clients;
  std::atomic<int> answered{0};
  for (int i = 0; i < 6; ++i) {
    clients.emplace_back([&] {
      Wire wire(server.port());
      for (int n = 0; n < 50; ++n) {
        wire.send(kGet);
        if (!wire.until("ok").empty()) ++answered;
      }
    });
  }
  for (auto& client : clients)
    client.join();
  EXPECT_EQ(answered, 300);
  EXPECT_EQ(threads.size(), 3U);
}

}  // namespace
}  // namespace palisade::gateway::testing
