// What a client owes a busy server and other writers, and answers that come compressed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <kube/patience.h>

#include "kube/fake_api.h"
#include "kube/transport_fixture.h"

namespace {

using namespace std::chrono_literals;
using fake_api::Api;
using fake_api::Ending;
using fake_api::Json;
using fake_api::status;
using testing::ElementsAre;
using testing::HasSubstr;
namespace resources = kube::resources;

class Patience : public testing::Test {
 protected:
  void answers(const std::string& kind, const std::string& code, const std::string& headers = "",
               const std::string& body = "{}") {
    api_.answer(kind, {code, body, Ending::kClean, headers});
  }
  std::unique_ptr<kube::Client> client(std::chrono::milliseconds deadline = 20s,
                                       kube::PatienceOptions options = {}) {
    return kube::Client::connect(api_.client()->config(), kube::Client::TransportKind::kBeast,
                                 deadline, kube::patient(options));
  }
  Api api_;
};

TEST_F(Patience, ABusyServerIsAskedAgainWhenItSays) {
  answers("list", "429 Too Many Requests", "Retry-After: 1\r\n");
  answers("list", "503 Service Unavailable", "Retry-After: 0\r\n");
  answers("list", "200 OK");
  const auto begun = std::chrono::steady_clock::now();
  const auto got = client()->get(resources::kPods, "n", "p");
  ASSERT_TRUE(got) << got.error().text();
  EXPECT_GE(std::chrono::steady_clock::now() - begun, 1s);
  EXPECT_EQ(api_.asked().size(), 3U);
}

TEST_F(Patience, WhatMayHaveBeenDoneIsNotAskedForAgain) {
  const Json object{{"metadata", {{"name", "p"}}}};
  answers("POST", "503 Service Unavailable", "Retry-After: 0\r\n");
  const auto refused = client()->create(resources::kPods, "n", object);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, 503);
  EXPECT_EQ(refused.error().retry_after, 0s);
  // A 429 was not even begun.
  answers("POST", "429 Too Many Requests", "Retry-After: 0\r\n");
  answers("POST", "201 Created");
  EXPECT_TRUE(client()->create(resources::kPods, "n", object));
  EXPECT_EQ(api_.asked().size(), 3U);
}

TEST_F(Patience, HasItsBounds) {
  struct Case {
    const char* code;
    const char* headers;
    std::size_t requests;
  };
  const Case cases[] = {
      {"429 Too Many Requests", "", 1},
      {"429 Too Many Requests", "Retry-After: 11\r\n", 1},
      {"429 Too Many Requests", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 1},
      {"429 Too Many Requests", "Retry-After: 6\r\n", 1},  // not within the deadline
      {"500 Internal Server Error", "Retry-After: 0\r\n", 1},
      {"429 Too Many Requests", "Retry-After: 0\r\n", 5},
  };
  const auto asking = client(5s);
  std::size_t before = 0;
  for (const auto& [code, headers, requests] : cases) {
    SCOPED_TRACE(std::string(code) + " " + headers);
    for (std::size_t i = 0; i < requests; ++i)
      answers("list", code, headers);
    const auto got = asking->get(resources::kPods, "n", "p");
    ASSERT_FALSE(got);
    EXPECT_GE(got.error().code, 429);
    EXPECT_EQ(api_.asked().size() - before, requests);
    before = api_.asked().size();
  }
  answers("list", "429 Too Many Requests", "Retry-After: 4\r\n");
  std::stop_source stop;
  std::jthread later([&] {
    EXPECT_TRUE(api_.wait_for_requests(before + 1));
    stop.request_stop();
  });
  const auto cancelled = client()->get(resources::kPods, "n", "p", stop.get_token());
  ASSERT_FALSE(cancelled);
  EXPECT_TRUE(cancelled.error().is_cancelled()) << cancelled.error().text();
}

