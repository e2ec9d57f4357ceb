// kube/http_server.h when there is too much: peers that crawl, handlers that wait, requests that
// nobody waits for any more, and an end in the middle of it all.
#include <atomic>
#include <barrier>
#include <latch>
#include <thread>

#include <sys/resource.h>

#include "kube/http_fixture.h"

namespace {

using namespace http_testing;

INSTANTIATE_TEST_SUITE_P(Both, HttpServerTest, testing::Bool(),
                         [](const auto& tls) { return tls.param ? "Tls" : "Plain"; });

std::string get_within(const std::string& target, const std::string& timeout) {
  return get(target + "?timeout=" + timeout);
}

// How many descriptors this process may have, raised to its hard limit.
std::size_t descriptors() {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  return files.rlim_cur;
}

TEST_P(HttpServerTest, WhenFullTheOldestIdleOneMakesRoom) {
  HttpServerOptions options;
  options.max_connections = 3;
  options.threads = 1;
  start(options);
  std::vector<std::unique_ptr<raw::Client>> held;
  for (int i = 0; i < 3; ++i) {
    held.push_back(connect());
    held.back()->write(get("/"));
    ASSERT_TRUE(held.back()->reply());
  }
  held[0]->write(get("/again"));  // now the second is idle longest
  ASSERT_TRUE(held[0]->reply());
  EXPECT_EQ(status_of(get("/new")), 200);
  EXPECT_TRUE(held[1]->closed());
  for (const int i : {0, 2}) {
    held[static_cast<std::size_t>(i)]->write(get("/"));
    EXPECT_TRUE(held[static_cast<std::size_t>(i)]->reply()) << i;
  }
  EXPECT_EQ(server_->counters().evicted, 1U);
}

TEST_P(HttpServerTest, WhoHasBroughtNoRequestMakesRoomBeforeWhoHas) {
  HttpServerOptions options;
  options.max_connections = 4;
  options.threads = 1;
  start(options);
  const auto proven = connect();
  proven->write(get("/"));
  ASSERT_TRUE(proven->reply());
  // Slow in three ways, all of them younger.
  raw::Client silent(server_->port(), false);
  const auto dribbling = connect();
  dribbling->write("GET /neve");
  const auto quiet = connect();
  ASSERT_TRUE(eventually([&] { return server_->connections() == 4; }));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(status_of(get("/new")), 200) << i;
    dribbling->write("r");  // does not make it younger
  }
  proven->write(get("/still"));
  EXPECT_TRUE(proven->reply());
  EXPECT_TRUE(silent.closed());
  EXPECT_GE(server_->counters().evicted, 1U);
}

TEST_P(HttpServerTest, WhatIsBeingAnsweredMakesNoRoom) {
  std::latch release(1);
  std::atomic<int> waiting{0};
  HttpServerOptions options;
  options.max_connections = 2;
  options.threads = 1;
  options.waiting_threads = 2;
  start(options, [&](const HttpRequest& request) {
    if (!request.may_wait) return HttpResponse::must_wait();
    ++waiting;
    release.wait();
    return echo(request);
  });
  const auto one = connect();
  const auto two = connect();
  one->write(get("/1"));
  two->write(get("/2"));
  ASSERT_TRUE(eventually([&] { return waiting == 2; }));
  // A third finds no room while both are answered.
  EXPECT_TRUE(eventually([&] {
    raw::Client third(server_->port(), false);
    return third.closed(1s) && server_->counters().refused > 0;
  }));
  release.count_down();
  for (const auto* client : {&one, &two}) {
    const auto reply = (*client)->reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 200);
  }
}

TEST_P(HttpServerTest, AThousandIdleConnectionsLeaveRoomForAnother) {
  descriptors();
  start();
  std::vector<std::unique_ptr<raw::Client>> idle;
  for (int i = 0; i < 1000; ++i)
    idle.push_back(connect());
  EXPECT_TRUE(eventually([&] { return server_->connections() == 1000; }));
  EXPECT_EQ(status_of(get("/")), 200);
  for (auto& client : idle) {
    client->write(get("/"));
    const auto reply = client->reply();
    ASSERT_TRUE(reply);
  }
  server_->stop(5s);
  EXPECT_EQ(server_->connections(), 0U);
}

