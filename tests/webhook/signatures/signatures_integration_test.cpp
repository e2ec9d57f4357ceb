// The real program between a real API server and a registry that holds signatures, or does not.
#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "definitions.h"
#include "webhook/by_url.h"
#include "webhook/program.h"
#include "webhook/reviews.h"
#include "webhook/signatures/registry.h"

namespace palisade::webhook::testing {
namespace {

namespace fs = std::filesystem;
namespace resources = kube::resources;
using ::testing::AllOf;
using ::testing::HasSubstr;

const kube::Resource kAgentPolicies{"palisade.dev", "v1alpha1", "agentpolicies", "AgentPolicy",
                                    false};

class SignaturesIntegration : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
    const auto installed =
        install_definitions(*env_, {"agentworkspaces", "agentpolicies", "hardeningexceptions"});
    ASSERT_TRUE(installed) << installed.error().text();
    for (const char* name : {"palisade-system", "team-a", "free"}) {
      const auto made = client_->create(resources::kNamespaces, "", name_space(name));
      ASSERT_TRUE(made) << made.error().text();
      const auto closed = client_->create(resources::kNetworkPolicies, name, deny_all(name));
      ASSERT_TRUE(closed) << closed.error().text();
    }
    registry_ = std::make_unique<TestRegistry>();
    // Who has no token of this user's gets nothing.
    const std::string basic = "Basic " + kube::encode_base64("robot:secret");
    const std::string realm = "https://" + registry_->host() + "/token";
    registry_->guard([=](const TestRegistry::Call& call) -> std::optional<TestRegistry::Reply> {
      if (call.target.starts_with("/token?")) {
        return call.authorization == basic
                   ? TestRegistry::Reply{R"({"token": "for-this-repository"})"}
                   : TestRegistry::Reply{"", "401 Unauthorized"};
      }
      if (call.authorization == "Bearer for-this-repository") return std::nullopt;
      return TestRegistry::Reply{
          "", "401 Unauthorized",
          "WWW-Authenticate: Bearer realm=\"" + realm + "\",service=\"registry\"\r\n"};
    });
    Webhook::Options options;
    options.kubeconfig = env_->kubeconfig_path();
    options.log = fs::path(env_->kubeconfig_path()).parent_path() / "webhook.log";
    const auto credentials = registry_->write(
        "config.json",
        json{{"auths", {{registry_->host(), {{"auth", kube::encode_base64("robot:secret")}}}}}}
            .dump());
    options.more = {"--registry-ca-file", registry_->ca_file().string(),
                    "--registry-credentials-file", credentials.string()};
    const auto configured =
        client_->create(resources::kValidatingWebhookConfigurations, "",
                        webhook_configuration("palisade-webhook", options.port));
    ASSERT_TRUE(configured) << configured.error().text();
    webhook_ = std::make_unique<Webhook>(options);
    ASSERT_TRUE(webhook_->becomes_ready()) << webhook_->log();
    demand();
  }
  static void TearDownTestSuite() {
    webhook_.reset();
    registry_.reset();
    client_.reset();
    env_.reset();
  }
  void SetUp() override {
    ASSERT_TRUE(webhook_ && webhook_->running()) << "no webhook";
    registry_->delay(std::chrono::milliseconds(0));
  }

