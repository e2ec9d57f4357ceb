// The whole program, in two replicas, on a real API server: tokens bound to pods, an upstream, and
// what changes while it runs.
#include <algorithm>
#include <set>
#include <thread>
#include <utility>

#include <gateway/serve/budgets.h>
#include <gateway/serve/ledger.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <kube/certificates.h>

#include "gateway_serve/program.h"

namespace palisade::gateway::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

const std::string kChat = "/v1/chat/completions";

std::string prompt(const std::string& model, bool stream = false) {
  return Json{{"model", model},
              {"stream", stream},
              {"max_tokens", 50},
              {"messages", Json::array({{{"role", "user"}, {"content", "hi"}}})}}
      .dump();
}

class GatewayTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::signal(SIGPIPE, SIG_IGN);
    spdlog::set_level(spdlog::level::critical);
    std::string name = fs::temp_directory_path() / "palisade-gateway-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    fs::create_directory(folder_ / "spool");
    upstream_ = std::make_unique<Upstream>();
    cluster_ = std::make_unique<Cluster>();
    cluster_->write_secret("openai", {{"api-key", "sk-first"}});
    write_config(config());
    one_ = start("one");
    two_ = start("two");
    ASSERT_TRUE(one_->becomes_ready()) << one_->log();
    ASSERT_TRUE(two_->becomes_ready()) << two_->log();
  }
  static void TearDownTestSuite() {
    one_.reset();
    two_.reset();
    cluster_.reset();
    upstream_.reset();
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  void SetUp() override {
    ASSERT_TRUE(two_);
    static int number = 0;
    ns_ = "team-" + std::to_string(++number);
    cluster_->make_namespace(ns_);
    upstream_->hold();
  }

  static std::unique_ptr<Gateway> start(const std::string& name) {
    return std::make_unique<Gateway>(Gateway::Options{
        cluster_->env().kubeconfig_path(), folder_ / "gateway.json", folder_ / (name + ".log")});
  }
  static Json config() {
    const auto model = [](const char* name) {
      return Json{{"name", name},
                  {"routes", Json::array({{{"upstream", "openai"}, {"model", name}}})},
                  {"price", {{"inputPerMillion", "1.00"}, {"outputPerMillion", "2.00"}}}};
    };
    return {
        {"llm",
         {{"upstreams", Json::array({{{"name", "openai"},
                                      {"url", upstream_->url()},
                                      {"kind", "openai"},
                                      {"keySecret", {{"name", "openai"}, {"key", "api-key"}}}}})},
          {"models", Json::array({model("gpt-4o"), model("slow")})}}},
        {"git", {{"spool", (folder_ / "spool").string()}}}};
  }
  // As the kubelet does it: the file is another at once.
  static void write_config(const Json& document) {
    std::ofstream(folder_ / "next") << document.dump();
    fs::rename(folder_ / "next", folder_ / "gateway.json");
  }
  static std::string authorities() {
    const auto trust =
        cluster_->client()->get(resources::kConfigMaps, kOwnNamespace, "palisade-gateway-ca");
    return trust ? trust->at("data").at("ca.crt").get<std::string>() : std::string();
  }
  static Reply ask(const Gateway& gateway, const std::string& token, const std::string& body) {
    Wire wire(gateway.port(), authorities());
    return call(wire, "POST", kChat, token, body);
  }
  // Whichever model; slow ones are allowed too.
  [[nodiscard]] Agent agent(const std::string& name, const Json& budget = nullptr) const {
    Json llm = {{"models", {"slow"}}};
    if (!budget.is_null()) llm["budget"] = budget;
    return cluster_->make_agent(ns_, name, {{"llm", llm}});
  }
  [[nodiscard]] std::optional<Ledger> ledger() const {
    const auto object = cluster_->client()->get(resources::kConfigMaps, kOwnNamespace,
                                                std::string(kBudgetPrefix) + ns_);
    if (!object) return std::nullopt;
    return Ledger::parse(object->at("data").at("ledger.json").get<std::string>()).value();
  }

  static inline fs::path folder_;
  static inline std::unique_ptr<Upstream> upstream_;
  static inline std::unique_ptr<Cluster> cluster_;
  static inline std::unique_ptr<Gateway> one_;
  static inline std::unique_ptr<Gateway> two_;
  std::string ns_;
};

