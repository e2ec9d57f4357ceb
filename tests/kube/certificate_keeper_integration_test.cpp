// Programs that start while a new certificate's authority is on its way to those who call.
#include <chrono>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include <kube/base64.h>
#include <kube/certificates.h>
#include <kube/envtest.h>

namespace {

using namespace std::chrono_literals;
using kube::CertificateKeeper;
using kube::Json;
using kube::WallClock;
using kube::resources::kSecrets;

constexpr const char* kAnnotation = "palisade.dev/certificate-made";

class KeeperStarts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto started = kube::EnvTest::start();
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
    client_ = kube::Client::connect(env_->config());
  }
  static void TearDownTestSuite() {
    client_.reset();
    env_.reset();
  }
  void SetUp() override {
    ASSERT_TRUE(env_);
    static int number = 0;
    options_.ns = "default";
    options_.secret = "tls-" + std::to_string(++number);
    options_.authority_name = "authority";
    options_.managed_by = "test";
    options_.names = {"gateway.test"};
    options_.validity = 24h * 90;
    options_.interval = 50ms;
    options_.overlap = 10min;
    // 80 days old: whoever leads makes another at once.
    const auto old = kube::make_bundle(options_.authority_name, options_.names,
                                       WallClock::now() - 24h * 80, options_.validity);
    ASSERT_TRUE(old) << old.error();
    old_ = *old;
    const auto written = client_->create(kSecrets, "default",
                                         {{"metadata", {{"name", options_.secret}}},
                                          {"data",
                                           {{"ca.crt", kube::encode_base64(old_.authorities)},
                                            {"tls.crt", kube::encode_base64(old_.certificate)},
                                            {"tls.key", kube::encode_base64(old_.key)}}}});
    ASSERT_TRUE(written) << written.error().text();
  }

  [[nodiscard]] std::unique_ptr<CertificateKeeper> keeper() {
    return std::make_unique<CertificateKeeper>(
        client_, options_,
        [](const kube::CertificateBundle&,
           const std::stop_token&) -> std::expected<CertificateKeeper::Trust, std::string> {
          return CertificateKeeper::Trust::kWasThere;
        },
        [this](const kube::ServingCertificate& one) {
          const std::scoped_lock lock(mutex_);
          served_ = one.certificate;
        });
  }
  // What a program that starts now serves.
  std::string first() {
    const auto out = keeper()->first(30s);
    EXPECT_TRUE(out) << out.error();
    return out ? out->certificate : std::string();
  }
  std::string held() {
    const auto secret = client_->get(kSecrets, "default", options_.secret);
    EXPECT_TRUE(secret) << secret.error().text();
    return secret
               ? kube::decode_base64((*secret)["data"]["tls.crt"].get<std::string>()).value_or("")
               : std::string();
  }
  void patch(const Json& change) {
    const auto done =
        client_->patch(kSecrets, "default", options_.secret, kube::PatchType::kMerge, change);
    ASSERT_TRUE(done) << done.error().text();
  }
  void made(const Json& when) { patch({{"metadata", {{"annotations", {{kAnnotation, when}}}}}}); }
  [[nodiscard]] std::string served() {
    const std::scoped_lock lock(mutex_);
    return served_;
  }

  static inline std::unique_ptr<kube::EnvTest> env_;
  static inline std::shared_ptr<kube::Client> client_;
  kube::CertificateKeeperOptions options_;
  kube::CertificateBundle old_;

 private:
  std::mutex mutex_;
  std::string served_;
};

TEST_F(KeeperStarts, ServesTheFormerOneUntilTheNewAuthorityHasBeenThereForLongEnough) {
  EXPECT_EQ(first(), old_.certificate) << "the one who makes it does not serve it at once";
  const std::string made_now = held();
  EXPECT_NE(made_now, old_.certificate);
  EXPECT_EQ(first(), old_.certificate) << "nor does one that starts after it";
  // One that goes on changes over by itself, and is in place meanwhile.
  options_.overlap = 6s;
  auto going = keeper();
  const auto begins = going->first(30s);
  ASSERT_TRUE(begins) << begins.error();
  EXPECT_EQ(begins->certificate, old_.certificate);
  going->start();
  const auto deadline = std::chrono::steady_clock::now() + 60s;
  while (!going->in_place() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(going->in_place());
  while (served().empty() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(20ms);
  EXPECT_EQ(served(), made_now);
  EXPECT_EQ(first(), made_now) << "the time is over for everybody";
}

TEST_F(KeeperStarts, TakesNothingElseForTheFormerOne) {
  EXPECT_EQ(first(), old_.certificate);
  const std::string made_now = held();
  made(nullptr);
  EXPECT_EQ(first(), made_now) << "nobody says when it was made";
  made("yesterday");
  EXPECT_EQ(first(), made_now);
  made("2001-01-01T00:00:00.000000Z");
  EXPECT_EQ(first(), made_now);
  made("2199-01-01T00:00:00.000000Z");
  EXPECT_EQ(first(), old_.certificate) << "a clock that was put back: it may be new";
  // A certificate that no authority of these has signed.
  const auto other =
      kube::make_bundle("other", options_.names, WallClock::now(), options_.validity);
  ASSERT_TRUE(other) << other.error();
  patch({{"data",
          {{"former.crt", kube::encode_base64(other->certificate)},
           {"former.key", kube::encode_base64(other->key)}}}});
  EXPECT_EQ(first(), made_now);
  patch({{"data", {{"former.crt", nullptr}, {"former.key", nullptr}}}});
  EXPECT_EQ(first(), made_now);
}

TEST_F(KeeperStarts, KeepsNoFormerOneWhereNobodyWaits) {
  options_.overlap = 0ms;
  const std::string served = first();
  EXPECT_NE(served, old_.certificate);
  EXPECT_EQ(served, held());
  const auto secret = client_->get(kSecrets, "default", options_.secret);
  ASSERT_TRUE(secret) << secret.error().text();
  EXPECT_FALSE((*secret)["data"].contains("former.key"));
}

}  // namespace
