#include <algorithm>
#include <array>
#include <cctype>

#include <arpa/inet.h>

#include <kube/transport.h>

#include "url.h"

namespace kube {

namespace {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

}  // namespace

std::string_view header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (equal_ignoring_case(key, name)) return value;
  }
  return {};
}

std::string Url::authority() const {
  std::string out = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (tls ? "443" : "80")) out += ":" + port;
  return out;
}

bool is_ip_literal(const std::string& host) {
  std::array<unsigned char, 16> address{};
  return inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

Result<Url> parse_url(std::string_view text) {
  const auto bad = [&](std::string_view why) {
    return transport_error(kTransportReasonConnect,
                           "URL \"" + std::string(text) + "\": " + std::string(why));
  };
  Url url;
  if (text.starts_with("https://")) {
    text.remove_prefix(8);
  } else if (text.starts_with("http://")) {
    url.tls = false;
    text.remove_prefix(7);
  } else {
    return bad("must begin with https:// or http://");
  }
  if (text.find_first_of("@?# \t\r\n") != std::string_view::npos)
    return bad("must be scheme://host[:port][/path] alone");
  const auto slash = text.find('/');
  std::string_view authority = text.substr(0, slash);
  if (slash != std::string_view::npos) url.path = text.substr(slash);
  while (!url.path.empty() && url.path.back() == '/')
    url.path.pop_back();

  std::string_view port;
  if (authority.starts_with('[')) {
    const auto close = authority.find(']');
    if (close == std::string_view::npos)
      return bad("the bracket of its IPv6 address is not closed");
    url.host = authority.substr(1, close - 1);
    std::string_view rest = authority.substr(close + 1);
    if (!rest.empty()) {
      if (!rest.starts_with(':')) return bad("has text after the IPv6 address");
      port = rest.substr(1);
    }
  } else {
    const auto colon = authority.find(':');
    url.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) port = authority.substr(colon + 1);
  }
  if (url.host.empty()) return bad("names no host");
  url.port = port.empty() ? (url.tls ? "443" : "80") : std::string(port);
  if (url.port.size() > 5 ||
      !std::ranges::all_of(url.port, [](unsigned char c) { return std::isdigit(c) != 0; }) ||
      std::stoi(url.port) == 0 || std::stoi(url.port) > 65535) {
    return bad("its port is not between 1 and 65535");
  }
  return url;
}

}  // namespace kube
