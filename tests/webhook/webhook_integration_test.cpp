// The real program in front of a real API server: what a user and an administrator meet.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>
#include <webhook/certificates.h>

#include "definitions.h"
#include "webhook/by_url.h"
#include "webhook/program.h"
#include "webhook/reviews.h"

namespace palisade::webhook::testing {
namespace {

namespace fs = std::filesystem;
namespace resources = kube::resources;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class WebhookIntegration : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
    options_.kubeconfig = env_->kubeconfig_path();
    options_.log = fs::path(env_->kubeconfig_path()).parent_path() / "webhook.log";
    const auto installed =
        install_definitions(*env_, {"agentworkspaces", "agentpolicies", "hardeningexceptions"});
    ASSERT_TRUE(installed) << installed.error().text();
    for (const char* name : {"palisade-system", "team-a"}) {
      const auto made = client_->create(resources::kNamespaces, "", name_space(name));
      ASSERT_TRUE(made) << made.error().text();
    }
    close_network("team-a");
    const auto configured =
        client_->create(resources::kValidatingWebhookConfigurations, "",
                        webhook_configuration("palisade-webhook", options_.port));
    ASSERT_TRUE(configured) << configured.error().text();
    start();
  }
  static void TearDownTestSuite() {
    webhook_.reset();
    client_.reset();
    env_.reset();
  }
  void SetUp() override { ASSERT_TRUE(webhook_ && webhook_->running()) << "no webhook"; }

  static void start() {
    webhook_ = std::make_unique<Webhook>(options_);
    ASSERT_TRUE(webhook_->becomes_ready()) << webhook_->log();
  }

  // An Aider pod needs a NetworkPolicy that closes it in.
  static void close_network(const std::string& ns) {
    const auto made = client_->create(resources::kNetworkPolicies, ns, deny_all(ns));
    ASSERT_TRUE(made) << made.error().text();
  }

