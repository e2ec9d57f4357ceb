// auth-provider: oidc against a real API server that trusts the provider, side by side with the
// real kubectl on the same kubeconfig; and whom the server takes us for.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <kube/base64.h>
#include <kube/client.h>
#include <kube/envtest.h>
#include <kube/openssl_ptr.h>

#include "kube/identity_provider.h"

namespace {

using namespace std::chrono_literals;
using kube::Client;
using kube::EnvTest;
using kube::Json;
using scripted::IdentityProvider;
using scripted::ProviderAnswer;
namespace fs = std::filesystem;

const kube::Resource kReviews{"authentication.k8s.io", "v1", "selfsubjectreviews",
                              "SelfSubjectReview", false};

std::string url_base64(std::string_view bytes) {
  std::string out = kube::encode_base64(bytes);
  std::erase(out, '=');
  std::ranges::replace(out, '+', '-');
  std::ranges::replace(out, '/', '_');
  return out;
}

// A key that signs as RS256, and its public half as a JSON Web Key.
class SigningKey {
 public:
  [[nodiscard]] Json jwk() const {
    return {{"kty", "RSA"},
            {"kid", "one"},
            {"alg", "RS256"},
            {"use", "sig"},
            {"n", number(OSSL_PKEY_PARAM_RSA_N)},
            {"e", number(OSSL_PKEY_PARAM_RSA_E)}};
  }
  [[nodiscard]] std::string sign(const Json& claims) const {
    const std::string text =
        url_base64(Json{{"alg", "RS256"}, {"kid", "one"}}.dump()) + "." + url_base64(claims.dump());
    const kube::OpenSslPtr<EVP_MD_CTX, EVP_MD_CTX_free> context(EVP_MD_CTX_new());
    const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
    std::size_t size = 0;
    EXPECT_EQ(EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key_.get()), 1);
    EXPECT_EQ(EVP_DigestSign(context.get(), nullptr, &size, bytes, text.size()), 1);
    std::string signature(size, '\0');
    EXPECT_EQ(EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()),
                             &size, bytes, text.size()),
              1);
    signature.resize(size);
    return text + "." + url_base64(signature);
  }

 private:
  [[nodiscard]] std::string number(const char* name) const {
    BIGNUM* raw = nullptr;
    EXPECT_EQ(EVP_PKEY_get_bn_param(key_.get(), name, &raw), 1);
    const kube::OpenSslPtr<BIGNUM, BN_free> owner(raw);
    std::string out(static_cast<std::size_t>(BN_num_bytes(raw)), '\0');
    BN_bn2bin(raw, reinterpret_cast<unsigned char*>(out.data()));
    return url_base64(out);
  }
  const kube::KeyPtr key_{EVP_RSA_gen(2048)};
};

class OidcServer : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string name = (fs::temp_directory_path() / "palisade-oidc-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    key_ = std::make_unique<SigningKey>();
    authority_ = test_pki::make_ca();
    provider_ = std::make_unique<IdentityProvider>(
        authority_, [](const std::string&, const IdentityProvider::Form& form) {
          if (form.at("refresh_token") != "r" + std::to_string(turn_))
            return ProviderAnswer{R"({"error":"invalid_grant"})", "400 Bad Request"};
          ++turn_;
          return ProviderAnswer{Json{{"id_token", token(1h)},
                                     {"access_token", "a"},
                                     {"token_type", "Bearer"},
                                     {"refresh_token", "r" + std::to_string(turn_)}}
                                    .dump()};
        });
    provider_->page("/keys", Json{{"keys", {key_->jwk()}}}.dump());
    write("issuer.pem", authority_.certificate);
    kube::EnvTest::Options options;
    options.apiserver_flags = {"--oidc-issuer-url=" + provider_->issuer(),
                               "--oidc-client-id=palisade",
                               "--oidc-ca-file=" + (folder_ / "issuer.pem").string(),
                               "--oidc-username-claim=sub",
                               "--oidc-username-prefix=oidc:",
                               "--oidc-groups-claim=groups"};
    auto started = EnvTest::start(options);
    ASSERT_TRUE(started) << started.error().text();
    env_ = std::move(*started);
  }
  static void TearDownTestSuite() {
    env_.reset();
    provider_.reset();
    key_.reset();
    fs::remove_all(folder_);
  }
  void SetUp() override { ASSERT_TRUE(env_); }

  static fs::path write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << text;
    return folder_ / name;
  }
  static std::string token(std::chrono::seconds left) {
    const auto end = std::chrono::system_clock::now() + left;
    return key_->sign({{"iss", provider_->issuer()},
                       {"sub", "ann"},
                       {"aud", "palisade"},
                       {"groups", {"dev"}},
                       {"exp", std::chrono::system_clock::to_time_t(end)}});
  }
  static fs::path kubeconfig(const std::string& id_token) {
    return write(
        "config",
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: k, cluster: {server: "
        "'" +
            env_->config().server + "', certificate-authority-data: " +
            kube::encode_base64(env_->config().tls_material().ca) +
            "}}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nusers:\n- name: u\n  "
            "user:\n    auth-provider:\n      name: oidc\n      config:\n        idp-issuer-url: " +
            provider_->issuer() +
            "\n        client-id: palisade\n        client-secret: \"0123\"\n" +
            "        idp-certificate-authority-data: " +
            kube::encode_base64(authority_.certificate) + "\n        id-token: " + id_token +
            "\n        refresh-token: r" + std::to_string(turn_) + "\n");
  }
  // Whom the server takes us for; an error's text where it does not say.
  static std::string who(const kube::Config& config) {
    const auto review = Client::connect(config)->create(
        kReviews, "", {{"apiVersion", "authentication.k8s.io/v1"}, {"kind", "SelfSubjectReview"}});
    return review ? (*review)["status"]["userInfo"]["username"].get<std::string>()
                  : review.error().text();
  }
  // The same, by kubectl.
  static std::string who_says_kubectl(const fs::path& config) {
    const std::string command = "HOME=" + folder_.string() + " " +
                                std::string(std::getenv("PALISADE_TOOLS_BIN")) +
                                "/kubectl --kubeconfig " + config.string() +
                                " auth whoami -o 'jsonpath={.status.userInfo.username}' 2>&1";
    std::FILE* pipe = ::popen(command.c_str(), "re");
    std::string out;
    for (int c = 0; pipe != nullptr && (c = std::fgetc(pipe)) != EOF;)
      out += static_cast<char>(c);
    if (pipe != nullptr) ::pclose(pipe);
    return out;
  }

  static inline fs::path folder_;
  static inline std::unique_ptr<SigningKey> key_;
  static inline test_pki::Pair authority_;
  static inline std::atomic<int> turn_ = 0;
  static inline std::unique_ptr<IdentityProvider> provider_;
  static inline std::unique_ptr<EnvTest> env_;
};

