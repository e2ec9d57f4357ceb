// How much is taken ahead, and that whoever calls steadily never waits for the ledger.
#include <random>
#include <utility>

#include <gateway/serve/purse.h>
#include <gtest/gtest.h>

namespace palisade::gateway {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr std::int64_t kNoon = 20'778LL * 86'400 + 43'200;

Moment at(milliseconds since) {
  const milliseconds all = std::chrono::seconds(kNoon) + since;
  return Moment::at(std::chrono::system_clock::time_point(all),
                    std::chrono::steady_clock::time_point(all));
}

Ask ask(Budget workspace, std::int64_t estimate, Budget ns = {}) {
  return {"uid-1", "team-a/fix-login", workspace, ns, {estimate, 0}};
}
Budget tokens(std::int64_t limit) {
  return {.tokens = limit, .requests_per_minute = {}, .cost = {}};
}
Budget rate(std::int64_t limit) {
  return {.tokens = {}, .requests_per_minute = limit, .cost = {}};
}

// A replica whose fetches take `latency`, as the API server's answers do.
class Replica {
 public:
  Replica(Ledger& ledger, milliseconds latency) : ledger_(ledger), latency_(latency) {}

  // One call; nullopt where it is refused.
  std::optional<Purse::Hold> call(const Ask& ask, milliseconds now) {
    if (fetch_ && *fetch_ <= now) exchange(now);
    if (auto hold = purse.take(ask, at(now))) {
      if (hold->low && !fetch_) fetch_ = now + latency_;
      return hold;
    }
    ++waits;
    ++writes;
    const auto plan = purse.plan(ledger_, std::span(&ask, 1), at(now));
    ledger_ = plan.after;
    purse.commit(plan);
    fetch_.reset();
    if (!plan.answers.at(0)) return std::nullopt;
    return *plan.answers.at(0);
  }
  void exchange(milliseconds now, bool closing = false) {
    const auto plan = purse.plan(ledger_, {}, at(now), closing);
    writes += plan.changed ? 1 : 0;
    ledger_ = plan.after;
    purse.commit(plan);
    fetch_.reset();
  }

  Purse purse;
  int waits = 0;
  int writes = 0;

