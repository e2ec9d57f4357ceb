// TLS settings of either side, and how OpenSSL reaches a socket.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <gateway/http/message.h>
#include <openssl/ssl.h>

namespace palisade::gateway {

struct ServingIdentity;

struct TlsFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};
using TlsPtr = std::unique_ptr<SSL, TlsFree>;
using TlsContext = std::shared_ptr<SSL_CTX>;

// TLS 1.2 with forward secrecy and authenticated encryption, or TLS 1.3; no sessions, no tickets,
// no renegotiation. Errors (kTls) say which text is wrong.
[[nodiscard]] NetResult<TlsContext> make_server_tls(const ServingIdentity& identity);
// Trusts the certificates of `authorities`, and the system's where it is "" or `system_too`.
[[nodiscard]] NetResult<TlsContext> make_client_tls(const std::string& authorities,
                                                    bool system_too = false);

// What OpenSSL is told of the socket's state, and tells. `readable` false: nothing is there.
struct TlsWire {
  int fd = -1;
  bool* readable = nullptr;
  bool* writable = nullptr;
  const bool* hung_up = nullptr;
  bool at_end = false;
};

// Throws std::bad_alloc. `wire` outlives it. `host` null: the server's side.
[[nodiscard]] NetResult<TlsPtr> make_tls(SSL_CTX* context, TlsWire& wire, const std::string* host);
// Why a handshake failed, in OpenSSL's words; takes them off the thread's queue.
[[nodiscard]] std::string tls_reason(const SSL* ssl);

// recv() and send() that remember what the socket has left and has room for: no call is made that
// is known to fail. -1 with EAGAIN where there is nothing now.
[[nodiscard]] long receive(TlsWire& wire, char* into, std::size_t size);
[[nodiscard]] long transmit(TlsWire& wire, const char* from, std::size_t size);

}  // namespace palisade::gateway
