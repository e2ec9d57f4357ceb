// The keeper of certificates against a real API server: what it writes, when it serves, and what it
// puts right. Intervals are short; what is asserted of time is only what must not come earlier.
#include "webhook/keeper_fixture.h"

namespace palisade::webhook::testing {
namespace {

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
  mixed["tls.key"] = kube::encode_base64(expired->key);
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
      {"words",
       {{"ca.crt", kube::encode_base64("a")},
        {"tls.crt", kube::encode_base64("b")},
        {"tls.key", ""}},
       false},
  };
  for (const auto& c : cases) {
    options_.secret += "x";
    Json data = c.data;
    data["other"] = kube::encode_base64("something");
    write_secret(data);
    Served served;
    const auto first = keeper(served)->first(30s);
    ASSERT_TRUE(first) << c.name << ": " << first.error();
    EXPECT_EQ(first->certificate == good->certificate, c.kept) << c.name;
    EXPECT_EQ(secret_data().value("tls.crt", ""), kube::encode_base64(first->certificate))
        << c.name;
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
    return now != before && now != kube::encode_base64(old.certificate);
  }));
  ASSERT_TRUE(eventually([&] { return in_step(served.last()); }));
  const Json data = secret_data();
  const std::string decoded =
      kube::decode_base64(data.at("ca.crt").get<std::string>()).value_or("");
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
  const auto trusted =
      client_->patch(resources::kValidatingWebhookConfigurations, "", options_.configuration,
                     kube::PatchType::kJson,
                     Json::array({{{"op", "add"},
                                   {"path", "/webhooks/0/clientConfig/caBundle"},
                                   {"value", kube::encode_base64(renewed->authorities)}}}));
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
           kube::encode_base64(a.last()) != before;
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
