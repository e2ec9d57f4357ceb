// Public keys and signatures of bytes, as cosign makes them: SHA-256 with ECDSA or RSA (PKCS #1,
// v1.5), or Ed25519. Newer cosign hashes for P-384 and P-521 with SHA-384 and SHA-512.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include <kube/openssl_ptr.h>

namespace palisade::webhook {

// A key of ECDSA on P-256, P-384 or P-521, of RSA with 2048 to 8192 bits, or of Ed25519. The error
// is a sentence that begins "is" or "has".
[[nodiscard]] std::expected<kube::KeyPtr, std::string> read_public_key(std::string_view pem);

// Of Ed25519 signatures only those of the bytes themselves (RFC 8032's pure Ed25519) can be told:
// newer cosign makes Ed25519ph with such keys, which OpenSSL 3.0 does not have.
[[nodiscard]] bool is_ed25519(const EVP_PKEY* key);

// Whether the key's owner signed these bytes. False for whatever is no signature.
[[nodiscard]] bool has_signed(EVP_PKEY* key, std::string_view bytes, std::string_view signature);

// Lower-case hexadecimal.
[[nodiscard]] std::string sha256_of(std::string_view bytes);

}  // namespace palisade::webhook
