#include <utility>

#include <gateway/serve/purse.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace palisade::gateway {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

Moment at(std::int64_t seconds) {
  return Moment::at(std::chrono::system_clock::time_point(std::chrono::seconds(seconds)),
                    std::chrono::steady_clock::time_point(std::chrono::seconds(seconds)));
}

constexpr std::int64_t kNoon = 20'778LL * 86'400 + 43'200;

// A replica, and the ledger as it is stored. Exchanges succeed unless a test says otherwise.
struct Replica {
  Ledger& ledger;
  Purse purse;

  std::expected<Purse::Hold, Refusal> reserve(const Ask& ask, const Moment& now) {
    if (auto hold = purse.take(ask, now)) return *hold;
    auto plan = purse.plan(ledger, std::span(&ask, 1), now);
    ledger = plan.after;
    purse.commit(plan);
    return plan.answers.at(0);
  }
  void exchange(const Moment& now, bool closing = false) {
    const auto plan = purse.plan(ledger, {}, now, closing);
    ledger = plan.after;
    purse.commit(plan);
  }
};

Ask ask(Budget workspace, Spent estimate = {100, 0}, Budget ns = {}) {
  return {"uid-1", "team-a/fix-login", workspace, ns, estimate};
}

Budget tokens(std::int64_t limit) {
  return {.tokens = limit, .requests_per_minute = {}, .cost = {}};
}
Budget cost(std::int64_t limit) {
  return {.tokens = {}, .requests_per_minute = {}, .cost = limit};
}
Budget rate(std::int64_t limit) {
  return {.tokens = {}, .requests_per_minute = limit, .cost = {}};
}

