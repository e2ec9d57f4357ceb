// The real API server takes what the chart renders, whatever the values are: every object of every
// combination as a server-side dry run; and its pods in a namespace of the Pod Security Standard's
// level `restricted`.
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "chart/chart.h"
#include "definitions.h"

namespace palisade::chart::testing {
namespace {

constexpr const char* kNs = "palisade-system";

class ChartApplied : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    admin_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
    // Kinds that are there where their owners are installed.
    for (const char* name :
         {"certificates.cert-manager.io", "issuers.cert-manager.io",
          "podmonitors.monitoring.coreos.com", "prometheusrules.monitoring.coreos.com",
          "servicemonitors.monitoring.coreos.com"}) {
      const auto installed = install_foreign_definition(*env_, name);
      ASSERT_TRUE(installed) << name << ": " << installed.error().text();
    }
    for (const auto& [name, level] :
         {std::pair{kNs, "restricted"}, std::pair{"palisade-gateway", "privileged"}}) {
      const auto made = admin_->create(
          kube::resources::kNamespaces, "",
          {{"metadata",
            {{"name", name}, {"labels", {{"pod-security.kubernetes.io/enforce", level}}}}}});
      ASSERT_TRUE(made) << made.error().text();
    }
  }
  static void TearDownTestSuite() {
    admin_.reset();
    env_.reset();
  }
  void SetUp() override { ASSERT_TRUE(admin_); }

