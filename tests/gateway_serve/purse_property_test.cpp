// Replicas that do what they like, a ledger whose writes conflict, get lost or are answered by
// nobody, and crashes: what is spent never exceeds what was allowed.
#include <random>
#include <utility>

#include <gateway/serve/purse.h>
#include <gtest/gtest.h>

namespace palisade::gateway {
namespace {

constexpr std::int64_t kStart = 20'778LL * 86'400 + 86'400 - 600;  // ten minutes to midnight

struct Faults {
  bool crashes = false;
  bool lost_answers = false;
  bool more_than_estimated = false;
};

class Simulation {
 public:
  Simulation(unsigned seed, Faults faults) : random_(seed), faults_(faults) {
    limits_.tokens = 200 + below(100'000);
    if (below(2) == 0) limits_.cost = 1000 + below(50'000);
    limits_.requests_per_minute = 1 + below(below(2) == 0 ? 12 : 300);
    ns_limits_.tokens = *limits_.tokens * 2;
    ns_limits_.requests_per_minute = *limits_.requests_per_minute + below(10);
    for (int i = 0; i < 3; ++i)
      replicas_.push_back(std::make_unique<Replica>());
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      check();
      if (::testing::Test::HasFailure()) return;
    }
  }

  // Everybody settles and goes home.
  void end() {
    for (auto& replica : replicas_) {
      if (replica->pending) finish(*replica, Outcome::kApplied);
      while (!replica->holds.empty())
        settle(*replica, below(2) == 0);
      while (true) {
        auto plan = replica->purse.plan(ledger_, {}, now(), true);
        if (plan.changed) write(plan.after);
        replica->purse.commit(plan);
        if (!plan.changed) break;
      }
      EXPECT_TRUE(replica->purse.settled());
    }
    check();
  }

  void expect_exact() {
    for (const auto& [uid, entry] : ledger_.workspaces) {
      EXPECT_EQ(entry.taken.tokens, spent_[uid].tokens) << uid;
      EXPECT_EQ(entry.taken.cost, spent_[uid].cost) << uid;
    }
    for (const auto& [day, taken] : ledger_.days)
      EXPECT_EQ(taken.tokens, spent_days_[day].tokens) << day;
    EXPECT_GT(granted_, 0);
  }
  void expect_at_least() {
    for (const auto& [uid, amount] : spent_)
      EXPECT_GE(ledger_.workspaces[uid].taken.tokens, amount.tokens) << uid;
  }

 private:
  enum class Outcome : std::uint8_t { kApplied, kLostAfter, kLostBefore, kRefused };
  struct Call {
    Purse::Hold hold;
    std::string uid;
    std::int64_t day;
  };
  struct Pending {
    Purse::Plan plan;
    std::vector<Ask> asks;
    std::int64_t version;
    Moment moment;
  };
  struct Replica {
    Purse purse;
    std::vector<Call> holds;
    std::optional<Pending> pending;
  };

  std::int64_t below(std::int64_t end) {
    return std::uniform_int_distribution<std::int64_t>(0, end - 1)(random_);
  }
  [[nodiscard]] Moment now() const {
    return Moment::at(std::chrono::system_clock::time_point(std::chrono::seconds(seconds_)),
                      std::chrono::steady_clock::time_point(std::chrono::seconds(seconds_)));
  }
  void write(const Ledger& ledger) {
    // As it is stored and read.
    auto read = Ledger::parse(ledger.dump());
    ASSERT_TRUE(read) << read.error();
    ledger_ = std::move(*read);
    ++version_;
  }

  Ask ask() {
    Ask out;
    out.uid = "uid-" + std::to_string(below(2));
    out.name = "team-a/" + out.uid;
    out.workspace = limits_;
    out.ns = ns_limits_;
    out.estimate = {below(2000), below(400)};
    return out;
  }

  void granted(Replica& replica, const Ask& one, Purse::Hold hold, const Moment& when) {
    ++granted_;
    ++requests_[{one.uid, when.minute}];
    ++requests_[{"", when.minute}];
    reserved_[one.uid].tokens += one.estimate.tokens;
    reserved_[one.uid].cost += one.estimate.cost;
    reserved_days_[when.day].tokens += one.estimate.tokens;
    replica.holds.push_back({std::move(hold), one.uid, when.day});
  }

  void used(const Call& call, const Spent& amount) {
    const Spent& set = call.hold.amount;
    reserved_[call.uid].tokens -= set.tokens;
    reserved_[call.uid].cost -= set.cost;
    reserved_days_[call.day].tokens -= set.tokens;
    spent_[call.uid].tokens += amount.tokens;
    spent_[call.uid].cost += amount.cost;
    spent_days_[call.day].tokens += amount.tokens;
    const std::int64_t over = std::max<std::int64_t>(0, amount.tokens - set.tokens);
    over_[call.uid].tokens += over;
    over_[call.uid].cost += std::max<std::int64_t>(0, amount.cost - set.cost);
    over_days_[call.day].tokens += over;
  }

  void settle(Replica& replica, bool whole) {
    const auto index = static_cast<std::size_t>(below(std::ssize(replica.holds)));
    const Call call = replica.holds.at(index);
    replica.holds.erase(replica.holds.begin() + static_cast<std::ptrdiff_t>(index));
    Spent amount = whole ? call.hold.amount : Spent{};
    if (!whole && call.hold.amount.tokens > 0) amount.tokens = below(call.hold.amount.tokens + 1);
    if (faults_.more_than_estimated && below(10) == 0) amount.tokens += below(3000);
    if (below(6) == 0 && !whole) {
      amount = {};
      Purse::release(call.hold);
    } else {
      Purse::settle(call.hold, amount, now());
    }
    used(call, amount);
  }

  void finish(Replica& replica, Outcome outcome) {
    Pending pending = std::move(*replica.pending);
    replica.pending.reset();
    const bool conflict = pending.version != version_ && pending.plan.changed;
    const bool applies = outcome == Outcome::kApplied || outcome == Outcome::kLostAfter;
    if (applies && !conflict && pending.plan.changed) write(pending.plan.after);
    if (outcome != Outcome::kApplied || conflict) {
      const bool unknown = outcome == Outcome::kLostAfter || outcome == Outcome::kLostBefore;
      replica.purse.undo(pending.plan, unknown);
      return;
    }
    replica.purse.commit(pending.plan);
    for (std::size_t i = 0; i < pending.asks.size(); ++i) {
      if (auto& answer = pending.plan.answers[i])
        granted(replica, pending.asks[i], *answer, pending.moment);
    }
  }

  void step() {
    Replica& replica = *replicas_[static_cast<std::size_t>(below(std::ssize(replicas_)))];
    const std::int64_t what = below(100);
    if (what < 8) seconds_ += below(15);
    if (what < 35) {
      const Ask one = ask();
      const Moment when = now();
      if (auto hold = replica.purse.take(one, when)) granted(replica, one, *hold, when);
    } else if (what < 60 && !replica.pending) {
      std::vector<Ask> asks;
      for (std::int64_t i = below(4); i > 0; --i)
        asks.push_back(ask());
      const Moment when = now();
      auto plan = replica.purse.plan(ledger_, asks, when, below(20) == 0);
      replica.pending = Pending{std::move(plan), std::move(asks), version_, when};
    } else if (what < 80 && replica.pending) {
      Outcome outcome = below(12) == 0 ? Outcome::kRefused : Outcome::kApplied;
      if (faults_.lost_answers && below(6) == 0)
        outcome = below(2) == 0 ? Outcome::kLostAfter : Outcome::kLostBefore;
      finish(replica, outcome);
    } else if (what < 98 && !replica.holds.empty()) {
      settle(replica, false);
    } else if (faults_.crashes && what == 99) {
      if (replica.pending && below(2) == 0) finish(replica, Outcome::kLostAfter);
      // What its calls had used upstream, nobody will tell.
      for (const Call& call : replica.holds)
        used(call, call.hold.amount);
      replica = Replica();
    }
  }

  void check() {
    for (const auto& [uid, amount] : spent_) {
      EXPECT_LE(amount.tokens + reserved_[uid].tokens, *limits_.tokens + over_[uid].tokens) << uid;
      const std::int64_t cost = amount.cost + reserved_[uid].cost - over_[uid].cost;
      EXPECT_LE(cost, limits_.cost.value_or(cost)) << uid;
    }
    for (const auto& [day, amount] : spent_days_) {
      EXPECT_LE(amount.tokens + reserved_days_[day].tokens,
                *ns_limits_.tokens + over_days_[day].tokens)
          << day;
    }
    for (const auto& [key, count] : requests_) {
      EXPECT_LE(count,
                key.first.empty() ? *ns_limits_.requests_per_minute : *limits_.requests_per_minute)
          << key.first;
    }
  }

  std::mt19937 random_;
  const Faults faults_;
  Budget limits_;
  Budget ns_limits_;
  Ledger ledger_;
  std::int64_t version_ = 0;
  std::int64_t seconds_ = kStart;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::map<std::string, Spent> spent_, reserved_, over_;
  std::map<std::int64_t, Spent> spent_days_, reserved_days_, over_days_;
  std::map<std::pair<std::string, std::int64_t>, std::int64_t> requests_;
  std::int64_t granted_ = 0;
};

constexpr unsigned kRuns = 60;
constexpr int kSteps = 600;

TEST(PurseProperties, WithoutFaultsTheLedgerEndsExact) {
  for (unsigned seed = 0; seed < kRuns && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed, {});
    simulation.run(kSteps);
    simulation.end();
    simulation.expect_exact();
  }
}

TEST(PurseProperties, MoreThanEstimatedIsCountedToTheLast) {
  for (unsigned seed = 0; seed < kRuns && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed, {.more_than_estimated = true});
    simulation.run(kSteps);
    simulation.end();
    simulation.expect_exact();
  }
}

TEST(PurseProperties, CrashesAndLostAnswersNeverGiveMore) {
  for (unsigned seed = 0; seed < kRuns && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed,
                          {.crashes = true, .lost_answers = true, .more_than_estimated = true});
    simulation.run(kSteps);
    simulation.end();
  }
}

TEST(PurseProperties, LostAnswersAreCountedAsSpent) {
  for (unsigned seed = 0; seed < kRuns && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Simulation simulation(seed, {.lost_answers = true});
    simulation.run(kSteps);
    simulation.end();
    simulation.expect_at_least();
  }
}

}  // namespace
}  // namespace palisade::gateway
