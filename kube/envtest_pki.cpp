#include <array>
#include <ctime>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <kube/envtest_pki.h>
#include <kube/openssl_ptr.h>

namespace kube::envtest {

namespace {

using ExtensionPtr = OpenSslPtr<X509_EXTENSION, X509_EXTENSION_free>;

std::unexpected<Error> pki_error(const std::string& what) {
  std::array<char, 256> why{};
  ERR_error_string_n(ERR_get_error(), why.data(), why.size());
  return std::unexpected(Error{0, "EnvTestPki", what + ": " + why.data(), {}, {}});
}

template <class Write>
Result<std::string> to_pem(Write write) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || write(bio.get()) != 1) return pki_error("PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

Result<std::string> key_pem(EVP_PKEY* key) {
  return to_pem([key](BIO* bio) {
    return PEM_write_bio_PKCS8PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  });
}

Result<std::string> certificate_pem(X509* certificate) {
  return to_pem([certificate](BIO* bio) { return PEM_write_bio_X509(bio, certificate); });
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool set_name(X509* certificate, const std::string& common_name, const std::string& organization) {
  X509_NAME* name = X509_get_subject_name(certificate);
  const auto add = [name](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  return (organization.empty() || add("O", organization)) && add("CN", common_name);
}

// Version, serial, validity and key: what a CA and a leaf have in common.
bool set_basics(X509* certificate, EVP_PKEY* key) {
  std::array<unsigned char, 8> serial{};
  if (RAND_bytes(serial.data(), static_cast<int>(serial.size())) != 1) return false;
  std::uint64_t number = 1;
  for (const unsigned char byte : serial)
    number = (number << 8U | byte) & 0x7fffffffffffffffU;
  return X509_set_version(certificate, X509_VERSION_3) == 1 &&
         ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), number | 1U) == 1 &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), -300) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600) != nullptr &&
         X509_set_pubkey(certificate, key) == 1;
}

}  // namespace

struct Authority::Impl {
  KeyPtr key;
  CertificatePtr certificate;
  std::string pem;
};

Authority::Authority() : impl_(std::make_unique<Impl>()) {}
Authority::~Authority() = default;
Authority::Authority(Authority&&) noexcept = default;
Authority& Authority::operator=(Authority&&) noexcept = default;

Result<Authority> Authority::make(const std::string& common_name) {
  Authority authority;
  Impl& impl = *authority.impl_;
  impl.key.reset(EVP_EC_gen("P-256"));
  impl.certificate.reset(X509_new());
  X509* raw = impl.certificate.get();
  if (!impl.key || raw == nullptr || !set_basics(raw, impl.key.get()) ||
      !set_name(raw, common_name, "") ||
      X509_set_issuer_name(raw, X509_get_subject_name(raw)) != 1 ||
      !add_extension(raw, raw, NID_basic_constraints, "critical,CA:TRUE") ||
      !add_extension(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !add_extension(raw, raw, NID_subject_key_identifier, "hash") ||
      X509_sign(raw, impl.key.get(), EVP_sha256()) == 0) {
    return pki_error("CA " + common_name);
  }
  auto pem = certificate_pem(raw);
  if (!pem) return std::unexpected(std::move(pem.error()));
  impl.pem = std::move(*pem);
  return authority;
}

const std::string& Authority::certificate() const {
  return impl_->pem;
}

Result<KeyPair> Authority::issue(const Leaf& leaf) const {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const CertificatePtr certificate(X509_new());
  X509* raw = certificate.get();
  X509* issuer = impl_->certificate.get();
  std::string names;
  for (const auto& name : leaf.dns_names)
    names += (names.empty() ? "DNS:" : ",DNS:") + name;
  for (const auto& address : leaf.addresses)
    names += (names.empty() ? "IP:" : ",IP:") + address;
  if (!key || raw == nullptr || !set_basics(raw, key.get()) ||
      !set_name(raw, leaf.common_name, leaf.organization) ||
      X509_set_issuer_name(raw, X509_get_subject_name(issuer)) != 1 ||
      !add_extension(raw, issuer, NID_basic_constraints, "critical,CA:FALSE") ||
      !add_extension(raw, issuer, NID_key_usage, "critical,digitalSignature") ||
      !add_extension(raw, issuer, NID_ext_key_usage, "serverAuth,clientAuth") ||
      !add_extension(raw, issuer, NID_authority_key_identifier, "keyid:always") ||
      (!names.empty() && !add_extension(raw, issuer, NID_subject_alt_name, names)) ||
      X509_sign(raw, impl_->key.get(), EVP_sha256()) == 0) {
    return pki_error("certificate " + leaf.common_name);
  }
  auto certificate_text = certificate_pem(raw);
  if (!certificate_text) return std::unexpected(std::move(certificate_text.error()));
  auto key_text = key_pem(key.get());
  if (!key_text) return std::unexpected(std::move(key_text.error()));
  return KeyPair{std::move(*certificate_text), std::move(*key_text)};
}

Result<KeyPair> make_signing_key() {
  const KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return pki_error("signing key");
  auto public_text = to_pem([&](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key.get()); });
  if (!public_text) return std::unexpected(std::move(public_text.error()));
  auto private_text = key_pem(key.get());
  if (!private_text) return std::unexpected(std::move(private_text.error()));
  return KeyPair{std::move(*public_text), std::move(*private_text)};
}

}  // namespace kube::envtest
