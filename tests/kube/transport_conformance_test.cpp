// The promises of kube/transport.h, kept by both transports alike: whole exchanges. Streams are in
// transport_stream_test.cpp, certificates in transport_tls_test.cpp, connections that end at the
// wrong moment in transport_reuse_test.cpp.
#include <thread>

#include "kube/transport_fixture.h"

namespace conformance {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

INSTANTIATE_TEST_SUITE_P(Both, Conformance, testing::Values(Kind::kCpprest, Kind::kBeast),
                         kind_name);

// All values of a header of a raw message, blanks around them left out.
std::vector<std::string> values(const std::string& message, const std::string& name) {
  std::vector<std::string> out;
  const std::string head = message.substr(0, message.find("\r\n\r\n") + 2);
  for (std::size_t at = 0; (at = head.find("\r\n" + name + ":", at)) != std::string::npos;) {
    const auto from = head.find_first_not_of(' ', at + name.size() + 3);
    at = head.find("\r\n", from);
    out.push_back(head.substr(from, at - from));
  }
  return out;
}

TEST_P(Conformance, RequestArrivesAsItWasGiven) {
  auto& server = serve_bytes(ok("{}"));
  const auto transport = make();
  struct Case {
    const char* method;
    std::string body;
  };
  const Case cases[] = {{"GET", ""},          {"POST", R"({"a":1})"}, {"PUT", "put"},
                        {"PATCH", "- patch"}, {"DELETE", "options"},  {"DELETE", ""},
                        {"POST", ""},         {"PATCH", ""}};
  std::size_t count = 0;
  for (const auto& [method, body] : cases) {
    SCOPED_TRACE(method);
    Request sent = request(method, "/apis/x/v1/things/a%2Fb?limit=5&continue=a%3Db%26", body);
    sent.headers = {{"Accept", "application/json"},
                    {"Authorization", "Bearer s3cret.~+/="},
                    {"Content-Type", "application/apply-patch+yaml"},
                    {"X-Odd", "a, b; c=\"d\""}};
    const auto answer = transport->send(sent, {});
    ASSERT_TRUE(answer) << shown(answer);
    EXPECT_EQ(shown(answer), "200: {}");
    const auto notes = server.notes();
    ASSERT_EQ(notes.size(), ++count);
    const std::string& got = notes.back();
    EXPECT_THAT(got, StartsWith(std::string(method) +
                                " /apis/x/v1/things/a%2Fb?limit=5&continue=a%3Db%26 HTTP/1.1\r\n"));
    EXPECT_THAT(values(got, "Host"), testing::ElementsAre("127.0.0.1:" + server.port()));
    for (const auto& [name, value] : sent.headers)
      EXPECT_THAT(values(got, name), testing::ElementsAre(value)) << name;
    EXPECT_THAT(values(got, "Accept-Encoding"), testing::IsEmpty());
    EXPECT_EQ(got.substr(got.find("\r\n\r\n") + 4), body);
  }
}

TEST_P(Conformance, LargeBodiesGoBothWays) {
  std::string large(5'000'000, 'x');
  for (std::size_t i = 0; i < large.size(); i += 97)
    large[i] = static_cast<char>('a' + i % 26);
  serve([&](Server&, Peer& peer, int) {
    for (std::string got; !(got = peer.read_request()).empty();)
      peer.respond(got.substr(got.find("\r\n\r\n") + 4));
  });
  for (const char* method : {"POST", "PUT"}) {
    const auto answer = make()->send(request(method, "/", large), {});
    ASSERT_TRUE(answer) << shown(answer);
    EXPECT_TRUE(answer->body == large) << method << ": " << answer->body.size() << " bytes";
  }
}

TEST_P(Conformance, AnyStatusIsAnAnswer) {
  const char* statuses[] = {"200 OK",       "201 Created",      "202 Accepted",
                            "400 Bad",      "401 Unauthorized", "404 Not Found",
                            "409 Conflict", "410 Gone",         "422 Unprocessable Entity",
                            "429 Too Many", "500 Internal",     "503 Service Unavailable"};
  std::atomic<std::size_t> next = 0;
  serve([&](Server&, Peer& peer, int) {
    while (!peer.read_request().empty()) {
      const std::string status = statuses[next++];
      peer.respond("body of " + status, status, "X-Status: " + status + "\r\n");
    }
  });
  const auto transport = make();
  for (const std::string status : statuses) {
    const auto answer = transport->send(request(), {});
    ASSERT_TRUE(answer) << shown(answer);
    EXPECT_EQ(shown(answer), status.substr(0, 3) + ": body of " + status);
    EXPECT_EQ(kube::header(answer->headers, "x-STATUS"), status);
  }
}

TEST_P(Conformance, AnswersWithoutABodyEnd) {
  struct Case {
    const char* method;
    const char* bytes;
    int status;
  };
  for (const auto& [method, bytes, status] :
       {Case{"DELETE", "HTTP/1.1 204 No Content\r\n\r\n", 204},
        Case{"GET", "HTTP/1.1 304 Not Modified\r\n\r\n", 304},
        Case{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200},
        Case{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", 200}}) {
    SCOPED_TRACE(std::string(method) + " " + bytes);
    serve_bytes(bytes);
    const auto transport = make();
    for (int i = 0; i < 2; ++i) {
      const auto answer = transport->send(request(method), {});
      ASSERT_TRUE(answer) << shown(answer);
      EXPECT_EQ(answer->status, status);
      EXPECT_EQ(answer->body, "");
    }
  }
}

TEST_P(Conformance, RedirectIsReturnedAndTheTokenStaysHere) {
  Server other(tls(), [](Peer& peer, int) { peer.respond("caught"); });
  for (const char* status :
       {"301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"}) {
    SCOPED_TRACE(status);
    serve_bytes("HTTP/1.1 " + std::string(status) + "\r\nLocation: " + other.url() +
                "/\r\nContent-Length: 0\r\n\r\n");
    Request sent = request();
    sent.headers = {{"Authorization", "Bearer secret"}};
    const auto answer = make()->send(sent, {});
    ASSERT_TRUE(answer) << shown(answer);
    EXPECT_EQ(answer->status, std::stoi(std::string(status, 3)));
    EXPECT_EQ(kube::header(answer->headers, "Location"), other.url() + "/");
  }
  EXPECT_EQ(other.accepted(), 0);
}

TEST_P(Conformance, BodyIsWholeHoweverItIsCut) {
  const std::string body = R"({"kind":"List","items":[1,2,3]})";
  std::string chunked = kChunkedHead;
  for (const char c : body)
    chunked += chunk(std::string(1, c));
  const std::string messages[] = {
      ok(body), chunked + "0\r\n\r\n",
      kChunkedHead + chunk(body.substr(0, 7)) + chunk(body.substr(7)) + "0\r\n\r\n",
      std::string("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n") + chunk(body) +
          "0\r\n\r\n"};
  for (const std::string& message : messages) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{3}, message.size()}) {
      SCOPED_TRACE(message.substr(0, 60) + " in steps of " + std::to_string(step));
      serve([=](Server&, Peer& peer, int) {
        while (!peer.read_request().empty()) {
          for (std::size_t at = 0; at < message.size(); at += step)
            peer.write(std::string_view(message).substr(at, step));
        }
      });
      const auto transport = make();
      for (int i = 0; i < 2; ++i)
        EXPECT_EQ(shown(transport->send(request(), {})), "200: " + body);
    }
  }
}

