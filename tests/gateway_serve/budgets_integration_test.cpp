// Replicas that share budgets through a real API server, and what happens when they, or it, die.
#include <atomic>
#include <filesystem>
#include <random>
#include <thread>
#include <utility>

#include <gateway/serve/budgets.h>
#include <gateway/serve/ledger.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <kube/envtest.h>

#include "definitions.h"
#include "gateway_serve/coroutines.h"

namespace palisade::gateway::testing {
namespace {

using namespace std::chrono_literals;
using kube::Json;
using ::testing::HasSubstr;
namespace resources = kube::resources;

constexpr const char* kOwn = "palisade-gateway";
const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace",
                                 true};

class BudgetsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    spdlog::set_level(spdlog::level::critical);
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    const auto installed = install_definitions(*env_, {"agentworkspaces"});
    ASSERT_TRUE(installed) << installed.error().text();
    client_ = connect();
    make_namespace(kOwn);
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }
  void SetUp() override {
    ASSERT_TRUE(client_);
    static int number = 0;
    ns_ = "team-" + std::to_string(++number);
    make_namespace(ns_);
  }

  static std::shared_ptr<kube::Client> connect() {
    return kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast, 3s);
  }
  static void make_namespace(const std::string& name) {
    const auto made = client_->create(
        resources::kNamespaces, "",
        {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}}}});
    ASSERT_TRUE(made) << made.error().text();
  }
  [[nodiscard]] static std::unique_ptr<KubeBudgets> replica(BudgetsOptions options = {}) {
    options.ns = kOwn;
    if (options.flush == BudgetsOptions().flush) options.flush = 100ms;
    auto out = std::make_unique<KubeBudgets>(connect(), options);
    out->start();
    return out;
  }
  [[nodiscard]] Caller caller(Budget workspace, Budget ns = {},
                              const std::string& uid = "uid-1") const {
    Grant grant;
    grant.workspace_budget = workspace;
    grant.namespace_budget = ns;
    return {ns_,     "fix-login",
            uid,     "fix-login-agent",
            "pod-1", std::make_shared<const Grant>(std::move(grant))};
  }
  [[nodiscard]] std::optional<Ledger> ledger() const {
    const auto object =
        client_->get(resources::kConfigMaps, kOwn, std::string(kBudgetPrefix) + ns_);
    if (!object) return std::nullopt;
    auto read = Ledger::parse(object->at("data").at("ledger.json").get<std::string>());
    EXPECT_TRUE(read) << read.error();
    return *read;
  }
  [[nodiscard]] std::int64_t taken(const std::string& uid = "uid-1") const {
    const auto now = ledger();
    if (!now || !now->workspaces.contains(uid)) return 0;
    return now->workspaces.at(uid).taken.tokens;
  }
  static Budget tokens(std::int64_t limit) {
    return {.tokens = limit, .requests_per_minute = {}, .cost = {}};
  }
  static Budget rate(std::int64_t limit) {
    return {.tokens = {}, .requests_per_minute = limit, .cost = {}};
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<kube::Client> client_;
  std::string ns_;
};

