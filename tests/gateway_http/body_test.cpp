// gateway/http/body.h: where bodies end, however their bytes come.
#include "body.h"

#include <optional>
#include <string>

#include <gtest/gtest.h>

namespace palisade::gateway {
namespace {

using Kind = Framing::Kind;
using State = BodyReader::State;

struct Read {
  State state = State::kMore;
  std::string body;
  std::string behind;
};

// As a connection does it: `piece` bytes come at a time.
Read read(const Framing& framing, std::string_view text, std::size_t piece) {
  BodyReader reader(framing);
  Read out;
  std::string kept;
  while (true) {
    const auto step = reader.next(kept.data(), kept.size());
    out.body += step.piece;
    out.state = step.state;
    kept.erase(0, step.taken);
    if (step.state == State::kDone || step.state == State::kBad) break;
    if (step.state == State::kPiece) continue;
    if (text.empty()) break;
    kept.append(text.substr(0, piece));
    text.remove_prefix(std::min(piece, text.size()));
  }
  out.behind = kept + std::string(text);
  return out;
}

TEST(Bodies, EndWhereTheirFramingSays) {
  const struct {
    const char* name;
    Framing framing;
    const char* text;
    State state;
    const char* body;
    const char* behind;
  } cases[] = {
      {"none", {Kind::kNone, 0}, "GET", State::kDone, "", "GET"},
      {"a length", {Kind::kLength, 3}, "abcGET", State::kDone, "abc", "GET"},
      {"a length not reached", {Kind::kLength, 9}, "abc", State::kMore, "abc", ""},
      {"until the end", {Kind::kUntilClose, 0}, "abc", State::kMore, "abc", ""},
      {"one chunk", {Kind::kChunked, 0}, "3\r\nabc\r\n0\r\n\r\nGET", State::kDone, "abc", "GET"},
      {"no chunk", {Kind::kChunked, 0}, "0\r\n\r\nGET", State::kDone, "", "GET"},
      {"many chunks",
       {Kind::kChunked, 0},
       "1\r\na\r\n2\r\nbc\r\nA\r\n0123456789\r\n0\r\n\r\n",
       State::kDone,
       "abc0123456789",
       ""},
      {"zeros before a size",
       {Kind::kChunked, 0},
       "0003\r\nabc\r\n000\r\n\r\n",
       State::kDone,
       "abc",
       ""},
      {"extensions",
       {Kind::kChunked, 0},
       "3;a=b;c=\"d\"\r\nabc\r\n0;x\r\n\r\n",
       State::kDone,
       "abc",
       ""},
      {"trailers",
       {Kind::kChunked, 0},
       "1\r\na\r\n0\r\nX: y\r\nZ:\r\n\r\nGET",
       State::kDone,
       "a",
       "GET"},
      {"no size", {Kind::kChunked, 0}, "\r\nabc\r\n", State::kBad, "", ""},
      {"no digit", {Kind::kChunked, 0}, "x\r\nabc\r\n", State::kBad, "", ""},
      {"a size of 0x3", {Kind::kChunked, 0}, "0x3\r\nabc\r\n", State::kBad, "", ""},
      {"a signed size", {Kind::kChunked, 0}, "+3\r\nabc\r\n", State::kBad, "", ""},
      {"a negative size", {Kind::kChunked, 0}, "-3\r\nabc\r\n", State::kBad, "", ""},
      {"a blank before", {Kind::kChunked, 0}, " 3\r\nabc\r\n", State::kBad, "", ""},
      {"a blank behind", {Kind::kChunked, 0}, "3 \r\nabc\r\n", State::kBad, "", ""},
      {"a tab behind", {Kind::kChunked, 0}, "3\t;x\r\nabc\r\n", State::kBad, "", ""},
      {"a size of 2^64", {Kind::kChunked, 0}, "10000000000000000\r\nabc\r\n", State::kBad, "", ""},
      {"sixteen digits", {Kind::kChunked, 0}, "0000000000000003\r\nabc\r\n", State::kBad, "", ""},
      {"a bare LF", {Kind::kChunked, 0}, "3\nabc\r\n0\r\n\r\n", State::kBad, "", ""},
      {"a CR alone", {Kind::kChunked, 0}, "3\rabc\r\n0\r\n\r\n", State::kBad, "", ""},
      {"CR CR LF", {Kind::kChunked, 0}, "3\r\r\nabc\r\n0\r\n\r\n", State::kBad, "", ""},
      {"a control character in an extension",
       {Kind::kChunked, 0},
       "3;\x01\r\nabc",
       State::kBad,
       "",
       ""},
      {"more data than the size",
       {Kind::kChunked, 0},
       "2\r\nabc\r\n0\r\n\r\n",
       State::kBad,
       "ab",
       ""},
      {"data that ends in LF", {Kind::kChunked, 0}, "3\r\nabc\n0\r\n\r\n", State::kBad, "abc", ""},
      {"a last chunk that ends in LF", {Kind::kChunked, 0}, "0\r\n\n", State::kBad, "", ""},
      {"a folded trailer", {Kind::kChunked, 0}, "0\r\nX: y\r\n z\r\n\r\n", State::kBad, "", ""},
      {"a trailer with no name",
       {Kind::kChunked, 0},
       "0\r\nGET / HTTP/1.1\r\n\r\n",
       State::kBad,
       "",
       ""},
  };
  for (const auto& c : cases) {
    for (std::size_t piece = 1; piece <= 40; ++piece) {
      const Read out = read(c.framing, c.text, piece);
      ASSERT_EQ(out.state, c.state) << c.name << ", " << piece << " bytes at a time";
      if (c.state == State::kBad) continue;
      ASSERT_EQ(out.body, c.body) << c.name << ", " << piece << " bytes at a time";
      ASSERT_EQ(out.behind, c.behind) << c.name << ", " << piece << " bytes at a time";
    }
  }
}

TEST(Bodies, AreBoundedWhereTheyHoldNoData) {
  const Framing chunked{Kind::kChunked, 0};
  const auto state = [&](const std::string& text) { return read(chunked, text, 100).state; };
  EXPECT_EQ(state("1;" + std::string(200, 'x') + "\r\na\r\n0\r\n\r\n"), State::kDone);
  EXPECT_EQ(state("1;" + std::string(300, 'x') + "\r\na\r\n0\r\n\r\n"), State::kBad);
  EXPECT_EQ(state("1;" + std::string(300, 'x')), State::kBad) << "its end is not waited for";
  std::string trailers;
  for (int i = 0; i < 1000; ++i)
    trailers += "X-Y: 0123456789\r\n";
  EXPECT_EQ(state("0\r\n" + trailers.substr(0, 17 * 200) + "\r\n"), State::kDone);
  EXPECT_EQ(state("0\r\n" + trailers), State::kBad);
  EXPECT_EQ(state("0\r\nX: " + std::string(5000, 'y')), State::kBad);
}

TEST(Bodies, ThatEndWithTheConnectionAreWholeOnlyWhereNothingElseIsSaid) {
  const struct {
    Framing framing;
    const char* text;
    bool whole;
  } cases[] = {
      {{Kind::kUntilClose, 0}, "abc", true},
      {{Kind::kUntilClose, 0}, "", true},
      {{Kind::kLength, 3}, "ab", false},
      {{Kind::kLength, 3}, "abc", true},
      {{Kind::kChunked, 0}, "3\r\nabc\r\n", false},
      {{Kind::kChunked, 0}, "3\r\nabc\r\n0\r\n", false},
      {{Kind::kChunked, 0}, "3\r\nabc\r\n0\r\n\r\n", true},
  };
  for (const auto& c : cases) {
    BodyReader reader(c.framing);
    std::string text = c.text;
    BodyReader::Step step;
    while ((step = reader.next(text.data(), text.size())).state == State::kPiece)
      text.erase(0, step.taken);
    EXPECT_EQ(reader.at_end(), c.whole) << c.text;
  }
}

TEST(Bodies, AreWrittenInChunksThatTheReaderTakes) {
  std::string wire;
  std::string all;
  for (std::size_t size = 1; size < 70'000; size = size * 3 + 1) {
    const std::string piece(size, static_cast<char>('a' + size % 26));
    append_chunk_head(wire, size);
    wire += piece + "\r\n";
    all += piece;
  }
  wire += kLastChunk;
  for (const std::size_t piece : {1UL, 7UL, 4096UL, 1'000'000UL}) {
    const Read out = read({Kind::kChunked, 0}, wire, piece);
    EXPECT_EQ(out.state, State::kDone);
    EXPECT_TRUE(out.body == all) << piece;
  }
}

}  // namespace
}  // namespace palisade::gateway
