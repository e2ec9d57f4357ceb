// Certificates that a program makes for itself, and what it thinks of those that it finds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <kube/certificates.h>

namespace kube {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

using X509Pointer = std::unique_ptr<X509, decltype(&X509_free)>;
using KeyPointer = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using BioPointer = std::unique_ptr<BIO, decltype(&BIO_free)>;

const std::string kAuthority = "palisade-webhook-ca";
const std::vector<std::string> kNames{"palisade-webhook.palisade-system.svc",
                                      "palisade-webhook.palisade-system.svc.cluster.local",
                                      "127.0.0.1", "::1"};
const WallClock::time_point kNow = WallClock::from_time_t(1'800'000'000);
constexpr auto kValidity = 24h * 90;

CertificateBundle made(WallClock::time_point now = kNow, const std::string& keep = {}) {
  auto bundle = make_bundle(kAuthority, kNames, now, kValidity, keep);
  if (!bundle) throw std::runtime_error(bundle.error());
  return *bundle;
}

std::vector<X509Pointer> certificates_of(const std::string& pem) {
  const BioPointer bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  std::vector<X509Pointer> out;
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr))
    out.emplace_back(one, X509_free);
  return out;
}

KeyPointer key_of(const std::string& pem) {
  const BioPointer bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  return {PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr), EVP_PKEY_free};
}

// As a TLS client of `host` verifies it: "" or OpenSSL's reason.
std::string verify(const std::string& certificate, const std::string& authorities,
                   const std::string& host, WallClock::time_point now = kNow) {
  const std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> store(X509_STORE_new(),
                                                                      X509_STORE_free);
  for (const auto& authority : certificates_of(authorities))
    X509_STORE_add_cert(store.get(), authority.get());
  const auto leaf = certificates_of(certificate);
  const std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> context(
      X509_STORE_CTX_new(), X509_STORE_CTX_free);
  if (leaf.size() != 1 ||
      X509_STORE_CTX_init(context.get(), store.get(), leaf[0].get(), nullptr) != 1)
    return "no certificate";
  X509_STORE_CTX_set_default(context.get(), "ssl_server");
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_X509_STRICT);
  X509_VERIFY_PARAM_set_time(parameters, WallClock::to_time_t(now));
  X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), 0);
  if (X509_verify_cert(context.get()) == 1) return {};
  return X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
}

TEST(Certificates, ANewBundleIsUsableAndVerifies) {
  const CertificateBundle bundle = made();
  const CertificateState state = inspect(bundle, kNames, kNow);
  EXPECT_TRUE(state.usable) << state.problem;
  EXPECT_FALSE(state.due);
  EXPECT_EQ(state.expires, kNow + kValidity);
  EXPECT_EQ(verify(bundle.certificate, bundle.authorities, kNames[0]), "");
  EXPECT_EQ(verify(bundle.certificate, bundle.authorities, kNames[1]), "");
  EXPECT_NE(verify(bundle.certificate, bundle.authorities, "example.com"), "");
  const auto leaf = certificates_of(bundle.certificate);
  ASSERT_EQ(leaf.size(), 1U);
  EXPECT_EQ(X509_check_ip_asc(leaf[0].get(), "127.0.0.1", 0), 1);
  EXPECT_EQ(X509_check_ip_asc(leaf[0].get(), "::1", 0), 1);
  EXPECT_EQ(X509_check_ca(leaf[0].get()), 0);
  const KeyPointer key = key_of(bundle.key);
  ASSERT_TRUE(key);
  EXPECT_EQ(EVP_PKEY_get_bits(key.get()), 256);
}

TEST(Certificates, EachBundleHasKeysAndSerialNumbersOfItsOwn) {
  const CertificateBundle a = made();
  const CertificateBundle b = made();
  EXPECT_NE(a.key, b.key);
  const auto x = certificates_of(a.certificate + a.authorities);
  const auto y = certificates_of(b.certificate + b.authorities);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_NE(
        ASN1_INTEGER_cmp(X509_get0_serialNumber(x[i].get()), X509_get0_serialNumber(y[i].get())),
        0);
  }
}

TEST(Certificates, TheAuthoritysKeyIsNowhere) {
  const CertificateBundle bundle = made();
  const auto authorities = certificates_of(bundle.authorities);
  ASSERT_EQ(authorities.size(), 1U);
  EXPECT_EQ(X509_check_ca(authorities[0].get()), 1);
  EXPECT_EQ(X509_get_pathlen(authorities[0].get()), 0);
  EXPECT_NE(X509_check_private_key(authorities[0].get(), key_of(bundle.key).get()), 1);
  for (const std::string& part : {bundle.authorities, bundle.certificate})
    EXPECT_EQ(part.find("PRIVATE KEY"), std::string::npos);
  EXPECT_EQ(bundle.key.find("BEGIN"), bundle.key.rfind("BEGIN"));
}

