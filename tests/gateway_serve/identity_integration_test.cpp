// Tokens as a real API server issues, verifies and revokes them.
#include <atomic>
#include <thread>
#include <utility>

#include <boost/asio/detached.hpp>
#include <gateway/serve/identity.h>
#include <gateway/serve/keys.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "gateway_serve/cluster.h"
#include "gateway_serve/coroutines.h"

namespace palisade::gateway::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class IdentityTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    spdlog::set_level(spdlog::level::critical);
    cluster_ = std::make_unique<Cluster>();
    gone_ = std::make_unique<std::atomic<int>>(0);
    DirectoryEvents events;
    events.workspace_gone = [](std::string_view, std::string_view) { ++*gone_; };
    directory_ =
        std::make_unique<Directory>(cluster_->connect(), policy::Settings(), std::move(events));
    directory_->start();
    ASSERT_TRUE(eventually([] { return directory_->not_synced().empty(); }))
        << directory_->not_synced();
  }
  static void TearDownTestSuite() {
    directory_.reset();
    cluster_.reset();
  }
  void SetUp() override {
    static int number = 0;
    ns_ = "team-" + std::to_string(++number);
    cluster_->make_namespace(ns_);
  }
  static std::unique_ptr<TokenIdentity> identity(IdentityOptions options = {}) {
    return std::make_unique<TokenIdentity>(
        kube::Client::connect(cluster_->env().config(), kube::Client::TransportKind::kBeast, 3s),
        *directory_, std::move(options));
  }
  static std::expected<Caller, Refusal> ask(TokenIdentity& identity, const std::string& token) {
    return result_of(identity.identify(token));
  }

  static inline std::unique_ptr<Cluster> cluster_;
  static inline std::unique_ptr<std::atomic<int>> gone_;
  static inline std::unique_ptr<Directory> directory_;
  std::string ns_;
};

TEST_F(IdentityTest, ATokenOfAnAgentPodIsItsWorkspace) {
  const Agent agent = cluster_->make_agent(
      ns_, "fix-login", {{"llm", {{"models", {"large"}}, {"budget", {{"tokens", 1000}}}}}});
  const auto who = identity();
  const auto caller = ask(*who, cluster_->token(agent));
  ASSERT_TRUE(caller) << caller.error().message;
  EXPECT_EQ(caller->ns, ns_);
  EXPECT_EQ(caller->workspace, "fix-login");
  EXPECT_EQ(caller->workspace_uid, agent.workspace_uid);
  EXPECT_EQ(caller->pod, "fix-login-agent");
  EXPECT_EQ(caller->pod_uid, agent.pod_uid);
  EXPECT_THAT(caller->grant->models, ElementsAre("gpt-4o", "large"));
  EXPECT_EQ(caller->grant->workspace_budget.tokens, 1000);
  ASSERT_TRUE(caller->grant->repository);
  EXPECT_TRUE(caller->grant->repository->read_only) << "it has no credentials";
}

