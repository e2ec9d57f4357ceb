#include "http_tls.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls.h"

namespace kube {

namespace {

std::unexpected<Error> tls_fault(std::string message) {
  ERR_clear_error();
  return std::unexpected(Error{0, "ServerError", std::move(message), {}, {}});
}

// The names live as long as the context that verifies with them.
int names_index() {
  static const int index = SSL_CTX_get_ex_new_index(
      0, nullptr, nullptr, nullptr, [](void*, void* names, CRYPTO_EX_DATA*, int, long, void*) {
        delete static_cast<std::vector<std::string>*>(names);
      });
  return index;
}

// The subject's common name; "" unless there is exactly one, without a zero byte.
std::string common_name(X509* certificate) {
  X509_NAME* subject = X509_get_subject_name(certificate);
  const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
  if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0) return {};
  unsigned char* text = nullptr;
  const int length =
      ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
  if (length < 0) return {};
  std::string name(reinterpret_cast<const char*>(text), static_cast<std::size_t>(length));
  OPENSSL_free(text);
  return name.find('\0') == std::string::npos ? name : std::string();
}

// After OpenSSL's own verification of each certificate of the chain: the leaf's name.
int verify_client(int preverified, X509_STORE_CTX* store) {
  if (preverified != 1 || X509_STORE_CTX_get_error_depth(store) != 0) return preverified;
  const auto* ssl = static_cast<const SSL*>(
      X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const auto* names = static_cast<const std::vector<std::string>*>(
      SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), names_index()));
  const std::string name = common_name(X509_STORE_CTX_get_current_cert(store));
  if (names != nullptr && !name.empty() && std::ranges::find(*names, name) != names->end())
    return 1;
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

Result<void> ask_clients(SSL_CTX* context, const ClientCertificates& clients) {
  const auto authorities = parse_certificates(clients.authorities);
  if (authorities.empty()) return tls_fault("client authorities: not valid PEM");
  OpenSslPtr<X509_STORE, X509_STORE_free> store(X509_STORE_new());
  if (!store) throw std::bad_alloc();
  for (const auto& authority : authorities) {
    // The names of these are told to the client, which may hold certificates of several.
    if (X509_STORE_add_cert(store.get(), authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return tls_fault("client authorities: cannot be used");
    }
  }
  SSL_CTX_set_cert_store(context, store.release());
  if (!clients.names.empty()) {
    auto names = std::make_unique<std::vector<std::string>>(clients.names);
    if (SSL_CTX_set_ex_data(context, names_index(), names.get()) != 1) throw std::bad_alloc();
    std::ignore = names.release();  // the context's now
  }
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
                     clients.names.empty() ? nullptr : verify_client);
  return {};
}

Result<void> identify(SSL_CTX* context, const ServingCertificate& certificate) {
  const auto chain = parse_certificates(certificate.certificate);
  if (chain.empty()) return tls_fault("serving certificate: not valid PEM");
  const KeyPtr key = parse_private_key(certificate.key);
  if (!key) return tls_fault("serving key: not a PEM private key without passphrase");
  if (X509_check_private_key(chain.front().get(), key.get()) != 1)
    return tls_fault("serving key does not belong to the serving certificate");
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1 ||
      SSL_CTX_use_PrivateKey(context, key.get()) != 1) {
    return tls_fault("serving certificate: cannot be used");
  }
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1)
      return tls_fault("serving certificate: its chain cannot be used");
  }
  return {};
}

int wire_read(BIO* bio, char* into, int wanted) {
  BIO_clear_retry_flags(bio);
  auto* wire = static_cast<Wire*>(BIO_get_data(bio));
  if (wire->in.empty()) {
    BIO_set_retry_read(bio);
    return -1;
  }
  const std::size_t count = std::min(wire->in.size(), static_cast<std::size_t>(wanted));
  std::memcpy(into, wire->in.data(), count);
  wire->in.remove_prefix(count);
  return static_cast<int>(count);
}

int wire_write(BIO* bio, const char* from, int length) {
  BIO_clear_retry_flags(bio);
  try {
    static_cast<Wire*>(BIO_get_data(bio))->out.append(from, static_cast<std::size_t>(length));
  } catch (const std::exception&) {
    return -1;  // no memory: no exception goes through OpenSSL
  }
  return length;
}

long wire_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

// Made once, for the life of the process.
const BIO_METHOD* wire_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");
    if (made == nullptr) throw std::bad_alloc();
    BIO_meth_set_read(made, wire_read);
    BIO_meth_set_write(made, wire_write);
    BIO_meth_set_ctrl(made, wire_control);
    return made;
  }();
  return method;
}

}  // namespace

Result<ServerContext> make_server_context(const ServingCertificate& certificate,
                                          const std::optional<ClientCertificates>& clients) {
  const ServerContext context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!context) return tls_fault("no memory for TLS settings");
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  // A resumed session would skip the client's certificate.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(raw, 0);
  // The chain is what was given; looking for more of it would cost every handshake.
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
  if (SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
      SSL_CTX_set_ciphersuites(
          raw, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1) {
    return tls_fault("OpenSSL has none of the cipher suites wanted");
  }
  if (auto identified = identify(raw, certificate); !identified)
    return std::unexpected(std::move(identified.error()));
  if (clients) {
    if (auto asked = ask_clients(raw, *clients); !asked)
      return std::unexpected(std::move(asked.error()));
  }
  return context;
}

TlsSession::TlsSession(SSL_CTX* context, Wire& wire) : ssl_(SSL_new(context)), wire_(&wire) {
  BIO* bio = BIO_new(wire_method());
  if (!ssl_ || bio == nullptr) {
    BIO_free(bio);
    ERR_clear_error();
    throw std::bad_alloc();
  }
  BIO_set_data(bio, &wire);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_accept_state(ssl_.get());
}

TlsSession::Step TlsSession::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) return Step::kDone;
  const bool more = SSL_get_error(ssl_.get(), result) == SSL_ERROR_WANT_READ;
  ERR_clear_error();
  return more ? Step::kMore : Step::kFailed;
}

TlsSession::Step TlsSession::read(char*& out) {
  constexpr auto kRecord = static_cast<int>(kMaxRecord);
  // An empty record leaves nothing to read and is no end.
  while (!wire_->in.empty() || SSL_has_pending(ssl_.get()) == 1) {
    const std::size_t before = wire_->in.size();
    const int got = SSL_read(ssl_.get(), out, kRecord);
    if (got > 0) {
      out += got;
      continue;
    }
    const int error = SSL_get_error(ssl_.get(), got);
    ERR_clear_error();
    if (error == SSL_ERROR_ZERO_RETURN) return Step::kEnded;
    if (error != SSL_ERROR_WANT_READ) return Step::kFailed;
    // Part of a record is held by OpenSSL until the rest comes.
    if (wire_->in.empty() || wire_->in.size() == before) break;
  }
  return Step::kMore;
}

bool TlsSession::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto piece =
        static_cast<int>(std::min<std::size_t>(bytes.size(), std::numeric_limits<int>::max() / 2));
    const int put = SSL_write(ssl_.get(), bytes.data(), piece);
    if (put <= 0) {
      ERR_clear_error();
      return false;
    }
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

void TlsSession::close() {
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

}  // namespace kube