TEST(Certificates, DueAtTwoThirdsOfItsLifeAndValidToItsEnd) {
  const CertificateBundle bundle = made();
  // It begins five minutes early, which its life includes.
  const auto life = kValidity + 5min;
  const struct {
    const char* name;
    WallClock::duration after;
    bool usable;
    bool due;
  } cases[] = {
      {"a clock ten minutes behind", -10min, false, false},
      {"a clock four minutes behind", -4min, true, false},
      {"at once", 0s, true, false},
      {"half its life", kValidity / 2, true, false},
      {"a minute before two thirds", life * 2 / 3 - 6min, true, false},
      {"a minute after two thirds", life * 2 / 3 - 4min, true, true},
      {"a minute before its end", kValidity - 1min, true, true},
      {"at its end", kValidity, false, true},
      {"long after", kValidity * 10, false, true},
  };
  for (const auto& c : cases) {
    const CertificateState state = inspect(bundle, kNames, kNow + c.after);
    EXPECT_EQ(state.usable, c.usable) << c.name << ": " << state.problem;
    EXPECT_EQ(state.due, c.due) << c.name;
    EXPECT_EQ(state.problem, c.usable ? "" : "the certificate is not valid now") << c.name;
  }
}

TEST(Certificates, MustHoldEveryName) {
  const CertificateBundle bundle = made();
  for (const char* name :
       {"palisade-webhook.other.svc", "palisade-webhook", "example.com", "127.0.0.2", "::2",
        "xpalisade-webhook.palisade-system.svc", "a.palisade-webhook.palisade-system.svc"}) {
    std::vector<std::string> names = kNames;
    names.emplace_back(name);
    const CertificateState state = inspect(bundle, names, kNow);
    EXPECT_FALSE(state.usable) << name;
    EXPECT_EQ(state.problem, "the certificate does not name " + std::string(name));
  }
  // Fewer than it holds.
  EXPECT_TRUE(inspect(bundle, {kNames[2]}, kNow).usable);
}

TEST(Certificates, PartsThatDoNotBelongTogetherAreNotUsed) {
  const CertificateBundle good = made();
  const CertificateBundle other = made();
  const std::string half = good.certificate.substr(0, good.certificate.size() / 2);
  const struct {
    const char* name;
    CertificateBundle bundle;
    const char* says;
  } cases[] = {
      {"nothing", {}, "not valid PEM"},
      {"no authority", {"", good.certificate, good.key}, "not valid PEM"},
      {"no certificate", {good.authorities, "", good.key}, "not valid PEM"},
      {"no key", {good.authorities, good.certificate, ""}, "not valid PEM"},
      {"words", {"a", "b", "c"}, "not valid PEM"},
      {"half a certificate", {good.authorities, half, good.key}, "not valid PEM"},
      {"a certificate as key", {good.authorities, good.certificate, good.certificate}, "valid PEM"},
      {"zero bytes", {std::string(99, '\0'), good.certificate, good.key}, "not valid PEM"},
      {"another key", {good.authorities, good.certificate, other.key}, "key does not fit"},
      {"another authority",
       {other.authorities, good.certificate, good.key},
       "not signed by its authority"},
      {"an authority that is the leaf",
       {good.certificate, good.certificate, good.key},
       "not signed by its authority"},
      {"the old authority first",
       {other.authorities + good.authorities, good.certificate, good.key},
       "not signed by its authority"},
  };
  for (const auto& c : cases) {
    const CertificateState state = inspect(c.bundle, kNames, kNow);
    EXPECT_FALSE(state.usable) << c.name;
    EXPECT_THAT(state.problem, HasSubstr(c.says)) << c.name;
  }
}

TEST(Certificates, AnEncryptedKeyIsNotUsedAndAsksForNoPassword) {
  CertificateBundle bundle = made();
  const KeyPointer key = key_of(bundle.key);
  const BioPointer bio(BIO_new(BIO_s_mem()), BIO_free);
  const std::string password = "secret";
  ASSERT_EQ(PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), EVP_aes_256_cbc(), password.data(),
                                          static_cast<int>(password.size()), nullptr, nullptr),
            1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  bundle.key.assign(data, static_cast<std::size_t>(size));
  ASSERT_THAT(bundle.key, HasSubstr("ENCRYPTED"));
  const CertificateState state = inspect(bundle, kNames, kNow);
  EXPECT_FALSE(state.usable);
  EXPECT_THAT(state.problem, HasSubstr("not valid PEM"));
}

TEST(Certificates, RenewingKeepsTheAuthorityBefore) {
  const CertificateBundle first = made(kNow);
  const auto later = kNow + kValidity * 2 / 3;
  const CertificateBundle second = made(later, first.authorities);
  EXPECT_TRUE(inspect(second, kNames, later).usable);
  EXPECT_EQ(certificates_of(second.authorities).size(), 2U);
  // Replicas that still serve the old one are trusted, and so are those that serve the new.
  EXPECT_EQ(verify(first.certificate, second.authorities, kNames[0], later), "");
  EXPECT_EQ(verify(second.certificate, second.authorities, kNames[0], later), "");
  // Not the other way: an API server that does not know the new authority yet.
  EXPECT_NE(verify(second.certificate, first.authorities, kNames[0], later), "");

  const auto latest = later + kValidity * 2 / 3;
  const CertificateBundle third = made(latest, second.authorities);
  EXPECT_EQ(certificates_of(third.authorities).size(), 2U);  // it does not grow
  EXPECT_EQ(verify(second.certificate, third.authorities, kNames[0], latest), "");
  EXPECT_EQ(verify(third.certificate, third.authorities, kNames[0], latest), "");
  EXPECT_NE(verify(first.certificate, third.authorities, kNames[0], later), "");
}