// Nothing asks for one, so the API server sends none; cpprestsdk cannot read on after it.
TEST_P(Conformance, InterimAnswerIsNotTakenForTheAnswer) {
  serve_bytes("HTTP/1.1 100 Continue\r\n\r\n" + ok("real"));
  if (GetParam() == Kind::kBeast) {
    EXPECT_EQ(shown(get()), "200: real");
  } else {
    EXPECT_TRUE(failed_as(get(), kube::kTransportReasonProtocol));
  }
}

TEST_P(Conformance, BodyAboveTheLimitIsRefused) {
  const std::string fits(1000, 'f');
  const std::string above(1001, 'a');
  struct Case {
    std::string message;
    bool fits;
  };
  const Case cases[] = {{ok(fits), true},
                        {ok(above), false},
                        {kChunkedHead + chunk(fits) + "0\r\n\r\n", true},
                        {kChunkedHead + chunk(fits) + chunk("1") + "0\r\n\r\n", false},
                        {"HTTP/1.1 404 Not Found\r\nContent-Length: 1001\r\n\r\n" + above, false},
                        // Never sent in full: the length alone, or what has come, is enough.
                        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + above, false},
                        {kChunkedHead + chunk(above), false}};
  for (const auto& [message, expected] : cases) {
    SCOPED_TRACE(message.substr(0, 80));
    serve_bytes(message);
    TransportOptions limited = options();
    limited.max_response_bytes = 1000;
    const auto answer = make(limited)->send(request(), {});
    if (expected) {
      EXPECT_EQ(answer ? answer->body : shown(answer), fits);
    } else {
      EXPECT_TRUE(failed_as(answer, kube::kTransportReasonTooLarge));
    }
  }
}

