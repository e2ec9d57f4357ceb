// The gateway's parts that read the cluster, with the Roles that the chart gives with
// watchNamespaces and no other right.
#include <utility>

#include <gateway/serve/budgets.h>
#include <gateway/serve/identity.h>
#include <gateway/serve/ledger.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "chart/rights.h"
#include "gateway_serve/cluster.h"
#include "gateway_serve/coroutines.h"

namespace palisade::gateway::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class NamespacedTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    spdlog::set_level(spdlog::level::critical);
    rendered_ = chart::testing::objects({R"(watchNamespaces=["team-a", "team-later"])"});
    cluster_ = std::make_unique<Cluster>();
    for (const char* ns : {"team-a", "outside"})
      cluster_->make_namespace(ns);
    EXPECT_EQ(grant(), std::set<std::string>{"team-later"});
    client_ = kube::Client::connect(chart::testing::as_account(cluster_->env(), *cluster_->client(),
                                                               kOwnNamespace, "palisade-gateway"),
                                    kube::Client::TransportKind::kBeast, 5s);
  }
  static void TearDownTestSuite() {
    client_.reset();
    cluster_.reset();
    rendered_.clear();
  }
  static std::set<std::string> grant() {
    return chart::testing::grant(*cluster_->client(), rendered_, "palisade-gateway");
  }

  static inline std::vector<Json> rendered_;
  static inline std::unique_ptr<Cluster> cluster_;
  static inline std::shared_ptr<const kube::Client> client_;
};

TEST_F(NamespacedTest, AgentsOfTheseNamespacesAreKnownAndOneThatIsMissingHoldsUpNoOther) {
  Directory directory(client_, policy::Settings(), {}, {"team-a", "team-later"});
  directory.start();
  ASSERT_TRUE(eventually([&] { return directory.not_synced().empty(); })) << directory.not_synced();
  TokenIdentity identity(client_, directory, {});
  const auto ask = [&](const Agent& agent) {
    return result_of(identity.identify(cluster_->token(agent)));
  };
  const auto known = ask(cluster_->make_agent("team-a", "fix-login"));
  ASSERT_TRUE(known) << known.error().message;
  EXPECT_EQ(known->workspace, "fix-login");

  const auto stranger = ask(cluster_->make_agent("outside", "fix-login"));
  ASSERT_FALSE(stranger);
  EXPECT_EQ(stranger.error().status, 403);
  EXPECT_EQ(stranger.error().code, "namespace_not_watched");
  EXPECT_THAT(stranger.error().message, HasSubstr("namespace outside is none of those"));

  cluster_->make_namespace("team-later");
  const Agent late = cluster_->make_agent("team-later", "fix-login");
  const auto waits = ask(late);
  ASSERT_FALSE(waits);
  EXPECT_EQ(waits.error().status, 503);
  EXPECT_THAT(waits.error().message, HasSubstr("namespace team-later: 403 Forbidden"));
  EXPECT_TRUE(grant().empty());
  EXPECT_TRUE(eventually([&] { return ask(late).has_value(); }, 120s));
}

TEST_F(NamespacedTest, NoneThatCanBeWatchedIsNotReady) {
  Directory directory(client_, policy::Settings(), {}, {"nowhere"});
  directory.start();
  EXPECT_TRUE(eventually([&] {
    return directory.not_synced().find("namespace nowhere: 403 Forbidden") != std::string::npos;
  })) << directory.not_synced();
}

// A label of the namespace counts after some seconds: the next AgentPolicy binds.
TEST_F(NamespacedTest, AgentPoliciesBindByTheNamespacesLabels) {
  Directory directory(client_, policy::Settings(), {}, {"team-a"});
  directory.start();
  ASSERT_TRUE(eventually([&] { return directory.not_synced().empty(); }));
  TokenIdentity identity(client_, directory, {});
  const Agent agent = cluster_->make_agent("team-a", "bound");
  cluster_->create(kPolicyKind, "",
                   {{"apiVersion", "palisade.dev/v1alpha1"},
                    {"kind", "AgentPolicy"},
                    {"metadata", {{"name", "narrow"}}},
                    {"spec",
                     {{"namespaceSelector", {{"matchLabels", {{"bound", "yes"}}}}},
                      {"allowedModels", {"small"}}}}});
  const auto models = [&] {
    const auto caller = result_of(identity.identify(cluster_->token(agent)));
    return caller ? caller->grant->models : std::vector<std::string>{caller.error().message};
  };
  EXPECT_THAT(models(), ElementsAre("gpt-4o"));
  const auto labelled =
      cluster_->client()->patch(resources::kNamespaces, "", "team-a", kube::PatchType::kMerge,
                                {{"metadata", {{"labels", {{"bound", "yes"}}}}}});
  ASSERT_TRUE(labelled) << labelled.error().text();
  EXPECT_TRUE(eventually([&] { return models().empty(); }));
}

TEST_F(NamespacedTest, LedgersOfOthersAreLetBe) {
  const auto write = [&](const std::string& ns) {
    Ledger ledger;
    ledger.days[20'000] = {1, 1};
    cluster_->create(resources::kConfigMaps, kOwnNamespace,
                     {{"apiVersion", "v1"},
                      {"kind", "ConfigMap"},
                      {"metadata",
                       {{"name", std::string(kBudgetPrefix) + ns},
                        {"labels", {{std::string(kBudgetLabel), "true"}}}}},
                      {"data", {{"ledger.json", ledger.dump()}}}});
  };
  // In the order in which they are listed: the other's is passed over before team-b's goes.
  write("outside");
  write("team-b");
  cluster_->make_namespace("team-b");
  const auto rights = chart::testing::objects({R"(watchNamespaces=["team-b"])"});
  ASSERT_TRUE(chart::testing::grant(*cluster_->client(), rights, "palisade-gateway").empty());
  BudgetsOptions options;
  options.ns = kOwnNamespace;
  options.namespaces = {"team-b"};
  options.sweep = 200ms;
  KubeBudgets budgets(client_, std::move(options));
  budgets.start();
  const auto there = [&](const std::string& ns) {
    return cluster_->client()
        ->get(resources::kConfigMaps, kOwnNamespace, std::string(kBudgetPrefix) + ns)
        .has_value();
  };
  EXPECT_TRUE(eventually([&] { return !there("team-b"); }));
  EXPECT_TRUE(there("outside"));
  budgets.stop(1s);
}

}  // namespace
}  // namespace palisade::gateway::testing