TEST_F(GatewayTest, AnswersAWorkspaceWithAKeyThatItNeverSees) {
  const Agent who = agent("chat");
  const std::string token = cluster_->token(who);
  const Reply answer = ask(*one_, token, prompt("gpt-4o"));
  ASSERT_EQ(answer.status, 200) << answer.body << one_->log();
  EXPECT_EQ(answer.json()["choices"][0]["message"]["content"], "hello");
  EXPECT_EQ(upstream_->authorization(), "Bearer sk-first");
  const Reply streamed = ask(*one_, token, prompt("gpt-4o", true));
  ASSERT_EQ(streamed.status, 200) << streamed.body;
  EXPECT_TRUE(streamed.whole);
  EXPECT_THAT(streamed.body, HasSubstr("one "));
  EXPECT_THAT(streamed.body, HasSubstr("[DONE]"));
  // The record says who, and nothing that is secret.
  EXPECT_TRUE(eventually(
      [&] { return one_->log().find("\"namespace\":\"" + ns_ + "\"") != std::string::npos; }));
  std::istringstream lines(one_->log());
  Json record;
  for (std::string line; std::getline(lines, line);) {
    const Json one = Json::parse(line, nullptr, false);
    if (one.is_object() && one.value("namespace", "") == ns_) record = one;
  }
  EXPECT_EQ(record.value("kind", ""), "llm");
  EXPECT_EQ(record.value("workspace", ""), "chat");
  EXPECT_EQ(record.value("pod", ""), "chat-agent");
  EXPECT_EQ(record.value("verdict", ""), "allowed");
  EXPECT_EQ(record.value("promptTokens", 0), 10) << record;
  EXPECT_EQ(record.value("costMicros", 0), 50) << record;
  EXPECT_TRUE(record.contains("time"));
  EXPECT_THAT(one_->log(), Not(HasSubstr("sk-first")));
  EXPECT_THAT(one_->log(), Not(HasSubstr(token)));
  // What was spent reaches the ledger though nothing bounds it.
  EXPECT_TRUE(eventually([&] {
    const auto now = ledger();
    return now && now->workspaces.contains(who.workspace_uid) &&
           now->workspaces.at(who.workspace_uid).taken.tokens == 60;
  }));
  const std::string metrics = one_->page("/metrics").body;
  for (const char* line :
       {"palisade_gateway_requests_total{code=",
        "palisade_gateway_tokens_total{direction=\"prompt\"}",
        "palisade_gateway_request_seconds_bucket", "palisade_gateway_in_flight 0",
        "palisade_gateway_certificate_expiry_timestamp_seconds",
        "palisade_gateway_config_accepted 1", "palisade_gateway_ledger_writes_total"})
    EXPECT_THAT(metrics, HasSubstr(line));
  EXPECT_THAT(metrics, Not(HasSubstr(ns_))) << "no label that callers make up";
}

TEST_F(GatewayTest, WhoeverIsNotProvenReachesNothing) {
  const int before = upstream_->requests;
  Wire wire(one_->port(), authorities());
  Reply refused = call(wire, "POST", kChat, "", prompt("gpt-4o"));
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.json()["error"]["code"], "invalid_token") << refused.body;
  EXPECT_THAT(refused.head, HasSubstr("WWW-Authenticate"));
  Wire second(one_->port(), authorities());
  refused = call(second, "GET", "/git/info/refs?service=git-upload-pack", "a.b.c");
  EXPECT_EQ(refused.status, 401);
  EXPECT_THAT(refused.head, HasSubstr("text/plain"));
  Wire third(one_->port(), authorities());
  EXPECT_EQ(call(third, "GET", "/", "").status, 404);
  Wire fourth(one_->port(), authorities());
  EXPECT_EQ(call(fourth, "GET", "/metrics", "").status, 404) << "that is on another port";
  EXPECT_EQ(upstream_->requests, before);
}

