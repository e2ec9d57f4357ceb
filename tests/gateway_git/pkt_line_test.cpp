#include "pkt_line.h"

#include <gtest/gtest.h>

#include "inflate.h"
#include "packs.h"

namespace palisade::gateway::git {
namespace {

// What is read of `stream` given in pieces of `step` bytes: "D:payload", "F", "L", "R", "!error",
// and "..." where it ends within a packet.
std::vector<std::string> read(std::string_view stream, std::size_t step) {
  PktReader reader;
  std::vector<std::string> out;
  while (!stream.empty()) {
    std::string_view piece = stream.substr(0, step);
    stream.remove_prefix(piece.size());
    while (true) {
      const bool was_empty = piece.empty();
      const auto pkt = reader.next(piece);
      if (!pkt) {
        out.push_back("!" + pkt.error());
        return out;
      }
      if (!*pkt) break;
      if ((*pkt)->kind == PktKind::kData)
        out.push_back("D:" + std::string((*pkt)->payload));
      else
        out.emplace_back((*pkt)->kind == PktKind::kFlush       ? "F"
                         : (*pkt)->kind == PktKind::kDelimiter ? "L"
                                                               : "R");
      EXPECT_FALSE(was_empty) << "a packet out of nothing";
    }
  }
  if (reader.within()) out.emplace_back("...");
  return out;
}

struct Stream {
  const char* name;
  std::string bytes;
  std::vector<std::string> packets;
};

TEST(PktLine, ReadsInPiecesOfAnySize) {
  const std::string longest(kMaxPayload, 'x');
  const std::vector<Stream> streams = {
      {"nothing", "", {}},
      {"one", "0006a\n", {"D:a\n"}},
      {"empty payload", "0004", {"D:"}},
      {"special ones", "000000010002", {"F", "L", "R"}},
      {"several", "0006a\n00000007bcd0001", {"D:a\n", "F", "D:bcd", "L"}},
      {"upper case", "000Aabcdef000a123456", {"D:abcdef", "D:123456"}},
      {"binary", std::string("0008\0\xff\n0", 8) + "0005x", {std::string("D:\0\xff\n0", 6), "D:x"}},
      {"the longest", "fff0" + longest + "0000", {"D:" + longest, "F"}},
      {"cut in the length", "0006a\n00", {"D:a\n", "..."}},
      {"cut in the payload", "0009abc", {"..."}},
      {"no digits", "0005xGET /", {"D:x", "!a packet's length is not four hex digits"}},
      {"a sign", "+006a\n", {"!a packet's length is not four hex digits"}},
      {"spaces", "  06a\n", {"!a packet's length is not four hex digits"}},
      {"three", "0003", {"!a packet's length is 3"}},
      {"too long", "fff1" + longest, {"!a packet's length is 65521"}},
      {"far too long", "ffff", {"!a packet's length is 65535"}},
  };
  for (const Stream& stream : streams) {
    for (const std::size_t step : {std::size_t{1}, std::size_t{3}, std::size_t{7},
                                   std::size_t{4096}, std::size_t{1} << 20U}) {
      EXPECT_EQ(read(stream.bytes, step), stream.packets) << stream.name << " by " << step;
    }
  }
}

TEST(PktLine, Writes) {
  EXPECT_EQ(pkt(""), "0004");
  EXPECT_EQ(pkt("a\n"), "0006a\n");
  EXPECT_EQ(pkt(std::string(kMaxPayload, 'x')).substr(0, 5), "fff0x");
  EXPECT_EQ(side_band('\2', "hi"), std::string("0007\2hi", 7));
  EXPECT_EQ(side_band('\1', ""), "");
  const std::string large(100'000, 'y');
  const auto packets = read(side_band('\1', large), 1U << 20U);
  ASSERT_EQ(packets.size(), 2U);
  EXPECT_EQ(packets[0].substr(3) + packets[1].substr(3), large);
}

TEST(Inflate, GivesWhatWasDeflatedWithinItsBound) {
  const std::string text = testing::noise(300'000, 7) + std::string(500'000, 'z');
  const std::string packed = testing::gzip(text);
  for (const std::size_t step : {std::size_t{1}, std::size_t{999}, packed.size()}) {
    Inflater inflater(Inflater::Wrapping::kGzip);
    inflater.reset(text.size());
    std::string out;
    for (std::string_view rest = packed; !rest.empty();) {
      std::string_view piece = rest.substr(0, step);
      rest.remove_prefix(piece.size());
      while (true) {
        const auto made = inflater.next(piece);
        ASSERT_TRUE(made) << made.error();
        EXPECT_LE(made->size(), 64U * 1024);
        if (made->empty()) break;
        out += *made;
      }
    }
    EXPECT_TRUE(inflater.ended());
    EXPECT_EQ(out, text);
  }
}

TEST(Inflate, EndsAtItsBound) {
  const std::string packed = testing::gzip(std::string(50'000'000, 'z'));
  EXPECT_LT(packed.size(), 60'000U);
  Inflater inflater(Inflater::Wrapping::kGzip);
  inflater.reset(1'000'000);
  std::string_view rest = packed;
  std::uint64_t out = 0;
  while (true) {
    const auto made = inflater.next(rest);
    if (!made) {
      EXPECT_EQ(made.error(), "it inflates to more than 1000000 bytes");
      break;
    }
    ASSERT_FALSE(made->empty()) << "the bound was not met";
    out += made->size();
  }
  EXPECT_LE(out, 1'000'000U);
}

TEST(Inflate, RefusesWhatZlibDoesAndLeavesWhatFollows) {
  const std::string packed = testing::gzip("text");
  Inflater inflater(Inflater::Wrapping::kGzip);
  for (const std::string& bytes : {std::string("plain text"), testing::deflate("text"),
                                   packed.substr(0, packed.size() - 1) + "\xff",
                                   packed.substr(0, packed.size() - 8) + std::string(8, '\0')}) {
    inflater.reset(100);
    std::string_view rest = bytes;
    auto made = inflater.next(rest);
    if (made) made = inflater.next(rest);
    EXPECT_FALSE(made && inflater.ended()) << bytes;
  }
  inflater.reset(100);
  const std::string two = packed + "0000";
  std::string_view rest = two;
  const auto made = inflater.next(rest);
  ASSERT_TRUE(made);
  EXPECT_EQ(*made, "text");
  EXPECT_TRUE(inflater.ended());
  EXPECT_EQ(rest, "0000");
}

}  // namespace
}  // namespace palisade::gateway::git
