#include <algorithm>

#include <fmt/format.h>

#include <operator/tokens/provider.h>

#include "text.h"

namespace palisade::op::tokens {

namespace {

constexpr std::string_view kScheme = "https://";
constexpr std::size_t kMaxUrl = 2048;

// HOST[:PORT], split; nullopt for what is not that.
struct Authority {
  std::string host;
  std::string port;
};
std::optional<Authority> split_authority(const std::string& text) {
  Authority out;
  std::string rest;
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == std::string::npos) return std::nullopt;
    out.host = text.substr(1, close - 1);
    rest = text.substr(close + 1);
    if (out.host.find_first_not_of("0123456789abcdefABCDEF:.") != std::string::npos)
      return std::nullopt;
  } else {
    const auto colon = text.find(':');
    out.host = text.substr(0, colon);
    if (colon != std::string::npos) rest = text.substr(colon);
    if (!std::ranges::all_of(out.host, [](unsigned char c) {
          return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
        }))
      return std::nullopt;
  }
  if (out.host.empty()) return std::nullopt;
  if (!rest.empty()) {
    out.port = rest.substr(1);
    if (rest.front() != ':' || out.port.empty() || out.port.size() > 5 ||
        out.port.find_first_not_of("0123456789") != std::string::npos)
      return std::nullopt;
  }
  std::ranges::transform(out.host, out.host.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

bool is_path_segment(std::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         std::ranges::all_of(text, [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_' || c == '~' || c == '+';
         });
}

}  // namespace

std::string Repository::owner() const {
  return path.substr(0, path.rfind('/'));
}

std::string Repository::name() const {
  return path.substr(path.rfind('/') + 1);
}

std::expected<Repository, std::string> parse_repository(const std::string& url) {
  if (!url.starts_with(kScheme) || url.size() > kMaxUrl)
    return std::unexpected("must be an https URL");
  std::string rest = url.substr(kScheme.size());
  while (rest.ends_with('/'))
    rest.pop_back();
  if (rest.ends_with(".git")) rest.resize(rest.size() - 4);
  const auto slash = rest.find('/');
  Repository out;
  out.authority = rest.substr(0, slash);
  const auto authority = split_authority(out.authority);
  if (!authority) return std::unexpected("has no host that can be read");
  out.host = authority->host;
  if (slash != std::string::npos) out.path = rest.substr(slash + 1);
  std::size_t segments = 0;
  for (std::size_t at = 0; at <= out.path.size(); ++segments) {
    const auto end = std::min(out.path.find('/', at), out.path.size());
    if (!is_path_segment(std::string_view(out.path).substr(at, end - at)))
      return std::unexpected("has a path that is not OWNER/NAME");
    at = end + 1;
  }
  if (segments < 2) return std::unexpected("has a path that is not OWNER/NAME");
  out.url = std::string(kScheme) + rest;
  return out;
}

HostKind guess_host(const Repository& repository, const std::string& token) {
  struct Prefix {
    std::string_view prefix;
    HostKind kind;
  };
  static constexpr Prefix kPrefixes[] = {
      {"ghp_", HostKind::kGithub}, {"github_pat_", HostKind::kGithub},
      {"gho_", HostKind::kGithub}, {"ghu_", HostKind::kGithub},
      {"ghs_", HostKind::kGithub}, {"glpat-", HostKind::kGitlab},
      {"gldt-", HostKind::kGitlab}};
  for (const Prefix& entry : kPrefixes) {
    if (token.starts_with(entry.prefix)) return entry.kind;
  }
  if (repository.host == "github.com" || repository.host.ends_with(".ghe.com"))
    return HostKind::kGithub;
  if (repository.host == "gitlab.com" || repository.host.starts_with("gitlab."))
    return HostKind::kGitlab;
  return HostKind::kUnknown;
}

std::expected<std::string, std::string> api_url(HostKind kind, const Repository& repository,
                                                const std::string& given) {
  if (given.empty()) {
    const bool cloud = repository.host == "github.com" || repository.host.ends_with(".ghe.com");
    switch (kind) {
      case HostKind::kGithub:
        return cloud ? "https://api." + repository.authority
                     : "https://" + repository.authority + "/api/v3";
      case HostKind::kGitlab:
        return "https://" + repository.authority + "/api/v4";
      case HostKind::kGitea:
      case HostKind::kUnknown:
        return "https://" + repository.authority + "/api/v1";
    }
  }
  if (!given.starts_with(kScheme) || given.size() > kMaxUrl)
    return std::unexpected("apiUrl must be an https URL");
  std::string rest = given.substr(kScheme.size());
  while (rest.ends_with('/'))
    rest.pop_back();
  const auto slash = rest.find('/');
  const auto authority = split_authority(rest.substr(0, slash));
  if (!authority) return std::unexpected("apiUrl has no host that can be read");
  for (std::size_t at = slash; at < rest.size();) {
    const auto end = std::min(rest.find('/', at + 1), rest.size());
    if (!is_path_segment(std::string_view(rest).substr(at + 1, end - at - 1)))
      return std::unexpected("apiUrl has a path that cannot be read");
    at = end;
  }
  if (authority->host != repository.host && authority->host != "api." + repository.host)
    return std::unexpected(
        fmt::format("apiUrl names the host {}, but credentials go to the repository's own host "
                    "only: {} or api.{}",
                    authority->host, repository.host, repository.host));
  return std::string(kScheme) + rest;
}

std::string origin_of(const std::string& api) {
  return api.substr(0, api.find('/', kScheme.size()));
}

}  // namespace palisade::op::tokens
