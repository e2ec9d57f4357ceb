// That a budget is spent, told on the workspace through a real API server.
#include <atomic>
#include <set>
#include <thread>
#include <utility>

#include <gateway/serve/budget_events.h>
#include <gmock/gmock.h>

#include <kube/envtest.h>

#include "coroutines.h"

namespace palisade::gateway::testing {
namespace {

using namespace std::chrono_literals;
using kube::Json;
using ::testing::HasSubstr;

const kube::Resource kEvents{"events.k8s.io", "v1", "events", "Event", true};

// Says what it is told to.
class Scripted final : public Budgets {
 public:
  Task<std::expected<std::unique_ptr<Reservation>, Refusal>> reserve(const Caller&,
                                                                     const Spent&) override {
    ++asked;
    if (!refusal) co_return std::unique_ptr<Reservation>();
    co_return std::unexpected(*refusal);
  }
  std::optional<Refusal> refusal;
  std::atomic<int> asked{0};
};

class BudgetEventsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast, 5s);
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }
  void SetUp() override {
    static int number = 0;
    ns_ = "told-" + std::to_string(++number);
    const auto made = client_->create(
        kube::resources::kNamespaces, "",
        {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", ns_}}}});
    ASSERT_TRUE(made) << made.error().text();
  }

  [[nodiscard]] Caller caller(const std::string& name) const {
    return {ns_, name, "uid-of-" + name, name + "-agent", "pod", std::make_shared<const Grant>()};
  }
  [[nodiscard]] std::vector<Json> events(std::size_t least) const {
    std::vector<Json> out;
    for (const auto deadline = std::chrono::steady_clock::now() + 30s;
         std::chrono::steady_clock::now() < deadline; std::this_thread::sleep_for(50ms)) {
      const auto listed = client_->list(kEvents, {.ns = ns_,
                                                  .label_selector = {},
                                                  .field_selector = {},
                                                  .resource_version = {},
                                                  .resource_version_match = {},
                                                  .limit = 500,
                                                  .continue_token = {}});
      EXPECT_TRUE(listed) << listed.error().text();
      if (!listed) break;
      out = listed->items;
      if (out.size() >= least) break;
    }
    return out;
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<kube::Client> client_;
  std::string ns_;
  std::shared_ptr<Scripted> budgets_ = std::make_shared<Scripted>();
};

TEST_F(BudgetEventsTest, ASpentBudgetIsToldOnTheWorkspaceOnce) {
  BudgetEvents told(budgets_, client_);
  EXPECT_TRUE(result_of(told.reserve(caller("fix"), {1, 0})));
  budgets_->refusal = Refusal{429, "rate_limited", "too fast"};
  EXPECT_FALSE(result_of(told.reserve(caller("fix"), {1, 0})));
  budgets_->refusal = Refusal{503, "budget_unknown", "no API server"};
  EXPECT_FALSE(result_of(told.reserve(caller("fix"), {1, 0})));
  budgets_->refusal =
      Refusal{429, "budget_exceeded",
              "AgentWorkspace " + ns_ + "/fix may use 1000 tokens, of which 3 are left"};
  for (int i = 0; i < 50; ++i) {
    const auto out = result_of(told.reserve(caller("fix"), {1, 0}));
    ASSERT_FALSE(out);
    EXPECT_EQ(out.error().code, "budget_exceeded") << "it is passed on as it is";
  }
  budgets_->refusal =
      Refusal{429, "budget_exceeded", "namespace " + ns_ + " may use 9 tokens a day (UTC)"};
  EXPECT_FALSE(result_of(told.reserve(caller("other"), {1, 0})));
  const auto seen = events(2);
  ASSERT_EQ(seen.size(), 2U);
  EXPECT_EQ(budgets_->asked, 54);
  std::set<std::string> names;
  for (const Json& event : seen) {
    EXPECT_EQ(event["reason"], "BudgetSpent");
    EXPECT_EQ(event["type"], "Warning");
    EXPECT_EQ(event["regarding"]["kind"], "AgentWorkspace");
    const std::string name = event["regarding"]["name"];
    EXPECT_EQ(event["regarding"]["uid"], "uid-of-" + name);
    names.insert(name);
    const std::string note = event["note"];
    if (name == "fix") {
      EXPECT_THAT(note, HasSubstr("may use 1000 tokens, of which 3 are left"));
      EXPECT_THAT(note, HasSubstr("does not renew"));
    } else {
      EXPECT_THAT(note, HasSubstr("a day (UTC)"));
      EXPECT_THAT(note, ::testing::Not(HasSubstr("renew")));
    }
    EXPECT_FALSE(event.contains("series")) << "the gateway may only create";
  }
  EXPECT_EQ(names, (std::set<std::string>{"fix", "other"}));
}

TEST_F(BudgetEventsTest, IsToldAgainLater) {
  BudgetEvents told(budgets_, client_, 1ms);
  budgets_->refusal = Refusal{429, "budget_exceeded", "AgentWorkspace may use 1 tokens"};
  EXPECT_FALSE(result_of(told.reserve(caller("fix"), {1, 0})));
  EXPECT_EQ(events(1).size(), 1U);
  budgets_->refusal = Refusal{429, "budget_exceeded", "AgentWorkspace may use 2 tokens"};
  EXPECT_FALSE(result_of(told.reserve(caller("fix"), {1, 0})));
  EXPECT_EQ(events(2).size(), 2U);
}

}  // namespace
}  // namespace palisade::gateway::testing