TEST_P(HttpServerTest, RequestsTellHowLongTheirCallerWaits) {
  HttpServerOptions options;
  options.answer_deadline = 20s;
  start(options, [](const HttpRequest& request) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(request.deadline - Clock::now());
    return HttpResponse{200, "text/plain", std::to_string(left.count())};
  });
  const struct {
    const char* target;
    long most;
  } cases[] = {{"/?timeout=10s", 9'000},
               {"/?timeout=1m", 20'000},
               {"/", 20'000},
               {"/?timeout=soon", 20'000}};
  for (const auto& c : cases) {
    const auto client = connect();
    client->write(get(c.target));
    const auto reply = client->reply();
    ASSERT_TRUE(reply);
    EXPECT_LE(std::stol(reply->body), c.most) << c.target;
    EXPECT_GT(std::stol(reply->body), c.most - 5'000) << c.target;
  }
}

// One thread, a handler that holds it, and more requests than can be answered in time: what comes
// too late is not begun.
TEST_P(HttpServerTest, ARequestThatWouldBeLateIsShedInsteadOfHandled) {
  constexpr int kClients = 12;
  std::atomic<int> begun_late{0};
  std::atomic<int> handled{0};
  HttpServerOptions options;
  options.threads = 1;
  start(options, [&](const HttpRequest& request) {
    if (Clock::now() >= request.deadline) ++begun_late;
    ++handled;
    std::this_thread::sleep_for(200ms);
    return echo(request);
  });
  std::atomic<int> answered{0};
  std::atomic<int> shed{0};
  {
    std::vector<std::unique_ptr<raw::Client>> connected;
    for (int c = 0; c < kClients; ++c)
      connected.push_back(connect());
    std::vector<std::jthread> clients;
    for (auto& client : connected) {
      clients.emplace_back([&] {
        client->write(get_within("/", "500ms"));
        const auto reply = client->reply(20s);
        if (!reply) return;
        if (reply->status == 200) ++answered;
        if (reply->status == 503) ++shed;
        // The connection is none the worse for it.
        client->write(get_within("/after", "20s"));
        EXPECT_TRUE(client->reply(20s));
      });
    }
  }
  EXPECT_EQ(begun_late, 0);
  EXPECT_EQ(answered + shed, kClients);
  EXPECT_GT(answered, 0);
  EXPECT_GT(shed, 0);
  EXPECT_EQ(server_->counters().shed, static_cast<std::uint64_t>(shed));
  EXPECT_EQ(handled, answered + kClients);
}

TEST_P(HttpServerTest, HandlersThatWaitHoldNobodyUp) {
  std::latch release(1);
  std::atomic<int> waiting{0};
  HttpServerOptions options;
  options.threads = 1;
  options.waiting_threads = 3;
  start(options, [&](const HttpRequest& request) {
    if (!request.target.starts_with("/slow")) return echo(request);
    if (!request.may_wait) return HttpResponse::must_wait();
    ++waiting;
    release.wait();
    return echo(request);
  });
  std::vector<std::unique_ptr<raw::Client>> slow;
  for (int i = 0; i < 3; ++i) {
    slow.push_back(connect());
    // With a body, and the next request right behind it.
    slow.back()->write("POST /slow HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" + get("/next"));
  }
  ASSERT_TRUE(eventually([&] { return waiting == 3; }));
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(status_of(get("/fast")), 200);
  release.count_down();
  for (auto& client : slow) {
    const auto reply = client->reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->body, "POST /slow  5");
    const auto next = client->reply();
    ASSERT_TRUE(next);
    EXPECT_EQ(next->body, "GET /next  0");
  }
}

TEST_P(HttpServerTest, AHandlerThatIsTooSlowIsAnsweredForInTime) {
  std::latch release(1);
  HttpServerOptions options;
  options.waiting_threads = 1;
  start(options, [&](const HttpRequest& request) {
    if (!request.may_wait) return HttpResponse::must_wait();
    release.wait();
    return echo(request);
  });
  const auto client = connect();
  client->write(get_within("/", "300ms"));
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 503);
  EXPECT_TRUE(client->closed());
  EXPECT_EQ(server_->counters().late, 1U);
  release.count_down();  // its answer goes nowhere
  EXPECT_EQ(status_of(get("/")), 200);
}

// What comes in while an earlier request of the connection waits ends no connection.
TEST_P(HttpServerTest, RequestsBehindOneThatWaitsAreAllAnswered) {
  std::latch release(1);
  HttpServerOptions options;
  options.waiting_threads = 1;
  std::atomic<int> waiting{0};
  start(options, [&](const HttpRequest& request) {
    if (!request.may_wait) return HttpResponse::must_wait();
    ++waiting;
    release.wait();
    return echo(request);
  });
  const auto client = connect();
  client->write(get("/1") + get("/2"));
  ASSERT_TRUE(eventually([&] { return waiting == 1; }));
  client->write(get("/3"));  // there already when the second is handed over
  release.count_down();
  for (const char* target : {"/1", "/2", "/3"}) {
    const auto reply = client->reply();
    ASSERT_TRUE(reply) << target;
    EXPECT_EQ(reply->status, 200) << target;
    EXPECT_THAT(reply->body, HasSubstr(std::string(" ") + target + " "));
  }
}

TEST_P(HttpServerTest, TheQueueOfThoseWhoWaitIsBounded) {
  std::latch release(1);
  std::atomic<int> waiting{0};
  HttpServerOptions options;
  options.waiting_threads = 1;
  options.max_waiting = 2;
  start(options, [&](const HttpRequest& request) {
    if (!request.may_wait) return HttpResponse::must_wait();
    ++waiting;
    release.wait();
    return echo(request);
  });
  std::vector<std::unique_ptr<raw::Client>> clients;
  const auto ask = [&] {
    clients.push_back(connect());
    clients.back()->write(get("/"));
  };
  ask();
  ASSERT_TRUE(eventually([&] { return waiting == 1; }));
  for (int i = 0; i < 6; ++i)
    ask();
  ASSERT_TRUE(eventually([&] { return server_->counters().shed == 4; }));
  release.count_down();
  int good = 0;
  for (auto& client : clients) {
    const auto reply = client->reply();
    ASSERT_TRUE(reply);
    good += reply->status == 200 ? 1 : 0;
  }
  EXPECT_EQ(good, 3);
}

TEST_P(HttpServerTest, AWaitingRequestWhosePeerHasGoneIsForgotten) {
  std::latch release(1);
  std::atomic<int> waiting{0};
  HttpServerOptions options;
  options.waiting_threads = 1;
  start(options, [&](const HttpRequest& request) {
    if (!request.may_wait) return HttpResponse::must_wait();
    ++waiting;
    release.wait();
    return echo(request);
  });
  {
    const auto client = connect();
    client->write(get("/"));
    ASSERT_TRUE(eventually([&] { return waiting == 1; }));
  }
  release.count_down();
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
  EXPECT_EQ(status_of(get("/")), 200);
}

// Eight clients that never pause. From retire() on each answer ends its connection; the clients
// come back until the door is closed. No request of theirs is lost.
TEST_P(HttpServerTest, AnEndUnderLoadDropsNoRequest) {
  constexpr int kClients = 8;
  HttpServerOptions options;
  options.waiting_threads = 2;
  std::atomic<int> handled{0};
  start(options, [&](const HttpRequest& request) {
    if (++handled % 5 == 0 && !request.may_wait) return HttpResponse::must_wait();
    if (request.may_wait) std::this_thread::sleep_for(2ms);
    return echo(request);
  });
  std::atomic<int> lost{0};
  std::atomic<int> answered{0};
  std::atomic<int> told{0};
  std::atomic<bool> stopping{false};
  std::barrier ready(kClients + 1);
  std::vector<std::jthread> clients;
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&] {
      auto client = connect();
      ready.arrive_and_wait();
      bool ended = false;
      while (!ended) {
        const bool before_stop = !stopping.load();
        // A request of two pieces is under way for longer.
        const std::string request = post(200);
        client->write(request.substr(0, 90));
        const bool sent = client->write(request.substr(90));
        const auto reply = client->reply();
        if (reply) {
          ++answered;
        } else {
          if (before_stop) ++lost;
          ended = sent || !before_stop;
          return;
        }
        if (reply->head.find("Connection: close") == std::string::npos) continue;
        ++told;
        try {
          client = connect();
        } catch (const std::runtime_error&) {
          return;  // the door is closed
        }
      }
    });
  }
  ready.arrive_and_wait();
  EXPECT_TRUE(eventually([&] { return answered > 200; }));
  EXPECT_EQ(told, 0);
  server_->retire();
  EXPECT_TRUE(eventually([&] { return told > 3 * kClients; }));
  stopping = true;
  server_->stop(10s);
  clients.clear();
  EXPECT_EQ(lost, 0);
  EXPECT_EQ(server_->connections(), 0U);
}

}  // namespace
