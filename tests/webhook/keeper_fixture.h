// A real API server, and for each test a Secret and webhook configurations of its own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <kube/base64.h>
#include <kube/envtest.h>
#include <webhook/certificates.h>

#include "webhook/eventually.h"

namespace palisade::webhook::testing {

using namespace std::chrono_literals;
using kube::Json;
using ::testing::HasSubstr;
namespace resources = kube::resources;

inline constexpr auto kInterval = 1000ms;
inline constexpr auto kValidity = 24h * 90;
inline const std::vector<std::string> kNames{"palisade-webhook.palisade-system.svc"};

inline Json data_of(const Bundle& bundle) {
  return {{"ca.crt", kube::encode_base64(bundle.authorities)},
          {"tls.crt", kube::encode_base64(bundle.certificate)},
          {"tls.key", kube::encode_base64(bundle.key)}};
}

// Past two thirds of its life, with a month to go.
inline Bundle due_bundle() {
  auto bundle = make_bundle(kNames, WallClock::now() - 24h * 61, kValidity);
  if (!bundle) throw std::runtime_error(bundle.error());
  return *bundle;
}

// What a keeper gave to its server.
class Served {
 public:
  void add(const kube::ServingCertificate& certificate) {
    const std::scoped_lock lock(mutex_);
    at_.push_back(Clock::now());
    certificates_.push_back(certificate.certificate);
  }
  [[nodiscard]] std::vector<std::string> all() const {
    const std::scoped_lock lock(mutex_);
    return certificates_;
  }
  [[nodiscard]] std::string last() const {
    const auto everything = all();
    return everything.empty() ? "" : everything.back();
  }
  [[nodiscard]] Clock::time_point last_at() const {
    const std::scoped_lock lock(mutex_);
    return at_.back();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::string> certificates_;
  std::vector<Clock::time_point> at_;
};

class Keeper : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    spdlog::set_level(spdlog::level::err);
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast, 5s);
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }

  // Every test has its own Secret and configuration.
  void SetUp() override {
    ASSERT_TRUE(env_);
    static int number = 0;
    options_.ns = "default";
    options_.secret = "tls-" + std::to_string(++number);
    options_.configuration = "webhook-" + std::to_string(number);
    options_.names = kNames;
    options_.validity = kValidity;
    options_.interval = kInterval;
  }

  static Json webhook(const std::string& name) {
    return {{"name", name},
            {"admissionReviewVersions", {"v1"}},
            {"sideEffects", "None"},
            {"clientConfig", {{"url", "https://127.0.0.1:1/validate"}}}};
  }
  void make_configuration(int webhooks = 1, bool mutating = false) const {
    Json list = Json::array();
    for (int i = 0; i < webhooks; ++i)
      list.push_back(webhook("w" + std::to_string(i) + ".palisade.dev"));
    const auto& resource = mutating ? resources::kMutatingWebhookConfigurations
                                    : resources::kValidatingWebhookConfigurations;
    const auto made = client_->create(resource, "",
                                      {{"apiVersion", "admissionregistration.k8s.io/v1"},
                                       {"kind", resource.kind},
                                       {"metadata", {{"name", options_.configuration}}},
                                       {"webhooks", list}});
    ASSERT_TRUE(made) << made.error().text();
  }
  void write_secret(const Json& data, const std::string& type = "Opaque") const {
    const Json secret = {{"apiVersion", "v1"},
                         {"kind", "Secret"},
                         {"metadata", {{"name", options_.secret}, {"labels", {{"kept", "yes"}}}}},
                         {"type", type},
                         {"data", data}};
    const auto written = client_->create(resources::kSecrets, "default", secret);
    ASSERT_TRUE(written) << written.error().text();
  }
  void patch_secret(const Json& data) const {
    const auto patched = client_->patch(resources::kSecrets, "default", options_.secret,
                                        kube::PatchType::kMerge, {{"data", data}});
    ASSERT_TRUE(patched) << patched.error().text();
  }
  // As the API holds it; empty texts where it is not there.
  [[nodiscard]] Json secret_data() const {
    const auto got = client_->get(resources::kSecrets, "default", options_.secret);
    return got ? got->value("data", Json::object()) : Json::object();
  }
  [[nodiscard]] std::vector<std::string> ca_bundles(bool mutating = false) const {
    const auto got = client_->get(mutating ? resources::kMutatingWebhookConfigurations
                                           : resources::kValidatingWebhookConfigurations,
                                  "", options_.configuration);
    std::vector<std::string> out;
    if (got) {
      for (const Json& one : got->value("webhooks", Json::array()))
        out.push_back(one.at("clientConfig").value("caBundle", ""));
    }
    return out;
  }
  // The Secret's certificate is `served`, and its authorities are in every caBundle.
  [[nodiscard]] bool in_step(const std::string& served) const {
    const Json data = secret_data();
    const auto bundles = ca_bundles();
    return data.value("tls.crt", "") == kube::encode_base64(served) && !bundles.empty() &&
           std::ranges::all_of(bundles,
                               [&](const auto& one) { return one == data.value("ca.crt", ""); });
  }
  [[nodiscard]] std::unique_ptr<CertificateKeeper> keeper(Served& served) const {
    return std::make_unique<CertificateKeeper>(
        client_, options_, [&](const kube::ServingCertificate& one) { served.add(one); });
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<kube::Client> client_;
  KeeperOptions options_;
};

}  // namespace palisade::webhook::testing
