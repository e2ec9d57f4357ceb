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

std::string Url::authority_with_port() const {
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

std::string Url::authority() const {
  std::string out = authority_with_port();
  if (port == (tls ? "443" : "80")) out.resize(out.size() - port.size() - 1);
  return out;
}

std::string Proxy::authority() const {
  return Url{false, host, port, ""}.authority_with_port();
}

bool is_ip_literal(const std::string& host) {
  std::array<unsigned char, 16> address{};
  return inet_pton(AF_INET, host.c_str(), address.data()) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address.data()) == 1;
}

bool is_loopback(const std::string& host) {
  if (host == "localhost") return true;
  std::array<unsigned char, 16> address{};
  if (inet_pton(AF_INET, host.c_str(), address.data()) == 1) return address[0] == 127;
  return inet_pton(AF_INET6, host.c_str(), address.data()) == 1 && address.back() == 1 &&
         std::ranges::all_of(address.begin(), address.end() - 1,
                             [](unsigned char byte) { return byte == 0; });
}

Result<Url> parse_base_url(std::string_view text, bool plain_http_anywhere) {
  auto url = parse_url(text);
  if (!url) return url;
  if (!url->path.empty())
    return transport_error(kTransportReasonConnect,
                           "URL \"" + std::string(text) + "\": must not have a path");
  if (!url->tls && !plain_http_anywhere && !is_loopback(url->host))
    return transport_error(
        kTransportReasonConnect,
        "URL \"" + std::string(text) + "\": http:// is for loopback only; use https://");
  return url;
}

std::string percent_encoded(std::string_view text) {
  static constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
        (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.' || byte == '~') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    }
  }
  return out;
}

bool may_repeat(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE";
}

std::string brief(const Request& request) {
  return request.method + " " + request.target.substr(0, request.target.find('?'));
}

std::string encoding_fault(const Headers& headers) {
  const std::string_view encoding = header(headers, "Content-Encoding");
  if (encoding.empty() || equal_ignoring_case(encoding, "identity")) return {};
  return "the answer has a Content-Encoding that was not asked for";
}

bool is_header_name(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::ranges::all_of(text, [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

Result<void> check_request(const Request& request) {
  const auto refuse = [](const std::string& why) {
    return transport_error(kTransportReasonProtocol, "request refused: " + why);
  };
  if (!is_header_name(request.method)) return refuse("its method is not a word");
  if (!request.target.starts_with('/') || request.target.starts_with("//"))
    return refuse("its target does not begin with one /");
  if (std::ranges::any_of(request.target,
                          [](unsigned char c) { return c <= ' ' || c >= 0x7f || c == '#'; }))
    return refuse("its target is not percent-encoded");
  for (const auto& [name, value] : request.headers) {
    if (!is_header_name(name)) return refuse("a header's name is not a word");
    if (std::ranges::any_of(value,
                            [](unsigned char c) { return (c < ' ' && c != '\t') || c == 0x7f; }))
      return refuse("the value of header " + name + " has a control character");
    for (const std::string_view own :
         {"Host", "Content-Length", "Transfer-Encoding", "Connection"}) {
      if (equal_ignoring_case(name, own))
        return refuse("header " + name + " is the transport's own");
    }
  }
  return {};
}

Result<Url> parse_url(std::string_view text) {
  const auto bad = [whole = text](std::string_view why) {
    return transport_error(kTransportReasonConnect,
                           "URL \"" + std::string(whole) + "\": " + std::string(why));
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
