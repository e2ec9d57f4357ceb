// The real program with the rights that the chart gives it, before it knows the cluster and while
// it ends: what it does not know for certain it denies, and what it has taken in it answers.
#include <atomic>
#include <fstream>
#include <mutex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/base64.h>
#include <kube/client.h>
#include <kube/envtest.h>

#include "chart/chart.h"
#include "definitions.h"
#include "webhook/program.h"
#include "webhook/reviews.h"

namespace palisade::webhook::testing {
namespace {

namespace fs = std::filesystem;
namespace resources = kube::resources;
using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr const char* kNs = "palisade-system";
const kube::Resource kClusterRoles{"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole",
                                   false};

std::string post(const json& review, std::string_view timeout = "10s") {
  const std::string body = review.dump();
  return "POST /validate?timeout=" + std::string(timeout) +
         " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

class ProgramsView : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<chart::testing::Directory>();
    const fs::path tokens = directory_->path() / "tokens";
    std::ofstream(tokens) << "webhook,system:serviceaccount:palisade-system:palisade-webhook,1\n";
    kube::EnvTestOptions flags;
    flags.apiserver_flags = {"--token-auth-file=" + tokens.string()};
    auto started = kube::EnvTest::start(flags);
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
    const auto installed = install_definitions(*env_, {"agentworkspaces", "agentworkspacetemplates",
                                                       "agentpolicies", "hardeningexceptions"});
    ASSERT_TRUE(installed) << installed.error().text();
    for (const char* name : {kNs, "team-a"}) {
      const auto made =
          client_->create(resources::kNamespaces, "", {{"metadata", {{"name", name}}}});
      ASSERT_TRUE(made) << made.error().text();
    }
    const auto closed = client_->create(resources::kNetworkPolicies, "team-a", deny_all());
    ASSERT_TRUE(closed) << closed.error().text();
    // What the chart gives the webhook, and nothing of what it registers: nobody else asks.
    const auto rendered = chart::testing::objects();
    role_ = chart::testing::named(rendered, "ClusterRole", "palisade-webhook");
    for (const char* kind : {"ClusterRoleBinding", "Role", "RoleBinding"}) {
      const json object = chart::testing::named(rendered, kind, "palisade-webhook");
      const bool cluster = std::string_view(kind).starts_with("Cluster");
      std::string plural = kind;
      std::ranges::transform(plural, plural.begin(),
                             [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; });
      const auto made =
          client_->create({"rbac.authorization.k8s.io", "v1", plural + "s", kind, !cluster},
                          cluster ? "" : kNs, object);
      ASSERT_TRUE(made) << kind << ": " << made.error().text();
    }
    const auto made = client_->create(kClusterRoles, "", role_);
    ASSERT_TRUE(made) << made.error().text();
    const json configuration{{"apiVersion", "admissionregistration.k8s.io/v1"},
                             {"kind", "ValidatingWebhookConfiguration"},
                             {"metadata", {{"name", "palisade-webhook"}}},
                             {"webhooks",
                              {{{"name", "nobody.palisade.dev"},
                                {"admissionReviewVersions", {"v1"}},
                                {"sideEffects", "None"},
                                {"clientConfig", {{"url", "https://127.0.0.1:1/validate"}}},
                                {"rules",
                                 {{{"apiGroups", {"nobody.example.com"}},
                                   {"apiVersions", {"v1"}},
                                   {"resources", {"things"}},
                                   {"operations", {"CREATE"}}}}}}}}};
    const auto configured =
        client_->create(resources::kValidatingWebhookConfigurations, "", configuration);
    ASSERT_TRUE(configured) << configured.error().text();
    const fs::path kubeconfig = directory_->path() / "kubeconfig";
    std::ofstream(kubeconfig) << json{
        {"apiVersion", "v1"},
        {"kind", "Config"},
        {"current-context", "webhook"},
        {"clusters",
         {{{"name", "here"},
           {"cluster",
            {{"server", env_->config().server},
             {"certificate-authority-data",
              kube::encode_base64(env_->config().tls_material().ca)}}}}}},
        {"users", {{{"name", "webhook"}, {"user", {{"token", "webhook"}}}}}},
        {"contexts",
         {{{"name", "webhook"}, {"context", {{"cluster", "here"}, {"user", "webhook"}}}}}}};
    options_.kubeconfig = kubeconfig;
    options_.log = directory_->path() / "webhook.log";
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
    directory_.reset();
  }
  void SetUp() override { ASSERT_TRUE(client_); }

