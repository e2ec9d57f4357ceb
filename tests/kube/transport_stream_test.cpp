// Transport::stream(), as a watch uses it.
#include <thread>

#include "kube/transport_fixture.h"

namespace conformance {
namespace {

class Stream : public Conformance {
 protected:
  struct Outcome {
    kube::Result<Response> result;
    std::string body;
  };
  // Collects the whole stream.
  static Outcome collect(Transport& transport, std::stop_token stop = {},
                         std::chrono::milliseconds idle = kPatience) {
    std::string body;
    auto result = transport.stream(
        request("GET", "/watch"),
        [&](std::string_view piece) {
          body += piece;
          return true;
        },
        idle, std::move(stop));
    return {std::move(result), std::move(body)};
  }
};
INSTANTIATE_TEST_SUITE_P(Both, Stream, testing::Values(Kind::kCpprest, Kind::kBeast), kind_name);

// Each line must have been seen before the server writes the next: nothing waits for more.
TEST_P(Stream, LinesComeAsTheyAreWritten) {
  auto& server = serve([](Server& self, Peer& peer, int) {
    peer.read_request();
    peer.write(kChunkedHead);
    for (std::size_t i = 0; i < 10; ++i) {
      const std::string line = "{\"line\":" + std::to_string(i) + "}\n";
      if (i % 2 == 0) {
        peer.write(chunk(line));
      } else {  // a line in two chunks, the first cut in its size
        const std::string text = chunk(line.substr(0, 4)) + chunk(line.substr(4));
        peer.write(text.substr(0, 1));
        peer.write(text.substr(1));
      }
      if (!self.wait_for_notes(i + 1)) return;
    }
    peer.write("0\r\n\r\n");
    peer.wait_for_close();
  });
  const auto transport = make();
  std::string pending;
  std::vector<std::string> lines;
  const auto result =
      transport->stream(request("GET", "/watch"),
                        [&](std::string_view piece) {
                          pending += piece;
                          for (std::size_t end; (end = pending.find('\n')) != std::string::npos;) {
                            lines.push_back(pending.substr(0, end));
                            pending.erase(0, end + 1);
                            server.note(lines.back());
                          }
                          return true;
                        },
                        kPatience, {});
  ASSERT_TRUE(result) << shown(result);
  EXPECT_EQ(result->status, 200);
  EXPECT_EQ(result->body, "");
  ASSERT_EQ(lines.size(), 10U);
  EXPECT_EQ(lines.back(), "{\"line\":9}");
  EXPECT_EQ(pending, "");
}

TEST_P(Stream, CleanEndIsSuccessAndTheConnectionServesOn) {
  serve([](Server&, Peer& peer, int) {
    while (!peer.read_request().empty())
      peer.write(kChunkedHead + chunk("one\n") + chunk("two\n") + "0\r\n\r\n");
  });
  const auto transport = make();
  for (int i = 0; i < 3; ++i) {
    const auto [result, body] = collect(*transport);
    EXPECT_TRUE(result) << shown(result);
    EXPECT_EQ(body, "one\ntwo\n");
  }
  if (GetParam() == Kind::kBeast) {
    EXPECT_EQ(server_->accepted(), 1);
  }
}

TEST_P(Stream, CutIsAnErrorAfterAllThatCame) {
  void (Peer::*const endings[])() = {&Peer::close, &Peer::cut, &Peer::reset};
  for (const auto ending : endings) {
    for (const std::string tail : {"", "5\r\nth", "0\r\n"}) {
      SCOPED_TRACE(tail);
      auto& server = serve([=](Server& self, Peer& peer, int) {
        peer.read_request();
        peer.write(kChunkedHead + chunk("one\n") + chunk("two\n") + tail);
        if (!self.wait_for_notes(1)) return;
        (peer.*ending)();
      });
      const auto transport = make();
      std::string body;
      const auto result = transport->stream(request("GET", "/watch"),
                                            [&](std::string_view piece) {
                                              body += piece;
                                              if (body.find("two\n") != std::string::npos)
                                                server.note("seen");
                                              return true;
                                            },
                                            kPatience, {});
      EXPECT_TRUE(failed_as(result, kube::kTransportReasonClosed));
      EXPECT_TRUE(body.starts_with("one\ntwo\n")) << body;
    }
  }
}

TEST_P(Stream, OtherStatusComesWithItsBodyAndNoSink) {
  for (const char* status : {"410 Gone", "429 Too Many", "301 Moved", "500 Internal"}) {
    SCOPED_TRACE(status);
    serve_bytes("HTTP/1.1 " + std::string(status) +
                "\r\nRetry-After: 7\r\nContent-Length: 6\r\n\r\nreason");
    const auto transport = make();
    const auto [result, body] = collect(*transport);
    ASSERT_TRUE(result) << shown(result);
    EXPECT_EQ(shown(result), std::string(status, 3) + ": reason");
    EXPECT_EQ(kube::header(result->headers, "retry-after"), "7");
    EXPECT_EQ(body, "");
  }
}

TEST_P(Stream, LimitIsForTheBodyOfARefusalOnly) {
  const std::string large(100'000, 'x');
  TransportOptions limited;
  serve([=](Server&, Peer& peer, int) {
    for (std::string got; !(got = peer.read_request()).empty();)
      peer.respond(large);
  });
  limited = options();
  limited.max_response_bytes = 1000;
  const auto [result, body] = collect(*make(limited));
  EXPECT_TRUE(result) << shown(result);
  EXPECT_EQ(body.size(), large.size());
  serve_bytes("HTTP/1.1 500 Internal\r\nContent-Length: 100000\r\n\r\n" + large);
  limited.base_url = server_->url();
  EXPECT_TRUE(failed_as(collect(*make(limited)).result, kube::kTransportReasonTooLarge));
}

// The request's deadline is for the header alone; afterwards only silence counts.
TEST_P(Stream, LivesLongerThanTheDeadline) {
  serve([](Server& self, Peer& peer, int) {
    peer.read_request();
    peer.write(kChunkedHead);
    for (int i = 0; i < 8; ++i) {
      self.pause(500ms);
      peer.write(chunk("x"));
    }
    peer.write("0\r\n\r\n");
    peer.wait_for_close();
  });
  Request watch = request("GET", "/watch");
  watch.deadline = 3s;
  std::string body;
  const auto result = make()->stream(watch,
                                     [&](std::string_view piece) {
                                       body += piece;
                                       return true;
                                     },
                                     kPatience, {});
  EXPECT_TRUE(result) << shown(result);
  EXPECT_EQ(body, "xxxxxxxx");
}

TEST_P(Stream, SilenceEndsIt) {
  serve([](Server&, Peer& peer, int) {
    peer.read_request();
    peer.write(kChunkedHead + chunk("one\n"));
    peer.wait_for_close();
  });
  const auto [result, body] = collect(*make(), {}, 300ms);
  EXPECT_TRUE(failed_as(result, kube::kTransportReasonTimeout));
  EXPECT_EQ(body, "one\n");
}

TEST_P(Stream, NoHeaderWithinTheDeadlineEndsIt) {
  serve([](Server&, Peer& peer, int) {
    peer.read_request();
    peer.wait_for_close();
  });
  Request watch = request("GET", "/watch");
  watch.deadline = 300ms;
  const auto result = make()->stream(watch, [](std::string_view) { return true; }, kPatience, {});
  EXPECT_TRUE(failed_as(result, kube::kTransportReasonTimeout));
}

TEST_P(Stream, StopEndsASilentWatch) {
  auto& server = serve([](Server& self, Peer& peer, int) {
    peer.read_request();
    peer.write(kChunkedHead + chunk("one\n"));
    self.note("open");
    peer.wait_for_close();
    self.note("left");
  });
  const auto transport = make();
  std::stop_source stop;
  std::jthread stopper([&] {
    EXPECT_TRUE(server.wait_for_notes(1));
    server.pause(50ms);
    stop.request_stop();
  });
  const auto begun = Clock::now();
  const auto [result, body] = collect(*transport, stop.get_token(), 600s);
  EXPECT_TRUE(failed_as(result, kube::kTransportReasonCancelled));
  EXPECT_LT(Clock::now() - begun, kPatience);
  EXPECT_TRUE(server.wait_for_notes(2)) << "the connection is closed, not left behind";
}

TEST_P(Stream, StopEndsABusyWatch) {
  serve([](Server& self, Peer& peer, int) {
    peer.read_request();
    peer.write(kChunkedHead);
    while (!self.stopping() && peer.write(chunk(std::string(8000, 'x')))) {
    }
  });
  const auto transport = make();
  std::stop_source stop;
  std::size_t pieces = 0;
  std::size_t after = 0;
  const auto result = transport->stream(
      request("GET", "/watch"),
      [&](std::string_view) {
        if (stop.stop_requested()) ++after;
        if (++pieces == 20) stop.request_stop();
        return true;
      },
      kPatience, stop.get_token());
  EXPECT_TRUE(failed_as(result, kube::kTransportReasonCancelled));
  EXPECT_EQ(after, 0U) << "nothing is delivered after a stop";
}

TEST_P(Stream, SinkThatWantsNoMoreEndsItWithoutError) {
  auto& server = serve([](Server& self, Peer& peer, int number) {
    for (std::string got; !(got = peer.read_request()).empty();) {
      if (got.starts_with("POST")) {
        peer.respond("on " + std::to_string(number));
        continue;
      }
      peer.write(kChunkedHead + chunk("one\n") + chunk("two\n"));
      peer.wait_for_close();
      self.note("left");
    }
  });
  const auto transport = make();
  int calls = 0;
  const auto result = transport->stream(request("GET", "/watch"),
                                        [&](std::string_view) {
                                          ++calls;
                                          return false;
                                        },
                                        kPatience, {});
  EXPECT_TRUE(result) << shown(result);
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(server.wait_for_notes(1)) << "the connection is closed";
  EXPECT_EQ(shown(transport->send(request("POST"), {})), "200: on 1")
      << "what is left of the stream is no answer to the next call";
}

TEST_P(Stream, ExceptionOfTheSinkPassesThrough) {
  serve([](Server&, Peer& peer, int) {
    for (std::string got; !(got = peer.read_request()).empty();) {
      if (got.starts_with("POST")) {
        peer.respond("fine");
        continue;
      }
      peer.write(kChunkedHead + chunk("one\n"));
      peer.wait_for_close();
    }
  });
  const auto transport = make();
  const Transport::ChunkSink sink = [](std::string_view) -> bool {
    throw std::runtime_error("sink");
  };
  EXPECT_THROW((void)transport->stream(request("GET", "/watch"), sink, kPatience, {}),
               std::runtime_error);
  EXPECT_EQ(shown(transport->send(request("POST"), {})), "200: fine");
}

// A reader that does not return holds the server back: what it writes does not pile up here.
TEST_P(Stream, SlowSinkHoldsThePeerBack) {
  std::atomic<std::size_t> written = 0;
  constexpr std::size_t kAll = 192UL * 1024 * 1024;
  serve([&](Server& self, Peer& peer, int) {
    peer.small_send_buffer();
    peer.read_request();
    peer.write(kChunkedHead);
    const std::string piece = chunk(std::string(64UL * 1024, 'x'));
    while (!self.stopping() && written < kAll && peer.write(piece))
      written += piece.size();
  });
  const auto transport = make();
  std::size_t settled = 0;
  const auto result = transport->stream(request("GET", "/watch"),
                                        [&](std::string_view) {
                                          const auto deadline = Clock::now() + kPatience;
                                          std::size_t before = 0;
                                          do {
                                            before = written;
                                            std::this_thread::sleep_for(500ms);
                                          } while (written != before && Clock::now() < deadline);
                                          settled = written;
                                          return false;
                                        },
                                        kPatience, {});
  EXPECT_TRUE(result) << shown(result);
  server_.reset();  // it counts in `written`
  EXPECT_LT(settled, kAll / 4) << "the kernel's buffers and little more";
}

// Watches for ever and short calls beside them: none waits for the other.
TEST_P(Stream, ManyWatchesAndCallsShareOneTransport) {
  auto& server = serve([](Server& self, Peer& peer, int) {
    for (std::string got; !(got = peer.read_request()).empty();) {
      if (got.starts_with("POST")) {
        peer.respond("called");
        continue;
      }
      peer.write(kChunkedHead + chunk("one\n"));
      self.note("open");
      peer.wait_for_close();
    }
  });
  const auto transport = make();
  std::stop_source stop;
  std::atomic<int> cancelled = 0;
  {
    std::vector<std::jthread> watches;
    for (int i = 0; i < 12; ++i) {
      watches.emplace_back([&] {
        const auto [result, body] = collect(*transport, stop.get_token());
        cancelled += !result && result.error().is_cancelled() && body == "one\n" ? 1 : 0;
      });
    }
    EXPECT_TRUE(server.wait_for_notes(12));
    for (int i = 0; i < 20; ++i)
      EXPECT_EQ(shown(transport->send(request("POST"), {})), "200: called");
    server.pause(100ms);
    stop.request_stop();
  }
  EXPECT_EQ(cancelled, 12);
}

// Stops at any moment of a watch, and a transport that goes right after: nothing hangs, crashes or
// outlives what it uses.
TEST_P(Stream, StopAtAnyMomentIsSafe) {
  serve([](Server& self, Peer& peer, int) {
    peer.read_request();
    peer.write(kChunkedHead);
    for (int i = 0; i < 2000 && !self.stopping() && peer.write(chunk("line\n")); ++i) {
      if (i > 20) self.pause(1ms);
    }
  });
  for (int i = 0; i < 40; ++i) {
    auto transport = make();
    std::stop_source stop;
    std::jthread stopper([&, i] {
      std::this_thread::sleep_for(std::chrono::microseconds(i * 400));
      stop.request_stop();
    });
    const auto [result, body] = collect(*transport, stop.get_token());
    EXPECT_TRUE(failed_as(result, kube::kTransportReasonCancelled));
    transport.reset();
  }
}

}  // namespace
}  // namespace conformance
