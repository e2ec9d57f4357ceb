// Every limit and deadline of kube/http_server.h, over plain TCP and TLS.
#include <atomic>
#include <latch>
#include <random>
#include <thread>

#include "kube/http_fixture.h"

namespace {

using namespace http_testing;

INSTANTIATE_TEST_SUITE_P(Both, HttpServerTest, testing::Bool(),
                         [](const auto& tls) { return tls.param ? "Tls" : "Plain"; });

TEST_P(HttpServerTest, AnswersWhatTheHandlerSays) {
  start();
  const auto client = connect();
  client->write(post(5));
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, "POST /p text/x 5");
  EXPECT_THAT(reply->head, HasSubstr("Content-Type: application/json\r\n"));
}

TEST_P(HttpServerTest, LargeBodiesTogetherAreBounded) {
  HttpServerOptions options;
  options.max_bodies_bytes = 250'000;
  start(options);
  const std::string large = post(100'000);
  {
    // Two that never end take their share, though nothing of them has come.
    const auto first = connect();
    const auto second = connect();
    for (const auto* client : {&first, &second}) {
      (*client)->write(
          "POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n");
      const auto interim = (*client)->reply();
      ASSERT_TRUE(interim);
      ASSERT_EQ(interim->status, 100);
    }
    EXPECT_EQ(status_of(large), 503);
    EXPECT_EQ(status_of("POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), 503)
        << "a body of unknown size may be of any";
    EXPECT_EQ(status_of(post(60'000)), 200) << "small ones are not held up";
  }
  EXPECT_TRUE(eventually([&] { return status_of(large) == 200; })) << "a share is given back";
}

TEST_P(HttpServerTest, KeepsTheConnectionForTheNextRequest) {
  start();
  const auto client = connect();
  for (int i = 0; i < 50; ++i) {
    client->write(get("/" + std::to_string(i)));
    const auto reply = client->reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->body, "GET /" + std::to_string(i) + "  0");
  }
  EXPECT_EQ(server_->connections(), 1U);
}

TEST_P(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  start();
  const auto client = connect();
  std::string all;
  for (int i = 0; i < 20; ++i)
    all += i % 2 == 0 ? get("/" + std::to_string(i)) : post(static_cast<std::size_t>(i));
  client->write(all);
  for (int i = 0; i < 20; ++i) {
    const auto reply = client->reply();
    ASSERT_TRUE(reply) << i;
    EXPECT_EQ(reply->body, i % 2 == 0 ? "GET /" + std::to_string(i) + "  0"
                                      : "POST /p text/x " + std::to_string(i));
  }
}

TEST_P(HttpServerTest, RequestInSingleBytesIsUnderstood) {
  start();
  const auto client = connect();
  for (const char c : post(3))
    ASSERT_TRUE(client->write({&c, 1}));
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "POST /p text/x 3");
}

TEST_P(HttpServerTest, ChunkedBodyIsPutTogether) {
  start();
  const auto client = connect();
  client->write(
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n");
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "POST /c  5");
}

TEST_P(HttpServerTest, HeadHasALengthAndNoBody) {
  start();
  const auto client = connect();
  client->write("HEAD /h HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto reply = client->reply(10s, true);
  ASSERT_TRUE(reply);
  EXPECT_THAT(reply->head, HasSubstr("Content-Length: 10\r\n"));  // "HEAD /h  0"
  client->write(get("/after"));
  const auto next = client->reply();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->body, "GET /after  0");
}

TEST_P(HttpServerTest, NoContentHasNeitherLengthNorBody) {
  start({}, [](const HttpRequest&) { return HttpResponse{204, "text/plain", "ignored"}; });
  const auto client = connect();
  client->write(get("/"));
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 204);
  EXPECT_THAT(reply->head, Not(HasSubstr("Content-Length")));
  client->write(get("/"));
  EXPECT_TRUE(client->reply());  // nothing of the body is in the way
}

TEST_P(HttpServerTest, ContinueIsSaidBeforeTheBody) {
  start();
  const auto client = connect();
  client->write("PUT /e HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  const auto interim = client->reply();
  ASSERT_TRUE(interim);
  EXPECT_EQ(interim->status, 100);
  client->write("ok");
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "PUT /e  2");
}

TEST_P(HttpServerTest, ContinueIsNotSaidForABodyThatIsTooLarge) {
  HttpServerOptions options;
  options.max_body_bytes = 10;
  start(options);
  EXPECT_EQ(
      status_of("PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n"),
      413);
}

TEST_P(HttpServerTest, ConnectionEndsWhereTheClientAsks) {
  start();
  for (const char* request :
       {"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"}) {
    const auto client = connect();
    client->write(request);
    const auto reply = client->reply();
    ASSERT_TRUE(reply);
    EXPECT_THAT(reply->head, HasSubstr("Connection: close\r\n"));
    EXPECT_TRUE(client->closed());
    if (GetParam()) {
      EXPECT_TRUE(client->ended_in_order());
    }
  }
}

TEST_P(HttpServerTest, OldClientMayKeepTheConnection) {
  start();
  const auto client = connect();
  for (int i = 0; i < 2; ++i) {
    client->write("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    const auto reply = client->reply();
    ASSERT_TRUE(reply);
    EXPECT_THAT(reply->head, HasSubstr("Connection: keep-alive\r\n"));
  }
}

TEST_P(HttpServerTest, BadRequestsHaveTheirStatusAndTheServerStaysUp) {
  start();
  const std::string many_lengths =
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd";
  const std::string both =
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: "
      "chunked\r\n\r\n0\r\n\r\n";
  EXPECT_EQ(status_of("garbage\r\n\r\n"), 400);
  EXPECT_EQ(status_of(std::string("\x00\x01\x02\xff\xfe\r\n\r\n", 9)), 400);
  EXPECT_EQ(status_of("GET  / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(status_of(many_lengths), 400);
  EXPECT_EQ(status_of(both), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/0.9\r\n\r\n"), 505);
  EXPECT_EQ(status_of("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
            501);
  EXPECT_EQ(status_of(get("/still-there")), 200);
}

TEST_P(HttpServerTest, RandomBytesDoNoHarm) {
  start();
  std::minstd_rand random(7);
  for (int i = 0; i < 100; ++i) {
    std::string bytes(random() % 400, '\0');
    for (char& c : bytes)
      c = static_cast<char>(random());
    const auto client = connect();
    client->write("POST / HTTP/1.1\r\n" + bytes + "\r\n\r\n");
  }
  EXPECT_EQ(status_of(get("/")), 200);
  EXPECT_TRUE(eventually([&] { return server_->connections() <= 1; }));
}

TEST_P(HttpServerTest, HeaderAboveTheLimitIs431) {
  HttpServerOptions options;
  options.max_header_bytes = 1024;
  start(options);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nX: " + std::string(900, 'x') + "\r\n\r\n"), 200);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nX: " + std::string(2000, 'x') + "\r\n\r\n"), 431);
  EXPECT_EQ(status_of("GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n"), 431);
  // Never-ending, in pieces.
  const auto client = connect();
  client->write("GET / HTTP/1.1\r\n");
  for (int i = 0; i < 200 && client->write("X-" + std::to_string(i) + ": y\r\n"); ++i) {
  }
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 431);
}

TEST_P(HttpServerTest, BodyAboveTheLimitIs413WithoutReadingTheRest) {
  HttpServerOptions options;
  options.max_body_bytes = 1000;
  start(options);
  EXPECT_EQ(status_of(post(1000)), 200);
  // Declared: answered before any byte of it is there.
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), 413);
  // Undeclared: answered while chunks still come.
  const auto client = connect();
  client->write("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 11; ++i)
    client->write("64\r\n" + std::string(100, 'c') + "\r\n");
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 413);
  EXPECT_THAT(reply->head, HasSubstr("Connection: close\r\n"));
}

TEST_P(HttpServerTest, ClientThatSendsTenMegabytesStillReadsTheRefusal) {
  start();
  EXPECT_EQ(status_of(post(6 * 1024 * 1024)), 200);
  EXPECT_EQ(status_of(post(10 * 1024 * 1024)), 413);
}

TEST_P(HttpServerTest, SlowHeaderIs408) {
  HttpServerOptions options;
  options.read_deadline = 300ms;
  start(options);
  const auto client = connect();
  const auto begun = Clock::now();
  client->write("G");
  // A byte now and then does not help.
  for (int i = 0; i < 4; ++i) {
    std::this_thread::sleep_for(50ms);
    client->write("E");
  }
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 408);
  EXPECT_LT(Clock::now() - begun, 3s);
  EXPECT_TRUE(client->closed());
}

TEST_P(HttpServerTest, SlowBodyIs408) {
  HttpServerOptions options;
  options.read_deadline = 300ms;
  start(options);
  const auto client = connect();
  client->write("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  const auto reply = client->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 408);
}

TEST_P(HttpServerTest, IdleConnectionIsClosed) {
  HttpServerOptions options;
  options.idle_deadline = 300ms;
  start(options);
  const auto never_used = connect();
  const auto used = connect();
  used->write(get("/"));
  ASSERT_TRUE(used->reply());
  EXPECT_TRUE(used->closed());
  EXPECT_TRUE(never_used->closed());
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_P(HttpServerTest, ClientThatDoesNotReadIsGivenUp) {
  HttpServerOptions options;
  options.write_deadline = 300ms;
  start(options, [](const HttpRequest&) {
    return HttpResponse{200, "text/plain", std::string(32 * 1024 * 1024, 'r')};
  });
  const auto client = connect();
  client->write(get("/"));
  EXPECT_TRUE(eventually([&] { return server_->connections() == 1; }));
  EXPECT_TRUE(eventually([&] { return server_->connections() == 0; }));
}

TEST_P(HttpServerTest, ExceptionOfTheHandlerIsAnEmpty500) {
  start({}, [](const HttpRequest& request) -> HttpResponse {
    if (request.target == "/int") throw 7;
    if (request.target == "/std") throw std::runtime_error("secret");
    return {};
  });
  const auto client = connect();
  for (const char* target : {"/std", "/int"}) {
    client->write(get(target));
    const auto reply = client->reply();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 500);
    EXPECT_EQ(reply->body, "");
  }
  client->write(get("/fine"));
  EXPECT_TRUE(client->reply());
}

TEST_P(HttpServerTest, DrainAnswersWhatIsInFlightAndClosesTheRest) {
  std::latch entered(1);
  start({}, [&](const HttpRequest& request) {
    if (request.target == "/slow") {
      entered.count_down();
      std::this_thread::sleep_for(300ms);
    }
    return echo(request);
  });
  const auto idle = connect();
  idle->write(get("/"));
  ASSERT_TRUE(idle->reply());
  const auto busy = connect();
  busy->write(get("/slow"));
  entered.wait();
  const auto begun = Clock::now();
  std::thread stopping([&] { server_->stop(5s); });
  const auto reply = busy->reply();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->body, "GET /slow  0");
  EXPECT_TRUE(idle->closed());
  EXPECT_TRUE(busy->closed());
  stopping.join();
  EXPECT_LT(Clock::now() - begun, 3s);
  EXPECT_THROW(connect(), std::runtime_error);
  EXPECT_EQ(server_->connections(), 0U);
}

TEST_P(HttpServerTest, RequestThatIsStillComingInIsAnsweredWhileDraining) {
  start();
  const auto client = connect();
  client->write("POST /late HTTP/1.1\r\nContent-Length: 4\r\n\r\nab");
  EXPECT_TRUE(eventually([&] { return server_->connections() == 1; }));
  std::this_thread::sleep_for(100ms);  // the server has read the first half
  std::thread stopping([&] { server_->stop(5s); });
  std::this_thread::sleep_for(150ms);
  client->write("cd");
  const auto reply = client->reply();
  stopping.join();
  ASSERT_TRUE(reply);
  EXPECT_THAT(reply->head, HasSubstr("Connection: close\r\n"));
  EXPECT_EQ(reply->body, "POST /late  4");
}

TEST_P(HttpServerTest, StopDoesNotWaitLongerThanTheDrain) {
  start();
  const auto client = connect();
  client->write("POST /never HTTP/1.1\r\nContent-Length: 4\r\n\r\nab");
  EXPECT_TRUE(eventually([&] { return server_->connections() == 1; }));
  std::this_thread::sleep_for(100ms);
  const auto begun = Clock::now();
  server_->stop(200ms);
  EXPECT_LT(Clock::now() - begun, 2s);
  EXPECT_TRUE(client->closed());
  server_->stop(200ms);  // again: nothing
}

TEST_P(HttpServerTest, ManyClientsAtOnceEachGetTheirOwnAnswers) {
  start();
  std::atomic<int> right{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      const auto client = connect();
      for (int i = 0; i < 200; ++i) {
        const std::string target = "/" + std::to_string(c) + "/" + std::to_string(i);
        client->write(get(target));
        const auto reply = client->reply();
        if (reply && reply->body == "GET " + target + "  0") ++right;
      }
    });
  }
  for (auto& client : clients)
    client.join();
  EXPECT_EQ(right, 8 * 200);
}

TEST(HttpServerStart, PortThatIsTakenIsAnErrorThatNamesIt) {
  HttpServerOptions options;
  options.address = "127.0.0.1";
  HttpServer first(options, echo);
  ASSERT_TRUE(first.start());
  options.port = first.port();
  HttpServer second(options, echo);
  const auto started = second.start();
  ASSERT_FALSE(started);
  EXPECT_THAT(started.error().message, HasSubstr(std::to_string(first.port())));
}

TEST(HttpServerStart, BadAddressAndBadCertificateAreErrors) {
  HttpServerOptions options;
  options.address = "nowhere";
  EXPECT_FALSE(HttpServer(options, echo).start());
  options.address = "127.0.0.1";
  options.tls = ServingCertificate{"x", "y"};
  EXPECT_FALSE(HttpServer(options, echo).start());
}

TEST(HttpServerStart, PlainServerRefusesACertificate) {
  HttpServerOptions options;
  options.address = "127.0.0.1";
  HttpServer server(options, echo);
  ASSERT_TRUE(server.start());
  EXPECT_FALSE(server.set_certificate(certificate("x")));
}

}  // namespace