  // The chart's ClusterRole without one resource; whole for "".
  static void give_rights(const std::string& without = "") {
    json role = role_;
    bool found = without.empty();
    for (json& rule : role["rules"]) {
      json& names = rule["resources"];
      const auto at =
          std::ranges::find_if(names, [&](const json& name) { return name == without; });
      if (at == names.end()) continue;
      names.erase(at);
      found = true;
      if (names.empty()) names = {"nothing"};
    }
    ASSERT_TRUE(found) << "the chart's role has no " << without;
    const auto done = client_->patch(kClusterRoles, "", "palisade-webhook", kube::PatchType::kMerge,
                                     {{"rules", role["rules"]}});
    ASSERT_TRUE(done) << done.error().text();
  }

  static json answer_of(const Webhook& webhook, const std::string& request) {
    raw::Client client(webhook.port(), true);
    EXPECT_TRUE(client.secured());
    client.write(request);
    const auto reply = client.reply(20s);
    EXPECT_TRUE(reply) << "no answer";
    const json answer = json::parse(reply ? reply->body : "", nullptr, false);
    EXPECT_TRUE(answer.is_object()) << (reply ? reply->body : "");
    return answer.is_object() ? answer["response"] : json::object();
  }
  static std::string refusal(const json& response) {
    return response.value("allowed", true) ? "" : response["status"].value("message", "");
  }

  // The operator's pod, as the reviews' envelope has it.
  static json pod_review() { return envelope(good_pod()); }
  static json review_of(const char* group, const char* resource, const json& object) {
    json out = envelope(object);
    out["request"]["resource"] = {{"group", group}, {"version", "v1"}, {"resource", resource}};
    out["request"]["userInfo"]["username"] = "mallory";
    return out;
  }