TEST_F(GatewayTest, KeysAndPoliciesChangeWithoutARestart) {
  const std::string token = cluster_->token(agent("changes"));
  ASSERT_EQ(ask(*one_, token, prompt("gpt-4o")).status, 200);
  cluster_->write_secret("openai", {{"api-key", "sk-second"}});
  EXPECT_TRUE(eventually([&] {
    return ask(*one_, token, prompt("gpt-4o")).status == 200 &&
           upstream_->authorization() == "Bearer sk-second";
  }));
  cluster_->create(
      kPolicyKind, "",
      {{"apiVersion", "palisade.dev/v1alpha1"},
       {"kind", "AgentPolicy"},
       {"metadata", {{"name", ns_}}},
       {"spec",
        {{"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", ns_}}}}},
         {"allowedModels", {"slow"}}}}});
  Reply refused;
  EXPECT_TRUE(eventually([&] {
    refused = ask(*one_, token, prompt("gpt-4o"));
    return refused.status == 403;
  })) << refused.status;
  EXPECT_EQ(refused.json()["error"]["code"], "model_not_allowed") << refused.body;
  cluster_->remove(kPolicyKind, "", ns_);
  EXPECT_TRUE(eventually([&] { return ask(*one_, token, prompt("gpt-4o")).status == 200; }));
}

TEST_F(GatewayTest, BudgetsHoldAcrossReplicas) {
  const std::string token = cluster_->token(agent("spends", {{"tokens", 1000}}));
  int answered = 0;
  Reply last;
  for (int i = 0; i < 60; ++i) {
    last = ask(i % 2 == 0 ? *one_ : *two_, token, prompt("gpt-4o"));
    if (last.status != 200) break;
    ++answered;
  }
  EXPECT_EQ(last.status, 429) << last.body;
  EXPECT_EQ(last.json()["error"]["code"], "budget_exceeded") << last.body;
  EXPECT_LE(answered, 1000 / 30);
  EXPECT_GE(answered, 10);
  EXPECT_LE(ledger()->workspaces.begin()->second.taken.tokens, 1000);
}

TEST_F(GatewayTest, ABrokenConfigurationIsRefusedAndTheOldStays) {
  const std::string token = cluster_->token(agent("configures"));
  ASSERT_EQ(ask(*one_, token, prompt("gpt-4o")).status, 200);
  Json broken = config();
  broken["llm"]["modells"] = Json::array();
  write_config(broken);
  EXPECT_TRUE(eventually([&] {
    return one_->page("/metrics").body.find("palisade_gateway_config_accepted 0") !=
           std::string::npos;
  }));
  EXPECT_THAT(one_->log(), HasSubstr("modells"));
  EXPECT_EQ(ask(*one_, token, prompt("gpt-4o")).status, 200);
  Json other = config();
  other["llm"]["models"][0]["aliases"] = {"default"};
  other["budgets"] = {{"perWorkspace", {{"requestsPerMinute", 0}}}};
  write_config(other);
  Reply refused;
  EXPECT_TRUE(eventually([&] {
    refused = ask(*one_, token, prompt("gpt-4o"));
    return refused.status == 429;
  })) << refused.status;
  EXPECT_EQ(refused.json()["error"]["code"], "rate_limited") << refused.body;
  write_config(config());
  for (const Gateway* replica : {one_.get(), two_.get()})
    EXPECT_TRUE(eventually([&] { return ask(*replica, token, prompt("gpt-4o")).status == 200; }));
}

// A new certificate, as the leader would make one: every client trusts what it meets.
TEST_F(GatewayTest, ACertificateIsRotatedUnderLoadWithNoFailedRequest) {
  const std::string token = cluster_->token(agent("rotates"));
  const std::string before = authorities();
  std::atomic<int> answered{0};
  std::atomic<int> failed{0};
  std::string rotated;
  {
    std::vector<std::jthread> clients;
    for (const Gateway* replica : {one_.get(), two_.get()}) {
      clients.emplace_back([&, replica](const std::stop_token& stop) {
        while (!stop.stop_requested())
          ++(ask(*replica, token, prompt("gpt-4o")).status == 200 ? answered : failed);
      });
      // One that stays open.
      clients.emplace_back([&, replica](const std::stop_token& stop) {
        Wire wire(replica->port(), before);
        while (!stop.stop_requested()) {
          ++(call(wire, "POST", kChat, token, prompt("gpt-4o")).status == 200 ? answered : failed);
          std::this_thread::sleep_for(10ms);
        }
      });
    }
    const auto bundle = kube::make_bundle(
        "palisade-gateway-ca", {kServerName, std::string(kServerName) + ".cluster.local"},
        kube::WallClock::now(), 24h * 90, before);
    ASSERT_TRUE(bundle) << bundle.error();
    rotated = bundle->authorities;
    const auto written = cluster_->client()->patch(
        resources::kSecrets, kOwnNamespace, "palisade-gateway-tls", kube::PatchType::kMerge,
        {{"data",
          {{"ca.crt", kube::encode_base64(bundle->authorities)},
           {"tls.crt", kube::encode_base64(bundle->certificate)},
           {"tls.key", kube::encode_base64(bundle->key)}}}});
    ASSERT_TRUE(written) << written.error().text();
    // Whoever trusts the new authority alone is answered by both.
    const std::string only_new = kube::first_certificate(rotated);
    for (const Gateway* replica : {one_.get(), two_.get()}) {
      EXPECT_TRUE(eventually([&] { return Wire(replica->port(), only_new).good(); }, 60s));
    }
  }
  EXPECT_EQ(authorities(), rotated);
  EXPECT_EQ(failed, 0);
  EXPECT_GT(answered, 20);
}

