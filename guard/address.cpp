#include "guard/address.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

namespace palisade::guard {

namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr std::size_t kUnixPathOffset = offsetof(sockaddr_un, sun_path);
// Linux takes a sockaddr_in6 without its scope id (RFC 2133).
constexpr std::size_t kShortIpv6 = offsetof(sockaddr_in6, sin6_scope_id);

Address from_ipv4(const void* four) {
  Address address;
  std::memcpy(address.bytes.data(), four, 4);
  return address;
}

Address from_ipv6(const void* sixteen) {
  Address address;
  std::memcpy(address.bytes.data(), sixteen, 16);
  if (std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), address.bytes.begin())) {
    return from_ipv4(address.bytes.data() + kMappedPrefix.size());
  }
  address.v6 = true;
  return address;
}

bool bit(const Address& address, unsigned index) {
  return ((address.bytes[index / 8] >> (7 - index % 8)) & 1U) != 0;
}

// A copy, for the bytes need not be aligned and may be fewer than the structure has.
template <typename T>
T copy_of(std::span<const std::byte> bytes) {
  T value{};
  std::memcpy(&value, bytes.data(), std::min(bytes.size(), sizeof value));
  return value;
}

SocketAddress decode_unix(std::span<const std::byte> bytes) {
  SocketAddress result;
  result.family = AF_UNIX;
  if (bytes.size() > sizeof(sockaddr_un)) return result;
  result.kind = SocketAddress::Kind::kAbstract;
  auto path = bytes.subspan(std::min(bytes.size(), kUnixPathOffset));
  if (path.empty()) return result;
  std::string text(path.size(), '\0');
  std::memcpy(text.data(), path.data(), path.size());
  if (text.front() == '\0') {
    result.name = text.substr(1);
    return result;
  }
  result.kind = SocketAddress::Kind::kPath;
  result.name = text.substr(0, text.find('\0'));
  return result;
}

}  // namespace

bool Address::loopback() const {
  if (!v6) return bytes[0] == 127;
  return bytes[15] == 1 &&
         std::all_of(bytes.begin(), bytes.end() - 1, [](auto b) { return b == 0; });
}

bool Address::unspecified() const {
  return std::all_of(bytes.begin(), bytes.end(), [](auto b) { return b == 0; });
}

std::string Address::text() const {
  std::array<char, INET6_ADDRSTRLEN> buffer{};
  const char* text = inet_ntop(v6 ? AF_INET6 : AF_INET, bytes.data(), buffer.data(), buffer.size());
  return text == nullptr ? std::string{} : std::string{text};
}

std::optional<Address> parse_address(std::string_view text) {
  std::string terminated{text};
  if (terminated.find('\0') != std::string::npos) return std::nullopt;
  std::array<std::uint8_t, 16> bytes{};
  if (inet_pton(AF_INET, terminated.c_str(), bytes.data()) == 1) return from_ipv4(bytes.data());
  if (inet_pton(AF_INET6, terminated.c_str(), bytes.data()) == 1) return from_ipv6(bytes.data());
  return std::nullopt;
}

bool Cidr::contains(const Address& address) const {
  if (address.v6 != base.v6) return false;
  for (unsigned i = 0; i < bits; ++i) {
    if (bit(address, i) != bit(base, i)) return false;
  }
  return true;
}

std::expected<Cidr, std::string> parse_cidr(std::string_view text) {
  auto slash = text.find('/');
  auto base = parse_address(text.substr(0, slash));
  if (!base) return std::unexpected("is no IPv4 or IPv6 address or range");
  const bool mapped = !base->v6 && text.find(':') != std::string_view::npos;
  const unsigned longest = base->v6 || mapped ? 128 : 32;
  unsigned bits = longest;
  if (slash != std::string_view::npos) {
    auto length = text.substr(slash + 1);
    auto [end, error] = std::from_chars(length.data(), length.data() + length.size(), bits);
    if (error != std::errc{} || end != length.data() + length.size() || bits > longest ||
        (length.size() > 1 && length.front() == '0')) {
      return std::unexpected("has a prefix length that is no number from 0 to " +
                             std::to_string(longest));
    }
  }
  if (mapped) {
    if (bits < 96) {
      return std::unexpected("covers more than the IPv4-mapped addresses: write the IPv4 range");
    }
    bits -= 96;
  }
  Cidr cidr{*base, bits};
  for (unsigned i = bits; i < (base->v6 ? 128U : 32U); ++i) {
    if (bit(*base, i)) {
      return std::unexpected("has bits set behind its prefix: write the range's first address");
    }
  }
  return cidr;
}

std::string Endpoint::text() const {
  auto host = address.text();
  return (address.v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::string SocketAddress::text() const {
  switch (kind) {
    case Kind::kInternet:
      return endpoint.text() + "/tcp";
    case Kind::kScoped:
      return endpoint.text() + "/tcp with a scope";
    case Kind::kPath:
      return "unix:" + name;
    case Kind::kAbstract:
      return "unix:@" + name;
    case Kind::kOther:
      return "family " + std::to_string(family);
    case Kind::kBroken:
      break;
  }
  return "unreadable address of family " + std::to_string(family);
}

SocketAddress decode(std::span<const std::byte> bytes) {
  SocketAddress result;
  if (bytes.size() < sizeof(sa_family_t)) return result;
  result.family = copy_of<sa_family_t>(bytes);
  switch (result.family) {
    case AF_INET: {
      if (bytes.size() < sizeof(sockaddr_in)) return result;
      auto ipv4 = copy_of<sockaddr_in>(bytes);
      result.kind = SocketAddress::Kind::kInternet;
      result.endpoint = {from_ipv4(&ipv4.sin_addr), ntohs(ipv4.sin_port)};
      return result;
    }
    case AF_INET6: {
      if (bytes.size() < kShortIpv6) return result;
      auto ipv6 = copy_of<sockaddr_in6>(bytes);
      result.kind =
          ipv6.sin6_scope_id == 0 ? SocketAddress::Kind::kInternet : SocketAddress::Kind::kScoped;
      result.endpoint = {from_ipv6(&ipv6.sin6_addr), ntohs(ipv6.sin6_port)};
      return result;
    }
    case AF_UNIX:
      return decode_unix(bytes);
    default:
      result.kind = SocketAddress::Kind::kOther;
      return result;
  }
}

std::optional<EncodedAddress> encode(const Endpoint& endpoint, int family) {
  EncodedAddress result;
  if (family == AF_INET && !endpoint.address.v6) {
    sockaddr_in ipv4{};
    ipv4.sin_family = AF_INET;
    ipv4.sin_port = htons(endpoint.port);
    std::memcpy(&ipv4.sin_addr, endpoint.address.bytes.data(), 4);
    std::memcpy(&result.storage, &ipv4, sizeof ipv4);
    result.size = sizeof ipv4;
    return result;
  }
  if (family != AF_INET6) return std::nullopt;
  sockaddr_in6 ipv6{};
  ipv6.sin6_family = AF_INET6;
  ipv6.sin6_port = htons(endpoint.port);
  if (endpoint.address.v6) {
    std::memcpy(&ipv6.sin6_addr, endpoint.address.bytes.data(), 16);
  } else {
    std::memcpy(&ipv6.sin6_addr, kMappedPrefix.data(), kMappedPrefix.size());
    std::memcpy(ipv6.sin6_addr.s6_addr + kMappedPrefix.size(), endpoint.address.bytes.data(), 4);
  }
  std::memcpy(&result.storage, &ipv6, sizeof ipv6);
  result.size = sizeof ipv6;
  return result;
}

}  // namespace palisade::guard
