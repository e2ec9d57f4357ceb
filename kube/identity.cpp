#include "identity.h"

#include <kube/base64.h>

#include "url.h"

namespace kube {

namespace {

// The key of an extra as a part of a header's name.
// Source: headerKeyEscape of
// https://github.com/kubernetes/client-go/blob/master/transport/round_trippers.go
std::string header_key(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_header_name({&c, 1}) && c != '%') {
      out += c;
    } else {
      constexpr std::string_view kHex = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      out += '%';
      out += kHex[byte >> 4U];
      out += kHex[byte & 15U];
    }
  }
  return out;
}

}  // namespace

Result<void> impersonate(Config& config, const Impersonation& as) {
  Impersonation& out = config.impersonation;
  if (!as.user.empty()) out.user = as.user;
  if (!as.uid.empty()) out.uid = as.uid;
  if (!as.groups.empty()) out.groups = as.groups;
  if (!as.extra.empty()) out.extra = as.extra;
  if (!out.user.empty() || (out.uid.empty() && out.groups.empty() && out.extra.empty())) return {};
  return std::unexpected(Error{0,
                               "InvalidConfiguration",
                               "a uid, group or extra to act with is nobody's; name the user too: "
                               "--as, or `as` beside it in the kubeconfig",
                               {},
                               {}});
}

Headers identity_headers(const Config& config) {
  Headers out;
  const std::string token = config.bearer_token ? config.bearer_token() : "";
  if (!token.empty()) {
    out.emplace_back("Authorization", "Bearer " + token);
  } else if (config.basic) {
    out.emplace_back("Authorization",
                     "Basic " + encode_base64(config.basic->user + ":" + config.basic->password));
  }
  const Impersonation& as = config.impersonation;
  if (as.user.empty()) return out;
  out.emplace_back("Impersonate-User", as.user);
  if (!as.uid.empty()) out.emplace_back("Impersonate-Uid", as.uid);
  for (const std::string& group : as.groups)
    out.emplace_back("Impersonate-Group", group);
  for (const auto& [key, values] : as.extra) {
    for (const std::string& value : values)
      out.emplace_back("Impersonate-Extra-" + header_key(key), value);
  }
  return out;
}

}  // namespace kube
