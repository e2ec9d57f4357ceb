// ServiceAccount, Secret, ConfigMap and NetworkPolicy; the Pod is in pod.cpp.
#include <array>

#include <openssl/evp.h>

#include "desired/common.h"

namespace palisade::op {

std::string hash_text(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned length = 0;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("SHA-256 failed");
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < 16 && i < length; ++i) {
    out += kHex[digest[i] >> 4U];
    out += kHex[digest[i] & 15U];
  }
  return out;
}

Json to_json(const Access& access) {
  return {{"llmUrl", access.llm_url}, {"llm", to_json(access.llm)}, {"git", to_json(access.git)}};
}

std::optional<Access> access_from_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("llmUrl") || !json["llmUrl"].is_string() ||
      !json.contains("llm") || !json.contains("git")) {
    return std::nullopt;
  }
  auto llm = endpoint_from_json(json["llm"]);
  auto git = endpoint_from_json(json["git"]);
  if (!llm || !git) return std::nullopt;
  return Access{json["llmUrl"].get<std::string>(), std::move(*llm), std::move(*git)};
}

Json desired_service_account(const Workspace& workspace) {
  Json object = base_object(workspace, kube::resources::kServiceAccounts, workspace.agent_object());
  object["automountServiceAccountToken"] = false;
  return object;
}

Json desired_secret(const Workspace& workspace, const std::string& token) {
  Json object = base_object(workspace, kube::resources::kSecrets, workspace.git_secret());
  object["type"] = "Opaque";
  std::string encoded((token.size() + 2) / 3 * 4 + 1, '\0');
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                     reinterpret_cast<const unsigned char*>(token.data()),
                                     static_cast<int>(token.size()));
  encoded.resize(static_cast<std::size_t>(length));
  object["data"] = {{"token", encoded}};
  return object;
}

Json desired_config_map(const Workspace& workspace, const Defaults& defaults) {
  const Json courier{
      {"url", workspace.url},
      {"ref", workspace.ref},
      {"branch", workspace.branch},
      {"access", workspace.read_only || !workspace.secret ? "ReadOnly" : "ReadWrite"},
      {"username", workspace.secret ? workspace.secret->username : ""},
      {"tokenFile", workspace.secret ? "/var/run/secrets/palisade/git/token" : ""},
      {"caFile", defaults.git_ca.empty() ? "" : "/etc/palisade/git-ca.pem"},
      {"repository", "/var/lib/courier/repo.git"},
      {"bundle", "/seed/repo.bundle"},
      {"workspace", "/workspace/repo"},
      {"home", "/workspace/.home"},
      {"terminationLog", "/dev/termination-log"},
      {"pollSeconds", 2},
      {"maxPackBytes", 512 * 1024 * 1024}};
  Json object = base_object(workspace, kube::resources::kConfigMaps, workspace.agent_object());
  object["data"] = {{"courier.json", courier.dump(2)}};
  if (!defaults.git_ca.empty()) object["data"]["git-ca.pem"] = defaults.git_ca;
  return object;
}

namespace {

// As the API server hands it back: without nulls and empty lists, with the protocol filled in. What
// is read back then equals what was written. An empty selector means something and stays.
void normalize(Json& part) {
  if (part.is_array()) {
    for (Json& item : part)
      normalize(item);
  }
  if (!part.is_object()) return;
  for (auto member = part.begin(); member != part.end();) {
    const bool selector = member.key() == "podSelector" || member.key() == "namespaceSelector";
    normalize(*member);
    const bool hollow = member->is_null() || (member->is_structured() && member->empty());
    member = hollow && !selector ? part.erase(member) : std::next(member);
  }
}

}  // namespace

Json desired_network_policy(const Workspace& workspace, const Access& access) {
  Json object = base_object(workspace, kube::resources::kNetworkPolicies, workspace.agent_object());
  Json egress = Json::array();
  for (const Endpoint* endpoint : {&access.llm, &access.git})
    egress.push_back({{"to", endpoint->peers}, {"ports", endpoint->ports}});
  for (Json rule : workspace.egress) {
    normalize(rule);
    if (rule.contains("ports")) {
      for (Json& port : rule["ports"]) {
        if (port.is_object() && !port.contains("protocol")) port["protocol"] = "TCP";
      }
    }
    egress.push_back(std::move(rule));
  }
  object["spec"] = {{"podSelector", {{"matchLabels", {{kWorkspaceLabel, workspace.name}}}}},
                    {"policyTypes", {"Ingress", "Egress"}},
                    {"egress", egress}};
  object["metadata"]["annotations"][kNetworkHashAnnotation] = hash_text(object["spec"].dump());
  return object;
}

}  // namespace palisade::op
