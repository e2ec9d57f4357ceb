#include "upstreams.h"

#include <map>

#include <gtest/gtest.h>

namespace palisade::gateway::llm {
namespace {

using namespace std::chrono_literals;

TEST(Breaker, OpensAndTriesAgain) {
  Breaker breaker;
  Moment now{};
  now += 1h;
  for (int i = 0; i < Breaker::kMostFailures; ++i) {
    auto ticket = breaker.enter(now);
    ASSERT_TRUE(ticket) << i;
    ticket->bad(now);
  }
  EXPECT_TRUE(breaker.open(now));
  EXPECT_FALSE(breaker.enter(now));
  EXPECT_EQ(breaker.until(), now + Breaker::kPause);
  now += Breaker::kPause;
  {
    auto probe = breaker.enter(now);
    ASSERT_TRUE(probe);
    EXPECT_FALSE(breaker.enter(now)) << "one at a time";
    probe->bad(now);
  }
  EXPECT_FALSE(breaker.enter(now)) << "one failure opens it again";
  now += Breaker::kPause;
  {
    auto probe = breaker.enter(now);
    ASSERT_TRUE(probe);
  }
  auto after_none = breaker.enter(now);
  ASSERT_TRUE(after_none) << "a probe without a verdict lets the next one in";
  after_none->good();
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(breaker.enter(now)) << "closed";
}

TEST(Breaker, FailuresMustBeInARow) {
  Breaker breaker;
  const Moment now{};
  for (int i = 0; i < 4 * Breaker::kMostFailures; ++i) {
    auto ticket = breaker.enter(now);
    ASSERT_TRUE(ticket);
    if (i % 3 == 0) {
      ticket->good();
    } else {
      ticket->bad(now);
    }
  }
  EXPECT_FALSE(breaker.open(now));
}

TEST(Breaker, Rests) {
  Breaker breaker;
  const Moment now{};
  breaker.enter(now)->rest(now + 5s);
  EXPECT_TRUE(breaker.open(now + 4s));
  EXPECT_EQ(breaker.until(), now + 5s);
  EXPECT_FALSE(breaker.open(now + 5s));
  // Whoever was let in before does not shorten it.
  auto other = breaker.enter(now + 5s);
  breaker.enter(now + 5s)->rest(now + 60s);
  other->rest(now + 10s);
  EXPECT_TRUE(breaker.open(now + 59s));
}

TEST(Choice, FollowsWeights) {
  const std::vector<Route> routes{{0, "a", 1}, {1, "b", 3}, {2, "c", 6}};
  std::map<std::size_t, int> counts;
  for (std::uint64_t random = 0; random < 100; ++random)
    ++counts[*choose(routes, {0, 1, 2}, random)];
  EXPECT_EQ(counts, (std::map<std::size_t, int>{{0, 10}, {1, 30}, {2, 60}}));
  for (std::uint64_t random = 0; random < 100; ++random)
    EXPECT_NE(*choose(routes, {0, 2}, random), 1U);
  EXPECT_EQ(choose(routes, {}, 7), std::nullopt);
}

TEST(Choice, RoutesOfAKind) {
  LlmConfig config;
  config.upstreams.resize(3);
  config.upstreams[1].kind = Kind::kAnthropic;
  Model model;
  model.routes = {{0, "a", 1}, {1, "b", 1}, {2, "c", 1}};
  EXPECT_EQ(routes_of(config, model, Kind::kOpenAi), (std::vector<std::size_t>{0, 2}));
  EXPECT_EQ(routes_of(config, model, Kind::kAnthropic), (std::vector<std::size_t>{1}));
}

TEST(Retry, Table) {
  struct {
    const char* what;
    Failure failure;
    Attempts attempts;
    std::optional<std::chrono::milliseconds> retry_after;
    std::chrono::milliseconds left;
    int wanted;  // -1: none; else milliseconds
    bool same;
  } const cases[] = {
      {"another", Failure::kConnect, {1, 1, true}, {}, 60s, 0, false},
      {"another does not wait for this one", Failure::kLimited, {1, 1, true}, 10s, 60s, 0, false},
      {"same, connect", Failure::kConnect, {1, 1, false}, {}, 60s, 500, true},
      {"same, cut", Failure::kCut, {1, 1, false}, {}, 60s, 0, true},
      {"same, asked to wait", Failure::kLimited, {1, 1, false}, 2s, 60s, 2000, true},
      {"same, 0 seconds", Failure::kServer, {1, 1, false}, 0s, 60s, 0, true},
      {"same, twice is enough", Failure::kServer, {2, 2, false}, {}, 60s, -1, false},
      {"same, after another", Failure::kServer, {2, 1, false}, {}, 60s, 500, true},
      {"three are enough", Failure::kServer, {3, 1, true}, {}, 60s, -1, false},
      {"silence is not repeated", Failure::kSilent, {1, 1, false}, {}, 60s, -1, false},
      {"but elsewhere", Failure::kSilent, {1, 1, true}, {}, 60s, 0, false},
      {"no key", Failure::kKey, {1, 1, false}, {}, 60s, -1, false},
      {"too long to wait", Failure::kLimited, {1, 1, false}, 30s, 10min, -1, false},
      {"past the deadline", Failure::kLimited, {1, 1, false}, 5s, 5500ms, -1, false},
      {"no time", Failure::kConnect, {1, 1, true}, {}, 1s, -1, false},
  };
  for (const auto& test : cases) {
    const auto next = next_attempt(test.failure, test.attempts, test.retry_after, test.left);
    EXPECT_EQ(next ? static_cast<int>(next->wait.count()) : -1, test.wanted) << test.what;
    if (next) {
      EXPECT_EQ(next->same, test.same) << test.what;
    }
  }
}

TEST(Retry, After) {
  const auto now =
      std::chrono::system_clock::from_time_t(1'700'000'000);  // Tue, 14 Nov 2023 22:13:20
  struct {
    const char* text;
    int wanted;  // seconds; -1: none
  } const cases[] = {{"0", 0},
                     {"7", 7},
                     {"999999999", 86400},
                     {"Tue, 14 Nov 2023 22:13:50 GMT", 30},
                     {"Tue, 14 Nov 2023 22:00:00 GMT", 0},
                     {"Tue, 14 Nov 2028 22:00:00 GMT", 86400},
                     {"Tue, 14 Nov 2023 22:13:50 GMT ", -1},
                     {"-1", -1},
                     {"", -1},
                     {"1.5", -1},
                     {"soon", -1},
                     {"99999999999999999999999999", -1}};
  for (const auto& test : cases) {
    const auto wait = parse_retry_after(test.text, now);
    EXPECT_EQ(wait ? wait->count() : -1000, test.wanted * 1000) << test.text;
  }
}

}  // namespace
}  // namespace palisade::gateway::llm
