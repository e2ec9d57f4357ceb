#include <random>

#include <gtest/gtest.h>
#include <guard/terminal.h>

#include "guard/terminal_check.h"

namespace palisade::guard {
namespace {

using namespace std::string_literals;
using testing::forbidden_at;

struct Case {
  const char* name;
  std::string in;
  std::string out;
};

const std::string kBad = "\xEF\xBF\xBD";

std::vector<Case> passing() {
  std::vector<Case> out;
  for (const char* text : {"plain text\r\n\ttab \b",
                           "gr\xC3\xBC\xC3\x9F \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x98\x80",
                           "\x1b[0m",
                           "\x1b[m",
                           "\x1b[1;31mred\x1b[0m",
                           "\x1b[38;5;8mgrey",
                           "\x1b[38;2;8;8;8m",
                           "\x1b[4:3m",
                           "\x1b[48;5;8;1m",
                           "\x1b[2J\x1b[H",
                           "\x1b[1;1H",
                           "\x1b[12;40f",
                           "\x1b[K",
                           "\x1b[2K",
                           "\x1b[10A",
                           "\x1b[5G",
                           "\x1b[3d",
                           "\x1b[1;24r",
                           "\x1b[r",
                           "\x1b[2L",
                           "\x1b[3P",
                           "\x1b[4@",
                           "\x1b[2S",
                           "\x1b[20b",
                           "\x1b[s\x1b[u",
                           "\x1b"
                           "7\x1b"
                           "8",
                           "\x1b[?25l\x1b[?25h",
                           "\x1b[?1049h",
                           "\x1b[?1;7h",
                           "\x1b[?2004h",
                           "\x1b[?1000l\x1b[?1006l",
                           "\x1b[4h",
                           "\x1b=\x1b>",
                           "\x1bM",
                           "\x1b[2 q",
                           "\x1b[ q"})
    out.push_back({text, text, text});
  return out;
}

std::vector<Case> filtered() {
  return {
      {"title, BEL", "a\x1b]0;evil\x07z", "az"},
      {"title, ST", "a\x1b]2;evil\x1b\\z", "az"},
      {"clipboard", "a\x1b]52;c;ZXZpbA==\x07z", "az"},
      {"link", "\x1b]8;;http://evil/\x1b\\text\x1b]8;;\x1b\\", "text"},
      {"colour query", "\x1b]11;?\x07", ""},
      {"notification", "\x1b]9;hello\x07\x1b]777;notify;a;b\x07", ""},
      {"iTerm file", "\x1b]1337;File=name=YQ==:AAAA\x07z", "z"},
      {"DCS", "a\x1bPq#0;2;0;0;0\x1b\\z", "az"},
      {"DECRQSS", "a\x1bP$qm\x1b\\z", "az"},
      {"APC", "a\x1b_Gf=24;AAAA\x1b\\z", "az"},
      {"PM", "a\x1b^x\x1b\\z", "az"},
      {"SOS", "a\x1bXx\x1b\\z", "az"},
      {"screen's title", "a\x1bkevil\x1b\\z", "az"},
      {"DA", "a\x1b[cz\x1b[0c\x1b[>c\x1b[=c", "az"},
      {"DSR", "a\x1b[6nz\x1b[5n\x1b[?6n", "az"},
      {"DECRQM", "a\x1b[?25$pz\x1b[4$p", "az"},
      {"DECREQTPARM", "a\x1b[xz\x1b[1x", "az"},
      {"XTVERSION", "a\x1b[>qz\x1b[>0q", "az"},
      {"window reports", "a\x1b[21tz\x1b[14t\x1b[8;1;1t", "az"},
      {"kitty keyboard", "a\x1b[?uz\x1b[>1u\x1b[=1;1u", "az"},
      {"modify keys", "a\x1b[>4;2mz\x1b[?4m", "az"},
      {"mouse on", "a\x1b[?1000hz\x1b[?1006h\x1b[?1003h\x1b[?1004h", "az"},
      {"mouse among good modes", "a\x1b[?25;1000hz", "az"},
      {"unknown mode", "a\x1b[?9999hz\x1b[20h", "az"},
      {"media copy", "a\x1b[5iz\x1b[?5i", "az"},
      {"scroll-back erased", "a\x1b[3Jz", "az"},
      {"conceal", "a\x1b[8mz\x1b[0;8m\x1b[1;08m", "az"},
      {"reset",
       "a\x1b"
       "cz\x1b[!p",
       "az"},
      {"character sets", "a\x1b(0z\x1b)B\x1b*B\x1b%G\x1b%@\x0e\x0f\x1bn\x1bN", "az"},
      {"double height", "a\x1b#3z\x1b#8", "az"},
      {"answer back", "a\x05z", "az"},
      {"other C0", "a\x01\x07\x0b\x0c\x11\x13\x7fz\0y"s, "azy"},
      {"margins", "a\x1b[5;10sz", "az"},
      {"mouse highlight", "a\x1b[1;1;1;1;1Tz", "az"},
      {"number too long", "a\x1b[99999Az", "az"},
      {"too many numbers", "a\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1mz", "az"},
      {"numbers in the wrong place", "a\x1b[1?25hz\x1b[<1m", "az"},
      {"raw C1",
       "a\x9b"
       "31mz",
       "a" + kBad + "31mz"},
      {"raw OSC",
       "a\x9d"
       "52;c;x\x07z",
       "a" + kBad + "52;c;xz"},
      {"UTF-8 CSI",
       "a\xC2\x9B"
       "6nz",
       "a" + kBad + "6nz"},
      {"overlong escape", "a\xC0\x9B[6nz", "a" + kBad + kBad + "[6nz"},
      {"bidi", "a\xE2\x80\xAEz\xE2\x81\xA6\xE2\x80\x8E\xD8\x9C",
       "a" + kBad + "z" + kBad + kBad + kBad},
      {"line separator", "a\xE2\x80\xA8z", "a" + kBad + "z"},
      {"zero width", "a\xE2\x80\x8B\xE2\x80\x8D\xEF\xBB\xBF\xC2\xADz\xE2\x81\xA0", "az"},
      {"tags", "a\xF3\xA0\x81\xA1\xF3\xA0\x84\x80z", "az"},
      {"variation selector 16 stays", "\xE2\x9D\xA4\xEF\xB8\x8F", "\xE2\x9D\xA4\xEF\xB8\x8F"},
      {"surrogate", "a\xED\xA0\x80z", "a" + kBad + kBad + kBad + "z"},
      {"beyond Unicode", "a\xF4\x90\x80\x80z", "a" + kBad + kBad + kBad + kBad + "z"},
      {"character cut by text", "a\xE2\x80z", "a" + kBad + "z"},
      {"character cut by the end", "a\xE2\x80", "a" + kBad},
      {"character cut by a character", "a\xE2\xC3\xA4", "a" + kBad + "\xC3\xA4"},
      {"sequence cut by a newline", "a\x1b[3\n1mz", "a\n1mz"},
      {"sequence cut by an escape", "a\x1b[3\x1b[31mz", "a\x1b[31mz"},
      {"sequence cut by a character", "a\x1b[3\xC3\xA4mz", "a\xC3\xA4mz"},
      {"escape cut by an escape", "a\x1b\x1b[31mz", "a\x1b[31mz"},
      {"escape at the end", "a\x1b", "a"},
      {"CSI at the end", "a\x1b[31", "a"},
      {"string at the end", "a\x1b]0;evil", "a"},
      {"string that a line ends", "a\x1b]0;evil\nz", "a\nz"},
      {"string that a sequence ends", "a\x1b]0;evil\x1b[31mz", "a\x1b[31mz"},
      {"string in a string", "a\x1b]0;evil\x1b]0;more\x07z", "az"},
      {"string that CAN ends", "a\x1b]0;evil\x18z", "az"},
      // What is taken away must not join what is left.
      {"escape, hidden, bracket", "\x1b\xE2\x80\x8B[6n", "[6n"},
      {"escape in an escape's place", "\x1b\x1b]0;x\x07[6n", "[6n"},
  };
}

TEST(Terminal, LetsColoursAndCursorsPass) {
  for (const Case& one : passing())
    EXPECT_EQ(shown_on_terminal(one.in), one.out);
}

TEST(Terminal, TakesTheRestAway) {
  for (const Case& one : filtered())
    EXPECT_EQ(shown_on_terminal(one.in), one.out) << one.name;
}

TEST(Terminal, NothingThatIsUnfinishedSwallowsAllThatFollows) {
  const std::string text(40'000, 'x');
  for (const char* begin :
       {"\x1b]0;", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1b[", "\x1b[?", "\x1b("}) {
    const std::string out = shown_on_terminal(begin + text);
    EXPECT_GE(out.size(), text.size() - 16'385) << begin;
    EXPECT_EQ(shown_on_terminal(begin + text + "\nnext"), out + "\nnext") << begin;
  }
  // A control sequence of parameters alone ends within its bound.
  EXPECT_GE(shown_on_terminal("\x1b[" + std::string(1'000, '1')).size(), 700U);
}

// The properties, of one input cut at every way that is asked for.
void holds(const std::string& in, std::mt19937& random) {
  const std::string whole = shown_on_terminal(in);
  const auto bad = forbidden_at(whole);
  ASSERT_FALSE(bad) << "at " << *bad << " of " << ::testing::PrintToString(whole) << " from "
                    << ::testing::PrintToString(in);
  ASSERT_EQ(shown_on_terminal(whole), whole) << ::testing::PrintToString(in);
  TerminalFilter filter;
  std::string pieces;
  for (std::size_t at = 0; at < in.size();) {
    const std::size_t size = 1 + random() % 5;
    filter.feed(std::string_view(in).substr(at, size), pieces);
    at += size;
  }
  filter.finish(pieces);
  ASSERT_EQ(pieces, whole) << ::testing::PrintToString(in);
}

TEST(Terminal, PropertiesHoldForTheTable) {
  std::mt19937 random(1);
  std::vector<Case> all = passing();
  for (const Case& one : filtered())
    all.push_back(one);
  for (const Case& a : all) {
    holds(a.in, random);
    for (const Case& b : all)
      holds(a.in + b.in, random);
  }
}

TEST(Terminal, PropertiesHoldForWhatIsThrownTogether) {
  std::mt19937 random(20261121);
  const std::vector<std::string> parts{"\x1b", "[",        "]",         "P",
                                       "_",    "\\",       "\x07",      "\x18",
                                       "?",    ";",        ":",         "0",
                                       "1",    "8",        "25",        "1000",
                                       "2004", "38",       "5",         "m",
                                       "h",    "l",        "n",         "c",
                                       "J",    "q",        " ",         "$",
                                       "p",    "t",        "\n",        "a",
                                       "\xC2", "\x9B",     "\x9D",      "\xE2",
                                       "\x80", "\xAE",     "\xF3\xA0",  "\x81",
                                       "(",    "B",        "\x0e",      "\xEF\xBB\xBF",
                                       "\xFF", "\x1b[31m", "\x1b]52;c;"};
  for (int i = 0; i < 20'000; ++i) {
    std::string in;
    for (std::size_t n = random() % 30; n > 0; --n)
      in += parts[random() % parts.size()];
    holds(in, random);
    if (HasFatalFailure()) return;
  }
}

TEST(Terminal, KnowsWhatItLeavesOn) {
  const auto left = [](std::string_view in) {
    TerminalFilter filter;
    std::string out;
    filter.feed(in, out);
    filter.finish(out);
    return filter.restore();
  };
  EXPECT_EQ(left("plain"), "");
  EXPECT_EQ(left("\x1b[31mred\x1b[0m"), "");
  EXPECT_EQ(left("\x1b[31mred"), "\x1b[0m");
  EXPECT_EQ(left("\x1b[?25l\x1b[?1049h"), "\x1b[?1049l\x1b[?25h");
  EXPECT_EQ(left("\x1b[?25;2004l\x1b[?25h"), "");
  EXPECT_EQ(left("\x1b[?2004h\x1b=\x1b[4h\x1b[?7l\x1b[?1h\x1b[3;5r\x1b[2 q"),
            "\x1b[r\x1b[?2004l\x1b[?1l\x1b>\x1b[4l\x1b[?7h\x1b[0 q");
  // What was refused needs no undoing; what undoes is itself let through.
  EXPECT_EQ(left("\x1b[?1000h\x1b]0;x"), "");
  const std::string all =
      left("\x1b[31m\x1b[?25l\x1b[?1049h\x1b[?2004h\x1b=\x1b[4h\x1b[?7l\x1b[?1h\x1b[3;5r\x1b[2 q");
  EXPECT_EQ(shown_on_terminal(all), all);
}

TEST(TerminalCheck, TheReaderItselfRefuses) {
  for (const std::string& bad :
       {"\x1b[6n"s,      "\x1b]0;x\x07"s, "\x1b"s,         "\x1b["s,
        "\x1b[31"s,      "\x1b[?1000h"s,  "\x1b[3J"s,      "\x07"s,
        "\x9b"s,         "\xC2\x9B"s,     "\xE2\x80\xAE"s, "\xF3\xA0\x81\xA1"s,
        "\xED\xA0\x80"s, "\xC0\x9B"s,     "\x1b\x63"s,     "\x1b[>1u"s,
        "\0"s,           "\x7f"s,         "\xE2\x80"s,     "\x1b[8m"s,
        "\x1b[21t"s})
    EXPECT_TRUE(forbidden_at("ok" + bad)) << ::testing::PrintToString(bad);
  for (const Case& one : passing())
    EXPECT_FALSE(forbidden_at(one.in)) << one.name;
}

}  // namespace
}  // namespace palisade::guard
