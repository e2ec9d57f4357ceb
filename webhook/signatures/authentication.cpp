#include "signatures/authentication.h"

#include <algorithm>
#include <utility>

#include <kube/base64.h>

#include "signatures/json.h"

namespace palisade::webhook {

namespace {

using Json = nlohmann::json;

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
    text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
    text.remove_suffix(1);
  return text;
}

// Takes name="value" or name=value, and the comma behind it, off the front.
std::optional<std::pair<std::string_view, std::string>> take_parameter(std::string_view& text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  const std::string_view name = trimmed(text.substr(0, equals));
  text = trimmed(text.substr(equals + 1));
  std::string value;
  if (text.starts_with('"')) {
    std::size_t at = 1;
    for (; at < text.size() && text[at] != '"'; ++at) {
      if (text[at] == '\\' && at + 1 < text.size()) ++at;
      value += text[at];
    }
    if (at >= text.size()) return std::nullopt;
    text = trimmed(text.substr(at + 1));
    if (text.starts_with(',')) text.remove_prefix(1);
  } else {
    const auto comma = text.find(',');
    value = trimmed(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return std::pair(name, std::move(value));
}

// HOST[/PATH] of the key of an entry.
std::string entry_of(std::string_view key) {
  for (const std::string_view scheme : {"https://", "http://"}) {
    if (key.starts_with(scheme)) key.remove_prefix(scheme.size());
  }
  while (key.ends_with('/'))
    key.remove_suffix(1);
  if (key == "index.docker.io/v1" || key == "index.docker.io") return std::string(kDockerHub);
  return std::string(key);
}

std::expected<std::string, std::string> credential_of(const Json& entry, const std::string& key) {
  if (!entry.is_object())
    return std::unexpected("auths[\"" + policy::shown(key, 200) + "\"] is no object");
  const std::string encoded = text_of(entry, "auth");
  if (!encoded.empty()) {
    auto decoded = kube::decode_base64(encoded);
    if (!decoded || decoded->find(':') == std::string::npos)
      return std::unexpected("auths[\"" + policy::shown(key, 200) +
                             "\"].auth is not base64 of USER:PASSWORD");
    return std::move(*decoded);
  }
  const std::string user = text_of(entry, "username");
  if (user.empty()) {
    return std::unexpected("auths[\"" + key +
                           "\"] has neither auth nor username and password; identity tokens are "
                           "not understood");
  }
  return user + ":" + text_of(entry, "password");
}

}  // namespace

bool same_letters(std::string_view a, std::string_view b) {
  const auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  return std::ranges::equal(a, b, {}, lower, lower);
}

std::optional<Challenge> read_challenge(std::string_view text) {
  text = trimmed(text);
  const auto space = text.find(' ');
  const std::string_view scheme = text.substr(0, space);
  Challenge out;
  if (same_letters(scheme, "Basic")) return out;
  if (!same_letters(scheme, "Bearer") || space == std::string_view::npos) return std::nullopt;
  out.is_bearer = true;
  text.remove_prefix(space + 1);
  while (const auto parameter = take_parameter(text)) {
    if (same_letters(parameter->first, "realm")) out.realm = parameter->second;
    if (same_letters(parameter->first, "service")) out.service = parameter->second;
  }
  if (out.realm.empty()) return std::nullopt;
  return out;
}

std::expected<std::string, std::string> credential_for(std::string_view docker_config,
                                                       const policy::ImageName& image) {
  const Json document = parse_json(docker_config);
  if (!document.is_object()) return std::unexpected("it is no JSON object");
  const auto auths = document.find("auths");
  if (auths == document.end() || !auths->is_object())
    return std::unexpected("it has no object auths");
  const std::string whole = image.registry + "/" + image.repository;
  std::string longest;
  const Json* best = nullptr;
  std::string best_key;
  for (auto entry = auths->begin(); entry != auths->end(); ++entry) {
    const std::string name = entry_of(entry.key());
    const bool names_it = whole.starts_with(name) && whole.size() > name.size() &&
                          whole[name.size()] == '/' && name.size() > longest.size();
    if (!names_it && whole != name) continue;
    longest = name;
    best = &*entry;
    best_key = entry.key();
  }
  if (best == nullptr) return std::string();
  return credential_of(*best, best_key);
}

}  // namespace palisade::webhook
