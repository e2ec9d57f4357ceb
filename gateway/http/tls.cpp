#include "tls.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <system_error>
#include <vector>

#include <arpa/inet.h>
#include <gateway/http/server.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

namespace palisade::gateway {

namespace {

struct Free {
  void operator()(BIO* bio) const { BIO_free_all(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  void operator()(X509_STORE* store) const { X509_STORE_free(store); }
};
template <class T>
using Ptr = std::unique_ptr<T, Free>;

std::unexpected<NetError> fault(std::string message) {
  ERR_clear_error();
  return std::unexpected(NetError{Fault::kTls, std::move(message)});
}

// No key of ours has a passphrase; without this OpenSSL would ask for one on the terminal.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

Ptr<BIO> reader(std::string_view text) {
  return Ptr<BIO>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

// All of a PEM text's; none where one is broken.
std::vector<Ptr<X509>> certificates(std::string_view pem) {
  std::vector<Ptr<X509>> out;
  const Ptr<BIO> bio = reader(pem);
  if (!bio) return out;
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr))
    out.emplace_back(one);
  const unsigned long error = ERR_peek_last_error();
  // What the text's end looks like.
  if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
    out.clear();
  ERR_clear_error();
  return out;
}

NetResult<void> identify(SSL_CTX* context, const ServingIdentity& identity) {
  const auto chain = certificates(identity.certificate);
  if (chain.empty()) return fault("serving certificate: not valid PEM");
  const Ptr<BIO> text = reader(identity.key);
  const Ptr<EVP_PKEY> key(
      text ? PEM_read_bio_PrivateKey(text.get(), nullptr, no_passphrase, nullptr) : nullptr);
  if (!key) return fault("serving key: not a PEM private key without passphrase");
  if (X509_check_private_key(chain.front().get(), key.get()) != 1)
    return fault("serving key: not that of the serving certificate");
  if (SSL_CTX_use_certificate(context, chain.front().get()) != 1 ||
      SSL_CTX_use_PrivateKey(context, key.get()) != 1)
    return fault("serving certificate: cannot be used");
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1)
      return fault("serving certificate: its chain cannot be used");
  }
  return {};
}

NetResult<TlsContext> make_context(const SSL_METHOD* method) {
  TlsContext context(SSL_CTX_new(method), SSL_CTX_free);
  if (!context) throw std::bad_alloc();
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN |
                            SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // A record's header and its data by one call.
  SSL_CTX_set_read_ahead(raw, 1);
  if (SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
    return fault("OpenSSL has none of the cipher suites wanted");
  return context;
}

// A directory of authorities is read as each is needed; the file with all of them is megabytes.
int trust_system(SSL_CTX* context) {
  std::error_code error;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets variables here
  if (std::getenv(X509_get_default_cert_file_env()) == nullptr) {
    for (const auto& entry :
         std::filesystem::directory_iterator(X509_get_default_cert_dir(), error)) {
      if (entry.path().extension() == ".0") return SSL_CTX_set_default_verify_dir(context);
    }
  }
  return SSL_CTX_set_default_verify_paths(context);
}

int bio_read(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  auto& wire = *static_cast<TlsWire*>(BIO_get_data(bio));
  const long got = receive(wire, into, static_cast<std::size_t>(size));
  if (got < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
  if (got == 0) wire.at_end = true;
  return static_cast<int>(got);
}

int bio_write(BIO* bio, const char* from, int size) {
  BIO_clear_retry_flags(bio);
  auto& wire = *static_cast<TlsWire*>(BIO_get_data(bio));
  const long put = transmit(wire, from, static_cast<std::size_t>(size));
  if (put < 0 && errno == EAGAIN) BIO_set_retry_write(bio);
  return static_cast<int>(put);
}

long bio_control(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_EOF) return static_cast<TlsWire*>(BIO_get_data(bio))->at_end ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

// Made once, for the life of the process.
const BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
    if (made == nullptr) throw std::bad_alloc();
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_ctrl(made, bio_control);
    return made;
  }();
  return method;
}

bool is_address(const std::string& host) {
  std::array<unsigned char, 16> bytes{};
  return ::inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

bool expect_host(SSL* ssl, const std::string& host) {
  X509_VERIFY_PARAM* param = SSL_get0_param(ssl);
  X509_VERIFY_PARAM_set_hostflags(
      param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (is_address(host)) return X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str()) == 1;
  // SSL_set_tlsext_host_name is a macro with an old-style cast.
  return !host.empty() && X509_VERIFY_PARAM_set1_host(param, host.data(), host.size()) == 1 &&
         SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                  const_cast<char*>(host.c_str())) == 1;
}

}  // namespace

