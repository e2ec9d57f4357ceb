#include "token.h"

#include <algorithm>
#include <array>

#include <kube/base64.h>

#include "grant.h"

namespace palisade::gateway {

namespace {

using Json = nlohmann::json;
using WallClock = std::chrono::system_clock;

bool is_base64url(std::string_view part) {
  return !part.empty() && std::ranges::all_of(part, [](unsigned char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
  });
}

bool names(const Json& audiences, std::string_view audience) {
  if (audiences.is_string()) return audiences.get_ref<const std::string&>() == audience;
  return audiences.is_array() && std::ranges::any_of(audiences, [&](const Json& one) {
           return one.is_string() && one.get_ref<const std::string&>() == audience;
         });
}

// The one value of a field of status.user.extra; "" where it has none or several.
std::string extra(const Json& review, const char* key) {
  const Json::json_pointer at = Json::json_pointer("/status/user/extra") / std::string(key);
  if (!review.contains(at)) return {};
  const Json& values = review[at];
  if (!values.is_array() || values.size() != 1 || !values[0].is_string()) return {};
  return values[0].get<std::string>();
}

}  // namespace

std::expected<TokenClaims, std::string> read_token(std::string_view token,
                                                   std::string_view audience,
                                                   std::size_t max_bytes) {
  if (token.empty()) return std::unexpected("there is no token");
  if (token.size() > max_bytes) return std::unexpected("the token is too long");
  const auto first = token.find('.');
  const auto second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos || token.find('.', second + 1) != std::string_view::npos)
    return std::unexpected("it is no ServiceAccount token");
  const std::array parts{token.substr(0, first), token.substr(first + 1, second - first - 1),
                         token.substr(second + 1)};
  if (!std::ranges::all_of(parts, is_base64url))
    return std::unexpected("it is no ServiceAccount token");
  const auto payload = kube::decode_base64url(parts[1]);
  const Json claims = payload ? Json::parse(*payload, nullptr, false) : Json();
  if (!claims.is_object()) return std::unexpected("it is no ServiceAccount token");
  const auto audiences = claims.find("aud");
  if (audiences == claims.end() || !names(*audiences, audience))
    return std::unexpected("the token is for another audience than " + std::string(audience));
  const auto expires = claims.find("exp");
  // Far enough for every token, and within what a clock can count.
  constexpr std::int64_t kLatest = 8'000'000'000;
  if (expires == claims.end() || !expires->is_number_integer() ||
      expires->get<std::int64_t>() < 0 || expires->get<std::int64_t>() > kLatest)
    return std::unexpected("the token has no end");
  return TokenClaims{WallClock::time_point(std::chrono::seconds(expires->get<std::int64_t>()))};
}

std::expected<Proven, std::string> proven_by(const Json& review, std::string_view audience) {
  const Json::json_pointer authenticated("/status/authenticated");
  if (!review.contains(authenticated) || !review[authenticated].is_boolean() ||
      !review[authenticated].get<bool>())
    return std::unexpected("the API server does not accept the token");
  const Json::json_pointer audiences("/status/audiences");
  if (!review.contains(audiences) || !names(review[audiences], audience))
    return std::unexpected("the token is not for audience " + std::string(audience));
  const std::string user = text_at(review, "/status/user/username");
  constexpr std::string_view kPrefix = "system:serviceaccount:";
  const auto colon = user.find(':', kPrefix.size());
  if (!user.starts_with(kPrefix) || colon == std::string::npos ||
      user.find(':', colon + 1) != std::string::npos)
    return std::unexpected("the token is no ServiceAccount's");
  Proven out{user.substr(kPrefix.size(), colon - kPrefix.size()), user.substr(colon + 1),
             extra(review, "authentication.kubernetes.io/pod-name"),
             extra(review, "authentication.kubernetes.io/pod-uid")};
  if (out.ns.empty() || out.service_account.empty())
    return std::unexpected("the token is no ServiceAccount's");
  if (out.pod.empty() || out.pod_uid.empty())
    return std::unexpected("the token is not bound to a pod");
  return out;
}

}  // namespace palisade::gateway
