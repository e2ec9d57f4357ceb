// Palisade's webhook configurations, which no webhook can guard, behind the chart's
// ValidatingAdmissionPolicy: on the real API server, by users who may do everything.
#include <chrono>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "as_user.h"
#include "chart/chart.h"

namespace palisade::chart::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

constexpr const char* kName = "palisade-webhook";
constexpr const char* kRefusal = "Palisade's own webhook configuration";
constexpr const char* kWebhook = "system:serviceaccount:palisade-system:palisade-webhook";
constexpr const char* kInjector = "system:serviceaccount:cert-manager:cert-manager-cainjector";

const kube::Resource kPolicies{"admissionregistration.k8s.io", "v1", "validatingadmissionpolicies",
                               "ValidatingAdmissionPolicy", false};
const kube::Resource kBindings{"admissionregistration.k8s.io", "v1",
                               "validatingadmissionpolicybindings",
                               "ValidatingAdmissionPolicyBinding", false};
const kube::Resource kRoleBindings{"rbac.authorization.k8s.io", "v1", "clusterrolebindings",
                                   "ClusterRoleBinding", false};

class SelfGuard : public ::testing::Test {
 protected:
  // Everybody has every right; only Palisade's administrators differ.
  // A cluster for each test: an API server obeys an earlier test's policies for a moment.
  void SetUp() override {
    const fs::path tokens = directory_.path() / "tokens";
    std::ofstream(tokens) << "mallory,mallory,1,\"all,platform2\"\n"
                          << "ada,ada,2,\"all,platform\"\n"
                          << "root,root,3,all\n"
                          << "webhook," << kWebhook << ",4,all\n"
                          << "injector," << kInjector << ",5,all\n";
    kube::EnvTestOptions options;
    options.apiserver_flags = {"--token-auth-file=" + tokens.string()};
    auto started = kube::EnvTest::start(options);
    if (!started) throw std::runtime_error(started.error().text());
    cluster_ = *std::move(started);
    admin_ = as("root");
    const json everything{
        {"metadata", {{"name", "all"}}},
        {"roleRef",
         {{"apiGroup", "rbac.authorization.k8s.io"},
          {"kind", "ClusterRole"},
          {"name", "cluster-admin"}}},
        {"subjects",
         {{{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "Group"}, {"name", "all"}}}}};
    const auto bound =
        kube::Client::connect(cluster_->config())->create(kRoleBindings, "", everything);
    ASSERT_TRUE(bound) << bound.error().text();
  }
  std::unique_ptr<kube::Client> as(const std::string& token) const {
    return kube::Client::connect(as_user(cluster_->config(), token));
  }
  // What the client has no call for: status and body.
  kube::Response remove_collection(const std::string& token, const kube::Resource& kind) const {
    kube::Request request;
    request.method = "DELETE";
    request.target = kind.path("");
    request.headers = {{"Authorization", "Bearer " + token}};
    auto done = transport_to(as_user(cluster_->config()))->send(request, {});
    if (!done) throw std::runtime_error(done.error().text());
    return *std::move(done);
  }

  static const kube::Resource& resource(const json& object) {
    return object["kind"] == "ValidatingWebhookConfiguration"
               ? kube::resources::kValidatingWebhookConfigurations
               : kube::resources::kMutatingWebhookConfigurations;
  }

  // The chart's configurations with the guard in force.
  void install(const Strings& values) {
    const auto rendered = objects(values);
    hooks_ = of_kind(rendered, "ValidatingWebhookConfiguration");
    std::ranges::copy(of_kind(rendered, "MutatingWebhookConfiguration"),
                      std::back_inserter(hooks_));
    ASSERT_EQ(hooks_.size(), 2U);
    for (json& hook : hooks_)
      made(resource(hook), hook);
    made(kPolicies, named(rendered, "ValidatingAdmissionPolicy", "palisade-self-guard"));
    made(kBindings, named(rendered, "ValidatingAdmissionPolicyBinding", "palisade-self-guard"));
    // The API server reads policies a moment after they are written.
    const auto mallory = as("mallory");
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    for (const json& hook : hooks_) {
      while (true) {
        const auto tried = mallory->patch(resource(hook), "", kName, kube::PatchType::kMerge,
                                          {{"metadata", {{"labels", {{"probe", "y"}}}}}});
        if (!tried && tried.error().text().find(kRefusal) != std::string::npos) break;
        ASSERT_LT(std::chrono::steady_clock::now(), deadline)
            << (tried ? "not refused" : tried.error().text());
        std::this_thread::sleep_for(100ms);
      }
    }
    const auto policy = admin_->get(kPolicies, "", "palisade-self-guard");
    ASSERT_TRUE(policy) << policy.error().text();
  }
  void made(const kube::Resource& kind, const json& object) {
    const auto done = admin_->create(kind, "", object);
    ASSERT_TRUE(done) << done.error().text();
  }
  template <class Result>
  static void expect_refused(const Result& result, const std::string& what) {
    ASSERT_FALSE(result) << what;
    EXPECT_EQ(result.error().code, 403) << what << result.error().text();
    EXPECT_THAT(result.error().text(), HasSubstr(kRefusal)) << what;
  }

  static json patch_of(const std::string& path, const json& value) {
    return json::array({{{"op", "add"}, {"path", path}, {"value", value}}});
  }

  const Directory directory_;
  std::unique_ptr<kube::EnvTest> cluster_;
  std::unique_ptr<kube::Client> admin_;  // an administrator of Palisade
  std::vector<json> hooks_;
};

