#include "budgets.h"

#include <algorithm>

#include <policy/agent_policy.h>
#include <policy/workspace.h>

#include "object_reader.h"

namespace palisade::policy {

using simdjson::dom::element;

namespace {

FieldReader count(std::optional<std::int64_t>& target) {
  return [&target](element v) -> std::string {
    std::int64_t value = 0;
    if (v.get(value) != simdjson::SUCCESS || value <= 0) return "a whole number above 0";
    target = value;
    return {};
  };
}

FieldReader money(std::optional<std::int64_t>& target) {
  return [&target](element v) -> std::string {
    std::string_view text;
    const auto micros = parse_money(v.get(text) == simdjson::SUCCESS ? text : "");
    if (!micros) return micros.error();
    target = *micros;
    return {};
  };
}

}  // namespace

std::expected<void, std::string> read_budget(element object, std::string_view at,
                                             std::string_view suffix, LlmBudget& target) {
  const std::string tokens = "tokens" + std::string(suffix);
  const std::string cost = "cost" + std::string(suffix);
  return read_members(object, at,
                      {{tokens, count(target.tokens)},
                       {"requestsPerMinute", count(target.requests_per_minute)},
                       {cost, money(target.cost_micros)}});
}

std::string repository_url(std::string_view url) {
  constexpr std::string_view kScheme = "https://";
  constexpr std::string_view kPort = ":443";
  if (!url.starts_with(kScheme)) return {};
  url.remove_prefix(kScheme.size());
  const auto slash = url.find('/');
  if (slash == std::string_view::npos || slash == 0) return {};
  std::string host(url.substr(0, slash));
  std::string_view path = url.substr(slash);
  while (path.ends_with('/'))
    path.remove_suffix(1);
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == '~' || c == '+';
  };
  if (path.empty() || !std::ranges::all_of(path, [&](char c) { return c == '/' || plain(c); }))
    return {};
  if (!std::ranges::all_of(host,
                           [&](char c) { return plain(c) || c == ':' || c == '[' || c == ']'; }))
    return {};
  const std::string parts = std::string(path) + "/";
  for (const std::string_view odd : {"//", "/./", "/../"}) {
    if (parts.find(odd) != std::string::npos) return {};
  }
  std::ranges::transform(host, host.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (host.ends_with(kPort)) host.resize(host.size() - kPort.size());
  if (host.empty()) return {};
  return std::string(kScheme) + host + std::string(path);
}

std::string read_repositories(element value, std::vector<std::string>& target) {
  constexpr const char* kWanted =
      "a list of https URLs of repositories, each whole or ending in /* after at least one part of "
      "a path or the host";
  if (std::string wanted = read_texts(value, target); !wanted.empty()) return wanted;
  for (std::string& item : target) {
    const bool open = item.ends_with("/*");
    // A part in place of the star, so that a whole host may be named.
    std::string url = repository_url(open ? item.substr(0, item.size() - 1) + "x" : item);
    if (url.empty()) return kWanted;
    if (open) url.back() = '*';
    item = std::move(url);
  }
  return {};
}

bool repository_allowed(std::string_view url, const Settings& settings) {
  if (!settings.allowed_repositories) return true;
  const std::string wanted = repository_url(url);
  if (wanted.empty()) return false;
  return std::ranges::any_of(*settings.allowed_repositories, [&](std::string_view allowed) {
    if (allowed == wanted) return true;
    if (!allowed.ends_with("/*")) return false;
    allowed.remove_suffix(1);
    return wanted.size() > allowed.size() && wanted.starts_with(allowed);
  });
}

bool git_through_gateway(std::string_view url, std::string_view via) {
  if (!via.empty()) return via == "Gateway";
  if (const auto scheme = url.find("://"); scheme != std::string_view::npos)
    url.remove_prefix(scheme + 3);
  std::string host(url.substr(0, url.find_first_of("/?#:")));
  std::ranges::transform(host, host.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return !host.ends_with(".svc") && !host.ends_with(".svc.cluster.local");
}

bool model_allowed(std::string_view model, const Settings& settings) {
  return !settings.allowed_models ||
         std::ranges::find(*settings.allowed_models, model) != settings.allowed_models->end();
}

}  // namespace palisade::policy
