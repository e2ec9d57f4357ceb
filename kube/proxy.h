// The proxy on the way to a server: what its URL and the environment say.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <kube/error.h>
#include <kube/transport.h>

#include "url.h"

namespace kube {

// http://, https://, socks5:// or socks5h://, then [USER[:PASSWORD]@]HOST[:PORT]; without a scheme
// http:// is meant. Both kinds of SOCKS leave the server's name to the proxy, as kubectl's do.
// Errors never hold `text`: it may have a password.
[[nodiscard]] Result<Proxy> parse_proxy(std::string_view text);

// A variable of the environment, "" where it is not set.
using Environment = std::function<std::string(const char*)>;
// Ours.
[[nodiscard]] std::string environment_variable(const char* name);

// What HTTPS_PROXY and NO_PROXY (or https_proxy and no_proxy) say of `server`, as kubectl reads
// them: nothing for loopback and where there is no proxy. HTTP_PROXY has no say: an http:// server
// is on loopback. Errors name the variable.
// Source: https://pkg.go.dev/golang.org/x/net/http/httpproxy
[[nodiscard]] Result<std::optional<Proxy>> proxy_of_environment(const Url& server,
                                                                const Environment& environment);

// Whether NO_PROXY's `list` has the server: "*", a domain (its subdomains too; with a leading dot
// these alone), an address or a CIDR, each maybe with a port.
[[nodiscard]] bool bypasses_proxy(std::string_view list, const Url& server);

}  // namespace kube