struct Tampering {
  const char* path;
  json value;
};
const std::vector<Tampering>& tamperings() {
  static const std::vector<Tampering> kAll{
      {"/webhooks", json::array()},
      {"/webhooks/0/failurePolicy", "Ignore"},
      {"/webhooks/0/rules/0/operations", {"CREATE"}},
      {"/webhooks/0/namespaceSelector", {{"matchLabels", {{"a", "b"}}}}},
      {"/webhooks/0/objectSelector", {{"matchLabels", {{"a", "b"}}}}},
      {"/webhooks/0/matchPolicy", "Exact"},
      {"/webhooks/0/timeoutSeconds", 1},
      {"/webhooks/0/sideEffects", "None"},
      {"/webhooks/0/clientConfig/service/name", "another"},
      {"/webhooks/0/clientConfig/service/path", "/elsewhere"},
      {"/webhooks/0/matchConditions", {{{"name", "never"}, {"expression", "false"}}}},
      {"/webhooks/0/name", "other.palisade.dev"},
      {"/metadata/labels/x", "y"},
      {"/metadata/annotations", {{"x", "y"}}},
      {"/metadata/finalizers", {"example.com/x"}},
      {"/metadata/ownerReferences",
       {{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", "n"}, {"uid", "1"}}}},
  };
  return kAll;
}

TEST_F(SelfGuard, AdministratorsAndTheKeeperOfTheCaBundleOnly) {
  install({R"(webhook={"administrators": {"users": ["root"], "groups": ["platform"]}})"});
  const auto mallory = as("mallory");
  const auto webhook = as("webhook");
  const auto ada = as("ada");
  const json ca = patch_of("/webhooks/0/clientConfig/caBundle", "QUJD");
  for (const json& hook : hooks_) {
    const kube::Resource& kind = resource(hook);
    SCOPED_TRACE(kind.kind);
    const auto patched = [&](const std::unique_ptr<kube::Client>& who, const json& patch) {
      return who->patch(kind, "", kName, kube::PatchType::kJson, patch);
    };
    for (const Tampering& t : tamperings()) {
      SCOPED_TRACE(t.path);
      expect_refused(patched(mallory, patch_of(t.path, t.value)), "mallory");
      expect_refused(patched(webhook, patch_of(t.path, t.value)), "webhook");
    }
    if (kind.kind == "MutatingWebhookConfiguration")
      expect_refused(patched(webhook, patch_of("/webhooks/0/reinvocationPolicy", "IfNeeded")), "");
    expect_refused(patched(mallory, ca), "caBundle");
    // The bundle alone is the webhook's; never with something beside it.
    const auto renewed = patched(webhook, ca);
    EXPECT_TRUE(renewed) << renewed.error().text();
    json both = patch_of("/webhooks/0/clientConfig/caBundle", "REVG");
    both.push_back({{"op", "add"}, {"path", "/webhooks/0/failurePolicy"}, {"value", "Ignore"}});
    expect_refused(patched(webhook, both), "both");
    for (const char* who : {"mallory", "webhook"}) {
      expect_refused(as(who)->remove(kind, "", kName, {}), "delete");
      const kube::Response collection = remove_collection(who, kind);
      EXPECT_EQ(collection.status, 403) << collection.body;
      EXPECT_THAT(collection.body, HasSubstr(kRefusal));
    }
    EXPECT_TRUE(admin_->get(kind, "", kName));
    // Administrators do as they like: the group's and the user, and nobody else by default.
    const auto relabelled = patched(ada, patch_of("/metadata/labels/by", "ada"));
    EXPECT_TRUE(relabelled) << relabelled.error().text();
    expect_refused(patched(kube::Client::connect(cluster_->config()),
                           patch_of("/metadata/labels/by", "masters")),
                   "system:masters is not named");
    const auto removed = admin_->remove(kind, "", kName, {});
    EXPECT_TRUE(removed) << removed.error().text();
    json again = hook;
    again["webhooks"] = json::array();
    expect_refused(mallory->create(kind, "", again), "an empty one under the name");
    // Others' configurations are none of its business.
    again["metadata"]["name"] = "somebody-elses";
    EXPECT_TRUE(mallory->create(kind, "", again));
    EXPECT_TRUE(mallory->remove(kind, "", "somebody-elses", {}));
    EXPECT_TRUE(admin_->create(kind, "", hook));
    EXPECT_TRUE(admin_->remove(kind, "", kName, {}));
  }
}

TEST_F(SelfGuard, WithCertManagerItsInjectorKeepsTheBundle) {
  install({R"(webhook={"certManager": {"enabled": true}, "administrators": {"users": ["root"]}})"});
  const json ca = patch_of("/webhooks/0/clientConfig/caBundle", "QUJD");
  for (const json& hook : hooks_) {
    const kube::Resource& kind = resource(hook);
    const auto patched = [&](const char* who, const json& patch) {
      return as(who)->patch(kind, "", kName, kube::PatchType::kJson, patch);
    };
    EXPECT_TRUE(patched("injector", ca));
    expect_refused(patched("injector", patch_of("/webhooks/0/failurePolicy", "Ignore")),
                   "injector");
    expect_refused(patched("webhook", ca), "the webhook writes no bundle then");
  }
}

// The limit that docs/guarded-objects.md states: the API lets nothing guard the guard.
TEST_F(SelfGuard, CannotGuardItself) {
  install({R"(webhook={"administrators": {"users": ["root"], "groups": ["platform"]}})"});
  const auto mallory = as("mallory");
  EXPECT_TRUE(mallory->remove(kBindings, "", "palisade-self-guard", {}));
  EXPECT_TRUE(mallory->remove(kPolicies, "", "palisade-self-guard", {}));
}

}  // namespace
}  // namespace palisade::chart::testing
