#include "signatures/keys.h"

#include <array>
#include <memory>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <webhook/signatures.h>

namespace palisade::webhook {

namespace {

using DigestPtr = kube::OpenSslPtr<EVP_MD_CTX, EVP_MD_CTX_free>;

constexpr int kLeastRsaBits = 2048;
// What a longer one costs is paid by every review.
constexpr int kMostRsaBits = 8192;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string group_of(EVP_PKEY* key) {
  std::array<char, 64> name{};
  std::size_t size = 0;
  if (EVP_PKEY_get_group_name(key, name.data(), name.size(), &size) != 1) return {};
  return {name.data(), size};
}

// "" or what is wrong.
std::string unfit(EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519:
      return {};
    case EVP_PKEY_RSA: {
      const int bits = EVP_PKEY_get_bits(key);
      if (bits >= kLeastRsaBits && bits <= kMostRsaBits) return {};
      return "has " + std::to_string(bits) + " bits: RSA keys must have 2048 to 8192";
    }
    case EVP_PKEY_EC: {
      const std::string group = group_of(key);
      if (group == "prime256v1" || group == "secp384r1" || group == "secp521r1") return {};
      return "is on the curve " + group + ": ECDSA keys must be on P-256, P-384 or P-521";
    }
    default:
      return "is of another kind than ECDSA, RSA and Ed25519";
  }
}

}  // namespace

std::expected<kube::KeyPtr, std::string> read_public_key(std::string_view pem) {
  const kube::BioPtr memory(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  kube::KeyPtr key(memory ? PEM_read_bio_PUBKEY(memory.get(), nullptr, nullptr, nullptr) : nullptr);
  ERR_clear_error();
  if (!key) {
    return std::unexpected(
        "is no public key that OpenSSL can read: give the whole file, from BEGIN PUBLIC KEY to END "
        "PUBLIC KEY");
  }
  if (std::string wrong = unfit(key.get()); !wrong.empty()) return std::unexpected(wrong);
  return key;
}

std::string public_key_problem(std::string_view pem) {
  const auto key = read_public_key(pem);
  return key ? std::string() : key.error();
}

bool is_ed25519(const EVP_PKEY* key) {
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519;
}

bool has_signed(EVP_PKEY* key, std::string_view bytes, std::string_view signature) {
  const auto over = [&](const EVP_MD* digest) {
    const DigestPtr context(EVP_MD_CTX_new());
    const bool good = context &&
                      EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key) == 1 &&
                      EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(),
                                       bytes_of(bytes), bytes.size()) == 1;
    ERR_clear_error();
    return good;
  };
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_ED25519:
      return over(nullptr);
    case EVP_PKEY_EC: {
      const int bits = EVP_PKEY_get_bits(key);
      return over(EVP_sha256()) || (bits == 384 && over(EVP_sha384())) ||
             (bits == 521 && over(EVP_sha512()));
    }
    default:
      return over(EVP_sha256());
  }
}

std::string sha256_of(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> hash{};
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), hash.data(), &size, EVP_sha256(), nullptr) != 1)
    return {};
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    out += kDigits[hash.at(i) >> 4U];
    out += kDigits[hash.at(i) & 15U];
  }
  return out;
}

}  // namespace palisade::webhook
