// A webhook that answers nobody but the API server, as the AdmissionConfiguration of a real one
// lets it show its certificate
// (https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#authenticate-apiservers).
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/base64.h>
#include <kube/client.h>
#include <kube/envtest.h>
#include <kube/envtest_pki.h>

#include "courier/process.h"
#include "definitions.h"
#include "webhook/by_url.h"
#include "webhook/program.h"

namespace palisade::webhook::testing {
namespace {

namespace fs = std::filesystem;
namespace resources = kube::resources;
using courier::testing::Directory;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr const char* kName = "kube-apiserver-admission";

class ClientCertificate : public ::testing::Test {
 protected:
  void SetUp() override {
    auto ours = kube::envtest::Authority::make("admission clients");
    auto theirs = kube::envtest::Authority::make("somebody's clients");
    ASSERT_TRUE(ours && theirs);
    ours_ = std::make_unique<kube::envtest::Authority>(std::move(*ours));
    theirs_ = std::make_unique<kube::envtest::Authority>(std::move(*theirs));
    shows(*ours_, kName);

    const fs::path configuration = directory_.path() / "admission.json";
    std::ofstream(configuration) << json{{"apiVersion", "apiserver.config.k8s.io/v1"},
                                         {"kind", "AdmissionConfiguration"},
                                         {"plugins",
                                          {{{"name", "ValidatingAdmissionWebhook"},
                                            {"configuration",
                                             {{"apiVersion", "apiserver.config.k8s.io/v1"},
                                              {"kind", "WebhookAdmissionConfiguration"},
                                              {"kubeConfigFile", credentials().string()}}}}}}};
    kube::EnvTestOptions flags;
    flags.apiserver_flags = {"--admission-control-config-file=" + configuration.string()};
    auto started = kube::EnvTest::start(flags);
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
    const auto installed =
        install_definitions(*env_, {"agentworkspaces", "agentpolicies", "hardeningexceptions"});
    ASSERT_TRUE(installed) << installed.error().text();
    for (const char* ns : {"palisade-system", "team-a"}) {
      const auto made = client_->create(resources::kNamespaces, "", name_space(ns));
      ASSERT_TRUE(made) << made.error().text();
    }
    const auto closed = client_->create(resources::kNetworkPolicies, "team-a", deny_all("team-a"));
    ASSERT_TRUE(closed) << closed.error().text();
    const auto configured =
        client_->create(resources::kValidatingWebhookConfigurations, "",
                        webhook_configuration("palisade-webhook", options_.port));
    ASSERT_TRUE(configured) << configured.error().text();

    const fs::path authority = directory_.path() / "clients.crt";
    std::ofstream(authority) << ours_->certificate();
    options_.kubeconfig = env_->kubeconfig_path();
    options_.log = directory_.path() / "webhook.log";
    options_.more = {"--client-ca-file", authority.string(), "--client-name", kName};
    webhook_ = std::make_unique<Webhook>(options_);
    ASSERT_TRUE(webhook_->becomes_ready()) << webhook_->log();
  }

  [[nodiscard]] fs::path credentials() const { return directory_.path() / "credentials.json"; }

  // What the API server shows the webhook from its next start on.
  void shows(const kube::envtest::Authority& authority, const std::string& name) {
    const auto pair = authority.issue({name, "", {}, {}});
    ASSERT_TRUE(pair) << pair.error().text();
    write_credentials({{{"name", "127.0.0.1:" + std::to_string(options_.port)},
                        {"user",
                         {{"client-certificate-data", kube::encode_base64(pair->certificate)},
                          {"client-key-data", kube::encode_base64(pair->key)}}}}});
  }
  void write_credentials(const json& users) const {
    std::ofstream(credentials()) << json{
        {"apiVersion", "v1"}, {"kind", "Config"}, {"users", users}};
  }
  void start_anew() {
    const auto stopped = env_->stop_apiserver();
    ASSERT_TRUE(stopped) << stopped.error().text();
    const auto started = env_->start_apiserver();
    ASSERT_TRUE(started) << started.error().text();
  }

  kube::Result<json> create(json pod) {
    pod["metadata"]["name"] = "pod-" + std::to_string(++made_);
    pod["metadata"]["namespace"] = "team-a";
    return client_->create(resources::kPods, "team-a", pod);
  }
  // Neither a good pod nor a weak one: the webhook gives this API server no answer.
  void expect_no_answer(const std::string& why) {
    for (const json& pod : {by_hand(), changed(by_hand(), weakened_pods()[1].change)}) {
      const auto refused = create(pod);
      ASSERT_FALSE(refused) << why;
      EXPECT_EQ(refused.error().code, 500) << why << ": " << refused.error().text();
      EXPECT_THAT(refused.error().message, HasSubstr("failed calling webhook")) << why;
      // It was there and hung up: an alert, or the end of the connection, whichever is seen first.
      EXPECT_THAT(refused.error().message,
                  Not(AnyOf(HasSubstr("connection refused"), HasSubstr("deadline exceeded"))))
          << why;
    }
    EXPECT_TRUE(webhook_->running()) << webhook_->log();
  }

  Directory directory_;
  std::unique_ptr<kube::envtest::Authority> ours_;
  std::unique_ptr<kube::envtest::Authority> theirs_;
  std::unique_ptr<kube::EnvTest> env_;
  std::unique_ptr<kube::Client> client_;
  Webhook::Options options_;
  std::unique_ptr<Webhook> webhook_;
  int made_ = 0;
};

TEST_F(ClientCertificate, OnlyTheApiServersOwnIsAnswered) {
  const auto good = create(by_hand());
  EXPECT_TRUE(good) << good.error().text();
  const auto weak = create(changed(by_hand(), weakened_pods()[1].change));
  ASSERT_FALSE(weak);
  EXPECT_THAT(weak.error().message,
              StartsWith(R"(admission webhook "pods.palisade.dev" denied the request: )"));

  write_credentials(json::array());
  start_anew();
  expect_no_answer("no certificate");
  shows(*theirs_, kName);
  start_anew();
  expect_no_answer("another authority's certificate, of the right name");
  shows(*ours_, "kube-scheduler");
  start_anew();
  expect_no_answer("the authority's certificate of another name");

  shows(*ours_, kName);
  start_anew();
  EXPECT_TRUE(eventually([&] { return create(by_hand()).has_value(); }));
}

}  // namespace
}  // namespace palisade::webhook::testing
