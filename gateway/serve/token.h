// ServiceAccount tokens as their bearer writes them, and as a TokenReview explains them. Pure.
// Source: RFC 7515 (compact serialization),
// https://kubernetes.io/docs/reference/access-authn-authz/authentication/
#pragma once

#include <chrono>
#include <expected>
#include <string>
#include <string_view>

#include <gateway/serve/directory.h>
#include <nlohmann/json.hpp>

namespace palisade::gateway {

// What a token says of itself, unproven: good for refusing it, and for how long at most it is to be
// believed.
struct TokenClaims {
  std::chrono::system_clock::time_point expires;
};

// The error is why it cannot be a token for `audience`.
[[nodiscard]] std::expected<TokenClaims, std::string> read_token(std::string_view token,
                                                                 std::string_view audience,
                                                                 std::size_t max_bytes);

// The answer to a TokenReview; the error is why it proves nothing.
[[nodiscard]] std::expected<Proven, std::string> proven_by(const nlohmann::json& review,
                                                           std::string_view audience);

}  // namespace palisade::gateway
