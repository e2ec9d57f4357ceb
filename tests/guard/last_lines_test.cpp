// What the agent printed last: bounded, printable, masked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <guard/last_lines.h>
#include <guard/summary.h>
#include <nlohmann/json.hpp>

namespace palisade::guard {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<std::string> lines_of(std::initializer_list<std::string_view> pieces) {
  LastLines last;
  for (const std::string_view piece : pieces)
    last.add(piece);
  return last.lines();
}

TEST(LastLines, AreTheLastThatAreNotEmpty) {
  EXPECT_THAT(lines_of({}), IsEmpty());
  EXPECT_THAT(lines_of({"\n\n \n"}), IsEmpty());
  EXPECT_THAT(lines_of({"one\ntw", "o\n\nthree"}), ElementsAre("one", "two", "three"));
  EXPECT_THAT(lines_of({"a\r\nb  \n"}), ElementsAre("a", "b"));
  LastLines many;
  for (int i = 0; i < 30'000; ++i)
    many.add("line " + std::to_string(i) + "\n");
  const auto lines = many.lines();
  ASSERT_EQ(lines.size(), LastLines::kMost);
  EXPECT_EQ(lines.front(), "line 29980");
  EXPECT_EQ(lines.back(), "line 29999");
}

TEST(LastLines, HoldNothingThatATerminalActsOn) {
  EXPECT_THAT(lines_of({"\x1b[31mred\x1b[0m and \x1b]0;title\x07plain\n"}),
              ElementsAre("red and plain"));
  EXPECT_THAT(lines_of({"a\xff\x01z\n"}), ElementsAre("a??z"));
}

TEST(LastLines, AreCutAndMasked) {
  const auto cut = lines_of({std::string(1000, 'x'), "\n", "end\n"});
  ASSERT_EQ(cut.size(), 2U);
  EXPECT_EQ(cut[0], std::string(LastLines::kLongest - 3, 'x') + "...");
  std::string wide;
  for (int i = 0; i < 300; ++i)
    wide += "\xC3\xA4";
  const auto whole = lines_of({wide});
  ASSERT_EQ(whole.size(), 1U);
  EXPECT_LE(whole[0].size(), LastLines::kLongest);
  EXPECT_TRUE(json(whole[0]).dump().ends_with("...\""));  // throws where a character was cut
  const std::string token = "ghp_" + std::string("0123456789abcdefghijABCDEFGHIJ012345");
  EXPECT_THAT(lines_of({"pushing with " + token + "\n"})[0], Not(HasSubstr(token)));
  // A token of which the beginning is gone is not shown as what it was not known for.
  LastLines last;
  last.add(token);
  last.add(std::string(40'000, 'B') + "\nend\n");
  EXPECT_THAT(last.lines(), ElementsAre("end"));
}

// The message stays whole whatever they are, and the last of them are kept.
TEST(LastLines, GoIntoTheTerminationMessageAsFarAsThereIsRoom) {
  for (const std::string& piece : {std::string("x"), std::string("\""), std::string("\xC3\xA4")}) {
    for (const bool feedback : {false, true}) {
      std::vector<std::string> lines;
      for (std::size_t i = 0; i < LastLines::kMost; ++i) {
        std::string line;
        while (line.size() < LastLines::kLongest - 2)
          line += piece;
        lines.push_back(line);
      }
      lines.emplace_back("the end");
      Ending ending{.ended = "exited", .message = "", .counts = {}, .degraded = {}};
      ending.last_lines = lines;
      if (feedback) ending.feedback = Feedback{3, "RoundsSpent", std::string(5000, 'f')};
      const std::string out = termination_json(ending);
      EXPECT_LE(out.size(), kLongestTermination);
      const json read = json::parse(out);
      ASSERT_TRUE(read.contains("lastLines")) << out;
      EXPECT_EQ(read["lastLines"].back(), "the end");
      if (feedback) {
        EXPECT_GE(read["feedback"]["lastFailure"].get<std::string>().size(), 1000U);
      }
    }
  }
}

}  // namespace
}  // namespace palisade::guard