TEST(Purse, WithoutLimitsNothingIsAskedAndAllIsCounted) {
  Ledger ledger;
  Replica one{ledger, {}};
  const auto hold = one.purse.take(ask({}), at(kNoon));
  ASSERT_TRUE(hold);
  EXPECT_TRUE(one.purse.settled());
  Purse::settle(*hold, {250, 7}, at(kNoon));
  EXPECT_FALSE(one.purse.settled());
  one.exchange(at(kNoon));
  EXPECT_TRUE(one.purse.settled());
  EXPECT_EQ(ledger.workspaces.at("uid-1").taken.tokens, 250);
  EXPECT_EQ(ledger.workspaces.at("uid-1").name, "fix-login");
  EXPECT_EQ(ledger.days.at(20'778).cost, 7);
  // A budget that comes later knows of it.
  EXPECT_FALSE(one.reserve(ask(tokens(300)), at(kNoon)));
  EXPECT_TRUE(one.reserve(ask(tokens(350)), at(kNoon)));
}

TEST(Purse, ABudgetIsSpentToItsEndAndNotBeyond) {
  Ledger ledger;
  Replica one{ledger, {}};
  Replica two{ledger, {}};
  int given = 0;
  for (int i = 0; i < 60; ++i) {
    auto hold = (i % 2 == 0 ? one : two).reserve(ask(tokens(5000)), at(kNoon));
    if (!hold) continue;
    ++given;
    Purse::settle(*hold, {100, 0}, at(kNoon));
  }
  EXPECT_LE(given, 50);
  EXPECT_GE(given, 46) << "what the other holds unspent is a small part";
  // What each held unspent comes back once it is idle, and can be spent by the other.
  one.exchange(at(kNoon + 11));
  two.exchange(at(kNoon + 11));
  while (auto hold = one.reserve(ask(tokens(5000)), at(kNoon + 12))) {
    ++given;
    Purse::settle(*hold, {100, 0}, at(kNoon + 12));
  }
  EXPECT_EQ(given, 50);
  EXPECT_EQ(ledger.workspaces.at("uid-1").taken.tokens, 5000);
}

TEST(Purse, RefusalsSayWhoseBudgetAndWhatToDo) {
  Ledger ledger;
  ledger.workspaces["uid-1"] = {"fix-login", {900, 4'600'000}, {}};
  ledger.days[20'778] = {900, 4'600'000};
  struct Case {
    Budget workspace;
    Budget ns;
    const char* code;
    std::vector<const char*> says;
  };
  const Case cases[] = {
      {tokens(1000),
       {},
       "budget_exceeded",
       {"AgentWorkspace team-a/fix-login may use 1000 tokens", "100 tokens are left",
        "may take 200 tokens", "spec.llm.budget.tokens"}},
      {cost(5'000'000),
       {},
       "budget_exceeded",
       {"5.000000 US dollars", "0.400000 US dollars are left", "spec.llm.budget.cost"}},
      {{},
       tokens(1000),
       "budget_exceeded",
       {"namespace team-a may use 1000 tokens a day (UTC)", "perNamespace.tokensPerDay"}},
      {{}, cost(5'000'000), "budget_exceeded", {"perNamespace.costPerDay"}},
      {rate(0), {}, "rate_limited", {"AgentWorkspace team-a/fix-login may make 0 requests"}},
      {{}, rate(0), "rate_limited", {"namespace team-a may make 0 requests"}},
  };
  for (const Case& one : cases) {
    Replica replica{ledger, {}};
    const auto refused = replica.reserve(ask(one.workspace, {200, 500'000}, one.ns), at(kNoon));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().status, 429);
    EXPECT_EQ(refused.error().code, one.code);
    for (const char* says : one.says)
      EXPECT_THAT(refused.error().message, HasSubstr(says));
    EXPECT_EQ(ledger.workspaces.at("uid-1").taken.tokens, 900) << "a refusal takes nothing";
  }
}

TEST(Purse, SmallRatesAreExactAcrossReplicas) {
  for (const int limit : {1, 2, 10, 15}) {
    Ledger ledger;
    std::vector<Replica> replicas;
    for (int i = 0; i < 3; ++i)
      replicas.push_back({ledger, {}});
    for (int minute = 0; minute < 3; ++minute) {
      int given = 0;
      for (int i = 0; i < limit * 3; ++i) {
        auto& replica = replicas[static_cast<std::size_t>(i * i + minute) % 3];
        if (auto hold = replica.reserve(ask(rate(limit), {}), at(kNoon + minute * 60 + i))) {
          Purse::settle(*hold, {}, at(kNoon));
          ++given;
        }
      }
      EXPECT_EQ(given, limit) << "minute " << minute;
    }
  }
}

TEST(Purse, LargeRatesNeedFewExchanges) {
  Ledger ledger;
  Replica one{ledger, {}};
  int exchanges = 0;
  int given = 0;
  for (int i = 0; i < 1000; ++i) {
    if (auto hold = one.purse.take(ask(rate(600), {}), at(kNoon))) {
      ++given;
      continue;
    }
    ++exchanges;
    given += one.reserve(ask(rate(600), {}), at(kNoon)) ? 1 : 0;
  }
  EXPECT_EQ(given, 600);
  EXPECT_LT(exchanges - 400, 100) << "400 are refused, each by the ledger";
}

// The ledger's minute never goes back: a clock that runs behind finds no fresh window.
TEST(Purse, AClockThatIsBehindSharesTheWindow) {
  Ledger ledger;
  Replica right{ledger, {}};
  Replica behind{ledger, {}};
  int given = 0;
  for (int i = 0; i < 20; ++i) {
    given += right.reserve(ask(rate(10), {}), at(kNoon)) ? 1 : 0;
    given += behind.reserve(ask(rate(10), {}), at(kNoon - 3600)) ? 1 : 0;
  }
  EXPECT_EQ(given, 10);
}

// And one that was once far ahead holds nobody up for longer than a minute.
TEST(Purse, AMinuteInTheFutureEndsAfterAMinute) {
  Ledger ledger;
  Replica ahead{ledger, {}};
  Replica right{ledger, {}};
  for (int i = 0; i < 10; ++i)
    EXPECT_TRUE(ahead.reserve(ask(rate(10), {}), at(kNoon + 86'400)));
  EXPECT_FALSE(right.reserve(ask(rate(10), {}), at(kNoon)));
  EXPECT_FALSE(right.reserve(ask(rate(10), {}), at(kNoon + 59)));
  int given = 0;
  for (int i = 0; i < 20; ++i)
    given += right.reserve(ask(rate(10), {}), at(kNoon + 61)) ? 1 : 0;
  EXPECT_EQ(given, 10);
  EXPECT_FALSE(right.reserve(ask(rate(10), {}), at(kNoon + 119)));
  EXPECT_TRUE(right.reserve(ask(rate(10), {}), at(kNoon + 122)));
}

TEST(Purse, DaysEndAtMidnightUtc) {
  constexpr std::int64_t kMidnight = 20'779LL * 86'400;
  Ledger ledger;
  Replica one{ledger, {}};
  const Ask daily = ask({}, {1000, 0}, tokens(1000));
  const auto late = one.reserve(daily, at(kMidnight - 1));
  ASSERT_TRUE(late);
  EXPECT_FALSE(one.reserve(daily, at(kMidnight - 1)));
  const auto early = one.reserve(daily, at(kMidnight));
  ASSERT_TRUE(early);
  // Each is settled in the day in which it began.
  Purse::settle(*late, {400, 0}, at(kMidnight + 5));
  Purse::settle(*early, {1000, 0}, at(kMidnight + 5));
  one.exchange(at(kMidnight + 20));
  EXPECT_EQ(ledger.days.at(20'778).tokens, 400);
  EXPECT_EQ(ledger.days.at(20'779).tokens, 1000);
}

TEST(Purse, AClockFarBehindAllDaysIsRefused) {
  Ledger ledger;
  for (std::int64_t day = 20'800; day < 20'808; ++day)
    ledger.days[day] = {1, 1};
  Replica one{ledger, {}};
  const auto refused = one.reserve(ask({}, {1, 0}, tokens(1000)), at(kNoon));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 503);
  EXPECT_THAT(refused.error().message, HasSubstr("2026-11-21"));
}

TEST(Purse, ALowerLimitCountsAtOnce) {
  Ledger ledger;
  Replica one{ledger, {}};
  ASSERT_TRUE(one.reserve(ask(tokens(100'000)), at(kNoon)));
  ASSERT_TRUE(one.purse.take(ask(tokens(100'000)), at(kNoon))) << "it holds some";
  EXPECT_FALSE(one.reserve(ask(tokens(250)), at(kNoon))) << "200 of it are set aside";
  EXPECT_EQ(ledger.workspaces.at("uid-1").taken.tokens, 200) << "what was held went back";
  EXPECT_TRUE(one.reserve(ask(tokens(300)), at(kNoon)));
  EXPECT_FALSE(one.reserve(ask(tokens(300)), at(kNoon)));
}

TEST(Purse, MoreThanTheEstimateIsADebtThatTheNextExchangePays) {
  Ledger ledger;
  Replica one{ledger, {}};
  const auto hold = one.reserve(ask(tokens(1000)), at(kNoon));
  ASSERT_TRUE(hold);
  Purse::settle(*hold, {5000, 0}, at(kNoon));
  EXPECT_FALSE(one.purse.settled());
  one.exchange(at(kNoon));
  EXPECT_EQ(ledger.workspaces.at("uid-1").taken.tokens, 5000);
  EXPECT_FALSE(one.reserve(ask(tokens(1000), {1, 0}), at(kNoon)));
}

// The operator of a budget that is used up cannot be talked round by an estimate of nothing.
TEST(Purse, AnEstimateOfNothingNeedsABudgetThatIsNotUsedUp) {
  Ledger ledger;
  ledger.workspaces["uid-1"] = {"fix-login", {1000, 1000}, {}};
  Replica one{ledger, {}};
  EXPECT_FALSE(one.reserve(ask(tokens(1000), {0, 0}), at(kNoon)));
  EXPECT_FALSE(one.reserve(ask(cost(1000), {0, 0}), at(kNoon)));
  EXPECT_TRUE(one.reserve(ask(cost(1001), {0, 0}), at(kNoon)));
}

TEST(Purse, ALostAnswerCountsAgainstWhoAsked) {
  Ledger ledger;
  Purse purse;
  const Ask one = ask(tokens(1000));
  auto plan = purse.plan(ledger, std::span(&one, 1), at(kNoon));
  ASSERT_TRUE(plan.answers.at(0));
  const Ledger written = plan.after;
  purse.undo(plan, true);
  EXPECT_FALSE(purse.take(one, at(kNoon))) << "it may be there, or not: nothing is held";
  // It was there: a second one takes again.
  plan = purse.plan(written, std::span(&one, 1), at(kNoon));
  purse.commit(plan);
  EXPECT_GE(plan.after.workspaces.at("uid-1").taken.tokens, 200);
  const auto all = purse.plan(plan.after, {}, at(kNoon), true);
  EXPECT_GE(all.after.workspaces.at("uid-1").taken.tokens, 200);
}

TEST(Purse, WhatIsGoneIsForgotten) {
  Ledger ledger;
  Replica one{ledger, {}};
  const auto hold = one.reserve(ask(tokens(1000)), at(kNoon));
  ASSERT_TRUE(hold);
  one.purse.forget("uid-1");
  one.exchange(at(kNoon));
  EXPECT_TRUE(ledger.workspaces.empty());
  Purse::settle(*hold, {5000, 5}, at(kNoon));  // its last call ends later
  one.exchange(at(kNoon));
  EXPECT_TRUE(ledger.workspaces.empty());
  EXPECT_EQ(ledger.days.at(20'778).tokens, 5000) << "the namespace's day still counts it";
}

TEST(Purse, ALedgerThatIsFullTakesNoMore) {
  Ledger ledger;
  for (std::size_t i = 0; i < Ledger::kMaxWorkspaces; ++i)
    ledger.workspaces["uid-" + std::to_string(i + 100)];
  EXPECT_LT(ledger.dump().size(), 700U * 1024);
  Replica one{ledger, {}};
  const auto refused = one.reserve(ask(tokens(1000)), at(kNoon));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 503);
  EXPECT_EQ(ledger.workspaces.size(), Ledger::kMaxWorkspaces);
}

}  // namespace
}  // namespace palisade::gateway
