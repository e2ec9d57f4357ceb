#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>

#include <fmt/format.h>
#include <openssl/evp.h>

#include <operator/tokens/steward.h>

#include "api.h"

namespace palisade::op::tokens {

namespace {

constexpr std::size_t kMaxSource = 16 * 1024;
// In the order of HostKind; the first is none that mints.
constexpr std::array<std::string_view, 4> kKinds{"", "github", "gitlab", "gitea"};
constexpr const char* kSystemAuthorities = "/etc/ssl/certs/ca-certificates.crt";

std::string sha256(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("SHA-256 failed");
  std::string out;
  for (unsigned i = 0; i < 16; ++i)
    out += fmt::format("{:02x}", digest[i]);
  return out;
}

}  // namespace

std::string token_hash(const std::string& token) {
  return sha256("palisade token " + token);
}

std::string source_hash(const Source& source, const Repository& repository) {
  const Json text{static_cast<int>(source.kind),
                  source.secret,
                  source.key,
                  source.username_key,
                  source.app_id,
                  source.role,
                  source.api_url,
                  source.installation_id.value_or(0),
                  repository.url};
  return sha256(text.dump());
}

Wanted Job::wanted() const {
  const auto repository = parse_repository(url);
  return {uid, repository ? source_hash(source, *repository) : std::string(), write};
}

std::string source_text(const Job& job) {
  const Source& source = job.source;
  Json out{{"kind", kKinds.at(static_cast<std::size_t>(source.kind))},
           {"url", job.url},
           {"write", job.write},
           {"secret", source.secret},
           {"key", source.key}};
  if (!source.username_key.empty()) out["usernameKey"] = source.username_key;
  if (!source.app_id.empty()) out["appId"] = source.app_id;
  if (source.installation_id) out["installationId"] = *source.installation_id;
  if (!source.role.empty()) out["role"] = source.role;
  if (!source.api_url.empty()) out["apiUrl"] = source.api_url;
  return out.dump();
}

std::optional<Job> minted_by(const Json& secret) {
  const std::string text =
      text_of(member_of(member_of(secret, "metadata"), "annotations"), kSourceAnnotation);
  if (text.empty() || text.size() > kMaxSource) return std::nullopt;
  const Json json = parse_json(text);
  const auto kind = std::ranges::find(kKinds, text_of(json, "kind"));
  if (kind == kKinds.end() || kind == kKinds.begin()) return std::nullopt;
  Job out;
  out.url = text_of(json, "url");
  out.write = member_of(json, "write") == true;
  out.source.kind = static_cast<HostKind>(kind - kKinds.begin());
  out.source.secret = text_of(json, "secret");
  out.source.key = text_of(json, "key");
  out.source.username_key = text_of(json, "usernameKey");
  out.source.app_id = text_of(json, "appId");
  out.source.installation_id = number_of(json, "installationId");
  out.source.role = text_of(json, "role");
  out.source.api_url = text_of(json, "apiUrl");
  return out;
}

TransportFactory usual_transports(const std::string& git_ca) {
  return [git_ca](const std::string& base_url) -> std::shared_ptr<kube::Transport> {
    kube::TransportOptions options;
    options.base_url = base_url;
    options.max_response_bytes = kMaxAnswer;
    options.tls_material = [git_ca] {
      kube::TlsMaterial material;
      if (git_ca.empty()) return material;
      // `ca` alone would be trusted.
      std::ifstream in(kSystemAuthorities, std::ios::binary);
      if (in) material.ca.assign(std::istreambuf_iterator<char>(in), {});
      material.ca += "\n" + git_ca;
      return material;
    };
    return kube::make_beast_transport(std::move(options));
  };
}

}  // namespace palisade::op::tokens