NetResult<TlsContext> make_server_tls(const ServingIdentity& identity) {
  auto context = make_context(TLS_server_method());
  if (!context) return context;
  SSL_CTX_set_options(context->get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_num_tickets(context->get(), 0);
  // In this order whatever the client likes: AES-128 costs least where the CPU has it.
  if (SSL_CTX_set_ciphersuites(
          context->get(),
          "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") != 1)
    return fault("OpenSSL has none of the cipher suites wanted");
  if (auto identified = identify(context->get(), identity); !identified)
    return std::unexpected(std::move(identified.error()));
  return context;
}

NetResult<TlsContext> make_client_tls(const std::string& authorities, bool system_too) {
  auto context = make_context(TLS_client_method());
  if (!context) return context;
  SSL_CTX* raw = context->get();
  SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nullptr);
  if (!authorities.empty()) {
    const auto roots = certificates(authorities);
    if (roots.empty()) return fault("authorities: not valid PEM");
    X509_STORE* store = SSL_CTX_get_cert_store(raw);  // empty so far
    for (const auto& root : roots) {
      if (X509_STORE_add_cert(store, root.get()) != 1)
        return fault("authorities: one cannot be used");
    }
    // Each is an anchor, also one that another authority has signed.
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  }
  if ((authorities.empty() || system_too) && trust_system(raw) != 1)
    return fault("the system's certificate authorities cannot be read");
  return context;
}

NetResult<TlsPtr> make_tls(SSL_CTX* context, TlsWire& wire, const std::string* host) {
  TlsPtr ssl(SSL_new(context));
  BIO* bio = BIO_new(socket_method());
  if (!ssl || bio == nullptr) {
    BIO_free(bio);
    throw std::bad_alloc();
  }
  BIO_set_data(bio, &wire);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl.get(), bio, bio);
  if (host == nullptr) {
    SSL_set_accept_state(ssl.get());
    return ssl;
  }
  SSL_set_connect_state(ssl.get());
  if (!expect_host(ssl.get(), *host)) return fault("no certificate can be for such a host name");
  return ssl;
}

std::string tls_reason(const SSL* ssl) {
  const unsigned long error = ERR_peek_error();
  const char* reason = error == 0 ? nullptr : ERR_reason_error_string(error);
  std::string out = reason != nullptr ? reason : "the connection was closed";
  if (const long verified = SSL_get_verify_result(ssl); verified != X509_V_OK)
    out = X509_verify_cert_error_string(verified);
  ERR_clear_error();
  return out;
}

long receive(TlsWire& wire, char* into, std::size_t size) {
  if (!*wire.readable) {
    errno = EAGAIN;
    return -1;
  }
  ssize_t got = 0;
  do {
    got = ::recv(wire.fd, into, size, 0);
  } while (got < 0 && errno == EINTR);
  // Less than asked for: there is no more, and the next is an event. But for the end, which may
  // have been one with what was just read.
  if ((got > 0 && static_cast<std::size_t>(got) < size && !*wire.hung_up) ||
      (got < 0 && errno == EAGAIN))
    *wire.readable = false;
  return got;
}

long transmit(TlsWire& wire, const char* from, std::size_t size) {
  if (!*wire.writable) {
    errno = EAGAIN;
    return -1;
  }
  ssize_t put = 0;
  do {
    put = ::send(wire.fd, from, size, MSG_NOSIGNAL);
  } while (put < 0 && errno == EINTR);
  if (put < 0 && errno == EAGAIN) *wire.writable = false;
  return put;
}

}  // namespace palisade::gateway
