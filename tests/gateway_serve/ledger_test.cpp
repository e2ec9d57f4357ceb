#include <limits>
#include <utility>

#include <gateway/serve/ledger.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace palisade::gateway {
namespace {

using ::testing::HasSubstr;

Ledger usual() {
  Ledger ledger;
  ledger.workspaces["uid-1"] = {"fix-login", {1200, 34}, {29'000'000, 7}};
  ledger.days[20'778] = {5000, 99};
  ledger.days[20'779] = {1, 0};
  ledger.window = {29'000'000, 9};
  return ledger;
}

TEST(Ledger, IsWhatWasWritten) {
  const auto read = Ledger::parse(usual().dump());
  ASSERT_TRUE(read) << read.error();
  EXPECT_EQ(read->dump(), usual().dump());
  EXPECT_EQ(read->workspaces.at("uid-1").taken.tokens, 1200);
  EXPECT_EQ(read->workspaces.at("uid-1").window, (Window{29'000'000, 7}));
  EXPECT_EQ(read->days.at(20'778).cost, 99);
  EXPECT_EQ(read->window, (Window{29'000'000, 9}));
  EXPECT_THAT(usual().dump(), HasSubstr("2026-11-21"));
  const auto empty = Ledger::parse(Ledger().dump());
  ASSERT_TRUE(empty) << empty.error();
  EXPECT_TRUE(empty->workspaces.empty());
}

// A ledger that somebody has edited is refused, never read as more than is left.
TEST(Ledger, WhatIsBrokenIsRefusedByField) {
  const std::string good = usual().dump();
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string out = good;
    const auto at = out.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return out.replace(at, from.size(), to);
  };
  struct Case {
    std::string text;
    const char* names;
  };
  const Case cases[] = {
      {"", "not JSON"},
      {"{}", "workspaces"},
      {"[]", "not an object"},
      {good.substr(0, good.size() - 1), "not JSON"},
      {with("\"tokens\":1200", "\"tokens\":-1"), "workspaces.uid-1.tokens"},
      {with("\"tokens\":1200", "\"tokens\":\"1200\""), "workspaces.uid-1.tokens"},
      {with("\"tokens\":1200", "\"tokens\":1.5"), "workspaces.uid-1.tokens"},
      {with("\"tokens\":1200", "\"tokens\":18446744073709551615"), "too large"},
      {with("\"tokens\":1200", "\"tokens\":9000000000000000000"), "too large"},
      {with("\"requests\":7", "\"requests\":null"), "workspaces.uid-1.requests"},
      {with("\"name\":\"fix-login\"", "\"name\":3"), "workspaces.uid-1.name"},
      {with("2026-11-21", "2026-02-30"), "2026-02-30"},
      {with("2026-11-21", "tomorrow"), "tomorrow"},
      {with("\"namespace\":{", "\"namespaces\":{"), "namespace"},
  };
  for (const Case& broken : cases) {
    const auto read = Ledger::parse(broken.text);
    ASSERT_FALSE(read) << broken.text;
    EXPECT_THAT(read.error(), HasSubstr(broken.names)) << broken.text;
  }
}

TEST(Ledger, KeepsTheNewestDays) {
  Ledger ledger;
  for (int day = 100; day < 100 + 3 * static_cast<int>(Ledger::kMaxDays); ++day) {
    Spent* entry = ledger.day(day);
    ASSERT_NE(entry, nullptr);
    entry->tokens = day;
    EXPECT_EQ(ledger.day(day), entry) << "the same again";
    EXPECT_LE(ledger.days.size(), Ledger::kMaxDays);
  }
  EXPECT_EQ(ledger.days.rbegin()->second.tokens, 123);
  // A clock that is far behind would find a fresh budget each day.
  EXPECT_EQ(ledger.day(50), nullptr);
}

TEST(Ledger, DaysAreDates) {
  for (const auto& [day, text] : {std::pair<std::int64_t, const char*>{0, "1970-01-01"},
                                  {20'778, "2026-11-21"},
                                  {11'016, "2000-02-29"}}) {
    EXPECT_EQ(day_text(day), text);
    EXPECT_EQ(parse_day(text).value_or(-1), day);
  }
  for (const char* bad : {"", "2026-1-2", "2026-13-01", "2026-11-21 ", "20261121xx", "-001-01-01",
                          "2025-02-29", "1969-12-31", "2026/11/21"}) {
    EXPECT_FALSE(parse_day(bad)) << bad;
  }
}

TEST(Ledger, SumsStopAtTheirEnds) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(plus(2, 3), 5);
  EXPECT_EQ(plus(kMost, kMost), kMaxAmount);
  EXPECT_EQ(plus(std::numeric_limits<std::int64_t>::min(), -1), -kMaxAmount);
  EXPECT_EQ(plus(kMaxAmount, 1), kMaxAmount);
}

}  // namespace
}  // namespace palisade::gateway