TEST_P(Conformance, CutBodyIsNeverTakenAsWhole) {
  const std::string messages[] = {"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"items\":[]}",
                                  "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n",
                                  std::string(kChunkedHead) + chunk("{\"items\":[]}"),
                                  std::string(kChunkedHead) + chunk("{\"items\":[]}") + "0\r\n",
                                  std::string(kChunkedHead) + "20\r\n{\"items\":[]}",
                                  std::string(kChunkedHead) + "c\r\n{\"items\":[]}",
                                  std::string(kChunkedHead),
                                  std::string(kChunkedHead) + "1",
                                  "HTTP/1.1 404 Not Found\r\nContent-Length: 20\r\n\r\n{}"};
  void (Peer::*const endings[])() = {&Peer::close, &Peer::cut, &Peer::reset};
  for (const std::string& message : messages) {
    for (std::size_t ending = 0; ending < std::size(endings); ++ending) {
      SCOPED_TRACE(message + " ending " + std::to_string(ending));
      const auto end = endings[ending];
      serve([=](Server& server, Peer& peer, int) {
        peer.read_request();
        peer.write(message);
        if (ending == 2) server.pause(50ms);  // a reset takes with it what has not been read
        (peer.*end)();
      });
      const auto answer = get();
      EXPECT_TRUE(failed_as(answer, kube::kTransportReasonClosed));
    }
  }
}

// Without a length the end of the connection is the end of the body; over TLS only an orderly one,
// since anybody on the way can cut TCP.
TEST_P(Conformance, BodyUntilTheEndOfTheConnectionNeedsAnOrderlyEnd) {
  for (const bool orderly : {true, false}) {
    SCOPED_TRACE(orderly);
    serve([=](Server&, Peer& peer, int) {
      peer.read_request();
      peer.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"items\":[]}");
      orderly ? peer.close() : peer.cut();
    });
    const auto answer = get();
    if (orderly && answer) {
      EXPECT_EQ(shown(answer), "200: {\"items\":[]}");
    } else {
      EXPECT_TRUE(failed_as(answer, kube::kTransportReasonClosed));
    }
  }
}

TEST_P(Conformance, MalformedAnswersAreErrors) {
  const std::string messages[] = {
      "garbage\r\n\r\n",
      "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\n{}",
      "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\n{}",
      "HTTP/1.1 999 High\r\nContent-Length: 2\r\n\r\n{}",
      "HTTP/1.1 101 Switching Protocols\r\n\r\n{}",
      "SSH-2.0-OpenSSH_9.2\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
      "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\n{}",
      "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
      std::string(kChunkedHead) + "zz\r\n{}\r\n0\r\n\r\n",
      std::string(kChunkedHead) + "-2\r\n{}\r\n0\r\n\r\n",
      std::string(kChunkedHead) + "ffffffffffffffff\r\n{}\r\n0\r\n\r\n",
      std::string(kChunkedHead) + "7fffffffffffffff\r\n{}\r\n0\r\n\r\n",
      std::string(4096, '\0')};
  for (const std::string& message : messages) {
    SCOPED_TRACE(message.substr(0, 90));
    serve([=](Server&, Peer& peer, int) {
      peer.read_request();
      peer.write(message);
      peer.close();
    });
    const auto answer = get();
    ASSERT_FALSE(answer) << shown(answer);
    EXPECT_TRUE(answer.error().is_transport()) << shown(answer);
    EXPECT_NE(answer.error().reason, kube::kTransportReasonTimeout) << shown(answer);
    EXPECT_NE(answer.error().reason, kube::kTransportReasonCancelled) << shown(answer);
    EXPECT_LT(answer.error().message.size(), 2000U) << "what a server says is no log";
  }
}

