#include "signatures/registry.h"

#include <algorithm>
#include <utility>

#include <kube/base64.h>
#include <kube/files.h>
#include <kube/percent.h>

#include "signatures/cosign.h"
#include "signatures/json.h"

namespace palisade::webhook {

namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::json;

constexpr const char* kManifests =
    "application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json";
constexpr int kMaxRedirects = 3;
constexpr std::size_t kMaxToken = 32 * 1024;

// docker.io is a name that stands for other hosts.
constexpr std::string_view kDockerHubApi = "registry-1.docker.io";
constexpr std::string_view kDockerHubTokens = "auth.docker.io";

std::string api_of(const std::string& registry) {
  return registry == kDockerHub ? std::string(kDockerHubApi) : registry;
}

std::string path_of(const policy::ImageName& image) {
  const bool official =
      image.registry == kDockerHub && image.repository.find('/') == std::string::npos;
  return (official ? "library/" : "") + image.repository;
}

}  // namespace

RegistryReader::RegistryReader(const RegistryOptions& options, const policy::ImageName& image,
                               Clock::time_point deadline)
    : options_(options), image_(image), authority_(api_of(image.registry)), deadline_(deadline) {
  if (options.ca_file.empty()) return;
  // Read before anything is asked: without it the system's authorities would be trusted.
  if (auto ca = kube::read_file(options.ca_file)) {
    ca_ = std::move(*ca);
  } else {
    broken_ = ca.error();
  }
}

kube::Transport& RegistryReader::transport(const std::string& authority) {
  auto& kept = transports_[authority];
  if (!kept) {
    kube::TransportOptions options;
    options.base_url = "https://" + authority;
    options.tls_material = [ca = ca_] { return kube::TlsMaterial{ca, {}, {}}; };
    options.max_response_bytes = kMaxManifestBytes;
    kept = kube::make_beast_transport(std::move(options));
  }
  return *kept;
}

RegistryReader::Answer RegistryReader::send(const std::string& authority, const std::string& target,
                                            kube::Headers headers) {
  if (!broken_.empty()) return std::unexpected(broken_);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now());
  if (left <= std::chrono::milliseconds(0)) return std::unexpected("no time was left to ask it");
  kube::Request request;
  request.target = target;
  request.headers = std::move(headers);
  request.deadline = left;
  auto answer = transport(authority).send(request, {});
  if (!answer) return std::unexpected(authority + ": " + answer.error().text());
  return std::move(*answer);
}

RegistryReader::Answer RegistryReader::get(const std::string& target, const std::string& accept) {
  const auto once = [&] {
    kube::Headers headers{{"Accept", accept}};
    if (!authorization_.empty()) headers.emplace_back("Authorization", authorization_);
    return send(authority_, target, std::move(headers));
  };
  auto answer = once();
  if (!answer || answer->status != 401 || !authorization_.empty()) return answer;
  if (auto done = authorize(*answer); !done) return std::unexpected(done.error());
  return once();
}

std::expected<void, std::string> RegistryReader::authorize(const kube::Response& refusal) {
  const auto challenge = read_challenge(kube::header(refusal.headers, "WWW-Authenticate"));
  if (!challenge) {
    return std::unexpected(authority_ +
                           " asks for an authentication that is neither Basic nor Bearer");
  }
  std::string credential;
  if (!options_.credentials_file.empty()) {
    auto found = kube::parse_file(options_.credentials_file, [&](std::string_view text) {
      return credential_for(text, image_);
    });
    if (!found) return std::unexpected("credentials of registries: " + found.error());
    credential = std::move(*found);
  }
  if (!challenge->is_bearer) {
    if (credential.empty()) {
      return std::unexpected(authority_ +
                             " asks for credentials, and the webhook has none for it (chart: "
                             "webhook.registries.credentialsSecret)");
    }
    authorization_ = "Basic " + kube::encode_base64(credential);
    return {};
  }
  auto bearer = token(*challenge, credential);
  if (!bearer) return std::unexpected(bearer.error());
  authorization_ = "Bearer " + *bearer;
  return {};
}