// Streams that have begun, each on its own connection.
std::vector<std::unique_ptr<Wire>> open_streams(const Gateway& gateway, int count,
                                                const std::string& token,
                                                const std::string& authorities) {
  std::vector<std::unique_ptr<Wire>> out;
  for (int i = 0; i < count; ++i) {
    out.push_back(std::make_unique<Wire>(gateway.port(), authorities));
    out.back()->send(request("POST", kChat, token, prompt("slow", true)));
  }
  return out;
}

int whole_streams(std::vector<std::unique_ptr<Wire>>& streams) {
  int whole = 0;
  for (auto& wire : streams) {
    Reply reply = read_head(*wire);
    if (reply.status != 200) continue;
    read_body(*wire, reply);
    whole += reply.whole && reply.body.find("[DONE]") != std::string::npos ? 1 : 0;
  }
  return whole;
}

TEST_F(GatewayTest, AKilledReplicaTakesOnlyItsOwnStreamsAlong) {
  constexpr int kEach = 250;
  constexpr int kTokens = 100'000;
  const Agent who = agent("streams", {{"tokens", kTokens}});
  const std::string token = cluster_->token(who);
  const std::string trusted = authorities();
  auto victim = start("victim");
  ASSERT_TRUE(victim->becomes_ready()) << victim->log();
  auto dying = open_streams(*victim, kEach, token, trusted);
  auto living = open_streams(*one_, kEach, token, trusted);
  ASSERT_TRUE(eventually([&] { return upstream_->streaming == 2 * kEach; }, 60s))
      << upstream_->streaming;
  victim->signal(SIGKILL);
  EXPECT_EQ(ask(*one_, token, prompt("gpt-4o")).status, 200) << "others are served meanwhile";
  upstream_->let_go();
  EXPECT_EQ(whole_streams(dying), 0);
  EXPECT_EQ(whole_streams(living), kEach);
  dying.clear();
  living.clear();
  // What was given away, and what the dead replica may have spent, is taken; not more than there
  // is.
  EXPECT_TRUE(eventually([&] {
    const auto now = ledger();
    return now && now->workspaces.at(who.workspace_uid).taken.tokens >= (kEach + 1) * 30;
  }));
  const std::int64_t taken = ledger()->workspaces.at(who.workspace_uid).taken.tokens;
  EXPECT_LE(taken, kTokens);
}

TEST_F(GatewayTest, AtSigtermStreamsEndWellAndTheRestGoesElsewhere) {
  constexpr int kStreams = 20;
  const Agent who = agent("ends", {{"tokens", 100'000}});
  const std::string token = cluster_->token(who);
  const std::string trusted = authorities();
  auto ending = start("ending");
  ASSERT_TRUE(ending->becomes_ready()) << ending->log();
  auto streams = open_streams(*ending, kStreams, token, trusted);
  ASSERT_TRUE(eventually([&] { return upstream_->streaming == kStreams; }));
  std::jthread terminating([&] { ending->signal(SIGTERM, 60s); });
  EXPECT_TRUE(eventually([&] { return !Wire(ending->port(), trusted).good(); }))
      << "no new connection is taken in";
  upstream_->let_go();
  EXPECT_EQ(whole_streams(streams), kStreams);
  terminating.join();
  EXPECT_THAT(ending->ending(), AnyOf("exit status 0", "")) << ending->log();
  // Settled to the token, and what was held ahead is given back.
  EXPECT_EQ(ledger()->workspaces.at(who.workspace_uid).taken.tokens, kStreams * 30);
}

}  // namespace
}  // namespace palisade::gateway::testing
