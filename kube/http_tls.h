// A TLS server's settings, and one connection's TLS without a socket: wire bytes go in and out of
// buffers that the connections of a thread share, so that a read and a write of the socket can
// carry any number of records.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <openssl/ssl.h>

#include <kube/error.h>
#include <kube/http_server.h>
#include <kube/openssl_ptr.h>

namespace kube {

using ServerContext = std::shared_ptr<SSL_CTX>;

// TLS 1.2 with forward secrecy and authenticated encryption, or TLS 1.3; no sessions, no tickets,
// no renegotiation. With `clients` a connection needs a certificate that their authorities signed.
// Errors say which text is wrong.
[[nodiscard]] Result<ServerContext> make_server_context(
    const ServingCertificate& certificate, const std::optional<ClientCertificates>& clients);

// What OpenSSL reads from and writes to while one connection has its turn.
struct Wire {
  std::string_view in;
  std::string out;
};

class TlsSession {
 public:
  enum class Step : std::uint8_t { kDone, kMore, kEnded, kFailed };
  static constexpr std::size_t kMaxRecord = SSL3_RT_MAX_PLAIN_LENGTH;

  // Throws std::bad_alloc. `wire` outlives it.
  TlsSession(SSL_CTX* context, Wire& wire);

  // kMore: the peer's next bytes are needed. kFailed: wire.out may hold an alert.
  Step handshake();
  // Decrypts all of wire.in to `out` and moves it behind; there must be room for as many bytes and
  // one record more (kMaxRecord), as the start of one may have come before. kDone is
  // never said; kEnded: the peer's close_notify.
  Step read(char*& out);
  // False: the connection is broken.
  bool write(std::string_view bytes);
  // Says close_notify.
  void close();

 private:
  OpenSslPtr<SSL, SSL_free> ssl_;
  Wire* wire_;
};

}  // namespace kube
