#include "proxy.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>

#include <arpa/inet.h>

namespace kube {

namespace {

using Address = std::vector<unsigned char>;  // 4 or 16 bytes

std::optional<Address> address_of(const std::string& text) {
  Address out(16);
  if (inet_pton(AF_INET6, text.c_str(), out.data()) == 1) return out;
  out.resize(4);
  if (inet_pton(AF_INET, text.c_str(), out.data()) == 1) return out;
  return std::nullopt;
}

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

std::string_view stripped(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
    text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
    text.remove_suffix(1);
  return text;
}

bool is_inside(const Address& address, const Address& network, unsigned bits) {
  if (address.size() != network.size() || bits > address.size() * 8) return false;
  for (std::size_t i = 0; i < address.size(); ++i, bits -= std::min(bits, 8U)) {
    const unsigned mask = bits >= 8 ? 0xFFU : 0xFFU & ~(0xFFU >> bits);
    if (((address[i] ^ network[i]) & mask) != 0) return false;
  }
  return true;
}

// One entry of NO_PROXY, in lower case.
bool matches(std::string entry, const std::string& host, const std::optional<Address>& address,
             const std::string& port) {
  if (entry == "*") return true;
  if (const auto slash = entry.find('/'); slash != std::string::npos) {
    const auto network = address_of(entry.substr(0, slash));
    unsigned bits = 0;
    const char* last = entry.data() + entry.size();
    const auto [end, ec] = std::from_chars(entry.data() + slash + 1, last, bits);
    return address && network && ec == std::errc() && end == last &&
           is_inside(*address, *network, bits);
  }
  if (entry.starts_with('[')) {
    const auto close = entry.find(']');
    if (close == std::string::npos) return false;
    if (close + 1 < entry.size() && entry.substr(close + 1) != ":" + port) return false;
    entry = entry.substr(1, close - 1);
  } else if (std::ranges::count(entry, ':') == 1) {
    const auto colon = entry.find(':');
    if (entry.substr(colon + 1) != port) return false;
    entry.resize(colon);
  }
  if (const auto wanted = address_of(entry)) return address && *address == *wanted;
  if (entry.starts_with("*.")) entry.erase(0, 1);
  if (entry.empty() || address) return false;
  if (entry.front() == '.') return host.ends_with(entry);
  return host == entry || host.ends_with("." + entry);
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned byte = 0;
    if (i + 2 >= text.size()) return std::nullopt;
    const char* last = text.data() + i + 3;
    const auto [end, ec] = std::from_chars(text.data() + i + 1, last, byte, 16);
    if (ec != std::errc() || end != last) return std::nullopt;
    out += static_cast<char>(byte);
    i += 2;
  }
  return out;
}

}  // namespace

Result<Proxy> parse_proxy(std::string_view text) {
  const auto bad = [](const char* why) { return transport_error(kTransportReasonConnect, why); };
  constexpr const char* kShape =
      "must be http://[USER:PASSWORD@]HOST[:PORT], or the same with "
      "https://, socks5:// or socks5h://";
  std::string scheme = "http";
  if (const auto end = text.find("://"); end != std::string_view::npos) {
    scheme = lower(text.substr(0, end));
    text.remove_prefix(end + 3);
  }
  struct Scheme {
    const char* name;
    Proxy::Kind kind;
    const char* port;
  };
  constexpr std::array<Scheme, 4> kSchemes{{{"http", Proxy::Kind::kHttp, "80"},
                                            {"https", Proxy::Kind::kHttps, "443"},
                                            {"socks5", Proxy::Kind::kSocks5, "1080"},
                                            {"socks5h", Proxy::Kind::kSocks5, "1080"}}};
  const auto* known =
      std::ranges::find_if(kSchemes, [&](const Scheme& one) { return scheme == one.name; });
  if (known == kSchemes.end()) return bad(kShape);
  text = text.substr(0, text.find('/'));  // a path says nothing
  Proxy out;
  out.kind = known->kind;
  if (const auto at = text.rfind('@'); at != std::string_view::npos) {
    const std::string_view login = text.substr(0, at);
    const auto colon = login.find(':');
    auto user = percent_decoded(login.substr(0, colon));
    auto password = percent_decoded(colon == std::string_view::npos ? "" : login.substr(colon + 1));
    if (!user || !password) return bad(kShape);
    out.login = Login{std::move(*user), std::move(*password)};
    text.remove_prefix(at + 1);
  }
  const auto url = parse_url("http://" + std::string(text));
  const bool whole =
      url && std::ranges::all_of(url->host, [](unsigned char c) { return c > ' ' && c < 0x7f; });
  if (!whole) return bad(kShape);
  out.host = url->host;
  // 80 is what parse_url() has where none is written.
  const bool written = text.ends_with(":" + url->port) && text.size() > url->host.size();
  out.port = written ? url->port : known->port;
  return out;
}

std::string environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool bypasses_proxy(std::string_view list, const Url& server) {
  if (is_loopback(server.host)) return true;
  std::string host = lower(server.host);
  if (host.ends_with('.')) host.pop_back();
  const auto address = address_of(host);
  while (!list.empty()) {
    const auto comma = list.find(',');
    const std::string_view entry = stripped(list.substr(0, comma));
    if (!entry.empty() && matches(lower(entry), host, address, server.port)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

Result<std::optional<Proxy>> proxy_of_environment(const Url& server,
                                                  const Environment& environment) {
  const auto either = [&](const char* upper, const char* small) {
    std::string value = environment(upper);
    return std::pair{value.empty() ? small : upper, value.empty() ? environment(small) : value};
  };
  if (!server.tls) return std::nullopt;
  const auto [name, value] = either("HTTPS_PROXY", "https_proxy");
  if (value.empty() || bypasses_proxy(either("NO_PROXY", "no_proxy").second, server))
    return std::nullopt;
  auto proxy = parse_proxy(value);
  if (!proxy) {
    proxy.error().message = std::string(name) + " " + proxy.error().message;
    return std::unexpected(std::move(proxy.error()));
  }
  return std::move(*proxy);
}

}  // namespace kube
