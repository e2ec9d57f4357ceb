#include "guard/address.h"

#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/un.h>

namespace palisade::guard {
namespace {

template <typename T>
std::vector<std::byte> bytes_of(const T& value, std::size_t size = sizeof(T)) {
  std::vector<std::byte> bytes(size);
  std::memcpy(bytes.data(), &value, std::min(size, sizeof value));
  return bytes;
}

sockaddr_in6 ipv6(const char* text, std::uint16_t port, std::uint32_t scope = 0) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  address.sin6_scope_id = scope;
  EXPECT_EQ(inet_pton(AF_INET6, text, &address.sin6_addr), 1) << text;
  return address;
}

sockaddr_in ipv4(const char* text, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  EXPECT_EQ(inet_pton(AF_INET, text, &address.sin_addr), 1) << text;
  return address;
}

TEST(Address, ReadsWhatItWrites) {
  for (const char* text : {"0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1", "fd00::1",
                           "fe80::1", "64:ff9b::a00:1"}) {
    auto address = parse_address(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->text(), text);
  }
}

TEST(Address, MappedIsTheIpv4AddressThatItIs) {
  for (const char* text : {"::ffff:10.1.2.3", "::FFFF:0a01:0203", "0:0:0:0:0:ffff:a01:203"}) {
    EXPECT_EQ(parse_address(text), parse_address("10.1.2.3")) << text;
  }
  EXPECT_NE(parse_address("::10.1.2.3"), parse_address("10.1.2.3")) << "IPv4-compatible is IPv6";
}

TEST(Address, RefusesEverythingElse) {
  for (std::string_view text :
       {"", "1", "10.1", "10.0.0.01", "0x7f.0.0.1", "10.0.0.256", " 10.0.0.1", "10.0.0.1 ",
        "10.0.0.1:80", "[::1]", "::1%lo", "fe80::1%1", "localhost", ":::"}) {
    EXPECT_FALSE(parse_address(text)) << text;
  }
  EXPECT_FALSE(parse_address(std::string_view{"10.0.0.1\0", 9}));
}

TEST(Address, KnowsLoopbackAndUnspecified) {
  for (const char* text : {"127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"}) {
    EXPECT_TRUE(parse_address(text)->loopback()) << text;
  }
  for (const char* text : {"128.0.0.1", "126.255.255.255", "::2", "::", "0.0.0.0", "::127.0.0.1"}) {
    EXPECT_FALSE(parse_address(text)->loopback()) << text;
  }
  for (const char* text : {"0.0.0.0", "::", "::ffff:0.0.0.0"}) {
    EXPECT_TRUE(parse_address(text)->unspecified()) << text;
  }
  EXPECT_FALSE(parse_address("0.0.0.1")->unspecified());
}

TEST(Cidr, Contains) {
  struct Case {
    const char* range;
    const char* inside;
    const char* outside;
  };
  for (const auto& [range, inside, outside] : {
           Case{"10.0.0.0/8", "10.255.0.1", "11.0.0.1"},
           Case{"127.0.0.1/32", "127.0.0.1", "127.0.0.2"},
           Case{"127.0.0.1", "::ffff:127.0.0.1", "::1"},
           Case{"0.0.0.0/0", "8.8.8.8", "::8"},
           Case{"192.168.0.0/23", "192.168.1.255", "192.168.2.0"},
           Case{"fd00::/8", "fdff::1", "fc00::1"},
           Case{"::1/128", "::1", "127.0.0.1"},
           Case{"::/0", "2001:db8::1", "10.0.0.1"},
           Case{"::ffff:10.0.0.0/104", "10.9.9.9", "::10.9.9.9"},
       }) {
    auto cidr = parse_cidr(range);
    ASSERT_TRUE(cidr) << range << ": " << cidr.error();
    EXPECT_TRUE(cidr->contains(*parse_address(inside))) << range << " " << inside;
    EXPECT_FALSE(cidr->contains(*parse_address(outside))) << range << " " << outside;
  }
}

TEST(Cidr, Unreadable) {
  for (const char* text : {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08",
                           "10.0.0.0/8 ", "10.0.0.0/+8", "10.1.0.0/8", "fd00::1/8", "::/129",
                           "10.0.0.0/8/8", "::ffff:0.0.0.0/90", "example.org/24"}) {
    EXPECT_FALSE(parse_cidr(text)) << text;
  }
}

TEST(Decode, WhatASockaddrSays) {
  using Kind = SocketAddress::Kind;
  sockaddr_un path{};
  path.sun_family = AF_UNIX;
  std::strcpy(path.sun_path, "/tmp/s");
  sockaddr_un longest{};
  longest.sun_family = AF_UNIX;
  std::memset(longest.sun_path, 'x', sizeof longest.sun_path);
  sockaddr_un abstract{};
  abstract.sun_family = AF_UNIX;
  std::memcpy(abstract.sun_path, "\0name", 5);
  sockaddr_in unspec = ipv4("10.0.0.1", 80);
  unspec.sin_family = AF_UNSPEC;
  struct Case {
    std::vector<std::byte> bytes;
    Kind kind;
    std::string text;
  };
  for (const auto& [bytes, kind, text] : {
           Case{bytes_of(ipv4("10.0.0.1", 80)), Kind::kInternet, "10.0.0.1:80/tcp"},
           Case{bytes_of(ipv4("10.0.0.1", 80), 128), Kind::kInternet, "10.0.0.1:80/tcp"},
           Case{bytes_of(ipv6("fd00::1", 443)), Kind::kInternet, "[fd00::1]:443/tcp"},
           Case{bytes_of(ipv6("fd00::1", 443, 9), 24), Kind::kInternet, "[fd00::1]:443/tcp"},
           Case{bytes_of(ipv6("::ffff:10.0.0.1", 443)), Kind::kInternet, "10.0.0.1:443/tcp"},
           Case{bytes_of(ipv6("fe80::1", 443, 2)), Kind::kScoped, "[fe80::1]:443/tcp with a scope"},
           Case{bytes_of(path), Kind::kPath, "unix:/tmp/s"},
           Case{bytes_of(path, 4), Kind::kPath, "unix:/t"},
           Case{bytes_of(longest), Kind::kPath, "unix:" + std::string(108, 'x')},
           Case{bytes_of(abstract, 7), Kind::kAbstract, "unix:@name"},
           Case{bytes_of(abstract, 2), Kind::kAbstract, "unix:@"},
           Case{bytes_of(unspec), Kind::kOther, "family 0"},
           Case{bytes_of(sa_family_t{AF_NETLINK}, 12), Kind::kOther, "family 16"},
           Case{{}, Kind::kBroken, "unreadable address of family 0"},
           Case{bytes_of(ipv4("10.0.0.1", 80), 1), Kind::kBroken, "unreadable address of family 0"},
           Case{bytes_of(ipv4("10.0.0.1", 80), 15), Kind::kBroken,
                "unreadable address of family 2"},
           Case{bytes_of(ipv6("::1", 80), 23), Kind::kBroken, "unreadable address of family 10"},
           Case{bytes_of(path, 111), Kind::kBroken, "unreadable address of family 1"},
       }) {
    auto address = decode(bytes);
    EXPECT_EQ(address.kind, kind) << text;
    EXPECT_EQ(address.text(), text);
  }
}

TEST(Encode, SaysTheEndpointAndNothingBesides) {
  for (const char* text : {"10.0.0.1", "fd00::1"}) {
    Endpoint endpoint{*parse_address(text), 8080};
    for (int family : {AF_INET, AF_INET6}) {
      auto encoded = encode(endpoint, family);
      if (family == AF_INET && endpoint.address.v6) {
        EXPECT_FALSE(encoded);
        continue;
      }
      ASSERT_TRUE(encoded) << text;
      auto decoded = decode(std::as_bytes(std::span{&encoded->storage, 1}).first(encoded->size));
      EXPECT_EQ(decoded.kind, SocketAddress::Kind::kInternet);
      EXPECT_EQ(decoded.family, family);
      EXPECT_EQ(decoded.endpoint, endpoint);
    }
  }
  EXPECT_FALSE(encode({*parse_address("10.0.0.1"), 1}, AF_UNIX));
}

}  // namespace
}  // namespace palisade::guard
