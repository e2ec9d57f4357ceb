// Certificates for tests: authorities and leaves made on the spot, ECDSA P-256. Any failure throws:
// it is a bug of the test. Link OpenSSL::Crypto.
#pragma once

#include <chrono>
#include <ctime>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <kube/openssl_ptr.h>

namespace test_pki {

struct Pair {
  std::string certificate;  // PEM
  std::string key;          // PEM, PKCS #8, no passphrase
};

enum class Purpose { kServer, kClient };

struct Leaf {
  std::string common_name = "leaf";
  std::vector<std::string> dns_names;
  std::vector<std::string> addresses;  // IP literals
  Purpose purpose = Purpose::kServer;
  std::chrono::seconds not_after = std::chrono::hours(24);  // from now; negative: expired already
  std::string organization;                                 // "" for none
};

namespace detail {

using Key = kube::KeyPtr;
using Certificate = kube::CertificatePtr;
using Bio = kube::BioPtr;

inline void must(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string("test_pki: ") + what);
}

template <class Write>
std::string to_pem(Write write) {
  const Bio bio(BIO_new(BIO_s_mem()));
  must(bio != nullptr && write(bio.get()) == 1, "PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

inline void extend(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const kube::OpenSslPtr<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  must(extension && X509_add_ext(certificate, extension.get(), -1) == 1, value.c_str());
}

inline void name(X509_NAME* target, const char* field, const std::string& value) {
  must(X509_NAME_add_entry_by_txt(target, field, MBSTRING_UTF8,
                                  reinterpret_cast<const unsigned char*>(value.data()),
                                  static_cast<int>(value.size()), -1, 0) == 1,
       "name");
}

inline Certificate blank(EVP_PKEY* key, std::chrono::seconds not_after) {
  Certificate certificate(X509_new());
  std::uint32_t serial = 0;
  must(key != nullptr && certificate != nullptr &&
           RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial) == 1,
       "key");
  X509* raw = certificate.get();
  const long begin = std::min<long>(-3600, static_cast<long>(not_after.count()) - 3600);
  must(X509_set_version(raw, X509_VERSION_3) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(raw), serial | 1U) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(raw), begin) != nullptr &&
           X509_gmtime_adj(X509_getm_notAfter(raw), static_cast<long>(not_after.count())) !=
               nullptr &&
           X509_set_pubkey(raw, key) == 1,
       "certificate");
  return certificate;
}

inline Pair pems(X509* certificate, EVP_PKEY* key) {
  return {to_pem([&](BIO* bio) { return PEM_write_bio_X509(bio, certificate); }),
          to_pem([&](BIO* bio) {
            return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
          })};
}

}  // namespace detail

// A self-signed authority, valid for a day.
inline Pair make_ca(const std::string& common_name = "test authority") {
  const detail::Key key(EVP_EC_gen("P-256"));
  const auto certificate = detail::blank(key.get(), std::chrono::hours(24));
  X509* raw = certificate.get();
  detail::name(X509_get_subject_name(raw), "CN", common_name);
  detail::must(X509_set_issuer_name(raw, X509_get_subject_name(raw)) == 1, "issuer");
  detail::extend(raw, raw, NID_basic_constraints, "critical,CA:TRUE");
  detail::extend(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign");
  detail::extend(raw, raw, NID_subject_key_identifier, "hash");
  detail::must(X509_sign(raw, key.get(), EVP_sha256()) != 0, "signature");
  return detail::pems(raw, key.get());
}

inline Pair issue(const Pair& ca, const Leaf& leaf) {
  const auto reader = [](const std::string& text) {
    return detail::Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  };
  const auto ca_text = reader(ca.certificate);
  const auto ca_key_text = reader(ca.key);
  const detail::Certificate issuer(PEM_read_bio_X509(ca_text.get(), nullptr, nullptr, nullptr));
  const detail::Key issuer_key(
      PEM_read_bio_PrivateKey(ca_key_text.get(), nullptr, nullptr, nullptr));
  detail::must(issuer != nullptr && issuer_key != nullptr, "authority");
  const detail::Key key(EVP_EC_gen("P-256"));
  const auto certificate = detail::blank(key.get(), leaf.not_after);
  X509* raw = certificate.get();
  if (!leaf.organization.empty()) detail::name(X509_get_subject_name(raw), "O", leaf.organization);
  detail::name(X509_get_subject_name(raw), "CN", leaf.common_name);
  detail::must(X509_set_issuer_name(raw, X509_get_subject_name(issuer.get())) == 1, "issuer");
  std::string names;
  for (const auto& dns : leaf.dns_names)
    names += (names.empty() ? "DNS:" : ",DNS:") + dns;
  for (const auto& address : leaf.addresses)
    names += (names.empty() ? "IP:" : ",IP:") + address;
  detail::extend(raw, issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
  detail::extend(raw, issuer.get(), NID_key_usage, "critical,digitalSignature");
  detail::extend(raw, issuer.get(), NID_ext_key_usage,
                 leaf.purpose == Purpose::kServer ? "serverAuth" : "clientAuth");
  detail::extend(raw, issuer.get(), NID_authority_key_identifier, "keyid:always");
  if (!names.empty()) detail::extend(raw, issuer.get(), NID_subject_alt_name, names);
  detail::must(X509_sign(raw, issuer_key.get(), EVP_sha256()) != 0, "signature");
  return detail::pems(raw, key.get());
}

}  // namespace test_pki
