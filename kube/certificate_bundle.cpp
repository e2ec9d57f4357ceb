// Certificates made and looked at with OpenSSL 3.
#include <algorithm>
#include <array>
#include <tuple>

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <kube/certificates.h>
#include <kube/openssl_ptr.h>

namespace kube {

namespace {

using Key = KeyPtr;
using Certificate = CertificatePtr;
using Memory = BioPtr;

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
  OpenSslPtr<X509_EXTENSION, X509_EXTENSION_free> extension(
      X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  must(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1, "extension");
}

Certificate make_certificate(EVP_PKEY* key, const std::string& common_name,
                             WallClock::time_point now, std::chrono::seconds validity) {
  Certificate certificate(X509_new());
  must(certificate != nullptr, "certificate");
  std::array<unsigned char, 16> serial{};
  must(RAND_bytes(serial.data(), serial.size()) == 1, "serial number");
  serial[0] &= 0x7f;
  OpenSslPtr<BIGNUM, BN_free> number(BN_bin2bn(serial.data(), serial.size(), nullptr));
  must(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate.get())) != nullptr,
       "serial number");
  must(X509_set_version(certificate.get(), X509_VERSION_3) == 1, "version");
  // Early, as clocks differ; but never by so much that it would be due at once.
  const auto early = std::min<std::chrono::seconds>(std::chrono::minutes(5), validity / 8);
  ASN1_TIME_set(X509_getm_notBefore(certificate.get()), WallClock::to_time_t(now - early));
  ASN1_TIME_set(X509_getm_notAfter(certificate.get()), WallClock::to_time_t(now + validity));
  must(X509_set_pubkey(certificate.get(), key) == 1, "public key");
  X509_NAME* name = X509_get_subject_name(certificate.get());
  must(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                  reinterpret_cast<const unsigned char*>(common_name.c_str()), -1,
                                  -1, 0) == 1,
       "name");
  return certificate;
}

std::string pem_text(X509* certificate) {
  const Memory memory(BIO_new(BIO_s_mem()));
  must(PEM_write_bio_X509(memory.get(), certificate) == 1, "PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string pem_text(EVP_PKEY* key) {
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

// RFC 1123, with a wildcard for the first label. Nothing else goes into a certificate.
bool is_dns_name(std::string_view name) {
  constexpr std::size_t kMaxName = 253;
  constexpr std::size_t kMaxLabel = 63;
  if (name.empty() || name.size() > kMaxName) return false;
  if (name.starts_with("*.")) name.remove_prefix(2);
  while (true) {
    const std::string_view label = name.substr(0, name.find('.'));
    const bool good = std::ranges::all_of(label, [](unsigned char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
    });
    if (!good || label.empty() || label.size() > kMaxLabel || label.front() == '-' ||
        label.back() == '-')
      return false;
    if (label.size() == name.size()) return true;
    name.remove_prefix(label.size() + 1);
  }
}

// As values, not as a text of OpenSSL's configuration language, in which a comma begins another.
void add_alternative_names(X509* certificate, const std::vector<std::string>& names) {
  const OpenSslPtr<GENERAL_NAMES, GENERAL_NAMES_free> all(GENERAL_NAMES_new());
  must(all != nullptr, "names");
  for (const std::string& name : names) {
    OpenSslPtr<GENERAL_NAME, GENERAL_NAME_free> one(GENERAL_NAME_new());
    must(one != nullptr, "name");
    if (is_address(name)) {
      ASN1_OCTET_STRING* bytes = a2i_IPADDRESS(name.c_str());
      must(bytes != nullptr, "address");
      GENERAL_NAME_set0_value(one.get(), GEN_IPADD, bytes);
    } else {
      ASN1_IA5STRING* text = ASN1_IA5STRING_new();
      must(
          text != nullptr && ASN1_STRING_set(text, name.data(), static_cast<int>(name.size())) == 1,
          "name");
      GENERAL_NAME_set0_value(one.get(), GEN_DNS, text);
    }
    must(sk_GENERAL_NAME_push(all.get(), one.get()) > 0, "name");
    std::ignore = one.release();  // the list's now
  }
  must(X509_add1_ext_i2d(certificate, NID_subject_alt_name, all.get(), 0, X509V3_ADD_APPEND) == 1,
       "names");
}

WallClock::time_point time_of(const ASN1_TIME* time) {
  std::tm parts{};
  must(ASN1_TIME_to_tm(time, &parts) == 1, "time");
  return WallClock::from_time_t(timegm(&parts));
}

CertificateState inspect_parsed(const CertificateBundle& bundle,
                                const std::vector<std::string>& names, WallClock::time_point now) {
  CertificateState state;
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

std::expected<CertificateBundle, std::string> make_bundle(const std::string& authority_name,
                                                          const std::vector<std::string>& names,
                                                          WallClock::time_point now,
                                                          std::chrono::seconds validity,
                                                          const std::string& keep) {
  for (const std::string& name : names) {
    if (!is_address(name) && !is_dns_name(name))
      return std::unexpected("\"" + name.substr(0, 300) +
                             "\" is neither a DNS name nor an address");
  }
  try {
    const Key authority_key = make_key();
    const Certificate authority =
        make_certificate(authority_key.get(), authority_name, now, validity);
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
    add_extension(leaf.get(), authority.get(), NID_basic_constraints, "critical,CA:FALSE");
    add_extension(leaf.get(), authority.get(), NID_key_usage, "critical,digitalSignature");
    add_extension(leaf.get(), authority.get(), NID_ext_key_usage, "serverAuth");
    add_alternative_names(leaf.get(), names);
    add_extension(leaf.get(), authority.get(), NID_authority_key_identifier, "keyid");
    must(X509_sign(leaf.get(), authority_key.get(), EVP_sha256()) > 0, "signature");
    return CertificateBundle{pem_text(authority.get()) + first_certificate(keep),
                             pem_text(leaf.get()), pem_text(key.get())};
  } catch (const std::exception& error) {
    return std::unexpected(std::string("the serving certificate cannot be made: ") + error.what());
  }
}

WallClock::time_point end_of(const std::string& certificate) {
  const Certificate parsed = parse_certificate(certificate);
  ERR_clear_error();
  return parsed ? time_of(X509_get0_notAfter(parsed.get())) : WallClock::time_point();
}

std::string first_certificate(const std::string& pem) {
  const Certificate certificate = parse_certificate(pem);
  ERR_clear_error();
  return certificate ? pem_text(certificate.get()) : std::string();
}

CertificateState inspect(const CertificateBundle& bundle, const std::vector<std::string>& names,
                         WallClock::time_point now) {
  CertificateState state;
  try {
    state = inspect_parsed(bundle, names, now);
  } catch (const OpenSslFailed& error) {
    state.problem = error.what();
  }
  ERR_clear_error();
  state.usable = state.problem.empty();
  return state;
}

}  // namespace kube