// cpprestsdk has no limit for a header; the API server, who alone speaks to it, has proven itself.
class HeaderLimit : public Conformance {};
INSTANTIATE_TEST_SUITE_P(Only, HeaderLimit, testing::Values(Kind::kBeast), kind_name);

TEST_P(HeaderLimit, EndlessHeaderIsRefused) {
  serve_bytes("HTTP/1.1 200 OK\r\nX: " + std::string(2'000'000, 'h') + "\r\n\r\n");
  EXPECT_TRUE(failed_as(get(), kube::kTransportReasonTooLarge));
}

// Nobody asked for compression, so a small answer that would become gigabytes is never opened.
TEST_P(Conformance, CompressedAnswerIsRefused) {
  for (const char* encoding : {"gzip", "deflate", "br", "gzip, gzip", "unknown"}) {
    SCOPED_TRACE(encoding);
    serve_bytes("HTTP/1.1 200 OK\r\nContent-Encoding: " + std::string(encoding) +
                "\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x01");
    EXPECT_TRUE(failed_as(get(), kube::kTransportReasonProtocol));
  }
  serve_bytes("HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}");
  EXPECT_EQ(shown(get()), "200: {}");
}

TEST_P(Conformance, StalledServerMeetsTheDeadline) {
  for (const char* sent :
       {"", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"}) {
    SCOPED_TRACE(sent);
    serve([=](Server&, Peer& peer, int) {
      peer.read_request();
      peer.write(sent);
      peer.wait_for_close();
    });
    const auto transport = make();
    Request late = request();
    late.deadline = 300ms;
    const auto begun = Clock::now();
    EXPECT_TRUE(failed_as(transport->send(late, {}), kube::kTransportReasonTimeout));
    EXPECT_GE(Clock::now() - begun, 250ms);
    EXPECT_LT(Clock::now() - begun, kPatience);
  }
}

// A server that drips a byte now and then is not given more time for it.
TEST_P(Conformance, DeadlineIsForTheWholeExchange) {
  serve([&](Server& server, Peer& peer, int) {
    peer.read_request();
    if (!peer.write("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")) return;
    while (!server.stopping() && peer.write("x"))
      server.pause(20ms);
  });
  Request late = request();
  late.deadline = 500ms;
  EXPECT_TRUE(failed_as(make()->send(late, {}), kube::kTransportReasonTimeout));
}

TEST_P(Conformance, StopEndsACall) {
  for (const char* sent : {"", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"}) {
    SCOPED_TRACE(sent);
    auto& server = serve([=](Server& self, Peer& peer, int) {
      peer.read_request();
      peer.write(sent);
      self.note("asked");
      peer.wait_for_close();
      self.note("left");
    });
    const auto transport = make();
    std::stop_source stop;
    std::jthread stopper([&] {
      EXPECT_TRUE(server.wait_for_notes(1));
      server.pause(20ms);
      stop.request_stop();
    });
    Request patient = request();
    patient.deadline = 120s;
    const auto begun = Clock::now();
    EXPECT_TRUE(
        failed_as(transport->send(patient, stop.get_token()), kube::kTransportReasonCancelled));
    EXPECT_LT(Clock::now() - begun, kPatience);
    EXPECT_TRUE(server.wait_for_notes(2)) << "the connection is closed, not left behind";
  }
}

TEST_P(Conformance, StopBeforeTheCallSendsNothing) {
  serve_bytes(ok("{}"));
  std::stop_source stop;
  stop.request_stop();
  EXPECT_TRUE(
      failed_as(make()->send(request("POST"), stop.get_token()), kube::kTransportReasonCancelled));
  EXPECT_THAT(server_->notes(), testing::IsEmpty());
}

TEST_P(Conformance, ManyThreadsGetTheirOwnAnswers) {
  serve([](Server&, Peer& peer, int) {
    for (std::string got; !(got = peer.read_request()).empty();) {
      const auto from = got.find(' ') + 1;
      peer.respond("answer to " + got.substr(from, got.find(' ', from) - from));
    }
  });
  const auto transport = make();
  std::atomic<int> right = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 25; ++i) {
          const std::string target = "/" + std::to_string(t) + "/" + std::to_string(i);
          const auto answer = transport->send(request(i % 2 == 0 ? "GET" : "POST", target), {});
          if (answer && answer->body == "answer to " + target)
            ++right;
          else
            ADD_FAILURE() << target << ": " << shown(answer);
        }
      });
    }
  }
  EXPECT_EQ(right, 200);
}