  // From the API server's own lists, so that no kind is left out by mistake.
  static std::optional<kube::Resource> resource_of(const json& object) {
    const std::string version = object.at("apiVersion");
    const std::string at = (version.find('/') == std::string::npos ? "/api/" : "/apis/") + version;
    auto known = lists_.find(version);
    if (known == lists_.end()) {
      const auto list = admin_->get_raw(at);
      known = lists_.emplace(version, list ? json::parse(*list) : json()).first;
    }
    for (const json& one : known->second.value("resources", json::array())) {
      const std::string name = one.at("name");
      if (one.at("kind") != object.at("kind") || name.find('/') != std::string::npos) continue;
      const auto slash = version.find('/');
      return kube::Resource{slash == std::string::npos ? "" : version.substr(0, slash),
                            slash == std::string::npos ? version : version.substr(slash + 1), name,
                            one.at("kind"), one.at("namespaced")};
    }
    return std::nullopt;
  }
  static kube::Result<json> applied(const json& object) {
    const auto resource = resource_of(object);
    if (!resource) throw std::runtime_error("no such kind: " + object.at("kind").dump());
    kube::ApplyOptions options;
    options.field_manager = "helm";
    options.dry_run = true;
    return admin_->apply(*resource, object["metadata"].value("namespace", ""), name_of(object),
                         object, options);
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::unique_ptr<kube::Client> admin_;
  static inline std::map<std::string, json> lists_;
};

TEST_F(ChartApplied, EveryObjectOfEveryCombinationIsTaken) {
  int taken = 0;
  std::set<std::string> foreign;
  for (const Strings& values : variations()) {
    for (const json& object : objects(values)) {
      const std::string group = object.at("apiVersion");
      if (group.starts_with("cert-manager.io/") || group.starts_with("monitoring.coreos.com/"))
        foreign.insert(object.at("kind"));
      const auto done = applied(object);
      EXPECT_TRUE(done) << object.at("kind") << " " << name_of(object) << ": "
                        << done.error().text() << ::testing::PrintToString(values);
      ++taken;
    }
  }
  EXPECT_GT(taken, 400);
  EXPECT_THAT(foreign, ::testing::ElementsAre("Certificate", "Issuer", "PodMonitor",
                                              "PrometheusRule", "ServiceMonitor"));
}

TEST_F(ChartApplied, AnUnknownFieldWouldBeFound) {
  json object = named(objects(), "Deployment", "palisade-webhook");
  object["spec"]["template"]["spec"]["topologySpreadConstraint"] = json::array();
  EXPECT_FALSE(applied(object));
}

// Whatever of a guarded kind the API server takes by another way: each subresource is asked about
// too, or cannot do harm. A new version of Kubernetes that has one more is found here.
TEST_F(ChartApplied, NoSubresourceOfAGuardedKindGoesUnseen) {
  const std::map<std::string, std::string> harmless{
      {"pods/eviction", "it deletes"},
      {"pods/log", "it is read"},
      {"apps/deployments/scale", "it writes the number of replicas alone"},
      {"apps/statefulsets/scale", "it writes the number of replicas alone"},
      {"apps/replicasets/scale", "it writes the number of replicas alone"},
      {"replicationcontrollers/scale", "it writes the number of replicas alone"},
      {"apps/deployments/status", "it does not write the template"},
      {"apps/statefulsets/status", "it does not write the template"},
      {"apps/daemonsets/status", "it does not write the template"},
      {"apps/replicasets/status", "it does not write the template"},
      {"replicationcontrollers/status", "it does not write the template"},
      {"batch/jobs/status", "it does not write the template"},
      {"batch/cronjobs/status", "it does not write the template"},
  };
  const auto installed = install_definitions(*env_, {"agentworkspaces", "agentworkspacetemplates",
                                                     "agentpolicies", "hardeningexceptions"});
  ASSERT_TRUE(installed) << installed.error().text();
  const json configuration = named(objects(), "ValidatingWebhookConfiguration", "palisade-webhook");
  std::set<std::string> asked;
  std::map<std::string, std::set<std::string>> guarded;  // resources, by group
  for (const json& webhook : configuration["webhooks"]) {
    for (const json& rule : webhook["rules"]) {
      for (const std::string& group : strings_of(rule, "apiGroups")) {
        for (const std::string& resource : strings_of(rule, "resources")) {
          asked.insert((group.empty() ? "" : group + "/") + resource);
          guarded[group].insert(resource.substr(0, resource.find('/')));
        }
      }
    }
  }
  std::set<std::string> met;
  for (const auto& [group, resources] : guarded) {
    // Kinds of others are served where they are installed.
    if (group.ends_with("cilium.io") || group.ends_with("projectcalico.org") ||
        group.ends_with("antrea.io") || group == "policy.networking.k8s.io") {
      continue;
    }
    const auto list = admin_->get_raw(group.empty()             ? "/api/v1"
                                      : group == "palisade.dev" ? "/apis/palisade.dev/v1alpha1"
                                                                : "/apis/" + group + "/v1");
    ASSERT_TRUE(list) << group << ": " << list.error().text();
    std::set<std::string> served;
    const json listed = json::parse(*list);
    for (const json& one : listed.at("resources")) {
      const std::string name = one.at("name");
      const auto slash = name.find('/');
      served.insert(name.substr(0, slash));
      if (slash == std::string::npos || !resources.contains(name.substr(0, slash))) continue;
      const std::string full = (group.empty() ? "" : group + "/") + name;
      met.insert(full);
      EXPECT_NE(asked.contains(full), harmless.contains(full))
          << full << " is neither asked about nor known to be harmless, or both";
    }
    EXPECT_THAT(served, ::testing::IsSupersetOf(resources)) << group;
  }
  EXPECT_TRUE(met.contains("pods/exec"));
  for (const auto& [name, why] : harmless)
    EXPECT_TRUE(met.contains(name)) << "nobody serves " << name;
}

// As the controllers would make them.
TEST_F(ChartApplied, ItsPodsPassTheRestrictedLevel) {
  const Outcome rendered = helm({"template", "palisade", chart().string(), "--namespace", kNs});
  ASSERT_EQ(rendered.code, 0) << rendered.err;
  int pods = 0;
  for (const json& object : objects_of(rendered.out)) {
    json pod{{"apiVersion", "v1"}, {"kind", "Pod"}};
    if (object.at("kind") == "Deployment") {
      pod["metadata"] = object["spec"]["template"]["metadata"];
      pod["spec"] = object["spec"]["template"]["spec"];
    } else if (object.at("kind") == "Pod") {
      pod["metadata"]["labels"] = object["metadata"]["labels"];
      pod["spec"] = object["spec"];
    } else {
      continue;
    }
    ++pods;
    pod["metadata"]["name"] = name_of(object);
    pod["metadata"]["namespace"] = kNs;
    const auto account = admin_->create(
        kube::resources::kServiceAccounts, kNs,
        {{"metadata", {{"name", pod["spec"]["serviceAccountName"]}, {"namespace", kNs}}}});
    ASSERT_TRUE(account) << account.error().text();
    const auto done = applied(pod);
    EXPECT_TRUE(done) << name_of(object) << ": " << done.error().text();
    pod["spec"]["containers"][0]["securityContext"].erase("capabilities");
    const auto weakened = applied(pod);
    ASSERT_FALSE(weakened) << name_of(object);
    EXPECT_THAT(weakened.error().text(), ::testing::HasSubstr("PodSecurity"));
  }
  EXPECT_EQ(pods, 4);
}

}  // namespace
}  // namespace palisade::chart::testing
