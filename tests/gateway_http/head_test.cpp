// gateway/http/head.h: what is a head, and above all what is none.
#include "head.h"

#include <string>

#include <gtest/gtest.h>

namespace palisade::gateway {
namespace {

using Kind = Framing::Kind;

// The status that a request with this text is refused with; 0 where it is taken.
int refused(const std::string& text, RequestHead& head, RequestMeta& meta) {
  HeadScanner scanner;
  const auto end = scanner.scan(text);
  if (!end) return end.error().status;
  if (!*end) return -1;
  const auto parsed = parse_request(std::string_view(text).substr(0, **end), head);
  if (!parsed) return parsed.error().status;
  meta = *parsed;
  return 0;
}

int refused(const std::string& text) {
  RequestHead head;
  RequestMeta meta;
  return refused(text, head, meta);
}

std::string with(const std::string& fields) {
  return "POST /v1/x?y=z HTTP/1.1\r\nHost: gw\r\n" + fields + "\r\n";
}

TEST(RequestHeads, AreRefusedWhereTheyCouldBeReadInTwoWays) {
  using namespace std::string_literals;
  const struct {
    const char* name;
    std::string text;
    int status;
  } cases[] = {
      {"both lengths", with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"both, the other way", with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400},
      {"both, a zero", with("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), 400},
      {"two lengths", with("Content-Length: 5\r\nContent-Length: 6\r\n"), 400},
      {"two equal lengths", with("Content-Length: 5\r\nContent-Length: 5\r\n"), 400},
      {"a list of lengths", with("Content-Length: 5, 5\r\n"), 400},
      {"a signed length", with("Content-Length: +5\r\n"), 400},
      {"a negative length", with("Content-Length: -5\r\n"), 400},
      {"a hexadecimal length", with("Content-Length: 0x5\r\n"), 400},
      {"a length with a blank within", with("Content-Length: 5 5\r\n"), 400},
      {"no length at all", with("Content-Length:\r\n"), 400},
      {"a length of 2^64", with("Content-Length: 18446744073709551616\r\n"), 400},
      {"a length of 2^63", with("Content-Length: 9223372036854775808\r\n"), 400},
      {"two codings", with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"a list of codings", with("Transfer-Encoding: gzip, chunked\r\n"), 501},
      {"chunked, then another", with("Transfer-Encoding: chunked, identity\r\n"), 501},
      {"an unknown coding", with("Transfer-Encoding: xchunked\r\n"), 501},
      {"a quoted coding", with("Transfer-Encoding: \"chunked\"\r\n"), 501},
      {"a vertical tab before the coding", with("Transfer-Encoding: \vchunked\r\n"), 400},
      {"a fold", with("X: a\r\n b\r\n"), 400},
      {"a fold by a tab", with("X: a\r\n\tb\r\n"), 400},
      {"a folded coding", with("Transfer-Encoding:\r\n chunked\r\n"), 400},
      {"a first field that is a fold", "GET / HTTP/1.1\r\n Host: gw\r\n\r\n", 400},
      {"a blank before the colon", with("Content-Length : 5\r\n"), 400},
      {"a tab before the colon", with("Transfer-Encoding\t: chunked\r\n"), 400},
      {"a blank before the name", with("X: 1\r\n Content-Length: 5\r\n"), 400},
      {"no colon", with("Content-Length 5\r\n"), 400},
      {"no name", with(": 5\r\n"), 400},
      {"a NUL in a name", with("Content\0-Length: 5\r\n"s), 400},
      {"a NUL in a value", with("X: a\0b\r\n"s), 400},
      {"a CR in a value", with("X: a\rb\r\n"), 400},
      {"a CR before CR LF", with("X: a\r\r\n"), 400},
      {"a bare LF after a field", with("X: a\nY: b\r\n"), 400},
      {"a bare LF at the head's end", "GET / HTTP/1.1\r\nHost: gw\r\n\n", 400},
      {"bare LFs alone", "GET / HTTP/1.1\nHost: gw\n\n", 400},
      {"a DEL in a value", with("X: a\x7f\r\n"), 400},
      {"no version", "GET /\r\nHost: gw\r\n\r\n", 400},
      {"a version of 2", "GET / HTTP/2.0\r\nHost: gw\r\n\r\n", 505},
      {"HTTP/2's first words", "PRI * HTTP/2.0\r\n\r\n", 505},
      {"a version of 0.9", "GET / HTTP/0.9\r\nHost: gw\r\n\r\n", 505},
      {"a version in small letters", "GET / http/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a version with more digits", "GET / HTTP/1.10\r\nHost: gw\r\n\r\n", 400},
      {"two blanks", "GET  / HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a blank in the target", "GET /a b HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a blank behind the version", "GET / HTTP/1.1 \r\nHost: gw\r\n\r\n", 400},
      {"a tab for a blank", "GET\t/\tHTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a NUL in the target", "GET /\0 HTTP/1.1\r\nHost: gw\r\n\r\n"s, 400},
      {"a target that is not ASCII", "GET /\xc3\xa4 HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a fragment", "GET /#x HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"an absolute target", "GET http://gw/ HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a target of CONNECT", "CONNECT gw:443 HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a star", "OPTIONS * HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"no target", "GET HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"no method", " / HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a method that is no token", "GE(T / HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"a method without end", std::string(33, 'A') + " / HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"an empty line first", "\r\nGET / HTTP/1.1\r\nHost: gw\r\n\r\n", 400},
      {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two hosts", "GET / HTTP/1.1\r\nHost: gw\r\nHost: gw\r\n\r\n", 400},
      {"a host with a path", "GET / HTTP/1.1\r\nHost: gw/x\r\n\r\n", 400},
      {"a host with a user", "GET / HTTP/1.1\r\nHost: a@gw\r\n\r\n", 400},
      {"a list of hosts", "GET / HTTP/1.1\r\nHost: gw, gw2\r\n\r\n", 400},
      {"HTTP/1.0, chunked", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"an upgrade", with("Connection: upgrade\r\nUpgrade: websocket\r\n"), 400},
      {"another expectation", with("Expect: 200-ok\r\n"), 417},
      {"two expectations", with("Expect: 100-continue\r\nExpect: 100-continue\r\n"), 417},
  };
  for (const auto& c : cases)
    EXPECT_EQ(refused(c.text), c.status) << c.name;
}

TEST(RequestHeads, AreBoundedInTheirFields) {
  std::string fields;
  for (int i = 0; i < 99; ++i)
    fields += "X-" + std::to_string(i) + ": y\r\n";
  EXPECT_EQ(refused(with(fields)), 0);
  EXPECT_EQ(refused(with(fields + "One-More: y\r\n")), 431);
}

TEST(RequestHeads, SayHowTheBodyEndsAndWhatBecomesOfTheConnection) {
  const struct {
    const char* name;
    std::string text;
    Kind kind;
    std::uint64_t length;
    bool keep;
    bool expects;
  } cases[] = {
      {"nothing said", with(""), Kind::kNone, 0, true, false},
      {"a length", with("Content-Length: 5\r\n"), Kind::kLength, 5, true, false},
      {"a length with zeros", with("content-length: 005\r\n"), Kind::kLength, 5, true, false},
      {"blanks around a length", with("Content-Length: \t 5 \t\r\n"), Kind::kLength, 5, true,
       false},
      {"a length of none", with("Content-Length: 0\r\n"), Kind::kNone, 0, true, false},
      {"chunked", with("Transfer-Encoding: CHUNKED\r\n"), Kind::kChunked, 0, true, false},
      {"to close", with("Connection: x, Close\r\n"), Kind::kNone, 0, false, false},
      {"1.0", "GET / HTTP/1.0\r\n\r\n", Kind::kNone, 0, false, false},
      {"1.0, kept", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Kind::kNone, 0, true,
       false},
      {"1.0 does not wait", "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
       Kind::kLength, 1, false, false},
      {"a client that waits", with("Content-Length: 5\r\nExpect: 100-Continue\r\n"), Kind::kLength,
       5, true, true},
      {"nothing to wait for", with("Expect: 100-continue\r\n"), Kind::kNone, 0, true, false},
  };
  for (const auto& c : cases) {
    RequestHead head;
    RequestMeta meta;
    ASSERT_EQ(refused(c.text, head, meta), 0) << c.name;
    EXPECT_EQ(meta.framing.kind, c.kind) << c.name;
    EXPECT_EQ(meta.framing.length, c.length) << c.name;
    EXPECT_EQ(meta.keep_alive, c.keep) << c.name;
    EXPECT_EQ(meta.expects_continue, c.expects) << c.name;
  }
}

TEST(RequestHeads, AreTheSameHoweverTheyAreCut) {
  const std::string text = with("X-A:  one \r\nx-b: two\r\n\r\nbehind");
  const std::size_t whole = text.find("\r\n\r\n") + 4;
  for (std::size_t cut = 0; cut <= whole; ++cut) {
    HeadScanner scanner;
    const auto first = scanner.scan(text.substr(0, cut));
    ASSERT_TRUE(first) << cut;
    EXPECT_EQ(first->value_or(0), cut == whole ? whole : 0) << cut;
    if (cut == whole) break;
    const auto end = scanner.scan(text);
    ASSERT_TRUE(end && *end) << cut;
    EXPECT_EQ(**end, whole) << cut;
  }
  RequestHead head;
  RequestMeta meta;
  ASSERT_EQ(refused(text, head, meta), 0);
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.path(), "/v1/x");
  EXPECT_EQ(head.query(), "y=z");
  EXPECT_EQ(head.fields.get("X-B"), "two");
  EXPECT_EQ(head.fields.get("x-a"), "one");
}

TEST(ResponseHeads, AreRefusedWhereTheyCouldBeReadInTwoWays) {
  const struct {
    const char* name;
    std::string text;
    const char* method;
    bool good;
    Kind kind;
  } cases[] = {
      {"a length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "GET", true, Kind::kLength},
      {"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", true,
       Kind::kChunked},
      {"until the end", "HTTP/1.1 200 OK\r\n\r\n", "GET", true, Kind::kUntilClose},
      {"1.0", "HTTP/1.0 200 OK\r\n\r\n", "GET", true, Kind::kUntilClose},
      {"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "GET", true, Kind::kNone},
      {"to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD", true, Kind::kNone},
      {"204", "HTTP/1.1 204 No Content\r\n\r\n", "GET", true, Kind::kNone},
      {"304", "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n", "GET", true, Kind::kNone},
      {"both lengths",
       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
       "GET",
       false,
       {}},
      {"two lengths",
       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
       "GET",
       false,
       {}},
      {"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "GET", false, {}},
      {"1.0, chunked", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", false, {}},
      {"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", "GET", false, {}},
      {"no status", "HTTP/1.1 OK\r\n\r\n", "GET", false, {}},
      {"a status of two digits", "HTTP/1.1 20 OK\r\n\r\n", "GET", false, {}},
      {"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "GET", false, {}},
      {"a status of 600", "HTTP/1.1 600 OK\r\n\r\n", "GET", false, {}},
      {"a status of 099", "HTTP/1.1 099 OK\r\n\r\n", "GET", false, {}},
      {"a fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "GET", false, {}},
      {"another protocol", "SSH-2.0-OpenSSH\r\n\r\n", "GET", false, {}},
  };
  for (const auto& c : cases) {
    ResponseHead head;
    const auto meta = parse_response(c.text, c.method, head);
    EXPECT_EQ(meta.has_value(), c.good) << c.name;
    if (meta && c.good) {
      EXPECT_EQ(meta->framing.kind, c.kind) << c.name;
    }
  }
}

TEST(Heads, AreNotWrittenWithWhatWouldBeMoreThanOneField) {
  using namespace std::string_literals;
  const Field fields[] = {{"X", "a\r\nY: b"}, {"X", "a\nb"},   {"X", "a\rb"}, {"X", "a\0b"s},
                          {"X: Y", "a"},      {"X\r\nY", "a"}, {"", "a"},     {"X Y", "a"}};
  for (const Field& field : fields) {
    std::string out = "before";
    EXPECT_FALSE(append_response(out, 200, Fields{field}, {})) << field.name << field.value;
    EXPECT_FALSE(append_request(out, {"GET", "/", Fields{field}}, "gw", 0)) << field.name;
    EXPECT_EQ(out, "before");
  }
  std::string out;
  for (const std::string& target : {"x"s, "/a b"s, "/a\r\nX: y"s, ""s, "http://x/"s, "/\x80"s})
    EXPECT_FALSE(append_request(out, {"GET", target, {}}, "gw", 0)) << target;
  for (const std::string& method : {""s, "GET "s, "GET\r\n"s})
    EXPECT_FALSE(append_request(out, {method, "/", {}}, "gw", 0)) << method;
  for (const std::string& host : {""s, "a b"s, "a\r\nX: y"s, "a/b"s})
    EXPECT_FALSE(append_request(out, {"GET", "/", {}}, host, 0)) << host;
  EXPECT_EQ(out, "");
}

TEST(Heads, AreWrittenWithTheFramingThatIsKnownAndNoOther) {
  const Fields lies{{"Content-Length", "99"},  {"Transfer-Encoding", "gzip"},
                    {"Connection", "upgrade"}, {"Upgrade", "x"},
                    {"Host", "evil"},          {"X-A", "b"}};
  std::string out;
  ASSERT_TRUE(append_request(out, {"POST", "/p", lies}, "gw:1", 7));
  EXPECT_EQ(out, "POST /p HTTP/1.1\r\nHost: gw:1\r\nX-A: b\r\nContent-Length: 7\r\n\r\n");
  out.clear();
  ASSERT_TRUE(append_request(out, {"POST", "/p", {}}, "gw", std::nullopt));
  EXPECT_EQ(out, "POST /p HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n");
  out.clear();
  ASSERT_TRUE(append_request(out, {"POST", "/p", {}}, "gw", 0));
  EXPECT_EQ(out, "POST /p HTTP/1.1\r\nHost: gw\r\nContent-Length: 0\r\n\r\n");
  out.clear();
  ASSERT_TRUE(append_request(out, {"GET", "/p", {}}, "gw", 0));
  EXPECT_EQ(out, "GET /p HTTP/1.1\r\nHost: gw\r\n\r\n");
  out.clear();
  ASSERT_TRUE(append_response(out, 200, Fields{{"Content-Length", "99"}, {"X", "y"}},
                              {{Kind::kLength, 2}, false, false}));
  EXPECT_EQ(out, "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
}

TEST(HeaderFields, OfOneHopAreRemovedWithWhateverConnectionNames) {
  Fields fields{{"Connection", "X-Mine, close"},
                {"x-mine", "1"},
                {"Keep-Alive", "5"},
                {"Proxy-Authorization", "x"},
                {"Proxy-Connection", "x"},
                {"TE", "trailers"},
                {"Trailer", "x"},
                {"Transfer-Encoding", "chunked"},
                {"Upgrade", "x"},
                {"Content-Length", "1"},
                {"connection", "Other"},
                {"Other", "2"},
                {"Stays", "3"}};
  fields.remove_hop_by_hop();
  ASSERT_EQ(fields.all().size(), 1U);
  EXPECT_EQ(fields.get("stays"), "3");
}

}  // namespace
}  // namespace palisade::gateway