TEST_P(Conformance, RequestOfTheWrongShapeIsNeverSent) {
  serve_bytes(ok("{}"));
  const auto transport = make();
  const auto with = [](std::string name, std::string value) {
    Request out = request();
    out.headers = {{std::move(name), std::move(value)}};
    return out;
  };
  const Request cases[] = {request("GET", "/a b"),
                           request("GET", "/a\r\nX: y"),
                           request("GET", "https://other.test/"),
                           request("GET", "//other.test/"),
                           request("GET", ""),
                           request("GET", "/a#b"),
                           request("GET", "/\xc3\xbc"),
                           request("GE T", "/"),
                           request("", "/"),
                           request("GET\r\n", "/"),
                           with("X", "a\r\nY: b"),
                           with("X", std::string("a\0b", 3)),
                           with("X\r\nY", "b"),
                           with("X:", "b"),
                           with("", "b"),
                           with("Host", "other.test"),
                           with("host", "other.test"),
                           with("Content-Length", "5"),
                           with("transfer-encoding", "chunked"),
                           with("Connection", "close")};
  for (const Request& one : cases) {
    SCOPED_TRACE(one.method + " " + one.target);
    EXPECT_TRUE(failed_as(transport->send(one, {}), kube::kTransportReasonProtocol));
    EXPECT_TRUE(
        failed_as(transport->stream(one, [](std::string_view) { return true; }, kPatience, {}),
                  kube::kTransportReasonProtocol));
  }
  EXPECT_EQ(server_->accepted(), 0);
}

TEST_P(Conformance, RefusedConnectionIsAnError) {
  serve_bytes(ok("{}"));
  TransportOptions gone = options();
  server_.reset();
  EXPECT_TRUE(failed_as(make(gone)->send(request("POST"), {}), kube::kTransportReasonConnect));
}

TEST_P(Conformance, BadBaseUrlIsAnErrorOfEachCall) {
  for (const char* url :
       {"", "127.0.0.1:443", "ftp://127.0.0.1", "https://", "https://a:0", "https://a:65536",
        "https://a:b", "https://user@a", "https://a/path", "https://a?x", "https://[::1",
        "http://10.0.0.1", "http://api.test", "http://127.0.0.1.api.test", "https://a b"}) {
    SCOPED_TRACE(url);
    TransportOptions bad;
    bad.base_url = url;
    const auto transport = make(bad);
    for (int i = 0; i < 2; ++i) {
      const auto answer = transport->send(request(), {});
      EXPECT_TRUE(failed_as(answer, kube::kTransportReasonConnect));
      if (!answer) {
        EXPECT_THAT(answer.error().message, HasSubstr(url));
      }
    }
  }
}

TEST_P(Conformance, PlainHttpWorksOnLoopback) {
  serve_bytes(ok("plain"), scripted::Options{});
  EXPECT_EQ(shown(get()), "200: plain");
}

}  // namespace
}  // namespace conformance
