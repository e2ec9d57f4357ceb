// Certificates made and looked at with OpenSSL 3.
#include <array>

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <kube/openssl_ptr.h>
#include <webhook/certificates.h>

namespace palisade::webhook {

namespace {

using Key = kube::KeyPtr;
using Certificate = kube::CertificatePtr;
using Memory = kube::BioPtr;

struct OpenSslFailed : std::runtime_error {
  explicit OpenSslFailed(const std::string& what)
      : std::runtime_error(what + ": " + ERR_error_string(ERR_get_error(), nullptr)) {}
};

void must(bool ok, const char* what) {
  if (!ok) throw OpenSslFailed(what);
}

Key make_key() {
  Key key(EVP_EC_gen("P-256"));
  must(key != nullptr, "key");
  return key;
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  kube::OpenSslPtr<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  must(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1, "extension");
}

Certificate make_certificate(EVP_PKEY* key, const std::string& common_name,
                             WallClock::time_point now, std::chrono::hours validity) {
  Certificate certificate(X509_new());
  must(certificate != nullptr, "certificate");
  std::array<unsigned char, 16> serial{};
  must(RAND_bytes(serial.data(), serial.size()) == 1, "serial number");
  serial[0] &= 0x7f;
  kube::OpenSslPtr<BIGNUM, BN_free> number(BN_bin2bn(serial.data(), serial.size(), nullptr));
  must(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr,
       "serial number");
  must(X509_set_version(certificate.get(), X509_VERSION_3) == 1, "version");
  // Five minutes early: clocks differ.
  ASN1_TIME_set(X509_getm_notBefore(certificate.get()),
                WallClock::to_time_t(now - std::chrono::minutes(5)));
  ASN1_TIME_set(X509_getm_notAfter(certificate.get()), WallClock::to_time_t(now + validity));
  must(X509_set_pubkey(certificate.get(), key) == 1, "public key");
  X509_NAME* name = X509_get_subject_name(certificate.get());
  must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                  reinterpret_cast<const unsigned char*>(common_name.c_str()), -1,
                                  -1, 0) == 1,
       "name");
  return certificate;
}

std::string pem_of(X509* certificate) {
  const Memory memory(BIO_new(BIO_s_mem()));
  must(PEM_write_bio_X509(memory.get(), certificate) == 1, "PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string pem_of(EVP_PKEY* key) {
  const Memory memory(BIO_new(BIO_s_mem()));
  must(PEM_write_bio_PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
       "PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

Certificate parse_certificate(const std::string& pem) {
  const Memory memory(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Certificate(PEM_read_bio_X509(memory.get(), nullptr, nullptr, nullptr));
}

// Without a callback of its own OpenSSL would ask the terminal for an encrypted key's password.
int no_password(char*, int, int, void*) {
  return -1;
}

Key parse_key(const std::string& pem) {
  const Memory memory(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Key(PEM_read_bio_PrivateKey(memory.get(), nullptr, no_password, nullptr));
}

bool is_address(const std::string& name) {
  std::array<unsigned char, 16> bytes{};
  return inet_pton(AF_INET, name.c_str(), bytes.data()) == 1 ||
         inet_pton(AF_INET6, name.c_str(), bytes.data()) == 1;
}

WallClock::time_point time_of(const ASN1_TIME* time) {
  std::tm parts{};
  must(ASN1_TIME_to_tm(time, &parts) == 1, "time");
  return WallClock::from_time_t(timegm(&parts));
}

BundleState inspect_parsed(const Bundle& bundle, const std::vector<std::string>& names,
                           WallClock::time_point now) {
  BundleState state;
  const Certificate leaf = parse_certificate(bundle.certificate);
  const Key key = parse_key(bundle.key);
  const Certificate authority = parse_certificate(bundle.authorities);
  if (!leaf || !key || !authority) {
    state.problem = "it is not valid PEM";
    return state;
  }
  const auto begins = time_of(X509_get0_notBefore(leaf.get()));
  state.expires = time_of(X509_get0_notAfter(leaf.get()));
  state.due = now >= begins + (state.expires - begins) * 2 / 3;
  if (X509_check_private_key(leaf.get(), key.get()) != 1) {
    state.problem = "the key does not fit the certificate";
  } else if (X509_verify(leaf.get(), X509_get0_pubkey(authority.get())) != 1) {
    state.problem = "the certificate was not signed by its authority";
  } else if (now < begins || now >= state.expires) {
    state.problem = "the certificate is not valid now";
  }
  for (const std::string& name : names) {
    const int held = is_address(name) ? X509_check_ip_asc(leaf.get(), name.c_str(), 0)
                                      : X509_check_host(leaf.get(), name.c_str(), 0, 0, nullptr);
    if (held != 1 && state.problem.empty()) state.problem = "the certificate does not name " + name;
  }
  return state;
}

}  // namespace

std::expected<Bundle, std::string> make_bundle(const std::vector<std::string>& names,
                                               WallClock::time_point now,
                                               std::chrono::hours validity,
                                               const std::string& keep) {
  try {
    const Key authority_key = make_key();
    const Certificate authority =
        make_certificate(authority_key.get(), "palisade-webhook-ca", now, validity);
    must(X509_set_issuer_name(authority.get(), X509_get_subject_name(authority.get())) == 1,
         "issuer");
    add_extension(authority.get(), authority.get(), NID_basic_constraints,
                  "critical,CA:TRUE,pathlen:0");
    add_extension(authority.get(), authority.get(), NID_key_usage, "critical,keyCertSign");
    add_extension(authority.get(), authority.get(), NID_subject_key_identifier, "hash");
    must(X509_sign(authority.get(), authority_key.get(), EVP_sha256()) > 0, "signature");

    const Key key = make_key();
    const Certificate leaf = make_certificate(key.get(), names.at(0).substr(0, 64), now, validity);
    must(X509_set_issuer_name(leaf.get(), X509_get_subject_name(authority.get())) == 1, "issuer");
    std::string alternatives;
    for (const std::string& name : names)
      alternatives +=
          (alternatives.empty() ? "" : ",") + std::string(is_address(name) ? "IP:" : "DNS:") + name;
    add_extension(leaf.get(), authority.get(), NID_basic_constraints, "critical,CA:FALSE");
    add_extension(leaf.get(), authority.get(), NID_key_usage, "critical,digitalSignature");
    add_extension(leaf.get(), authority.get(), NID_ext_key_usage, "serverAuth");
    add_extension(leaf.get(), authority.get(), NID_subject_alt_name, alternatives);
    add_extension(leaf.get(), authority.get(), NID_authority_key_identifier, "keyid");
    must(X509_sign(leaf.get(), authority_key.get(), EVP_sha256()) > 0, "signature");
    return Bundle{pem_of(authority.get()) + first_certificate(keep), pem_of(leaf.get()),
                  pem_of(key.get())};
  } catch (const std::exception& error) {
    return std::unexpected(std::string("the serving certificate cannot be made: ") + error.what());
  }
}

std::string first_certificate(const std::string& pem) {
  const Certificate certificate = parse_certificate(pem);
  ERR_clear_error();
  return certificate ? pem_of(certificate.get()) : std::string();
}

BundleState inspect(const Bundle& bundle, const std::vector<std::string>& names,
                    WallClock::time_point now) {
  BundleState state;
  try {
    state = inspect_parsed(bundle, names, now);
  } catch (const OpenSslFailed& error) {
    state.problem = error.what();
  }
  ERR_clear_error();
  state.usable = state.problem.empty();
  return state;
}

}  // namespace palisade::webhook