  // Under a name of its own.
  static kube::Result<json> create(json pod, const std::string& ns = "team-a") {
    pod["metadata"]["name"] = "pod-" + std::to_string(++made_);
    pod["metadata"]["namespace"] = ns;
    return client_->create(resources::kPods, ns, pod);
  }
  // A created pod's name; "" (and a failure) where it was refused.
  static std::string must_create(const json& pod, const std::string& ns = "team-a") {
    const auto made = create(pod, ns);
    EXPECT_TRUE(made) << made.error().text();
    return made ? made->at("metadata").at("name").get<std::string>() : std::string();
  }
  static kube::Result<json> patch_pod(const std::string& name, const char* subresource,
                                      const json& patch) {
    return client_->patch(resources::kPods, "team-a", name, kube::PatchType::kStrategicMerge, patch,
                          subresource);
  }
  // Refused by the webhook, and not by the API server's own validation.
  static void expect_refused(const kube::Result<json>& result, const std::string& because) {
    ASSERT_FALSE(result) << because;
    EXPECT_EQ(result.error().code, 403) << result.error().text();
    EXPECT_THAT(result.error().message,
                StartsWith(R"(admission webhook "pods.palisade.dev" denied the request: )"));
    EXPECT_THAT(result.error().message, HasSubstr(because));
  }
  static std::string ca_bundle(const std::string& configuration = "palisade-webhook") {
    const auto got = client_->get(resources::kValidatingWebhookConfigurations, "", configuration);
    return got ? got->at("webhooks").at(0).at("clientConfig").value("caBundle", "") : "";
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::unique_ptr<kube::Client> client_;
  static inline Webhook::Options options_;
  static inline std::unique_ptr<Webhook> webhook_;
  static inline int made_ = 0;
};

TEST_F(WebhookIntegration, MakesItsCertificateAndTellsTheApiServerOfIt) {
  const auto secret = client_->get(resources::kSecrets, "palisade-system", "palisade-webhook-tls");
  ASSERT_TRUE(secret) << secret.error().text();
  EXPECT_EQ(secret->value("type", ""), "kubernetes.io/tls");
  for (const char* key : {"ca.crt", "tls.crt", "tls.key"})
    EXPECT_FALSE(secret->at("data").value(key, "").empty()) << key;
  EXPECT_EQ(ca_bundle(), secret->at("data").at("ca.crt"));
  EXPECT_THAT(webhook_->probe("/metrics").body,
              HasSubstr("palisade_webhook_certificate_expiry_timestamp_seconds "));
}

TEST_F(WebhookIntegration, TakesNoMoreThanItsMemoryBears) {
  for (const std::size_t size : {std::size_t{4} << 20, (std::size_t{4} << 20) + 1}) {
    raw::Client client(webhook_->port(), true);
    client.write(
        "POST /validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Content-Length: " +
        std::to_string(size) + "\r\n\r\n" + std::string(size, ' '));
    const auto reply = client.reply();
    ASSERT_TRUE(reply) << size;
    EXPECT_EQ(reply->status, size > std::size_t{4} << 20 ? 413 : 400) << size;
  }
}

TEST_F(WebhookIntegration, GoodPodsAndOthersPass) {
  const std::string name = must_create(by_hand());
  must_create(nginx_pod());
  json privileged = nginx_pod();
  privileged["spec"]["containers"][0]["securityContext"] = {{"privileged", true}};
  must_create(privileged);
  const auto labelled = client_->patch(resources::kPods, "team-a", name, kube::PatchType::kMerge,
                                       {{"metadata", {{"labels", {{"x", "y"}}}}}});
  EXPECT_TRUE(labelled) << labelled.error().text();
  EXPECT_TRUE(client_->remove(resources::kPods, "team-a", name));
}

TEST_F(WebhookIntegration, WeakenedPodsAreRefusedWithTheReason) {
  for (const Weakened& weak : weakened_pods()) {
    json pod = changed(by_hand(), weak.change);
    // What the API server itself does not let stand beside the weakness.
    if (weak.control == "not-privileged")
      pod["spec"]["containers"][0]["securityContext"].erase("allowPrivilegeEscalation");
    if (weak.control == "no-host-namespaces") pod["spec"].erase("hostUsers");
    const auto refused = create(pod);
    expect_refused(refused, "[" + std::string(weak.control) + "]");
    if (refused) continue;
    EXPECT_THAT(refused.error().message, HasSubstr(weak.field)) << weak.name;
    EXPECT_THAT(refused.error().message, HasSubstr("fix: ")) << weak.name;
    EXPECT_TRUE(std::ranges::any_of(refused.error().causes, [&](const kube::StatusCause& cause) {
      return cause.field == weak.field;
    })) << weak.name;
  }
}

TEST_F(WebhookIntegration, TheLabelStaysOn) {
  const std::string name = must_create(by_hand());
  for (const char* subresource : {"", "ephemeralcontainers"}) {
    const auto patched = client_->patch(
        resources::kPods, "team-a", name, kube::PatchType::kMerge,
        {{"metadata", {{"labels", {{"palisade.dev/agent", nullptr}}}}}}, subresource);
    if (patched) {  // what a subresource does not write it does not write without Palisade either
      EXPECT_TRUE(patched->at("metadata").at("labels").contains("palisade.dev/agent"))
          << subresource;
      EXPECT_STRNE(subresource, "");
    } else {
      expect_refused(patched, "[agent-identity]");
    }
  }
}

TEST_F(WebhookIntegration, EphemeralContainersAreJudged) {
  const std::string name = must_create(by_hand());
  const auto add = [&](const std::string& container, const json& security) {
    return patch_pod(name, "ephemeralcontainers",
                     {{"spec",
                       {{"ephemeralContainers",
                         {{{"name", container},
                           {"image", "registry.example.com/tools:1"},
                           {"command", {"sh"}},
                           {"securityContext", security}}}}}}});
  };
  const json strong = good_pod()["spec"]["containers"][0]["securityContext"];
  json weak = strong;
  weak["readOnlyRootFilesystem"] = false;
  const std::string why = "[read-only-root-filesystem]";
  expect_refused(add("weak", weak), why);
  const auto added = add("strong", strong);
  EXPECT_TRUE(added) << added.error().text();
  expect_refused(add("weak", weak), why);
}

TEST_F(WebhookIntegration, ResizesStayWithinBounds) {
  const std::string name = must_create(by_hand());
  const auto resize = [&](const json& limits) {
    return patch_pod(
        name, "resize",
        {{"spec", {{"containers", {{{"name", "aider"}, {"resources", {{"limits", limits}}}}}}}}});
  };
  expect_refused(resize({{"cpu", "9"}}), "spec.containers[0].resources.limits.cpu");
  expect_refused(resize({{"memory", "17Gi"}}), "spec.containers[0].resources.limits.memory");
  const auto resized = resize({{"cpu", "3"}, {"memory", "3Gi"}});
  EXPECT_TRUE(resized) << resized.error().text();
}

TEST_F(WebhookIntegration, NamespacesChooseTheirMode) {
  for (const auto& [name, enforce] :
       {std::pair("guard-all", "all"), {"guard-off", "off"}, {"guard-typo", "al"}}) {
    const auto made = client_->create(resources::kNamespaces, "", name_space(name, enforce));
    ASSERT_TRUE(made) << made.error().text();
  }
  // At once: the watch may not have told of them yet.
  expect_refused(create(nginx_pod(), "guard-all"), "the namespace enforces all pods");
  expect_refused(create(nginx_pod(), "guard-typo"), "the namespace enforces all pods");
  close_network("guard-all");
  must_create(by_hand(), "guard-all");
  json weak = by_hand();
  weak["spec"]["hostPID"] = true;
  weak["spec"].erase("hostUsers");
  expect_refused(create(weak), "[no-host-namespaces]");
  must_create(weak, "guard-off");
  must_create(weak, "palisade-system");
  // A label that changes is followed.
  const auto patched =
      client_->patch(resources::kNamespaces, "", "guard-off", kube::PatchType::kMerge,
                     {{"metadata", {{"labels", {{"palisade.dev/enforce", "all"}}}}}});
  ASSERT_TRUE(patched) << patched.error().text();
  EXPECT_TRUE(eventually([&] { return !create(nginx_pod(), "guard-off"); }));
}

TEST_F(WebhookIntegration, PutsTheCaBundleRightWhenSomeoneTakesItAway) {
  const std::string right = ca_bundle();
  ASSERT_FALSE(right.empty());
  const auto emptied = client_->patch(
      resources::kValidatingWebhookConfigurations, "", "palisade-webhook", kube::PatchType::kJson,
      json::array({{{"op", "remove"}, {"path", "/webhooks/0/clientConfig/caBundle"}}}));
  ASSERT_TRUE(emptied) << emptied.error().text();
  ASSERT_EQ(emptied->at("webhooks").at(0).at("clientConfig").value("caBundle", ""), "");
  EXPECT_TRUE(eventually([&] { return ca_bundle() == right; }));
  // The API server calls it again, with the same certificate.
  EXPECT_TRUE(eventually([&] { return create(by_hand()).has_value(); }));
}

TEST_F(WebhookIntegration, NothingPassesWhileItIsAway) {
  EXPECT_EQ(webhook_->end(), "exit status 0") << webhook_->log();
  for (const json& pod : {by_hand(), nginx_pod()}) {
    const auto refused = create(pod);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("failed calling webhook"))
        << refused.error().text();
  }
  must_create(nginx_pod(), "kube-system");  // or a cluster could not heal
  const std::string trusted = ca_bundle();
  start();
  // It takes its certificate up again.
  EXPECT_EQ(ca_bundle(), trusted);
  EXPECT_TRUE(eventually([&] { return create(by_hand()).has_value(); }));
  expect_refused(create(changed(by_hand(), weakened_pods()[1].change)), "[non-zero-ids]");
}

