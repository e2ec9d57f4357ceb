// The keeper of certificates against a real API server: what it writes, when it serves, and what it
// puts right. Intervals are short; what is asserted of time is only what must not come earlier.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <spdlog/spdlog.h>

#include <kube/envtest.h>
#include <webhook/certificates.h>

#include "webhook/program.h"

namespace palisade::webhook::testing {
namespace {

using namespace std::chrono_literals;
using kube::Json;
using ::testing::HasSubstr;
namespace resources = kube::resources;

constexpr auto kInterval = 1000ms;
constexpr auto kValidity = 24h * 90;
const std::vector<std::string> kNames{"palisade-webhook.palisade-system.svc"};

std::string base64(const std::string& data) {
  std::string out((data.size() + 2) / 3 * 4 + 1, '\0');
  out.resize(static_cast<std::size_t>(EVP_EncodeBlock(
      reinterpret_cast<unsigned char*>(out.data()),
      reinterpret_cast<const unsigned char*>(data.data()), static_cast<int>(data.size()))));
  return out;
}

Json data_of(const Bundle& bundle) {
  return {{"ca.crt", base64(bundle.authorities)},
          {"tls.crt", base64(bundle.certificate)},
          {"tls.key", base64(bundle.key)}};
}

// Past two thirds of its life, with a month to go.
Bundle due_bundle() {
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
  void make_configuration(int webhooks = 1) const {
    Json list = Json::array();
    for (int i = 0; i < webhooks; ++i)
      list.push_back(webhook("w" + std::to_string(i) + ".palisade.dev"));
    const auto made = client_->create(resources::kValidatingWebhookConfigurations, "",
                                      {{"apiVersion", "admissionregistration.k8s.io/v1"},
                                       {"kind", "ValidatingWebhookConfiguration"},
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
  [[nodiscard]] std::vector<std::string> ca_bundles() const {
    const auto got =
        client_->get(resources::kValidatingWebhookConfigurations, "", options_.configuration);
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
    return data.value("tls.crt", "") == base64(served) && !bundles.empty() &&
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

TEST_F(Keeper, MakesWhatIsMissingAndTrustsItInEveryWebhook) {
  make_configuration(3);
  Served served;
  const auto keeper = this->keeper(served);
  const auto first = keeper->first(30s);
  ASSERT_TRUE(first) << first.error();
  EXPECT_FALSE(keeper->in_place());  // made, but no one trusts it yet
  keeper->start();
  EXPECT_TRUE(eventually([&] { return keeper->in_place(); }));
  EXPECT_TRUE(in_step(first->certificate));
  EXPECT_EQ(ca_bundles().size(), 3U);
  EXPECT_GT(keeper->expires(), WallClock::now() + 24h * 89);
  EXPECT_TRUE(served.all().empty());  // nothing to change
}

TEST_F(Keeper, WaitsForAConfigurationThatComesLater) {
  Served served;
  const auto keeper = this->keeper(served);
  const auto first = keeper->first(30s);
  ASSERT_TRUE(first) << first.error();
  keeper->start();
  EXPECT_FALSE(keeper->in_place());
  make_configuration();
  EXPECT_TRUE(eventually([&] { return keeper->in_place(); }));
  EXPECT_TRUE(in_step(first->certificate));
}

TEST_F(Keeper, TakesUpAGoodSecretAndReplacesABadOne) {
  const auto good = make_bundle(kNames, WallClock::now(), kValidity);
  const auto expired = make_bundle(kNames, WallClock::now() - 24h * 91, kValidity);
  const auto other_name = make_bundle({"example.com"}, WallClock::now(), kValidity);
  ASSERT_TRUE(good && expired && other_name);
  Json mixed = data_of(*good);
  mixed["tls.key"] = base64(expired->key);
  const struct {
    const char* name;
    Json data;
    bool kept;
  } cases[] = {
      {"good", data_of(*good), true},
      {"expired", data_of(*expired), false},
      {"for another name", data_of(*other_name), false},
      {"another key", mixed, false},
      {"empty", Json::object(), false},
      {"words", {{"ca.crt", base64("a")}, {"tls.crt", base64("b")}, {"tls.key", ""}}, false},
  };
  for (const auto& c : cases) {
    options_.secret += "x";
    Json data = c.data;
    data["other"] = base64("something");
    write_secret(data);
    Served served;
    const auto first = keeper(served)->first(30s);
    ASSERT_TRUE(first) << c.name << ": " << first.error();
    EXPECT_EQ(first->certificate == good->certificate, c.kept) << c.name;
    EXPECT_EQ(secret_data().value("tls.crt", ""), base64(first->certificate)) << c.name;
    const auto secret = client_->get(resources::kSecrets, "default", options_.secret);
    EXPECT_EQ(secret->at("metadata").at("labels").value("kept", ""), "yes") << c.name;
  }
}

TEST_F(Keeper, RenewsWithTheOldAuthorityKept) {
  make_configuration();
  Served served;
  const auto keeper = this->keeper(served);
  ASSERT_TRUE(keeper->first(30s));
  keeper->start();
  ASSERT_TRUE(eventually([&] { return keeper->in_place(); }));
  const std::string before = secret_data().at("tls.crt");

  // Its certificate grows old.
  const Bundle old = due_bundle();
  patch_secret(data_of(old));
  ASSERT_TRUE(eventually([&] {
    const std::string now = secret_data().value("tls.crt", "");
    return now != before && now != base64(old.certificate);
  }));
  ASSERT_TRUE(eventually([&] { return in_step(served.last()); }));
  const Json data = secret_data();
  std::string authorities(data.at("ca.crt").get<std::string>());
  std::string decoded(authorities.size(), '\0');
  ASSERT_GT(EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                            reinterpret_cast<const unsigned char*>(authorities.data()),
                            static_cast<int>(authorities.size())),
            0);
  EXPECT_THAT(decoded, HasSubstr(old.authorities));  // and a new one before it
  EXPECT_NE(decoded.find(old.authorities), 0U);
  EXPECT_TRUE(keeper->in_place());
}

TEST_F(Keeper, ACertificateThatCannotBeReplacedIsUsedToItsEnd) {
  make_configuration();
  const Bundle old = due_bundle();
  write_secret(data_of(old));
  const auto frozen = client_->patch(resources::kSecrets, "default", options_.secret,
                                     kube::PatchType::kMerge, {{"immutable", true}});
  ASSERT_TRUE(frozen) << frozen.error().text();
  Served served;
  const auto keeper = this->keeper(served);
  const auto first = keeper->first(30s);
  ASSERT_TRUE(first) << first.error();
  EXPECT_EQ(first->certificate, old.certificate);
  keeper->start();
  EXPECT_TRUE(eventually([&] { return keeper->in_place(); }));
  EXPECT_TRUE(in_step(old.certificate));
}

TEST_F(Keeper, WhatAnotherReplicaRenewedIsServedAnIntervalLater) {
  make_configuration();
  const auto old = make_bundle(kNames, WallClock::now(), kValidity);
  ASSERT_TRUE(old);
  write_secret(data_of(*old));
  Served served;
  const auto keeper = this->keeper(served);
  ASSERT_TRUE(keeper->first(30s));
  keeper->start();
  ASSERT_TRUE(eventually([&] { return keeper->in_place(); }));

  const auto renewed = make_bundle(kNames, WallClock::now(), kValidity, old->authorities);
  ASSERT_TRUE(renewed);
  // caBundle first, so that the keeper's next look finds everything in place already.
  const auto trusted = client_->patch(resources::kValidatingWebhookConfigurations, "",
                                      options_.configuration, kube::PatchType::kJson,
                                      Json::array({{{"op", "add"},
                                                    {"path", "/webhooks/0/clientConfig/caBundle"},
                                                    {"value", base64(renewed->authorities)}}}));
  ASSERT_TRUE(trusted) << trusted.error().text();
  patch_secret(data_of(*renewed));
  const auto visible = Clock::now() - 100ms;  // the patch may have been seen before its answer came
  ASSERT_TRUE(eventually([&] { return served.last() == renewed->certificate; }));
  EXPECT_GE(served.last_at() - visible, kInterval - 100ms);
  EXPECT_TRUE(in_step(renewed->certificate));
}

TEST_F(Keeper, ADeletedSecretWithdrawsTheOldAuthority) {
  make_configuration();
  Served served;
  const auto keeper = this->keeper(served);
  const auto first = keeper->first(30s);
  ASSERT_TRUE(first) << first.error();
  keeper->start();
  ASSERT_TRUE(eventually([&] { return keeper->in_place(); }));
  const std::string authority = ca_bundles().at(0);
  ASSERT_TRUE(client_->remove(resources::kSecrets, "default", options_.secret));
  ASSERT_TRUE(eventually([&] { return !served.all().empty() && in_step(served.last()); }));
  EXPECT_NE(served.last(), first->certificate);
  EXPECT_EQ(ca_bundles().at(0).find(authority), std::string::npos);
  EXPECT_EQ(served.all().size(), 1U);
}

TEST_F(Keeper, TwoThatRenewTogetherServeTheSame) {
  make_configuration();
  write_secret(data_of(due_bundle()));
  Served a;
  Served b;
  const auto one = keeper(a);
  const auto two = keeper(b);
  std::expected<kube::ServingCertificate, std::string> first_of_one;
  {
    const std::jthread beside([&] { first_of_one = one->first(30s); });
    ASSERT_TRUE(two->first(30s));
  }
  ASSERT_TRUE(first_of_one) << first_of_one.error();
  one->start();
  two->start();
  EXPECT_TRUE(eventually([&] { return one->in_place() && two->in_place(); }));
  // Again, now that both are at work.
  const std::string before = secret_data().at("tls.crt");
  patch_secret(data_of(due_bundle()));
  EXPECT_TRUE(eventually([&] {
    return !a.last().empty() && a.last() == b.last() && in_step(a.last()) &&
           base64(a.last()) != before;
  })) << a.all().size()
      << " " << b.all().size();
}

TEST_F(Keeper, StaysInPlaceWhileTheApiServerIsAway) {
  make_configuration();
  Served served;
  const auto keeper = this->keeper(served);
  const auto first = keeper->first(30s);
  ASSERT_TRUE(first) << first.error();
  keeper->start();
  ASSERT_TRUE(eventually([&] { return keeper->in_place(); }));
  ASSERT_TRUE(env_->stop_apiserver(kube::EnvTest::Stop::kAbrupt));
  std::this_thread::sleep_for(3 * kInterval);
  EXPECT_TRUE(keeper->in_place());
  EXPECT_TRUE(served.all().empty());
  const auto back = env_->start_apiserver();
  ASSERT_TRUE(back) << back.error().text();
  // It is at work again.
  const auto emptied = client_->patch(
      resources::kValidatingWebhookConfigurations, "", options_.configuration,
      kube::PatchType::kJson,
      Json::array({{{"op", "remove"}, {"path", "/webhooks/0/clientConfig/caBundle"}}}));
  ASSERT_TRUE(emptied) << emptied.error().text();
  EXPECT_TRUE(eventually([&] { return in_step(first->certificate); }));
}

TEST_F(Keeper, SaysWhyThereIsNoCertificate) {
  kube::Config config = env_->config();
  const auto material = config.tls_material;
  config.tls_material = [material] { return kube::TlsMaterial{material().ca, "", ""}; };
  const std::shared_ptr<const kube::Client> stranger =
      kube::Client::connect(config, kube::Client::TransportKind::kBeast);
  CertificateKeeper keeper(stranger, options_, [](const kube::ServingCertificate&) {});
  const auto first = keeper.first(1s);
  ASSERT_FALSE(first);
  EXPECT_THAT(first.error(), HasSubstr("Secret " + options_.secret));
  EXPECT_THAT(first.error(), HasSubstr("403"));
}

}  // namespace
}  // namespace palisade::webhook::testing