TEST_F(IdentityTest, WhateverElseIsRefused) {
  const Agent agent = cluster_->make_agent(ns_, "one");
  const Agent other = cluster_->make_agent(ns_, "two");
  cluster_->make_account(ns_, "plain");
  Agent unlabelled{ns_, "unlabelled", cluster_->make_workspace(ns_, "unlabelled"), ""};
  cluster_->make_account(ns_, unlabelled.pod());
  unlabelled.pod_uid = cluster_->make_pod(
      unlabelled, {{"metadata", {{"labels", {{"palisade.dev/agent", nullptr}}}}}});
  Agent by_hand{ns_, "by-hand", "", ""};
  cluster_->make_account(ns_, by_hand.pod());
  by_hand.pod_uid = cluster_->make_pod(by_hand, {{"metadata", {{"ownerReferences", nullptr}}}});
  // Its owner has the name of another workspace than its UID.
  Agent claims{ns_, "one", other.workspace_uid, ""};
  cluster_->make_account(ns_, "claims");
  claims.pod_uid = cluster_->make_pod(
      claims, {{"metadata", {{"name", "claims"}}}, {"spec", {{"serviceAccountName", "claims"}}}});
  Agent uncontrolled{ns_, "uncontrolled", agent.workspace_uid, ""};
  cluster_->make_account(ns_, uncontrolled.pod());
  uncontrolled.pod_uid = cluster_->make_pod(
      uncontrolled, {{"metadata",
                      {{"ownerReferences", Json::array({{{"apiVersion", "palisade.dev/v1alpha1"},
                                                         {"kind", "AgentWorkspace"},
                                                         {"name", "one"},
                                                         {"uid", agent.workspace_uid}}})}}}});
  Agent elsewhere{ns_, "elsewhere", agent.workspace_uid, ""};
  cluster_->make_account(ns_, elsewhere.pod());
  elsewhere.pod_uid = cluster_->make_pod(
      elsewhere, {{"metadata",
                   {{"ownerReferences", Json::array({{{"apiVersion", "apps/v1"},
                                                      {"kind", "AgentWorkspace"},
                                                      {"name", "one"},
                                                      {"uid", agent.workspace_uid},
                                                      {"controller", true}}})}}}});

  const std::string good = cluster_->token(agent);
  std::string forged = good;
  forged[forged.size() / 2] = forged[forged.size() / 2] == 'A' ? 'B' : 'A';
  // Long over, and signed by nobody.
  const auto url = [](const std::string& text) {
    std::string out = kube::encode_base64(text);
    std::erase(out, '=');
    return out;
  };
  const std::string expired = url(R"({"alg":"RS256","typ":"JWT"})") + "." +
                              url(R"({"aud":["palisade-gateway"],"exp":1500000000})") + "." +
                              url("signature");
  struct Case {
    const char* name;
    std::string token;
    int status;
    const char* says;
  };
  const Case cases[] = {
      {"none", "", 401, "no token"},
      {"garbage", "garbage", 401, "no ServiceAccount token"},
      {"100 KB", std::string(100'000, 'a') + ".b.c", 401, "too long"},
      {"forged", forged, 401, ""},
      {"expired", expired, 401, "does not accept"},
      {"the API server's audience",
       cluster_->token(ns_, agent.pod(), agent.pod(), agent.pod_uid,
                       "https://kubernetes.default.svc"),
       401, "another audience"},
      {"not bound to a pod", cluster_->token(ns_, "plain", "", ""), 401, "not bound to a pod"},
      {"a pod without the label", cluster_->token(unlabelled), 401, "does not carry the label"},
      {"a pod made by hand", cluster_->token(by_hand), 403, "no AgentWorkspace"},
      {"a pod that claims another's workspace",
       cluster_->token(ns_, "claims", "claims", claims.pod_uid), 401, "is gone"},
      {"an owner that is no controller", cluster_->token(uncontrolled), 403, "no AgentWorkspace"},
      {"an owner of another group", cluster_->token(elsewhere), 403, "no AgentWorkspace"},
  };
  IdentityOptions options;
  options.pod_patience = 300ms;
  const auto who = identity(options);
  for (const Case& one : cases) {
    const auto refused = ask(*who, one.token);
    ASSERT_FALSE(refused) << one.name;
    EXPECT_EQ(refused.error().status, one.status) << one.name << ": " << refused.error().message;
    EXPECT_THAT(refused.error().message, HasSubstr(one.says)) << one.name;
  }
  EXPECT_TRUE(ask(*who, good)) << "others are not affected";
}

TEST_F(IdentityTest, EndsWithThePodAndWithTheWorkspaceAtOnce) {
  const Agent agent = cluster_->make_agent(ns_, "short");
  IdentityOptions options;
  options.pod_patience = 100ms;
  const auto who = identity(options);
  const std::string token = cluster_->token(agent);
  ASSERT_TRUE(ask(*who, token));
  cluster_->remove(resources::kPods, ns_, agent.pod());
  EXPECT_TRUE(eventually([&] { return !ask(*who, token); }));
  // A pod of the same name is another.
  Agent again = agent;
  again.pod_uid = cluster_->make_pod(agent);
  const std::string fresh = cluster_->token(again);
  EXPECT_TRUE(eventually([&] { return ask(*who, fresh).has_value(); }));
  const auto old = ask(*who, token);
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().status, 401);

  const int before = *gone_;
  cluster_->remove(kWorkspaceKind, ns_, "short");
  EXPECT_TRUE(eventually([&] { return !ask(*who, fresh); }));
  EXPECT_TRUE(eventually([&] { return *gone_ > before; }));
  // And another workspace of that name is not the pod's.
  cluster_->make_workspace(ns_, "short");
  std::this_thread::sleep_for(500ms);  // the watch has seen it
  EXPECT_FALSE(ask(*who, fresh));
}

TEST_F(IdentityTest, PoliciesCountAtOnce) {
  const Agent agent = cluster_->make_agent(ns_, "bounded", {{"llm", {{"models", {"large"}}}}});
  const auto who = identity();
  const std::string token = cluster_->token(agent);
  ASSERT_TRUE(ask(*who, token));
  const auto models = [&] {
    const auto caller = ask(*who, token);
    return caller ? caller->grant->models : std::vector<std::string>{"refused"};
  };
  EXPECT_THAT(models(), ElementsAre("gpt-4o", "large"));
  cluster_->create(
      kPolicyKind, "",
      {{"apiVersion", "palisade.dev/v1alpha1"},
       {"kind", "AgentPolicy"},
       {"metadata", {{"name", ns_}}},
       {"spec",
        {{"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", ns_}}}}},
         {"allowedModels", {"large"}},
         {"llmBudget",
          {{"perWorkspace", {{"tokens", 7}}}, {"perNamespace", {{"tokensPerDay", 70}}}}}}}});
  EXPECT_TRUE(eventually([&] { return models() == std::vector<std::string>{"large"}; }));
  auto caller = ask(*who, token);
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller->grant->workspace_budget.tokens, 7);
  EXPECT_EQ(caller->grant->namespace_budget.tokens, 70);
  EXPECT_EQ(who->counters().reviews, 1U) << "one token, one review";
  // Of the workspace too.
  ASSERT_TRUE(cluster_->client()->patch(kWorkspaceKind, ns_, "bounded", kube::PatchType::kMerge,
                                        {{"spec", {{"llm", {{"budget", {{"tokens", 3}}}}}}}}));
  EXPECT_TRUE(eventually([&] {
    caller = ask(*who, token);
    return caller && caller->grant->workspace_budget.tokens == 3;
  }));
  cluster_->remove(kPolicyKind, "", ns_);
  EXPECT_TRUE(eventually([&] { return models().size() == 2; }));
}

