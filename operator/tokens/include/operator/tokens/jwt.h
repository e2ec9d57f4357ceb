// JSON Web Tokens, RS256 (RFC 7515, RFC 7519), as a GitHub App shows them.
// Source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
#pragma once

#include <expected>
#include <string>

#include <operator/tokens/provider.h>

namespace palisade::op::tokens {

// Valid from a minute before `now` (the host's clock may be behind) to nine minutes after (ten are
// the most that GitHub takes). The error says what is wrong with the key; it never holds a part of
// it. `key_pem`: PKCS #1 or #8, RSA of 2048 bits or more, no passphrase.
[[nodiscard]] std::expected<std::string, std::string> sign_app_jwt(const std::string& app_id,
                                                                   const std::string& key_pem,
                                                                   Time now);

}  // namespace palisade::op::tokens
