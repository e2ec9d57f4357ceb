// gateway/http/workers.h: what blocks is done elsewhere, and its end is told where it was asked
// for.
#include <gateway/http/workers.h>

#include "gateway_http/fixture.h"

namespace palisade::gateway::testing {
namespace {

TEST(Workers, RunElsewhereAndResumeHere) {
  Workers workers(2, 10);
  Caller caller;
  caller.run([&](Clients&) -> Task<void> {
    const auto here = std::this_thread::get_id();
    for (int i = 0; i < 100; ++i) {
      std::thread::id there;
      const auto done = co_await workers.run([&] { there = std::this_thread::get_id(); });
      EXPECT_TRUE(done);
      EXPECT_NE(there, here);
      EXPECT_NE(there, std::thread::id());
      EXPECT_EQ(std::this_thread::get_id(), here);
    }
  });
}

TEST(Workers, HandOnWhatIsThrown) {
  Workers workers(1, 10);
  Caller caller;
  caller.run([&](Clients&) -> Task<void> {
    std::string caught;
    try {
      std::ignore = co_await workers.run([] { throw std::runtime_error("thrown there"); });
    } catch (const std::runtime_error& error) {
      caught = error.what();
    }
    EXPECT_EQ(caught, "thrown there");
    const auto next = co_await workers.run([] {});
    EXPECT_TRUE(next) << "the thread goes on";
  });
}

// Holds a worker until it is told.
struct Gate {
  std::promise<void> promise;
  std::shared_future<void> opened{promise.get_future()};
  std::atomic<int> waiting{0};
  void wait() {
    ++waiting;
    opened.wait_for(kPatience);
  }
};

TEST(Workers, RefuseMoreThanMayWait) {
  Gate gate;
  Workers workers(1, 2);
  TestServer server([&](Exchange& exchange) -> Task<void> {
    const auto done = co_await workers.run([&] { gate.wait(); });
    Fields none;
    const std::string said(done ? "done" : name_of(done.error().fault));
    std::ignore = co_await exchange.reply(200, std::move(none), said);
  });
  const std::string get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  std::vector<Wire> wires;
  for (int i = 0; i < 3; ++i) {
    wires.emplace_back(server.port());
    wires.back().send(get);
    // One is run, two wait.
    ASSERT_TRUE(eventually([&] { return gate.waiting == 1; }));
  }
  std::this_thread::sleep_for(100ms);
  Wire fourth(server.port());
  fourth.send(get);
  EXPECT_TRUE(fourth.rest().ends_with("too_large"));
  gate.promise.set_value();
  for (Wire& wire : wires)
    EXPECT_TRUE(wire.rest().ends_with("done"));
}

TEST(Workers, TellWhoWaitsThatTheyEnd) {
  Gate gate;
  auto workers = std::make_unique<Workers>(1, 10);
  Workers* const hired = workers.get();
  TestServer server([&](Exchange& exchange) -> Task<void> {
    const auto done = co_await hired->run([&] { gate.wait(); });
    Fields none;
    const std::string said(done ? "done" : name_of(done.error().fault));
    std::ignore = co_await exchange.reply(200, std::move(none), said);
  });
  const std::string get = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  Wire running(server.port());
  running.send(get);
  ASSERT_TRUE(eventually([&] { return gate.waiting == 1; }));
  Wire waiting(server.port());
  waiting.send(get);
  std::this_thread::sleep_for(100ms);
  auto ended = std::async(std::launch::async, [&] { workers.reset(); });
  EXPECT_TRUE(waiting.rest().ends_with("stopped"));
  gate.promise.set_value();
  EXPECT_TRUE(running.rest().ends_with("done"));
  ended.wait();
}

TEST(Workers, MayEndAfterTheServerThatAsked) {
  Gate gate;
  std::atomic<int> ran{0};
  Workers workers(1, 10);
  {
    TestServer server([&](Exchange&) -> Task<void> {
      std::ignore = co_await workers.run([&] {
        gate.wait();
        ++ran;
      });
    });
    Wire wire(server.port());
    wire.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(eventually([&] { return gate.waiting == 1; }));
  }
  // Its coroutine is gone; nobody is told.
  gate.promise.set_value();
  EXPECT_TRUE(eventually([&] { return ran == 1; }));
}

}  // namespace
}  // namespace palisade::gateway::testing