 private:
  Ledger& ledger_;
  const milliseconds latency_;
  std::optional<milliseconds> fetch_;
};

std::int64_t taken(const Ledger& ledger) {
  return ledger.workspaces.at("uid-1").taken.tokens;
}

TEST(Pace, WhoeverCallsSteadilyWaitsNoMoreOnceAllotmentsHaveGrown) {
  Ledger ledger;
  Replica one(ledger, 10ms);
  const Ask each = ask(tokens(2'000'000'000), 200, tokens(1'000'000'000));
  int waits_at_first = 0;
  int writes_at_first = 0;
  for (int i = 0; i < 40'000; ++i) {  // 2,000 a second
    const milliseconds now(i / 2);
    const auto hold = one.call(each, now);
    ASSERT_TRUE(hold) << i;
    Purse::settle(*hold, {100, 0}, at(now));
    if (i == 4'000) {
      waits_at_first = one.waits;
      writes_at_first = one.writes;
    }
  }
  EXPECT_LE(waits_at_first, 20);
  EXPECT_EQ(one.waits, waits_at_first) << "nobody after the first two seconds";
  EXPECT_LE(one.writes - writes_at_first, 2 * 18) << "about one a second";
  EXPECT_LE(taken(ledger) - 40'000 * 100, 8 * 2'000 * 200) << "no more than some seconds' worth";
}

TEST(Pace, RequestsAMinuteAreFetchedAheadToo) {
  Ledger ledger;
  Replica one(ledger, 10ms);
  const Ask each = ask(rate(120'000), 0, rate(100'000));
  int waits_at_first = 0;
  for (int i = 0; i < 50'000; ++i) {  // 1,000 a second
    const milliseconds now(i);
    const auto hold = one.call(each, now);
    ASSERT_TRUE(hold) << i;
    Purse::settle(*hold, {}, at(now));
    if (i == 2'000) waits_at_first = one.waits;
  }
  EXPECT_EQ(one.waits, waits_at_first);
}

TEST(Pace, NoMoreIsHeldThanASixteenthOfWhatIsLeft) {
  std::mt19937 random(7);
  for (int run = 0; run < 20; ++run) {
    SCOPED_TRACE(run);
    const std::int64_t limit = 5'000 + static_cast<std::int64_t>(random() % 3'000'000);
    const std::int64_t estimate = 50 + static_cast<std::int64_t>(random() % 400);
    Ledger ledger;
    Replica one(ledger, 5ms);
    std::int64_t spent = 0;
    const Ask each = ask(tokens(limit), estimate);
    for (int i = 0;; ++i) {
      ASSERT_LT(i, 100'000);
      const milliseconds now(i / 4);
      const auto hold = one.call(each, now);
      if (!hold) break;
      Purse::settle(*hold, {estimate, 0}, at(now));
      spent += estimate;
      ASSERT_LE(taken(ledger), limit);
      ASSERT_LE(taken(ledger) - spent, (limit - spent) / Purse::kAhead + estimate) << "unspent";
    }
    EXPECT_GT(spent, limit - estimate) << "it is spent to its end";
    one.exchange(1h, true);
    EXPECT_EQ(taken(ledger), spent);
  }
}

TEST(Pace, TwoReplicasAtFullSpeedGiveNoMoreThanTheBudgetAndReturnWhatIsIdle) {
  Ledger ledger;
  Replica one(ledger, 7ms);
  Replica two(ledger, 13ms);
  constexpr std::int64_t kLimit = 10'000'000;
  const Ask each = ask(tokens(kLimit), 250);
  std::int64_t spent = 0;
  bool refused = false;
  milliseconds now{0};
  for (int i = 0; !refused; ++i) {
    ASSERT_LT(i, 100'000);
    now = milliseconds(i / 2);
    const auto hold = (i % 2 == 0 ? one : two).call(each, now);
    refused = !hold;
    if (hold) Purse::settle(*hold, {250, 0}, at(now));
    spent += hold ? 250 : 0;
  }
  EXPECT_LE(spent, kLimit);
  EXPECT_GE(spent, kLimit - kLimit / 16) << "what the other holds";
  now += 11s;
  one.exchange(now);
  two.exchange(now);
  EXPECT_EQ(taken(ledger), spent);
}

TEST(Pace, AllotmentsGrowWhereTheyAreUsedUpAndShrinkWhereTheyLast) {
  struct Case {
    std::int64_t last;
    milliseconds lasted;
    std::int64_t next;
  };
  for (const Case& one : {Case{0, 5ms, 320},
                          {1'000, 5ms, 4'000},
                          {1'000, 999ms, 4'000},
                          {1'000, 1s, 1'000},
                          {1'000, 4s, 1'000},
                          {1'000, 5s, 500},
                          {400, 5s, 320},
                          {kMaxAmount, 5ms, kMaxAmount}}) {
    const Purse::Pace pace{one.last, at(0ms).steady};
    EXPECT_EQ(pace.next(320, at(one.lasted).steady), one.next)
        << one.last << " for " << one.lasted.count() << " ms";
  }
}

// Another replica was faster with the ledger: what is held is still good for calls.
TEST(Pace, AFetchThatFailsMakesNobodyWait) {
  for (const bool unknown : {false, true}) {
    Ledger ledger;
    Replica one(ledger, 1h);
    const Ask each = ask(tokens(1'000'000), 100);
    int before = 0;
    for (milliseconds now{0};; now += 1ms) {
      const auto hold = one.call(each, now);
      ASSERT_TRUE(hold);
      ++before;
      Purse::settle(*hold, {100, 0}, at(now));
      if (hold->low) break;
    }
    const auto plan = one.purse.plan(ledger, {}, at(100ms));
    EXPECT_TRUE(plan.changed);
    one.purse.undo(plan, unknown);
    EXPECT_TRUE(one.purse.take(each, at(100ms))) << before;
    EXPECT_EQ(one.waits, 1);
  }
}

}  // namespace
}  // namespace palisade::gateway