TEST_F(Patience, ChangesAreWrittenOverTheLatest) {
  const auto versioned = [](int version) {
    return Json{{"metadata", {{"name", "p"}, {"resourceVersion", std::to_string(version)}}}}.dump();
  };
  answers("list", "200 OK", "", versioned(1));
  answers("PUT", "409 Conflict", "", status(409, "Conflict").dump());
  answers("list", "200 OK", "", versioned(2));
  answers("PUT", "200 OK", "", versioned(3));
  std::vector<std::string> seen;
  const kube::Change change = [&seen](Json& object) -> kube::Result<bool> {
    seen.push_back(object["metadata"]["resourceVersion"]);
    return true;
  };
  const auto written = kube::read_change_write(*client(), resources::kPods, "n", "p", change);
  ASSERT_TRUE(written) << written.error().text();
  EXPECT_EQ((*written)["metadata"]["resourceVersion"], "3");
  EXPECT_THAT(seen, ElementsAre("1", "2"));

  // Nothing to write; an error of the caller's; a writer that never comes through.
  answers("list", "200 OK", "", versioned(4));
  EXPECT_TRUE(kube::read_change_write(*client(), resources::kPods, "n", "p",
                                      [](Json&) { return kube::Result<bool>(false); }));
  answers("list", "200 OK", "", versioned(5));
  const auto refused = kube::read_change_write(
      *client(), resources::kPods, "n", "p", [](Json&) -> kube::Result<bool> {
        return std::unexpected(kube::Error{0, "Own", "", {}, {}});
      });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, "Own");
  for (int i = 0; i < 3; ++i) {
    answers("list", "200 OK", "", versioned(6 + i));
    answers("PUT", "409 Conflict", "", status(409, "Conflict").dump());
  }
  const auto beaten =
      kube::read_change_write(*client(), resources::kPods, "n", "p", change, {"", 3});
  ASSERT_FALSE(beaten);
  EXPECT_TRUE(beaten.error().is_conflict());
  // A conflict that is an AlreadyExists is none of these, and neither is any other error.
  answers("list", "404 Not Found", "", status(404, "NotFound").dump());
  EXPECT_TRUE(kube::read_change_write(*client(), resources::kPods, "n", "p", change)
                  .error()
                  .is_not_found());
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(
      deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY),
      Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class Compressed : public testing::Test {
 protected:
  // One GET whose answer is `body` with the header for gzip.
  static kube::Result<kube::Response> get(const std::string& body, std::size_t most,
                                          bool accept = true) {
    scripted::Server server({}, [body](scripted::Peer& peer, int) {
      for (std::string got; !(got = peer.read_request()).empty();) {
        if (got.find("Accept-Encoding: gzip\r\n") == std::string::npos)
          peer.respond("not asked for");
        else
          peer.respond(body, "200 OK", "Content-Encoding: gzip\r\n");
      }
    });
    kube::TransportOptions options;
    options.base_url = server.url();
    options.accept_gzip = accept;
    options.max_response_bytes = most;
    const auto transport = kube::make_beast_transport(options);
    kube::Request request;
    request.deadline = 20s;
    return transport->send(request, {});
  }
};

TEST_F(Compressed, AnswersAreReadAsTheyWere) {
  std::string long_text;
  for (int i = 0; i < 40'000; ++i)
    long_text += "item " + std::to_string(i * 7919) + ";";
  for (const std::string& text : {std::string(), std::string("x"), long_text}) {
    const auto got = get(gzip(text), 1'000'000);
    ASSERT_TRUE(got) << got.error().text();
    EXPECT_EQ(got->body, text);
  }
  const auto plain = get("", 100, false);
  ASSERT_TRUE(plain) << plain.error().text();
  EXPECT_EQ(plain->body, "not asked for");
}

// The bound counts what comes out, and nothing beyond it is made.
TEST_F(Compressed, SmallAnswersThatGrowAreCutOff) {
  const std::string text(5'000'000, 'a');
  const auto bomb = get(gzip(text), 4'999'999);
  EXPECT_TRUE(conformance::failed_as(bomb, kube::kTransportReasonTooLarge));
  const auto fits = get(gzip(text), 5'000'000);
  ASSERT_TRUE(fits) << fits.error().text();
  EXPECT_EQ(fits->body.size(), 5'000'000U);
}

TEST_F(Compressed, BrokenAnswersAreErrors) {
  const std::string good = gzip("a text of some length");
  std::string flipped = good;
  flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);  // the checksum
  for (const std::string& body : {std::string("no gzip"), good.substr(0, good.size() - 1),
                                  good.substr(0, 12), flipped, good + "x", good + good}) {
    EXPECT_TRUE(conformance::failed_as(get(body, 1000), kube::kTransportReasonProtocol))
        << body.size();
  }
}

}  // namespace
