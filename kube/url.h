// base_url of a transport, taken apart: what both transports and the configuration need, nothing
// more.
#pragma once

#include <string>
#include <string_view>

#include <kube/error.h>

namespace kube {

struct Url {
  bool tls = true;
  std::string host;  // without the brackets of an IPv6 literal
  std::string port;
  std::string path;  // "" or "/prefix", no trailing slash

  // HOST[:PORT] as the Host header wants it.
  [[nodiscard]] std::string authority() const;
};

// http:// and https:// only; no user information, query or fragment.
[[nodiscard]] Result<Url> parse_url(std::string_view text);

// True for an IPv4 or IPv6 literal.
[[nodiscard]] bool is_ip_literal(const std::string& host);

[[nodiscard]] inline std::unexpected<Error> transport_error(const char* reason,
                                                            std::string message) {
  return std::unexpected(Error{0, reason, std::move(message), {}, {}});
}

}  // namespace kube
