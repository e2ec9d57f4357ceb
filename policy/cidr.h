// Address ranges as NetworkPolicies write them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace palisade::policy {

// IPv4 lies in ::ffff:0:0/96, so that an IPv4-mapped IPv6 range is the IPv4 range that it reaches.
struct Cidr {
  std::array<std::uint8_t, 16> bytes{};  // host bits are cleared
  int bits = 128;                        // 0 to 128

  [[nodiscard]] bool contains(const Cidr& other) const;
  [[nodiscard]] bool overlaps(const Cidr& other) const {
    return contains(other) || other.contains(*this);
  }
  [[nodiscard]] bool is_v4() const;  // it lies in IPv4 as a whole
  bool operator==(const Cidr&) const = default;
};

// "10.0.0.0/8", "fd00::/8". nullopt for what is no range; what Kubernetes has ever accepted (host
// bits, leading zeros) is read as it reads it.
[[nodiscard]] std::optional<Cidr> parse_cidr(std::string_view text);

// The IPv4 range that an IPv6 range stands for behind a translator (NAT64 64:ff9b::/96, 6to4
// 2002::/16, the old IPv4-compatible ::/96); nullopt where it lies in none of these.
[[nodiscard]] std::optional<Cidr> translated(const Cidr& range);

}  // namespace palisade::policy