  // An AgentPolicy for team-a; returns when the webhook knows it.
  static void demand() {
    const auto made = client_->create(
        kAgentPolicies, "",
        {{"apiVersion", "palisade.dev/v1alpha1"},
         {"kind", "AgentPolicy"},
         {"metadata", {{"name", "platform"}}},
         {"spec",
          {{"namespaceSelector", {{"matchLabels", {{"kubernetes.io/metadata.name", "team-a"}}}}},
           {"requireSignatures",
            json::array({{{"repositories", json::array({registry_->host() + "/palisade"})},
                          {"keys", json::array({{{"name", "release"},
                                                 {"publicKey", signer().pem()}}})}}})}}}});
    ASSERT_TRUE(made) << made.error().text();
    json tagged = by_hand();
    tagged["metadata"]["name"] = "tagged";
    ASSERT_TRUE(eventually([&] {
      const auto refused = client_->create(resources::kPods, "team-a", tagged);
      return !refused && refused.error().message.find("image-signature") != std::string::npos;
    })) << webhook_->log();
  }
  static const Signer& signer() {
    static const Signer kSigner = Signer::ecdsa();
    return kSigner;
  }
  // A pod of that image in all of its containers, under a name of its own.
  static kube::Result<json> create(char image, const std::string& ns = "team-a") {
    static std::atomic<int> made = 0;
    json pod = by_hand();
    pod["metadata"]["name"] = "pod-" + std::to_string(++made);
    pod["metadata"]["namespace"] = ns;
    for (const char* list : {"initContainers", "containers"}) {
      for (json& container : pod["spec"][list])
        container["image"] = registry_->host() + "/palisade/aider@" + digest(image);
    }
    return client_->create(resources::kPods, ns, pod);
  }
  static void expect_refused(const kube::Result<json>& result, const std::string& because) {
    ASSERT_FALSE(result) << because;
    EXPECT_EQ(result.error().code, 403) << result.error().text();
    EXPECT_THAT(result.error().message, AllOf(HasSubstr("[image-signature]"), HasSubstr(because)));
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::unique_ptr<kube::Client> client_;
  static inline std::unique_ptr<TestRegistry> registry_;
  static inline std::unique_ptr<Webhook> webhook_;
};

TEST_F(SignaturesIntegration, OnlySignedImagesRun) {
  registry_->sign("palisade/aider", digest('a'), {&signer()});
  const auto good = create('a');
  EXPECT_TRUE(good) << good.error().text() << webhook_->log();
  expect_refused(create('b'),
                 "cosign sign --key KEY " + registry_->host() + "/palisade/aider@" + digest('b'));
  const Signer stranger = Signer::ecdsa();
  registry_->sign("palisade/aider", digest('c'), {&stranger});
  expect_refused(create('c'), "has no signature by release");
  EXPECT_TRUE(create('b', "free")) << "where no AgentPolicy asks for it";
  // Once it is signed, it runs as soon as the refusal is forgotten.
  registry_->sign("palisade/aider", digest('b'), {&signer()});
  EXPECT_TRUE(eventually([] { return create('b').has_value(); })) << webhook_->log();
  EXPECT_THAT(webhook_->probe("/metrics").body,
              HasSubstr("palisade_webhook_signature_lookups_total{result=\"signed\"} 2"));
}

TEST_F(SignaturesIntegration, ARegistryThatDoesNotAnswerHoldsUpNobodyElse) {
  registry_->sign("palisade/aider", digest('d'), {&signer()});
  const auto known = create('d');
  ASSERT_TRUE(known) << known.error().text() << webhook_->log();
  registry_->delay(std::chrono::seconds(60));
  std::vector<std::future<kube::Result<json>>> held;
  for (const char image : {'1', '2', '3', '4', '5', '6'})
    held.push_back(std::async(std::launch::async, [image] { return create(image); }));
  // What is known is not asked for, and a namespace that the webhook has to ask about has threads.
  const auto again = create('d');
  EXPECT_TRUE(again) << again.error().text();
  const auto made = client_->create(resources::kNamespaces, "", name_space("late"));
  ASSERT_TRUE(made) << made.error().text();
  json plain = nginx_pod();
  plain["metadata"]["namespace"] = "late";
  const auto other = client_->create(resources::kPods, "late", plain);
  EXPECT_TRUE(other) << other.error().text();
  // In time for the API server to hear why: in its own words a refusal would be "timed out".
  for (auto& waiting : held)
    expect_refused(waiting.get(), "cannot be verified now, so it is refused");
}

}  // namespace
}  // namespace palisade::webhook::testing