TEST_F(IdentityTest, ManyAtOnceMakeOneReview) {
  const Agent agent = cluster_->make_agent(ns_, "busy");
  const auto who = identity();
  const std::string token = cluster_->token(agent);
  std::atomic<int> good{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        boost::asio::io_context io(1);
        for (int call = 0; call < 25; ++call) {
          boost::asio::co_spawn(
              io,
              [&]() -> Task<void> {
                const auto caller = co_await who->identify(token);
                good += caller ? 1 : 0;
              },
              boost::asio::detached);
        }
        io.run();
      });
    }
  }
  EXPECT_EQ(good, 200);
  EXPECT_EQ(who->counters().reviews, 1U);
}

// A coroutine that is destroyed while it asks leaves nobody waiting for ever.
TEST_F(IdentityTest, WhoeverGoesAwayLeavesTheReviewToOthers) {
  const Agent agent = cluster_->make_agent(ns_, "gone");
  const auto who = identity();
  const std::string token = cluster_->token(agent);
  {
    boost::asio::io_context io(1);
    boost::asio::co_spawn(
        io, [&]() -> Task<void> { static_cast<void>(co_await who->identify(token)); },
        boost::asio::detached);
    io.poll();  // it has asked, and is destroyed with its context
  }
  EXPECT_TRUE(ask(*who, token));
}

TEST_F(IdentityTest, IsBelievedNoLongerThanTheTokenLasts) {
  const Agent agent = cluster_->make_agent(ns_, "ends");
  IdentityOptions options;
  options.keep = 24h;
  std::atomic<int> minutes{0};
  options.now = [&] { return std::chrono::system_clock::now() + std::chrono::minutes(minutes); };
  const auto who = identity(options);
  const std::string token = cluster_->token(agent);
  ASSERT_TRUE(ask(*who, token));
  minutes = 5;
  ASSERT_TRUE(ask(*who, token));
  EXPECT_EQ(who->counters().reviews, 1U);
  minutes = 11;  // by this clock it is over: only the API server may say that it is not
  ASSERT_TRUE(ask(*who, token));
  EXPECT_EQ(who->counters().reviews, 2U);
}

TEST_F(IdentityTest, RefusalsAreKeptAndBounded) {
  cluster_->make_account(ns_, "plain");
  IdentityOptions options;
  options.max_refused = 3;
  const auto who = identity(options);
  const std::string unbound = cluster_->token(ns_, "plain", "", "");
  EXPECT_FALSE(ask(*who, unbound));
  EXPECT_FALSE(ask(*who, unbound));
  EXPECT_EQ(who->counters().reviews, 1U);
  for (int i = 0; i < 4; ++i)
    EXPECT_FALSE(ask(*who, unbound + std::string(static_cast<std::size_t>(i) + 1, 'A')));
  EXPECT_EQ(who->counters().reviews, 5U);
  EXPECT_FALSE(ask(*who, unbound)) << "it made room for the others";
  EXPECT_EQ(who->counters().reviews, 6U);
}

