#include <nlohmann/json.hpp>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <kube/openssl_ptr.h>
#include <operator/tokens/jwt.h>

#include "text.h"

namespace palisade::op::tokens {

namespace {

constexpr std::chrono::seconds kBackdated{60};
constexpr std::chrono::seconds kJwtLife{540};
constexpr int kLeastBits = 2048;
constexpr std::size_t kMaxKey = 16 * 1024;

using DigestPtr = kube::OpenSslPtr<EVP_MD_CTX, EVP_MD_CTX_free>;

int no_passphrase(char*, int, int, void*) {
  return -1;
}

std::expected<kube::KeyPtr, std::string> read_key(const std::string& pem) {
  if (pem.empty()) return std::unexpected("is empty");
  if (pem.size() > kMaxKey) return std::unexpected("is longer than a key can be");
  const kube::BioPtr text(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  kube::KeyPtr key(text ? PEM_read_bio_PrivateKey(text.get(), nullptr, no_passphrase, nullptr)
                        : nullptr);
  ERR_clear_error();
  if (!key) return std::unexpected("is no private key in PEM (or has a passphrase)");
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_RSA) return std::unexpected("is not an RSA key");
  if (EVP_PKEY_get_bits(key.get()) < kLeastBits)
    return std::unexpected("is shorter than 2048 bits");
  return key;
}

}  // namespace

std::expected<std::string, std::string> sign_app_jwt(const std::string& app_id,
                                                     const std::string& key_pem, Time now) {
  const auto key = read_key(key_pem);
  if (!key) return std::unexpected(key.error());
  const auto seconds = [](Time at) {
    return std::chrono::duration_cast<std::chrono::seconds>(at.time_since_epoch()).count();
  };
  const nlohmann::json claims{
      {"iat", seconds(now - kBackdated)}, {"exp", seconds(now + kJwtLife)}, {"iss", app_id}};
  const std::string text =
      base64_url(R"({"alg":"RS256","typ":"JWT"})") + "." + base64_url(claims.dump());
  const DigestPtr digest(EVP_MD_CTX_new());
  const auto* bytes = reinterpret_cast<const unsigned char*>(text.data());
  std::size_t length = 0;
  if (!digest ||
      EVP_DigestSignInit(digest.get(), nullptr, EVP_sha256(), nullptr, key->get()) != 1 ||
      EVP_DigestSign(digest.get(), nullptr, &length, bytes, text.size()) != 1)
    return std::unexpected("cannot sign");
  std::string signature(length, '\0');
  if (EVP_DigestSign(digest.get(), reinterpret_cast<unsigned char*>(signature.data()), &length,
                     bytes, text.size()) != 1)
    return std::unexpected("cannot sign");
  signature.resize(length);
  return text + "." + base64_url(signature);
}

}  // namespace palisade::op::tokens