TEST_F(WebhookIntegration, ReplicasThatStartTogetherAgreeOnOneCertificate) {
  // A configuration of their own that no review matches.
  json configuration = webhook_configuration("replicas", 1);
  configuration["webhooks"][0]["matchConditions"] = {
      {{"name", "nobody"}, {"expression", "request.namespace == 'no-such-namespace'"}}};
  const auto made = client_->create(resources::kValidatingWebhookConfigurations, "", configuration);
  ASSERT_TRUE(made) << made.error().text();
  std::vector<std::unique_ptr<Webhook>> replicas;
  for (int i = 0; i < 3; ++i) {
    Webhook::Options options;
    options.kubeconfig = options_.kubeconfig;
    options.log = options_.log.parent_path() / ("replica-" + std::to_string(i) + ".log");
    options.secret = "replicas-tls";
    options.configuration = "replicas";
    options.lease = "replicas";
    replicas.push_back(std::make_unique<Webhook>(options));
  }
  for (const auto& replica : replicas)
    ASSERT_TRUE(replica->becomes_ready()) << replica->log();
  const std::string first = served_certificate(replicas[0]->port());
  EXPECT_THAT(first, HasSubstr("BEGIN CERTIFICATE"));
  for (const auto& replica : replicas)
    EXPECT_EQ(served_certificate(replica->port()), first);
  const auto secret = client_->get(resources::kSecrets, "palisade-system", "replicas-tls");
  ASSERT_TRUE(secret) << secret.error().text();
  EXPECT_EQ(ca_bundle("replicas"), secret->at("data").at("ca.crt"));
}

}  // namespace
}  // namespace palisade::webhook::testing
