// What both transports and the configuration need of URLs and requests, nothing more.
#pragma once

#include <string>
#include <string_view>

#include <kube/error.h>
#include <kube/transport.h>

namespace kube {

struct Url {
  bool tls = true;
  std::string host;  // without the brackets of an IPv6 literal
  std::string port;
  std::string path;  // "" or "/prefix", no trailing slash

  // HOST[:PORT] as the Host header wants it.
  [[nodiscard]] std::string authority() const;
  // The same with the port, also where it is the scheme's own.
  [[nodiscard]] std::string authority_with_port() const;
};

inline constexpr const char* kUserAgent = "palisade-kube/" PALISADE_VERSION;

// http:// and https:// only; no user information, query or fragment.
[[nodiscard]] Result<Url> parse_url(std::string_view text);

// True for an IPv4 or IPv6 literal.
[[nodiscard]] bool is_ip_literal(const std::string& host);

// True for "localhost" and for literals in 127.0.0.0/8 and ::1: where http:// is allowed.
[[nodiscard]] bool is_loopback(const std::string& host);

// A transport's base_url: no path, and http:// on loopback alone, since a bearer token may go
// there, unless `plain_http_anywhere`.
[[nodiscard]] Result<Url> parse_base_url(std::string_view text, bool plain_http_anywhere = false);

// Refuses what would change the shape of the request on the wire (line breaks, an absolute target)
// and the headers that the transport sets itself.
[[nodiscard]] Result<void> check_request(const Request& request);

// A token as RFC 9110 has it for the names of headers.
[[nodiscard]] bool is_header_name(std::string_view text);

// GET, HEAD, PUT, DELETE: sending it twice does no more than once.
[[nodiscard]] bool may_repeat(std::string_view method);

// For a query's value or one segment of a path: RFC 3986's unreserved characters stay as they are.
[[nodiscard]] std::string percent_encoded(std::string_view text);

// METHOD and path, for messages: a query may be long.
[[nodiscard]] std::string brief(const Request& request);

// No encoding is asked for, so none is accepted: "" or what is wrong.
[[nodiscard]] std::string encoding_fault(const Headers& headers);

[[nodiscard]] inline std::unexpected<Error> transport_error(const char* reason,
                                                            std::string message) {
  return std::unexpected(Error{0, reason, std::move(message), {}, {}});
}

}  // namespace kube
