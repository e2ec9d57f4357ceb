#include "repository.h"

#include <algorithm>
#include <charconv>

#include <gateway/core/base64.h>

namespace palisade::gateway::git {

namespace {

constexpr std::string_view kScheme = "https://";
constexpr std::size_t kMaxUrl = 2048;

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool is_host(std::string_view host) {
  return !host.empty() && host.size() <= 253 &&
         std::ranges::all_of(host, [](char c) { return is_alnum(c) || c == '-' || c == '.'; });
}

bool is_address(std::string_view host) {  // of IPv6, without its brackets
  return !host.empty() && host.size() <= 45 &&
         host.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos;
}

bool is_path(std::string_view path) {
  while (!path.empty()) {
    path.remove_prefix(1);
    const std::string_view part = path.substr(0, path.find('/'));
    if (part.empty() || part == "." || part == "..") return false;
    if (!std::ranges::all_of(part, [](char c) {
          return is_alnum(c) ||
                 std::string_view("-._~%!$&'()*+,;=:@").find(c) != std::string_view::npos;
        })) {
      return false;
    }
    path.remove_prefix(part.size());
  }
  return true;
}

}  // namespace

std::expected<Repository, std::string> parse_repository(std::string_view url) {
  if (!url.starts_with(kScheme)) return std::unexpected("must begin with https://");
  if (url.size() > kMaxUrl) return std::unexpected("is too long");
  url.remove_prefix(kScheme.size());
  const std::size_t slash = url.find('/');
  std::string_view authority = url.substr(0, slash);
  std::string_view path = slash == std::string_view::npos ? std::string_view() : url.substr(slash);
  while (path.ends_with('/'))
    path.remove_suffix(1);
  if (path.empty() || !is_path(path)) return std::unexpected("must name a repository by its path");
  Repository out;
  std::string_view port;
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    out.origin.host = authority.substr(1, close == std::string_view::npos ? close : close - 1);
    if (close == std::string_view::npos || !is_address(out.origin.host))
      return std::unexpected("names no host");
    port = authority.substr(close + 1);
  } else {
    out.origin.host = authority.substr(0, authority.find(':'));
    if (!is_host(out.origin.host)) return std::unexpected("names no host");
    port = authority.substr(out.origin.host.size());
  }
  if (!port.empty()) {
    if (!port.starts_with(':')) return std::unexpected("names no host");
    port.remove_prefix(1);
    const auto [end, error] =
        std::from_chars(port.data(), port.data() + port.size(), out.origin.port);
    if (error != std::errc{} || end != port.data() + port.size() || out.origin.port == 0)
      return std::unexpected("has a port that is none");
  }
  out.path = path;
  return out;
}

std::string basic_authorization(std::string_view username, std::string_view token) {
  return "Basic " + encode_base64(std::string(username) + ':' + std::string(token));
}

std::string host_of_location(std::string_view location) {
  const std::size_t scheme = location.find("://");
  if (scheme == std::string_view::npos) return {};
  location.remove_prefix(scheme + 3);
  location = location.substr(0, location.find_first_of("/?#"));
  location = location.substr(0, location.rfind(':'));
  return is_host(location) ? std::string(location) : "";
}

}  // namespace palisade::gateway::git