RegistryReader::Text RegistryReader::token(const Challenge& challenge,
                                           const std::string& credential) {
  const auto where = place(challenge.realm, "tokens");
  if (!where) return std::unexpected(where.error());
  // Of this repository and to read it, whatever the challenge names.
  std::string target = where->target;
  target += target.find('?') == std::string::npos ? '?' : '&';
  if (!challenge.service.empty())
    target += "service=" + kube::percent_encoded(challenge.service) + "&";
  target += "scope=" + kube::percent_encoded("repository:" + path_of(image_) + ":pull");
  kube::Headers headers;
  if (!credential.empty())
    headers.emplace_back("Authorization", "Basic " + kube::encode_base64(credential));
  const auto answer = send(where->authority, target, std::move(headers));
  if (!answer) return std::unexpected(answer.error());
  if (answer->status != 200) {
    return std::unexpected(where->authority + " gives no token: status " +
                           std::to_string(answer->status) +
                           (credential.empty() ? ", without credentials" : ""));
  }
  const Json document = parse_json(answer->body);
  std::string text = text_of(document, "token");
  if (text.empty()) text = text_of(document, "access_token");
  const bool fit = !text.empty() && text.size() <= kMaxToken &&
                   std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; });
  if (!fit) return std::unexpected(where->authority + " gives no token that can be sent");
  return text;
}

std::expected<RegistryReader::Place, std::string> RegistryReader::place(
    std::string_view url, std::string_view what) const {
  constexpr std::string_view kScheme = "https://";
  const auto refused = [&, whole = url](const std::string& why) {
    return std::unexpected(authority_ + " sends to " + policy::shown(whole, 200) + " for " +
                           std::string(what) + ", " + why);
  };
  if (url.starts_with('/') && !url.starts_with("//")) return Place{authority_, std::string(url)};
  if (!url.starts_with(kScheme)) return refused("which is not https");
  url.remove_prefix(kScheme.size());
  const auto end = url.find_first_of("/?#");
  const std::string_view authority = url.substr(0, end);
  std::string target(end == std::string_view::npos ? std::string_view("/") : url.substr(end));
  target = target.substr(0, target.find('#'));
  if (!target.starts_with('/')) target.insert(0, "/");
  const bool own_tokens =
      image_.registry == kDockerHub && same_letters(authority, kDockerHubTokens);
  if (!same_letters(authority, authority_) && !own_tokens &&
      std::ranges::none_of(options_.other_hosts, [&](const std::string& host) {
        return same_letters(host, authority);
      })) {
    return refused(
        "a host that the webhook may not ask (chart: webhook.registries.otherHosts names further "
        "ones)");
  }
  return Place{std::string(authority), std::move(target)};
}

// Blobs alone: a manifest elsewhere would be another registry's.
RegistryReader::Answer RegistryReader::follow(kube::Response answer) {
  for (int i = 0; i < kMaxRedirects; ++i) {
    const int status = answer.status;
    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
      return answer;
    const auto next = place(kube::header(answer.headers, "Location"), "a blob");
    if (!next) return std::unexpected(next.error());
    kube::Headers headers;
    if (same_letters(next->authority, authority_) && !authorization_.empty())
      headers.emplace_back("Authorization", authorization_);
    auto got = send(next->authority, next->target, std::move(headers));
    if (!got) return got;
    answer = std::move(*got);
  }
  if (answer.status / 100 == 3)
    return std::unexpected(authority_ + " sends from one place to another without end");
  return answer;
}

std::expected<std::optional<std::string>, std::string> RegistryReader::manifest(
    std::string_view tag) {
  auto answer = get("/v2/" + path_of(image_) + "/manifests/" + std::string(tag), kManifests);
  if (!answer) return std::unexpected(answer.error());
  if (answer->status == 404) return std::nullopt;
  if (answer->status != 200) {
    return std::unexpected(authority_ + " answers " + std::to_string(answer->status) +
                           " when asked for the signatures of " + path_of(image_));
  }
  return std::move(answer->body);
}

std::expected<std::string, std::string> RegistryReader::blob(std::string_view digest) {
  auto answer = get("/v2/" + path_of(image_) + "/blobs/" + std::string(digest), "*/*");
  if (answer) answer = follow(std::move(*answer));
  if (!answer) return std::unexpected(answer.error());
  if (answer->status != 200) {
    return std::unexpected(authority_ + " answers " + std::to_string(answer->status) +
                           " when asked for a payload of " + path_of(image_));
  }
  return std::move(answer->body);
}

}  // namespace palisade::webhook