TEST_F(BudgetsTest, WhatIsSpentSurvivesARestart) {
  const Caller who = caller(tokens(1000));
  {
    const auto first = replica();
    auto held = result_of(first->reserve(who, {400, 0}));
    ASSERT_TRUE(held) << held.error().message;
    (*held)->settle({300, 0});
    first->stop(10s);
  }
  EXPECT_EQ(taken(), 300);
  const auto second = replica();
  const auto refused = result_of(second->reserve(who, {701, 0}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 429);
  EXPECT_EQ(refused.error().code, "budget_exceeded");
  EXPECT_THAT(refused.error().message, HasSubstr("700 tokens are left"));
  EXPECT_TRUE(result_of(second->reserve(who, {700, 0})));
}

TEST_F(BudgetsTest, GivesBackWhatIsNotSpent) {
  const auto one = replica();
  {
    auto held = result_of(one->reserve(caller(tokens(100'000)), {1000, 0}));
    ASSERT_TRUE(held) << held.error().message;
    EXPECT_GT(taken(), 1000) << "it takes some ahead";
  }
  EXPECT_TRUE(eventually([&] { return taken() == 0; })) << "unsettled and idle, all goes back";
}

TEST_F(BudgetsTest, TenRequestsAMinuteAreTenWhicheverReplicaIsAsked) {
  const auto one = replica();
  const auto two = replica();
  const Caller who = caller(rate(10));
  const auto minute = [] {
    return std::chrono::floor<std::chrono::minutes>(std::chrono::system_clock::now());
  };
  // Asked within one minute; else once more.
  for (int attempt = 0; attempt < 3; ++attempt) {
    const auto begin = minute();
    const auto before = ledger();
    if (before && before->workspaces.at("uid-1").window.minute == begin.time_since_epoch().count())
      std::this_thread::sleep_until(begin + 1min);
    const auto started = minute();
    std::atomic<int> given{0};
    std::atomic<int> limited{0};
    {
      std::vector<std::jthread> clients;
      for (KubeBudgets* replica : {one.get(), one.get(), two.get(), two.get()}) {
        clients.emplace_back([&, replica] {
          for (int i = 0; i < 10; ++i) {
            const auto held = result_of(replica->reserve(who, {}));
            if (held) {
              ++given;
            } else {
              EXPECT_EQ(held.error().code, "rate_limited") << held.error().message;
              ++limited;
            }
          }
        });
      }
    }
    if (minute() != started) continue;
    EXPECT_EQ(given, 10);
    EXPECT_EQ(limited, 30);
    return;
  }
  FAIL() << "no minute was long enough";
}

// Two replicas at full speed: allotments grow, so that hardly any call waits for the ledger, what
// they give together stays within the budget, and what they hold unspent comes back.
TEST_F(BudgetsTest, AtFullSpeedHardlyAnyCallWaitsAndBudgetsHold) {
  constexpr std::int64_t kEach = 100;
  constexpr int kCalls = 4'000;  // of a replica
  const Caller who = caller(tokens(100'000'000), tokens(200'000'000));
  std::int64_t waits = 0;
  {
    const auto one = replica();
    const auto two = replica();
    std::vector<std::jthread> clients;
    for (KubeBudgets* here : {one.get(), two.get()}) {
      clients.emplace_back([&, here] {
        for (int i = 0; i < kCalls; ++i) {
          auto held = result_of(here->reserve(who, {kEach, 0}));
          ASSERT_TRUE(held) << held.error().message;
          (*held)->settle({kEach, 0});
        }
      });
    }
    clients.clear();
    waits = static_cast<std::int64_t>(one->counters().waits + two->counters().waits);
    EXPECT_GE(taken(), 2 * kCalls * kEach) << "what is spent stands in the ledger before it is";
    one->stop(10s);
    two->stop(10s);
  }
  EXPECT_GT(waits, 1);
  EXPECT_LT(waits, 2 * kCalls / 32 / 2) << "fewer than with allotments of one size";
  EXPECT_EQ(taken(), 2 * kCalls * kEach) << "the rest went back";

  // The same of a budget that is smaller than what they ask for.
  const Caller poor = caller(tokens(300'000), {}, "uid-2");
  std::atomic<int> given{0};
  {
    const auto one = replica();
    const auto two = replica();
    std::vector<std::jthread> clients;
    for (KubeBudgets* here : {one.get(), two.get()}) {
      clients.emplace_back([&, here] {
        for (int i = 0; i < kCalls; ++i) {
          auto held = result_of(here->reserve(poor, {kEach, 0}));
          if (!held) {
            // On a machine that is busy with other things a write may take too long: try again.
            if (held.error().code == "budget_unknown") continue;
            EXPECT_EQ(held.error().code, "budget_exceeded") << held.error().message;
            return;
          }
          ++given;
          (*held)->settle({kEach, 0});
        }
      });
    }
  }
  EXPECT_LE(given, 3'000);
  EXPECT_GE(given, 3'000 - 2 * 3'000 / 16) << "but for what the other holds";
}

// Replicas are killed with calls under way, and come back; in between the API server's answers are
// cut off. What callers were given never exceeds the budget.
TEST_F(BudgetsTest, HammeredKilledAndCutOffNeverGivesMore) {
  constexpr std::int64_t kLimit = 400'000;
  constexpr std::int64_t kPerDay = 300'000;
  const Caller who = caller(tokens(kLimit), tokens(kPerDay));
  std::atomic<std::int64_t> spent{0};
  std::atomic<int> given{0};
  std::atomic<int> refused{0};
  std::atomic<int> kills{0};
  {
    std::vector<std::jthread> replicas;
    for (unsigned seed = 0; seed < 2; ++seed) {
      replicas.emplace_back([&, seed] {
        std::mt19937 random(seed);
        for (int life = 0; life < 6; ++life) {
          const auto here = replica();
          std::vector<std::jthread> clients;
          for (unsigned client = 0; client < 3; ++client) {
            clients.emplace_back([&, number = random()] {
              std::mt19937 own(number);
              for (int i = 0; i < 40; ++i) {
                const auto amount = static_cast<std::int64_t>(own() % 2000);
                auto held = result_of(here->reserve(who, {amount, 0}));
                if (!held) {
                  ++refused;
                  continue;
                }
                ++given;
                // Upstream has used it, whatever becomes of this replica.
                const bool dies = own() % 10 == 0;
                const std::int64_t used =
                    dies ? amount : static_cast<std::int64_t>(own() % 2001) * amount / 2000;
                spent += used;
                (*held)->settle({used, 0});
              }
            });
          }
          clients.clear();
          if (random() % 3 == 0) {
            here->stop(10s);
          } else {
            ++kills;  // by its destructor, which writes nothing
          }
        }
      });
    }
    std::this_thread::sleep_for(700ms);
    ASSERT_TRUE(env_->stop_apiserver(kube::EnvTest::Stop::kAbrupt));
    ASSERT_TRUE(env_->start_apiserver());
  }
  EXPECT_LE(spent, kPerDay);
  EXPECT_GT(given, 100);
  EXPECT_GT(kills, 0);
  const auto now = ledger();
  ASSERT_TRUE(now);
  EXPECT_LE(now->workspaces.at("uid-1").taken.tokens, kLimit);
  for (const auto& [day, amount] : now->days)
    EXPECT_LE(amount.tokens, kPerDay);
  RecordProperty("given", given);
  RecordProperty("refused", refused);
}

TEST_F(BudgetsTest, WithoutTheApiServerOnlyWhatIsHeldIsSpent) {
  const auto one = replica();
  const Caller who = caller(tokens(16'000));
  ASSERT_TRUE(result_of(one->reserve(who, {100, 0})));
  const std::int64_t held = taken();
  ASSERT_GT(held, 200);
  ASSERT_TRUE(env_->stop_apiserver(kube::EnvTest::Stop::kAbrupt));
  std::int64_t spent = 0;
  std::optional<Refusal> refusal;
  for (int i = 0; i < 1000 && !refusal; ++i) {
    auto more = result_of(one->reserve(who, {100, 0}));
    if (!more) {
      refusal = more.error();
    } else {
      spent += 100;
      (*more)->settle({100, 0});
    }
  }
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->status, 503);
  EXPECT_EQ(refusal->code, "budget_unknown");
  EXPECT_GT(spent, 0) << "what was held could be spent";
  EXPECT_LE(spent, held);
  ASSERT_TRUE(env_->start_apiserver());
  EXPECT_TRUE(eventually([&] { return result_of(one->reserve(who, {100, 0})).has_value(); }));
}

TEST_F(BudgetsTest, ALedgerThatCannotBeReadIsNoEmptyOne) {
  const auto one = replica();
  ASSERT_TRUE(result_of(one->reserve(caller(tokens(1000)), {900, 0})));
  const auto broken = client_->patch(resources::kConfigMaps, kOwn, std::string(kBudgetPrefix) + ns_,
                                     kube::PatchType::kMerge, {{"data", {{"ledger.json", "{}"}}}});
  ASSERT_TRUE(broken) << broken.error().text();
  const auto two = replica();
  const auto refused = result_of(two->reserve(caller(tokens(1000)), {900, 0}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 503);
}

TEST_F(BudgetsTest, EntriesOfWorkspacesThatAreGoneAreRemoved) {
  const auto made = client_->create(
      kWorkspaces, ns_,
      {{"apiVersion", "palisade.dev/v1alpha1"},
       {"kind", "AgentWorkspace"},
       {"metadata", {{"name", "lives"}, {"namespace", ns_}}},
       {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}});
  ASSERT_TRUE(made) << made.error().text();
  const std::string lives = made->at("metadata").at("uid");
  BudgetsOptions options;
  options.sweep = 200ms;
  const auto follower = replica([] {
    BudgetsOptions out;
    out.term = [] { return std::nullopt; };
    out.sweep = 200ms;
    return out;
  }());
  for (const std::string& uid : {lives, std::string("gone"), std::string("forgotten")}) {
    auto held = result_of(follower->reserve(caller(tokens(1000), {}, uid), {100, 0}));
    ASSERT_TRUE(held) << held.error().message;
    (*held)->settle({100, 0});
  }
  EXPECT_EQ(ledger()->workspaces.size(), 3U);
  follower->forget(ns_, "forgotten");
  EXPECT_TRUE(eventually([&] { return ledger()->workspaces.size() == 2; }));
  EXPECT_TRUE(ledger()->workspaces.contains("gone")) << "who does not lead does not sweep";
  const auto leader = replica(options);
  EXPECT_TRUE(eventually([&] {
    const auto now = ledger();
    return now && now->workspaces.size() == 1 && now->workspaces.contains(lives);
  }));
  // The namespace's day outlives all its workspaces, and the ledger its last day.
  const auto removed = client_->remove(kWorkspaces, ns_, "lives");
  ASSERT_TRUE(removed) << removed.error().text();
  EXPECT_TRUE(eventually([&] { return ledger()->workspaces.empty(); }));
  EXPECT_EQ(ledger()->days.size(), 1U);
  Ledger old;
  old.days[20'000] = {1, 1};
  ASSERT_TRUE(client_->patch(resources::kConfigMaps, kOwn, std::string(kBudgetPrefix) + ns_,
                             kube::PatchType::kMerge, {{"data", {{"ledger.json", old.dump()}}}}));
  EXPECT_TRUE(eventually([&] { return !ledger(); }));
}

}  // namespace
}  // namespace palisade::gateway::testing
