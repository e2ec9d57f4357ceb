// A TLS client's settings, alike for both transports: which roots, which identity, which name; and
// PEM texts read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <openssl/types.h>

#include <kube/error.h>
#include <kube/openssl_ptr.h>
#include <kube/transport.h>

namespace kube {

// Prepares a fresh SSL_CTX: TLS 1.2 or newer; `material.ca` alone is trusted (the system's
// authorities only where it is empty); the server must prove `name` (a DNS name by its SANs, never
// by its subject; an IP literal by an IP SAN) unless `verify` is false; `material`'s certificate is
// shown if there is one. Errors say which text is wrong.
[[nodiscard]] Result<void> configure_client_tls(SSL_CTX* context, const TlsMaterial& material,
                                                const std::string& name, bool verify);

// The same for a proxy: it proves `name` by the system's authorities or by `ca` (PEM, maybe ""),
// and is shown no certificate.
[[nodiscard]] Result<void> configure_proxy_tls(SSL_CTX* context, const std::string& ca,
                                               const std::string& name, bool verify);

// Says in the handshake to come which server is meant; an IP literal is no name to say
// (https://www.rfc-editor.org/rfc/rfc6066#section-3).
void send_server_name(SSL* ssl, const std::string& name);

// True where bytes of the peer wait in the TLS layer: off the socket, not yet read.
[[nodiscard]] bool has_unread_bytes(const SSL* ssl);

// The certificates of a PEM text; empty if there is none or one is broken.
[[nodiscard]] std::vector<CertificatePtr> parse_certificates(std::string_view pem);
// Null where it is none, or has a passphrase.
[[nodiscard]] KeyPtr parse_private_key(std::string_view pem);

// Why `pem` is no list of certificates, or "".
[[nodiscard]] std::string certificates_fault(std::string_view pem);
// Why `key` is not the private key of the first certificate of `certificate`, or "".
[[nodiscard]] std::string identity_fault(std::string_view certificate, std::string_view key);

}  // namespace kube