TEST_F(IdentityTest, WithoutTheApiServerTheKnownStayKnownForAWhile) {
  const Agent known = cluster_->make_agent(ns_, "known");
  const Agent unknown = cluster_->make_agent(ns_, "unknown");
  IdentityOptions options;
  std::atomic<int> seconds{0};
  options.now = [&] { return std::chrono::system_clock::now() + std::chrono::seconds(seconds); };
  const auto who = identity(options);
  const std::string token = cluster_->token(known);
  const std::string late = cluster_->token(unknown);
  ASSERT_TRUE(ask(*who, token));
  ASSERT_TRUE(cluster_->env().stop_apiserver(kube::EnvTest::Stop::kAbrupt));
  EXPECT_TRUE(ask(*who, token));
  const auto refused = ask(*who, late);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 503);
  EXPECT_EQ(refused.error().code, "identity_unknown");
  seconds = 61;
  const auto over = ask(*who, token);
  ASSERT_FALSE(over) << "not for longer than it may take to revoke it";
  EXPECT_EQ(over.error().status, 503);
  ASSERT_TRUE(cluster_->env().start_apiserver());
  EXPECT_TRUE(eventually([&] { return ask(*who, token) && ask(*who, late); }));
}

TEST_F(IdentityTest, KeysAreTheNewestOfTheGatewaysOwnNamespace) {
  const SecretKeys elsewhere(cluster_->connect(), "default");
  SecretKeys keys(cluster_->connect(), kOwnNamespace);
  cluster_->write_secret("openai", {{"api-key", "sk-1\n"}, {"empty", ""}, {"lines", "a\nb"}});
  cluster_->create(resources::kSecrets, ns_,
                   {{"apiVersion", "v1"},
                    {"kind", "Secret"},
                    {"metadata", {{"name", "others"}}},
                    {"data", {{"api-key", kube::encode_base64("x")}}}});
  keys.start();
  ASSERT_TRUE(eventually([&] { return keys.not_synced().empty(); }));
  EXPECT_EQ(keys.key("openai", "api-key"), "sk-1") << "without the line's end";
  EXPECT_FALSE(keys.key("openai", "empty"));
  EXPECT_FALSE(keys.key("openai", "lines")) << "it would end the header field";
  EXPECT_FALSE(keys.key("openai", "other"));
  EXPECT_FALSE(keys.key("others", "api-key"));
  cluster_->write_secret("openai", {{"api-key", "sk-2"}});
  EXPECT_TRUE(eventually([&] { return keys.key("openai", "api-key") == "sk-2"; }));
  cluster_->remove(resources::kSecrets, kOwnNamespace, "openai");
  EXPECT_TRUE(eventually([&] { return !keys.key("openai", "api-key"); }));
}

TEST_F(IdentityTest, GitTokensAreOfTheWorkspaceThatTheyName) {
  SecretKeys keys(cluster_->connect(), kOwnNamespace);
  keys.start();
  const Caller caller{"team-x",    "fix",   "uid-7",
                      "fix-agent", "pod-1", std::make_shared<const Grant>()};
  const Json label = {{"palisade.dev/git-token", "true"}};
  const auto metadata = [&](const Json& labels, const char* whose) {
    return Json{{"labels", labels}, {"annotations", {{"palisade.dev/workspace", whose}}}};
  };
  cluster_->write_secret("git-uid-7", {{"token", "t-1"}, {"username", "bot"}},
                         metadata(label, "team-x/fix"));
  EXPECT_TRUE(eventually([&] { return keys.git_token(caller) == "t-1"; }));
  EXPECT_EQ(keys.git_username(caller), "bot");
  EXPECT_FALSE(keys.key("git-uid-7", "token")) << "it is no LLM key";
  Caller other = caller;
  other.workspace_uid = "uid-8";
  EXPECT_FALSE(keys.git_token(other));
  other.workspace_uid = "";
  EXPECT_FALSE(keys.git_token(other));
  // Rotated in place.
  cluster_->write_secret("git-uid-7", {{"token", "t-2"}}, metadata(label, "team-x/fix"));
  EXPECT_TRUE(eventually([&] { return keys.git_token(caller) == "t-2"; }));
  for (const Json& wrong :
       {metadata(label, "team-x/other"), metadata(label, "team-y/fix"), metadata(label, ""),
        metadata({{"palisade.dev/git-token", "false"}}, "team-x/fix"),
        metadata(Json::object(), "team-x/fix")}) {
    cluster_->write_secret("git-uid-7", {{"token", "t-2"}}, metadata(label, "team-x/fix"));
    EXPECT_TRUE(eventually([&] { return keys.git_token(caller).has_value(); })) << wrong;
    cluster_->write_secret("git-uid-7", {{"token", "t-2"}}, wrong);
    EXPECT_TRUE(eventually([&] { return !keys.git_token(caller); })) << wrong;
  }
}

}  // namespace
}  // namespace palisade::gateway::testing
