#include "tls.h"

#include <memory>
#include <vector>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <kube/openssl_ptr.h>

#include "url.h"

namespace kube {

namespace {

using StorePtr = OpenSslPtr<X509_STORE, X509_STORE_free>;

// No key of ours has a passphrase; without this OpenSSL would ask for one on the terminal.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

BioPtr reader(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::unexpected<Error> tls_error(std::string what) {
  ERR_clear_error();
  return transport_error(kTransportReasonTls, std::move(what));
}

Result<void> trust_system(SSL_CTX* context) {
  if (SSL_CTX_set_default_verify_paths(context) != 1)
    return tls_error("the system's certificate authorities cannot be read");
  return {};
}

Result<void> add_roots(X509_STORE* store, const std::string& ca) {
  const auto roots = parse_certificates(ca);
  if (roots.empty()) return tls_error("the certificate authority is not valid PEM");
  for (const auto& root : roots) {
    if (X509_STORE_add_cert(store, root.get()) != 1)
      return tls_error("the certificate authority cannot be used");
  }
  // Any certificate of `ca` is an anchor, also one that another authority has signed.
  X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  return {};
}

Result<void> trust(SSL_CTX* context, const std::string& ca) {
  if (ca.empty()) return trust_system(context);
  StorePtr store(X509_STORE_new());
  if (!store) return tls_error("no memory for a certificate store");
  if (auto added = add_roots(store.get(), ca); !added) return added;
  SSL_CTX_set_cert_store(context, store.release());
  return {};
}

Result<void> identify(SSL_CTX* context, const TlsMaterial& material) {
  if (const std::string fault = identity_fault(material.certificate, material.key); !fault.empty())
    return tls_error(fault);
  auto chain = parse_certificates(material.certificate);
  const KeyPtr key = parse_private_key(material.key);
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1 ||
      SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    return tls_error("the client certificate cannot be used");
  }
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1)
      return tls_error("the client certificate's chain cannot be used");
  }
  return {};
}

Result<void> expect(SSL_CTX* context, const std::string& name) {
  X509_VERIFY_PARAM* param = SSL_CTX_get0_param(context);
  X509_VERIFY_PARAM_set_hostflags(
      param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  const bool ok = is_ip_literal(name)
                      ? X509_VERIFY_PARAM_set1_ip_asc(param, name.c_str()) == 1
                      : X509_VERIFY_PARAM_set1_host(param, name.data(), name.size()) == 1;
  if (name.empty() || !ok) return tls_error("\"" + name + "\" cannot be verified as a server name");
  return {};
}

}  // namespace

std::vector<CertificatePtr> parse_certificates(std::string_view pem) {
  std::vector<CertificatePtr> out;
  const BioPtr bio = reader(pem);
  if (!bio) return out;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr))
    out.emplace_back(certificate);
  // The end of the text shows as "no start line"; anything else is a broken certificate.
  const unsigned long error = ERR_peek_last_error();
  const bool at_end =
      ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  ERR_clear_error();
  if (!at_end) out.clear();
  return out;
}

KeyPtr parse_private_key(std::string_view pem) {
  const BioPtr bio = reader(pem);
  KeyPtr key(bio ? PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr) : nullptr);
  ERR_clear_error();
  return key;
}

std::string certificates_fault(std::string_view pem) {
  return parse_certificates(pem).empty() ? "is not a PEM certificate" : "";
}

std::string identity_fault(std::string_view certificate, std::string_view key) {
  const auto chain = parse_certificates(certificate);
  if (chain.empty()) return "the client certificate is not valid PEM";
  const KeyPtr own = parse_private_key(key);
  if (!own) return "the client key is not a PEM private key without passphrase";
  const bool fits = X509_check_private_key(chain.front().get(), own.get()) == 1;
  ERR_clear_error();
  return fits ? "" : "the client key does not belong to the client certificate";
}

Result<void> configure_client_tls(SSL_CTX* context, const TlsMaterial& material,
                                  const std::string& name, bool verify) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  if (auto trusted = trust(context, material.ca); !trusted) return trusted;
  if (verify) {
    if (auto expected = expect(context, name); !expected) return expected;
  }
  SSL_CTX_set_verify(context, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (material.certificate.empty()) return {};
  return identify(context, material);
}

Result<void> configure_proxy_tls(SSL_CTX* context, const std::string& ca, const std::string& name,
                                 bool verify) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  if (auto trusted = trust_system(context); !trusted) return trusted;
  if (!ca.empty()) {
    if (auto added = add_roots(SSL_CTX_get_cert_store(context), ca); !added) return added;
  }
  if (verify) {
    if (auto expected = expect(context, name); !expected) return expected;
  }
  SSL_CTX_set_verify(context, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  return {};
}

void send_server_name(SSL* ssl, const std::string& name) {
  if (is_ip_literal(name)) return;
  // SSL_set_tlsext_host_name is a macro with an old-style cast.
  SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
           const_cast<char*>(name.c_str()));
}

bool has_unread_bytes(const SSL* ssl) {
  return SSL_has_pending(ssl) == 1 || BIO_ctrl_pending(SSL_get_rbio(ssl)) > 0;
}

}  // namespace kube
