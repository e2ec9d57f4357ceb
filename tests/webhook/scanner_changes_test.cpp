// What changes a verdict without a change of the pod is heard of at once: the watches of a real
// cluster wake the scanner, whose recheck is far away here.
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <kube/envtest.h>
#include <webhook/cluster.h>
#include <webhook/scanner.h>

#include "definitions.h"
#include "policy/fixture.h"

namespace palisade::webhook {
namespace {

using namespace std::chrono_literals;
using kube::Json;
namespace known = kube::resources;

const kube::Resource kExceptions{"palisade.dev", "v1alpha1", "hardeningexceptions",
                                 "HardeningException", false};

class ScannerChanges : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config());
    const auto done =
        install_definitions(*env_, {"agentworkspaces", "agentpolicies", "hardeningexceptions"});
    ASSERT_TRUE(done) << done.error().text();
    make(known::kNamespaces, "", {{"metadata", {{"name", "team-a"}}}});
    Json pod = policy::testing::good_pod();
    pod["metadata"].erase("namespace");
    pod["metadata"].erase("ownerReferences");
    make(known::kPods, "team-a", pod);

    ScannerOptions options;
    options.debounce = 50ms;
    options.recheck = 1h;
    options.discovery = 1h;
    cluster_ =
        std::make_unique<Cluster>(client_, client_, ClusterOptions{},
                                  [this](std::string_view ns) { scanner_->rules_changed(ns); });
    scanner_ = std::make_unique<Scanner>(
        client_,
        ScannerContext{[this](std::string_view ns) { return cluster_->known_rules(ns); },
                       [this](std::string_view ns) { return cluster_->known_network_policies(ns); },
                       [this] { return std::optional(term_.get_token()); }},
        registry_, options);
    cluster_->start();
    scanner_->start();
  }
  void TearDown() override {
    if (scanner_) scanner_->stop();
    cluster_.reset();  // its watches call the scanner
    scanner_.reset();
  }

  void make(const kube::Resource& kind, const std::string& ns, Json object) {
    object["apiVersion"] = kind.api_version();
    object["kind"] = kind.kind;
    const auto done = client_->create(kind, ns, object);
    ASSERT_TRUE(done) << done.error().text();
  }
  void take_away(const kube::Resource& kind, const std::string& ns, const std::string& name) {
    const auto done = client_->remove(kind, ns, name);
    ASSERT_TRUE(done) << done.error().text();
  }
  bool shows(const std::string& line) {
    const auto deadline = std::chrono::steady_clock::now() + 40s;
    do {
      const auto text = prometheus::TextSerializer().Serialize(registry_.Collect());
      if (text.find(line + "\n") != std::string::npos) return true;
      std::this_thread::sleep_for(20ms);
    } while (std::chrono::steady_clock::now() < deadline);
    return false;
  }

  std::unique_ptr<kube::EnvTest> env_;
  std::shared_ptr<kube::Client> client_;
  std::stop_source term_;
  prometheus::Registry registry_;
  std::unique_ptr<Scanner> scanner_;
  std::unique_ptr<Cluster> cluster_;
};

TEST_F(ScannerChanges, OfNetworkPoliciesAndExceptionsAreHeardOf) {
  const std::string open = R"(palisade_scan_findings{control="deny-all-network"} )";
  EXPECT_TRUE(shows(open + "1"));
  const Json closed{{"podSelector", Json::object()}, {"policyTypes", {"Ingress", "Egress"}}};
  make(known::kNetworkPolicies, "team-a", {{"metadata", {{"name", "deny"}}}, {"spec", closed}});
  EXPECT_TRUE(shows(open + "0"));
  EXPECT_TRUE(shows(R"(palisade_scan_pods{verdict="pass"} 1)"));
  // A change of it.
  const auto changed =
      client_->patch(known::kNetworkPolicies, "team-a", "deny", kube::PatchType::kMerge,
                     {{"spec", {{"policyTypes", {"Ingress"}}}}});
  ASSERT_TRUE(changed) << changed.error().text();
  EXPECT_TRUE(shows(open + "1"));
  take_away(known::kNetworkPolicies, "team-a", "deny");
  make(known::kNetworkPolicies, "team-a", {{"metadata", {{"name", "again"}}}, {"spec", closed}});
  EXPECT_TRUE(shows(open + "0"));
  take_away(known::kNetworkPolicies, "team-a", "again");
  EXPECT_TRUE(shows(R"(palisade_scan_pods{verdict="fail"} 1)"));

  make(kExceptions, "",
       {{"metadata", {{"name", "e"}}},
        {"spec",
         {{"namespaces", {"team-a"}},
          {"controls", {"deny-all-network"}},
          {"reason", "a test"},
          {"ticket", "OPS-1"},
          {"approver", "ada"},
          {"expires", "2999-01-01T00:00:00Z"}}}});
  EXPECT_TRUE(shows(R"(palisade_scan_pods{verdict="skip"} 1)"));
  take_away(kExceptions, "", "e");
  EXPECT_TRUE(shows(R"(palisade_scan_pods{verdict="fail"} 1)"));
}

}  // namespace
}  // namespace palisade::webhook
