// Internet addresses and ranges as bytes: what a policy names and what a connect(2) asks for are
// compared here and nowhere else. No I/O, no allocation but for text; thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sys/socket.h>

namespace palisade::guard {

// An IPv4 address or an IPv6 address that is no IPv4 address in disguise: ::ffff:10.0.0.1 is
// 10.0.0.1 from the moment it is read.
struct Address {
  std::array<std::uint8_t, 16> bytes{};  // the first four of them for IPv4, the others zero
  bool v6 = false;

  [[nodiscard]] bool loopback() const;     // 127.0.0.0/8, ::1
  [[nodiscard]] bool unspecified() const;  // 0.0.0.0, ::
  [[nodiscard]] std::string text() const;  // "10.0.0.1", "fd00::1"

  friend bool operator==(const Address&, const Address&) = default;
};

// "10.0.0.1", "fd00::1"; no scope, no port, no brackets, no leading zeros.
[[nodiscard]] std::optional<Address> parse_address(std::string_view text);

struct Cidr {
  Address base;
  unsigned bits = 0;

  // Never true across the families.
  [[nodiscard]] bool contains(const Address& address) const;
};

// "10.0.0.0/8", "fd00::/8". An address without a length stands for itself alone. Bits set behind
// the prefix are an error: 10.1.2.3/8 is two different wishes. The error is one line without the
// text.
[[nodiscard]] std::expected<Cidr, std::string> parse_cidr(std::string_view text);

struct Endpoint {
  Address address;
  std::uint16_t port = 0;

  [[nodiscard]] std::string text() const;  // "10.0.0.1:443", "[fd00::1]:443"
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

// What a struct sockaddr of the caller says, from exactly the bytes that it passed.
struct SocketAddress {
  enum class Kind {
    kInternet,
    kPath,      // AF_UNIX, a path
    kAbstract,  // AF_UNIX, an abstract name, or none at all (which binds to one)
    kScoped,    // IPv6 with a scope id
    kOther,     // any other family, AF_UNSPEC included
    kBroken,    // shorter than its family's
  };
  Kind kind = Kind::kBroken;
  sa_family_t family = AF_UNSPEC;
  Endpoint endpoint;  // kInternet, kScoped
  std::string name;   // kPath: without its NUL; kAbstract: without the leading one

  // "10.0.0.1:443/tcp", "unix:/tmp/x", "unix:@name", "family 16": for the record, bytes as given.
  [[nodiscard]] std::string text() const;
};

[[nodiscard]] SocketAddress decode(std::span<const std::byte> sockaddr);

// The bytes that make the kernel see `endpoint` on a socket of `family` (AF_INET, AF_INET6), and
// nothing besides: no scope, no flow label. IPv4 becomes IPv4-mapped for AF_INET6. None where the
// family cannot say it.
struct EncodedAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
};
[[nodiscard]] std::optional<EncodedAddress> encode(const Endpoint& endpoint, int family);

}  // namespace palisade::guard