TEST_F(OidcServer, TokensAreRenewedForTheServerAndForKubectl) {
  const auto file = kubeconfig(token(-1h));
  const auto config = kube::load_kubeconfig(file);
  ASSERT_TRUE(config) << config.error().text();
  // The server may not have asked for the provider's keys yet.
  const auto patience = std::chrono::steady_clock::now() + 40s;
  while (who(*config) != "oidc:ann" && std::chrono::steady_clock::now() < patience)
    std::this_thread::sleep_for(200ms);
  EXPECT_EQ(who(*config), "oidc:ann");
  EXPECT_EQ(provider_->asked().size(), 1U);
  // What was written back is what kubectl reads.
  EXPECT_EQ(who_says_kubectl(file), "oidc:ann");
  EXPECT_EQ(provider_->asked().size(), 1U) << "it needs no new one";
  // And the other way round.
  const auto ended = kubeconfig(token(-1h));
  const auto ours = kube::load_kubeconfig(ended);
  ASSERT_TRUE(ours) << ours.error().text();
  EXPECT_EQ(who_says_kubectl(ended), "oidc:ann");
  EXPECT_EQ(provider_->asked().size(), 2U);
  EXPECT_EQ(who(*ours), "oidc:ann");
  EXPECT_EQ(provider_->asked().size(), 2U) << "kubectl's is there";
  EXPECT_FALSE(fs::exists(folder_ / "config.lock"));
}

TEST_F(OidcServer, ImpersonationIsWhatTheServerSees) {
  kube::Impersonation as;
  as.user = "jane doe";
  as.uid = "u-1";
  as.groups = {"dev", "a, b"};
  as.extra = {{"example.org/scopes%", {"view", "edit"}}};
  for (const auto kind : {Client::TransportKind::kCpprest, Client::TransportKind::kBeast}) {
    const auto config = kube::load_kubeconfig(env_->kubeconfig_path(), "", {}, as);
    ASSERT_TRUE(config) << config.error().text();
    const auto review =
        Client::connect(*config, kind)
            ->create(kReviews, "",
                     {{"apiVersion", "authentication.k8s.io/v1"}, {"kind", "SelfSubjectReview"}});
    ASSERT_TRUE(review) << review.error().text();
    const Json& seen = (*review)["status"]["userInfo"];
    EXPECT_EQ(seen["username"], "jane doe");
    EXPECT_EQ(seen["uid"], "u-1");
    EXPECT_THAT(seen["groups"].get<std::vector<std::string>>(),
                testing::UnorderedElementsAre("dev", "a, b", "system:authenticated"));
    EXPECT_EQ(seen["extra"]["example.org/scopes%"], Json({"view", "edit"}));
  }
  // The same in the file; and RBAC is that of the one who is acted as.
  const kube::TlsMaterial admin = env_->config().tls_material();
  const auto file = write(
      "as",
      "current-context: c\nclusters: [{name: k, cluster: {server: '" + env_->config().server +
          "', certificate-authority-data: " + kube::encode_base64(admin.ca) +
          "}}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nusers: [{name: u, user: "
          "{as: eve, as-groups: [dev], client-certificate-data: " +
          kube::encode_base64(admin.certificate) +
          ", client-key-data: " + kube::encode_base64(admin.key) + "}}]\n");
  const auto eve = kube::load_kubeconfig(file);
  ASSERT_TRUE(eve) << eve.error().text();
  EXPECT_EQ(who(*eve), "eve");
  const auto refused = Client::connect(*eve)->list(kube::resources::kSecrets, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, 403);
  EXPECT_THAT(refused.error().text(), testing::HasSubstr("User \"eve\""));
}

}  // namespace
