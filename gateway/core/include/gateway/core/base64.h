// Base64 of few bytes, as HTTP's Basic authentication has it: padded (RFC 4648, 4). kube's is not
// the gateway's: the relay and its neighbours know nothing of Kubernetes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace palisade::gateway {

[[nodiscard]] inline std::string encode_base64(std::string_view in) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((in.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < in.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k)
      bits = (bits << 8U) | (i + k < in.size() ? static_cast<unsigned char>(in[i + k]) : 0U);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k > in.size() ? '=' : kDigits[(bits >> (18 - 6 * k)) & 63U];
  }
  return out;
}

}  // namespace palisade::gateway