  static inline std::unique_ptr<chart::testing::Directory> directory_;
  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::unique_ptr<kube::Client> client_;
  static inline json role_;
  static inline Webhook::Options options_;
};

// A watch that never comes about is no empty list. Each is held back in turn.
TEST_F(ProgramsView, IsNotReadyAndDeniesWhileAWatchHasNotSynced) {
  json token = review_of("", "serviceaccounts", {{"spec", json::object()}});
  token["request"]["subResource"] = "token";
  json opening = deny_all();
  opening["spec"]["egress"] = json::array({json::object()});
  const struct {
    const char* resource;
    const char* watch;
    json review;
  } cases[] = {
      {"agentpolicies", "AgentPolicies", pod_review()},
      {"hardeningexceptions", "HardeningExceptions", pod_review()},
      {"namespaces", "namespaces", pod_review()},
      {"networkpolicies", "NetworkPolicies", pod_review()},
      {"agentworkspaces", "AgentWorkspaces", token},
      {"pods", "pods", review_of("networking.k8s.io", "networkpolicies", opening)},
  };
  int round = 0;
  for (const auto& c : cases) {
    SCOPED_TRACE(c.resource);
    give_rights(c.resource);
    Webhook::Options options = options_;
    options.port = free_port();
    options.metrics_port = free_port();
    options.log = directory_->path() / ("webhook-" + std::to_string(round++) + ".log");
    Webhook webhook(options);
    const std::string why = std::string("the watch of ") + c.watch + " has not synced";
    // And it says what the API server says.
    ASSERT_TRUE(eventually([&] {
      const raw::Reply ready = webhook.probe("/readyz");
      return ready.status == 503 && ready.body.find(why) != std::string::npos &&
             ready.body.find("forbidden") != std::string::npos;
    })) << webhook.probe("/readyz").body
        << webhook.log();
    EXPECT_EQ(webhook.probe("/healthz").status, 200) << "it waits; to start it anew helps nobody";
    std::string refused;
    EXPECT_TRUE(eventually([&] {
      const json response = answer_of(webhook, post(c.review));
      EXPECT_FALSE(response.value("allowed", true)) << response;
      refused = refusal(response);
      return refused.find(why) != std::string::npos;
    })) << refused;
    EXPECT_THAT(refused, HasSubstr("Palisade cannot judge this now, so it denies: "));
    if (c.watch == std::string_view("AgentPolicies")) {
      // By itself, as soon as it may.
      give_rights();
      ASSERT_TRUE(webhook.becomes_ready()) << webhook.probe("/readyz").body << webhook.log();
      const json response = answer_of(webhook, post(c.review));
      EXPECT_TRUE(response.value("allowed", false)) << response;
    }
    EXPECT_EQ(webhook.end(), "exit status 0") << webhook.log();
  }
}

// A look-up that takes the API server longer than the caller waits is not begun.
TEST_F(ProgramsView, WhoIsInAHurryIsToldSoInsteadOfKeptWaiting) {
  give_rights();
  Webhook webhook(options_);
  ASSERT_TRUE(webhook.becomes_ready()) << webhook.log();
  // Of a namespace that the watch does not know the API server has to be asked.
  json review = pod_review();
  review["request"]["namespace"] = "made-a-moment-ago";
  for (const char* hurried : {"1s", "500ms"}) {
    EXPECT_THAT(refusal(answer_of(webhook, post(review, hurried))),
                HasSubstr("so it denies: how this namespace is guarded is not known: no time is "
                          "left to ask the API server; try again in a moment"))
        << hurried;
  }
  EXPECT_THAT(refusal(answer_of(webhook, post(review, "10s"))),
              HasSubstr("namespaces \"made-a-moment-ago\" not found"));
  // What is known needs no such time.
  EXPECT_TRUE(answer_of(webhook, post(pod_review(), "1s")).value("allowed", false));
  EXPECT_EQ(webhook.end(), "exit status 0") << webhook.log();
}

// What a client has seen of one connection at a time.
struct Tally {
  std::atomic<int> answered{0};
  std::atomic<int> answered_while_ending{0};
  std::atomic<int> dropped{0};
  std::atomic<int> away{0};  // nobody at the door
};

// A server that ends gives up on clients that are silent for a while: one that this machine has
// held up for that long says nothing about it.
constexpr auto kTooLongSilent = 200ms;

// Asks until nobody takes connections in; on one connection for as long as it is kept, or on a new
// one each time.
void ask_until_away(std::uint16_t port, const std::string& request, bool keeps,
                    const std::atomic<bool>& ending, Tally& tally) {
  const auto give_up = Clock::now() + 60s;
  while (Clock::now() < give_up) {
    std::unique_ptr<raw::Client> client;
    try {
      client = std::make_unique<raw::Client>(port, true);
    } catch (const std::runtime_error&) {
      ++tally.away;
      return;
    }
    if (!client->secured()) continue;  // not taken in
    auto since = Clock::now();
    bool open = true;
    while (open) {
      client->write(request);
      const bool held_up = Clock::now() - since > kTooLongSilent;
      const auto reply = client->reply(20s);
      since = Clock::now();
      const json answer = json::parse(reply ? reply->body : "", nullptr, false);
      const bool good = answer.is_object() && answer["response"].value("allowed", false);
      if (good) {
        ++tally.answered;
        if (ending) ++tally.answered_while_ending;
      } else if (!held_up) {
        ++tally.dropped;
      }
      open = keeps && good && reply->head.find("Connection: close") == std::string::npos;
    }
  }
}

TEST_F(ProgramsView, AtSigtermEveryReviewThatWasTakenInIsAnswered) {
  give_rights();
  Webhook::Options options = options_;
  options.drain_seconds = 5;
  options.log = directory_->path() / "ending.log";
  Webhook webhook(options);
  ASSERT_TRUE(webhook.becomes_ready()) << webhook.log();
  Tally kept;
  Tally anew;
  std::atomic<bool> ending = false;
  const std::string request = post(pod_review());
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < 3; ++i) {
      clients.emplace_back([&] { ask_until_away(webhook.port(), request, true, ending, kept); });
      clients.emplace_back([&] { ask_until_away(webhook.port(), request, false, ending, anew); });
    }
    EXPECT_TRUE(eventually([&] { return kept.answered > 100 && anew.answered > 20; }));
    ending = true;
    EXPECT_EQ(webhook.end(), "exit status 0") << webhook.log();
  }
  for (const Tally* tally : {&kept, &anew}) {
    EXPECT_EQ(tally->dropped, 0) << tally->answered;
    EXPECT_GT(tally->answered_while_ending, 0);
    EXPECT_EQ(tally->away, 3) << "nobody is let in once it has ended";
  }
}

}  // namespace
}  // namespace palisade::webhook::testing
