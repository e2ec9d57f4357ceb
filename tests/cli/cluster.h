// The real program against a real API server.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kube/client.h>
#include <kube/envtest.h>

#include "cli/program.h"
#include "definitions.h"
#include "policy/fixture.h"

namespace palisade::cli::testing {

using nlohmann::json;

// One server for all tests of a program; each test makes namespaces of its own.
class ClusterTest : public ProgramTest {
 protected:
  static void SetUpTestSuite() {
    if (env_) return;
    kube::EnvTest::Options options;
    options.apiserver_flags = apiserver_flags_;
    auto started = kube::EnvTest::start(options);
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    admin_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast);
  }
  static void TearDownTestSuite() {
    admin_.reset();
    env_.reset();
    crds_.clear();
  }
  void SetUp() override {
    ProgramTest::SetUp();
    ASSERT_TRUE(env_);
    ::setenv("KUBECONFIG", env_->kubeconfig_path().c_str(), 1);
  }

  // Of Palisade's, by their plurals; once for each server.
  static void install_crds(const std::vector<std::string>& kinds) {
    for (const std::string& kind : kinds) {
      if (!crds_.insert(kind).second) continue;
      const auto done = install_definitions(*env_, {kind});
      ASSERT_TRUE(done) << done.error().text();
    }
  }

  using Labels = std::map<std::string, std::string>;
  std::string make_namespace(const std::string& name, const Labels& labels = {}) const {
    make(kube::resources::kNamespaces, "",
         {{"apiVersion", "v1"},
          {"kind", "Namespace"},
          {"metadata", {{"name", name}, {"labels", labels}}}});
    return name;
  }
  static json make(const kube::Resource& resource, const std::string& ns, json object) {
    object["apiVersion"] = resource.api_version();
    object["kind"] = resource.kind;
    if (!ns.empty()) object["metadata"]["namespace"] = ns;
    const auto made = admin_->create(resource, ns, object);
    EXPECT_TRUE(made) << made.error().text();
    return made ? *made : json();
  }
  static json pod(const std::string& name) {
    json object = policy::testing::good_pod();
    object["metadata"]["name"] = name;
    object["metadata"].erase("namespace");
    object["metadata"].erase("ownerReferences");
    return object;
  }
  static json bad_pod(const std::string& name) {
    json object = pod(name);
    object["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false;
    return object;
  }
  static json plain_pod(const std::string& name) {
    return {{"metadata", {{"name", name}}},
            {"spec", {{"containers", json::array({{{"name", "c"}, {"image", "nginx"}}})}}}};
  }
  // A policy that closes the network of every pod there.
  static void close_network(const std::string& ns) {
    make(kube::resources::kNetworkPolicies, ns,
         {{"metadata", {{"name", "deny-all"}}},
          {"spec", {{"podSelector", json::object()}, {"policyTypes", {"Ingress", "Egress"}}}}});
  }
  // A kubeconfig of somebody without any rights; the path.
  std::string nobody() const {
    json config{{"apiVersion", "v1"}, {"kind", "Config"}, {"current-context", "c"}};
    config["clusters"] = json::array(
        {{{"name", "c"},
          {"cluster", {{"server", env_->config().server}, {"insecure-skip-tls-verify", true}}}}});
    config["users"] = json::array({{{"name", "u"}, {"user", json::object()}}});
    config["contexts"] =
        json::array({{{"name", "c"}, {"context", {{"cluster", "c"}, {"user", "u"}}}}});
    return write("nobody.json", config.dump());
  }

  // Set before the suite begins.
  static inline std::vector<std::string> apiserver_flags_;
  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<kube::Client> admin_;
  static inline std::set<std::string> crds_;
};

}  // namespace palisade::cli::testing