TEST(Certificates, WhatCannotBeKeptIsLeftOut) {
  for (const char* keep : {"", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n"}) {
    const CertificateBundle bundle = made(kNow, keep);
    EXPECT_EQ(certificates_of(bundle.authorities).size(), 1U) << keep;
    EXPECT_TRUE(inspect(bundle, kNames, kNow).usable) << keep;
  }
}

TEST(Certificates, NamesOfEveryShape) {
  const std::string long_name =
      std::string(60, 'a') + "." + std::string(60, 'b') + "." + std::string(60, 'c') + ".svc";
  for (const std::string& name :
       {std::string("a"), long_name, std::string("192.0.2.1"), std::string("2001:db8::1")}) {
    const auto bundle = make_bundle(kAuthority, {name}, kNow, kValidity);
    ASSERT_TRUE(bundle) << name << ": " << bundle.error();
    EXPECT_TRUE(inspect(*bundle, {name}, kNow).usable) << name;
  }
  EXPECT_FALSE(make_bundle(kAuthority, {}, kNow, kValidity));
}

// What goes into a certificate is a name and nothing but that one.
TEST(Certificates, AWrongNameIsNoName) {
  for (const char* name : {"",
                           "a.svc,DNS:kubernetes.default.svc",
                           "a.svc, IP:10.0.0.1",
                           "a.svc\nDNS:b",
                           "email:a@b",
                           "a b",
                           "a..b",
                           ".a",
                           "a.",
                           "-a",
                           "a-",
                           "a_b",
                           "*.",
                           "a.*.b",
                           "**",
                           "caf\u00e9.svc",
                           "@section",
                           "critical,DNS:a",
                           "999.1.1.1.",
                           "http://a",
                           "a:443",
                           "[::1]",
                           "copy/"}) {
    const auto bundle = make_bundle(kAuthority, {"good.svc", name}, kNow, kValidity);
    ASSERT_FALSE(bundle) << name;
    EXPECT_THAT(bundle.error(), HasSubstr(name));
  }
  EXPECT_FALSE(make_bundle(kAuthority, {std::string(64, 'a') + ".svc"}, kNow, kValidity));
  EXPECT_FALSE(make_bundle(kAuthority, {std::string("a\0b", 3)}, kNow, kValidity));
  std::string long_name = "a";
  while (long_name.size() <= 253)
    long_name += ".a";
  EXPECT_FALSE(make_bundle(kAuthority, {long_name}, kNow, kValidity));
}

TEST(Certificates, EachNameIsHeldAsItIs) {
  const std::vector<std::string> names{"a.svc", "*.pods.example", "X-1.Example", "10.0.0.1", "::1"};
  const auto bundle = make_bundle(kAuthority, names, kNow, kValidity);
  ASSERT_TRUE(bundle) << bundle.error();
  EXPECT_TRUE(
      inspect(*bundle, {"a.svc", "b.pods.example", "x-1.example", "10.0.0.1", "::1"}, kNow).usable);
  const auto leaf = certificates_of(bundle->certificate);
  const std::unique_ptr<GENERAL_NAMES, decltype(&GENERAL_NAMES_free)> held(
      static_cast<GENERAL_NAMES*>(
          X509_get_ext_d2i(leaf[0].get(), NID_subject_alt_name, nullptr, nullptr)),
      GENERAL_NAMES_free);
  ASSERT_TRUE(held);
  EXPECT_EQ(sk_GENERAL_NAME_num(held.get()), static_cast<int>(names.size()));
}

TEST(Certificates, AShortLifeIsNotDueAtOnce) {
  for (const auto validity : {std::chrono::seconds(8), std::chrono::seconds(60 * 10)}) {
    const auto bundle = make_bundle(kAuthority, kNames, kNow, validity);
    ASSERT_TRUE(bundle);
    EXPECT_TRUE(inspect(*bundle, kNames, kNow).usable);
    EXPECT_FALSE(inspect(*bundle, kNames, kNow + validity / 2).due);
    EXPECT_TRUE(inspect(*bundle, kNames, kNow + validity * 3 / 4).due);
  }
}

TEST(Certificates, FirstCertificate) {
  const CertificateBundle first = made();
  const CertificateBundle second = made(kNow, first.authorities);
  EXPECT_EQ(first_certificate(first.authorities), first.authorities);
  EXPECT_EQ(first_certificate(second.authorities) + first.authorities, second.authorities);
  EXPECT_EQ(first_certificate("a comment\n" + first.certificate), first.certificate);
  EXPECT_EQ(first_certificate(""), "");
  EXPECT_EQ(first_certificate(first.key), "");
  EXPECT_EQ(end_of(first.certificate), kNow + kValidity);
  EXPECT_EQ(end_of("x"), WallClock::time_point());
}

}  // namespace
}  // namespace kube
