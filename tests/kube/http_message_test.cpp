// kube/http_message.h without a socket: what a request is, however it is cut, and Go's durations.
#include "../../kube/http_message.h"

#include <gtest/gtest.h>

namespace kube {
namespace {

using namespace std::chrono_literals;
using State = RequestReader::State;

constexpr MessageLimits kLimits{1024, 4096};

TEST(RequestedTimeout, IsReadAsGoWritesIt) {
  const struct {
    const char* target;
    std::optional<std::chrono::nanoseconds> means;
  } cases[] = {
      {"/validate?timeout=10s", 10s},
      {"/validate?timeout=5s&x=1", 5s},
      {"/validate?a=b&timeout=1m30s", 90s},
      {"/?timeout=1.5s", 1500ms},
      {"/?timeout=.5s", 500ms},
      {"/?timeout=1.s", 1s},
      {"/?timeout=300ms", 300ms},
      {"/?timeout=20us", 20us},
      {"/?timeout=20\u00b5s", 20us},
      {"/?timeout=20\u03bcs", 20us},
      {"/?timeout=7ns", 7ns},
      {"/?timeout=1h", 1h},
      // Nonsense is as if it were not there.
      {"/validate", {}},
      {"/validate?", {}},
      {"/validate?timeout", {}},
      {"/validate?timeout=", {}},
      {"/validate?timeout=10", {}},
      {"/validate?timeout=s", {}},
      {"/validate?timeout=.s", {}},
      {"/validate?timeout=-5s", {}},
      {"/validate?timeout=+5s", {}},
      {"/validate?timeout=0", {}},
      {"/validate?timeout=0s", {}},
      {"/validate?timeout=0.1ns", {}},
      {"/validate?timeout=5 s", {}},
      {"/validate?timeout=5S", {}},
      {"/validate?timeout=5d", {}},
      {"/validate?timeout=5s5", {}},
      {"/validate?timeout=1e3s", {}},
      {"/validate?timeout=0x5s", {}},
      {"/validate?timeout=NaNs", {}},
      {"/validate?timeout=25h", {}},
      {"/validate?timeout=99999999999999999999999999999999s", {}},
      {"/validate?timeout=5s&timeout=9s", {}},
      {"/validate?Timeout=5s", {}},
      {"/validate?xtimeout=5s", {}},
      {"/timeout=5s", {}},
      {"/?%74imeout=5s", {}},
  };
  for (const auto& c : cases)
    EXPECT_EQ(requested_timeout(c.target), c.means) << c.target;
  EXPECT_EQ(requested_timeout("/?timeout=" + std::string(100, '0') + "1s"), std::nullopt);
}

// Feeds `text` in pieces of `size`, as a socket would; the last state.
State feed(RequestReader& reader, std::string_view text, std::size_t size, std::string& kept) {
  State state = State::kMore;
  while (state == State::kMore && !text.empty()) {
    const std::size_t piece = std::min(size, text.size());
    kept.append(text.substr(0, piece));
    text.remove_prefix(piece);
    std::string_view bytes = kept;
    do {
      state = reader.read(bytes);
    } while (state == State::kHeader);
    if (state == State::kMore) kept.erase(0, kept.size() - bytes.size());
  }
  return state;
}

TEST(RequestReader, UnderstandsARequestHoweverItIsCut) {
  const std::string whole =
      "POST /validate?timeout=5s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
      "Content-Length: 11\r\n\r\nhello world";
  const std::string chunked =
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
      "5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: y\r\n\r\n";
  RequestReader reader(kLimits);
  for (const std::string& text : {whole, chunked}) {
    for (std::size_t size = 1; size <= text.size(); ++size) {
      reader.restart();
      std::string kept;
      ASSERT_EQ(feed(reader, text, size, kept), State::kDone) << size;
      EXPECT_EQ(reader.parts().body, "hello world") << size;
      EXPECT_EQ(reader.parts().method, "POST");
      EXPECT_TRUE(reader.parts().keep_alive);
    }
  }
}

TEST(RequestReader, ABodyInOnePieceIsNotCopied) {
  const std::string text = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
  RequestReader reader(kLimits);
  std::string_view bytes = text;
  ASSERT_EQ(reader.read(bytes), State::kHeader);
  EXPECT_EQ(reader.body_bound(), 5U);
  ASSERT_EQ(reader.read(bytes), State::kDone);
  EXPECT_EQ(reader.parts().body.data(), text.data() + text.size() - 5);
  EXPECT_TRUE(bytes.empty());
}

TEST(RequestReader, LeavesTheNextRequestAlone) {
  const std::string text = "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
  RequestReader reader(kLimits);
  std::string_view bytes = text;
  ASSERT_EQ(reader.read(bytes), State::kDone);
  EXPECT_EQ(reader.parts().target, "/a");
  reader.restart();
  ASSERT_EQ(reader.read(bytes), State::kDone);
  EXPECT_EQ(reader.parts().target, "/b");
  EXPECT_TRUE(bytes.empty());
}

TEST(RequestReader, LimitsAreOfHeadersBodiesChunksAndTrailers) {
  const std::string endless(4 * kLimits.header_bytes, 'x');
  const struct {
    const char* name;
    std::string text;
    int status;
  } cases[] = {
      {"target", "GET /" + endless, 431},
      {"field", "GET / HTTP/1.1\r\nA: " + endless, 431},
      {"body", "POST / HTTP/1.1\r\nContent-Length: 4097\r\n\r\n", 413},
      {"chunk", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1001\r\n", 413},
      {"chunk extension", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + endless, 431},
      {"trailer", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + endless, 431},
      {"coding", "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
      {"version", "GET / HTTP/3.0\r\n\r\n", 505},
      {"no request", "\x16\x03\x01\x02", 400},
  };
  for (const auto& c : cases) {
    for (const std::size_t size : {std::size_t{1}, std::size_t{100}, c.text.size()}) {
      RequestReader reader(kLimits);
      std::string kept;
      EXPECT_EQ(feed(reader, c.text, size, kept), State::kRefused) << c.name << " " << size;
      EXPECT_EQ(reader.status(), c.status) << c.name << " " << size;
      EXPECT_LE(kept.size(), kLimits.header_bytes + size + 1) << c.name;
    }
  }
}

TEST(RequestReader, TellsWhomTheCallerMeans) {
  const struct {
    const char* headers;
    std::string_view host;
  } cases[] = {
      {"Host: 127.0.0.1:8090\r\n", "127.0.0.1:8090"},
      {"X: y\r\nhOsT:   evil.example.com  \r\n", "evil.example.com"},
      {"Host: a\r\nHost: b\r\n", "a"},
      {"Host: \r\n", ""},
      {"", ""},
  };
  RequestReader reader(kLimits);
  for (const auto& c : cases) {
    // The same reader: none of a request is left for the next one.
    reader.restart();
    const std::string text = "GET / HTTP/1.1\r\n" + std::string(c.headers) + "\r\n";
    std::string_view bytes = text;
    ASSERT_EQ(reader.read(bytes), State::kDone) << c.headers;
    EXPECT_EQ(reader.parts().view().host, c.host) << c.headers;
  }
}

TEST(AppendReply, WritesHeadersOfTheProgramsOwn) {
  const HttpHeaders headers{{"Content-Security-Policy", "default-src 'none'"}, {"X-A", "b"}};
  HttpResponse response{200, "text/plain", "hi"};
  response.headers = &headers;
  std::string out;
  append_reply(out, response, {}, true);
  EXPECT_EQ(out,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n"
            "Content-Security-Policy: default-src 'none'\r\nX-A: b\r\n\r\nhi");
}

}  // namespace
}  // namespace kube
