// Base64, as Secrets and kubeconfigs hold bytes: the standard alphabet, padded (RFC 4648, 4).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kube {

[[nodiscard]] std::string encode_base64(std::string_view bytes);
// nullopt for anything else, line breaks included.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);
// The alphabet for URLs without padding, as parts of a JSON Web Token have it (RFC 4648, 5). Takes
// what decode_base64 takes, too.
[[nodiscard]] std::optional<std::string> decode_base64url(std::string_view text);

}  // namespace kube
