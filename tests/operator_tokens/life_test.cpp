// The life of a minted token by the clock: when it is minted, renewed and taken back, and what a
// Secret says of it.
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <operator/tokens/life.h>

namespace palisade::op::tokens {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using std::chrono::seconds;

constexpr const char* kMe = "aaaaaaaa";
constexpr const char* kOther = "bbbbbbbb";
const Time kStart = std::chrono::system_clock::from_time_t(1'772'366'400);
const Wanted kWanted{"u-1", "source-1", true};

Kept kept(const std::string& name, Time minted, seconds life = 1h) {
  Kept out;
  out.record = {"palisade-u-1-" + name, "7", "token-" + name};
  out.minted = minted;
  out.expires = minted + life;
  out.source = "source-1";
  out.write = true;
  return out;
}

State with(std::optional<Kept> current, std::vector<Kept> retired = {},
           std::optional<Intent> intent = {}) {
  State out;
  out.current = std::move(current);
  out.retired = std::move(retired);
  out.intent = std::move(intent);
  return out;
}

Kept retired(const std::string& name, Time minted, Time since) {
  Kept out = kept(name, minted);
  out.since = since;
  return out;
}

Kept changed(Kept out, const std::function<void(Kept&)>& change) {
  change(out);
  return out;
}

TEST(NextStep, ByStateAndClock) {
  struct Row {
    const char* what;
    State state;
    seconds now;
    Need need;
    std::optional<seconds> again;
  };
  const Row rows[] = {
      {"nothing yet", {}, 0s, Need::kMint, {}},
      {"fresh", with(kept("1", kStart)), 0s, Need::kNothing, 2400s},
      {"a second before two thirds", with(kept("1", kStart)), 2399s, Need::kNothing, 1s},
      {"two thirds", with(kept("1", kStart)), 2400s, Need::kRenew, {}},
      {"near its end", with(kept("1", kStart)), 3599s, Need::kRenew, {}},
      {"ended", with(kept("1", kStart)), 3600s, Need::kMint, {}},
      {"of other credentials",
       with(changed(kept("1", kStart), [](Kept& k) { k.source = "source-2"; })),
       0s,
       Need::kMint,
       {}},
      {"may only read",
       with(changed(kept("1", kStart), [](Kept& k) { k.write = false; })),
       0s,
       Need::kMint,
       {}},
      {"its value is gone",
       with(changed(kept("1", kStart), [](Kept& k) { k.record.value = ""; })),
       0s,
       Need::kMint,
       {}},
      {"a replaced one in its grace",
       with(kept("2", kStart), {retired("1", kStart - 40min, kStart)}), 0s, Need::kNothing, 600s},
      {"its grace is over",
       with(kept("2", kStart), {retired("1", kStart - 40min, kStart)}),
       600s,
       Need::kRevoke,
       {}},
      {"it ends before its grace does",
       with(kept("2", kStart), {retired("1", kStart - 58min, kStart)}),
       120s,
       Need::kRevoke,
       {}},
      {"another process mints", with({}, {}, Intent{"palisade-u-1-1", kStart, kOther}), 30s,
       Need::kNothing, 90s},
      {"it has died",
       with({}, {}, Intent{"palisade-u-1-1", kStart, kOther}),
       120s,
       Need::kMint,
       {}},
      {"this process tried",
       with({}, {}, Intent{"palisade-u-1-1", kStart, kMe}),
       1s,
       Need::kMint,
       {}},
      {"another process renews, the token still serves",
       with(kept("1", kStart - 45min), {}, Intent{"palisade-u-1-2", kStart, kOther}), 30s,
       Need::kNothing, 90s},
      {"an old intent beside a good token",
       with(kept("1", kStart), {}, Intent{"palisade-u-1-2", kStart - 1h, kOther}),
       0s,
       Need::kRevoke,
       {}},
      {"an intent from a clock that is far ahead",
       with({}, {}, Intent{"palisade-u-1-1", kStart + 24h, kOther}),
       0s,
       Need::kMint,
       {}},
  };
  for (const Row& row : rows) {
    const Step step = next_step(row.state, kWanted, {}, kMe, kStart + row.now);
    EXPECT_EQ(step.need, row.need) << row.what;
    EXPECT_EQ(step.again, row.again) << row.what;
  }
}

TEST(NextStep, NothingBeforeTroubleIsOver) {
  const Trouble trouble{{"HostUnavailable", "x", {}}, 3, kStart + 20s};
  EXPECT_EQ(next_step({}, kWanted, trouble, kMe, kStart).need, Need::kNothing);
  EXPECT_EQ(next_step({}, kWanted, trouble, kMe, kStart).again, 20s);
  EXPECT_EQ(next_step({}, kWanted, trouble, kMe, kStart + 20s).need, Need::kMint);
}

TEST(NextStep, ASessionThatMayNotPushAnyMoreHasNoGrace) {
  Wanted reading = kWanted;
  reading.write = false;
  Kept current = kept("2", kStart);
  current.write = false;
  const State state = with(current, {retired("1", kStart - 1min, kStart)});
  EXPECT_EQ(next_step(state, reading, {}, kMe, kStart).need, Need::kRevoke);
}

TEST(AfterFailure, WaitsLongerEachTimeAndAsLongAsTheHostAsks) {
  std::optional<Trouble> trouble;
  const seconds expected[] = {5s, 10s, 20s, 40s, 80s, 160s, 300s, 300s};
  for (const seconds pause : expected) {
    trouble = after_failure(trouble, {"HostUnavailable", "x", {}}, kStart);
    EXPECT_EQ(trouble->not_before - kStart, pause);
  }
  EXPECT_EQ(after_failure({}, {"HostRateLimited", "x", 900s}, kStart).not_before - kStart, 900s);
  EXPECT_EQ(after_failure({}, {"HostRateLimited", "x", 1s}, kStart).not_before - kStart, 5s);
}

json secret_of(const State& before, const State& after) {
  json secret{{"metadata", {{"name", "s"}}}};
  secret.merge_patch(state_patch({}, before, "bot"));
  secret.merge_patch(state_patch(before, after, "bot"));
  return secret;
}

TEST(State, ReadsWhatItWrote) {
  Kept valued = retired("1", kStart - 40min, kStart);
  valued.record.id = "";
  State state = with(kept("3", kStart), {valued, retired("2", kStart - 20min, kStart)},
                     Intent{"palisade-u-1-4", kStart, kMe});
  state.current->broad = "reaches 3 repositories";
  const json secret = secret_of({}, state);
  EXPECT_EQ(secret["data"].size(), 3U) << secret;  // token, username, retired-palisade-u-1-1
  const std::string annotation = secret["metadata"]["annotations"][kStateAnnotation];
  EXPECT_EQ(annotation.find("token-"), std::string::npos) << "no token outside of data";
  const State read = read_state(secret);
  ASSERT_TRUE(read.current && read.intent);
  EXPECT_EQ(read.current->record.value, "token-3");
  EXPECT_EQ(read.current->record.name, "palisade-u-1-3");
  EXPECT_EQ(read.current->expires, kStart + 1h);
  EXPECT_EQ(read.current->broad, "reaches 3 repositories");
  EXPECT_TRUE(read.current->write);
  EXPECT_EQ(read.intent->by, kMe);
  ASSERT_EQ(read.retired.size(), 2U);
  EXPECT_EQ(read.retired[0].record.value, "token-1");
  EXPECT_EQ(read.retired[0].since, kStart);
  EXPECT_EQ(read.retired[1].record.id, "7");
  EXPECT_EQ(read.retired[1].record.value, "") << "an id is enough";

  const json emptied = secret_of(state, {});
  EXPECT_TRUE(emptied["data"].empty()) << emptied;
  EXPECT_FALSE(emptied["metadata"]["annotations"].contains(kStateAnnotation));
}

TEST(State, OfAForeignHandIsLeftOut) {
  const json current{{"name", "palisade-u-1-1"},
                     {"id", "7"},
                     {"minted", "2026-03-01T12:00:00Z"},
                     {"expires", "2026-03-01T13:00:00Z"}};
  const auto secret = [](const std::string& text) {
    return json{{"metadata", {{"annotations", {{kStateAnnotation, text}}}}},
                {"data", {{"token", "dG9rZW4="}}}};
  };
  EXPECT_TRUE(read_state(secret(json{{"current", current}}.dump())).current);
  const json changes[] = {{{"name", "../../users/root"}},
                          {{"name", nullptr}},
                          {{"name", "other-1"}},
                          {{"name", std::string(300, 'x')}},
                          {{"id", "1/../../2"}},
                          {{"id", "12345678901234567890123"}},
                          {{"minted", "yesterday"}},
                          {{"expires", nullptr}},
                          {{"expires", 5}}};
  for (const json& change : changes) {
    json entry = current;
    entry.merge_patch(change);
    EXPECT_FALSE(read_state(secret(json{{"current", entry}}.dump())).current) << change;
  }
  for (const std::string& text :
       {std::string("["), std::string("null"), std::string("7"), std::string(R"({"retired": {}})"),
        std::string(R"({"current": []})"), std::string(R"({"intent": "x"})"),
        std::string(100'000, '[')})
    EXPECT_TRUE(read_state(secret(text)).empty()) << text.substr(0, 20);
  json many{{"retired", json::array()}};
  for (int i = 0; i < 1000; ++i)
    many["retired"].push_back(current);
  EXPECT_LE(read_state(secret(many.dump())).retired.size(), 32U);
  EXPECT_TRUE(read_state(nullptr).empty());
  json binary = secret(json{{"current", current}}.dump());
  binary["data"]["token"] = "AAEC";
  EXPECT_EQ(read_state(binary).current->record.value, "");
}

// Over random lives, with hosts that fail: none is minted before two thirds of the former one's
// life, the former ones do not pile up, and every wait has an end.
TEST(Life, HoldsOverRandomLives) {
  std::mt19937 random(20260301);
  for (int round = 0; round < 200; ++round) {
    const seconds life = seconds(std::uniform_int_distribution(600, 90'000)(random));
    const int failing = std::uniform_int_distribution(0, 60)(random);  // of a hundred
    State state;
    std::optional<Trouble> trouble;
    Time now = kStart;
    int minted = 0;
    int attempts = 0;
    for (int i = 0; i < 400; ++i) {
      const Step step = next_step(state, kWanted, trouble, kMe, now);
      if (step.need == Need::kNothing) {
        ASSERT_TRUE(step.again);
        ASSERT_GT(*step.again, 0s);
        now += *step.again;
        continue;
      }
      ++attempts;
      if (std::uniform_int_distribution(0, 99)(random) < failing) {
        trouble = after_failure(trouble, {"HostUnavailable", "x", {}}, now);
        continue;
      }
      trouble.reset();
      std::erase_if(state.retired, [&](const Kept& one) { return due(one, kWanted, now); });
      if (step.need == Need::kRevoke) continue;
      if (step.need == Need::kRenew) {
        ASSERT_TRUE(usable(state, kWanted, now));
        ASSERT_GE(now, renew_at(*state.current));
      }
      if (state.current) {
        state.current->since = now;
        state.retired.push_back(*state.current);
      }
      state.current = kept(std::to_string(++minted), now, life);
      ASSERT_LE(state.retired.size(), 3U) << "round " << round;
    }
    ASSERT_GT(minted, 3) << "round " << round;
    // One mint, and one round to take its predecessor back.
    if (failing == 0) {
      EXPECT_LE(attempts, 2 * minted) << "round " << round;
    }
  }
}

TEST(NextName, IsOfTheWorkspaceAndTheProcess) {
  const std::string name = next_name(kWanted, kStart, kMe);
  EXPECT_EQ(name, "palisade-u-1-1772366400000-aaaaaaaa");
  EXPECT_TRUE(name.starts_with(name_prefix("u-1")));
  EXPECT_FALSE(name.starts_with(name_prefix("u")) && name.starts_with(name_prefix("u-1-1")));
}

}  // namespace
}  // namespace palisade::op::tokens
