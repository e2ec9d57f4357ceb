// ServiceAccount, Secret, ConfigMap and NetworkPolicy; the Pod is in pod.cpp.
#include <algorithm>
#include <array>

#include <openssl/evp.h>

#include <kube/base64.h>
#include <policy/workspace.h>

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
  Json out{{"llmUrl", access.llm_url}, {"llm", to_json(access.llm)}, {"git", to_json(access.git)}};
  if (!access.git_url.empty()) out["gitUrl"] = access.git_url;
  return out;
}

std::optional<Access> access_from_json(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("llmUrl") || !json["llmUrl"].is_string() ||
      !json.contains("llm") || !json.contains("git")) {
    return std::nullopt;
  }
  auto llm = endpoint_from_json(json["llm"]);
  auto git = endpoint_from_json(json["git"]);
  const Json git_url = json.value("gitUrl", Json(""));
  if (!llm || !git || !git_url.is_string()) return std::nullopt;
  return Access{json["llmUrl"].get<std::string>(), std::move(*llm), std::move(*git),
                git_url.get<std::string>()};
}

bool llm_through_gateway(const Access& access, const Defaults& defaults) {
  return defaults.gateway && access.llm_url == defaults.gateway->llm_url();
}

bool git_through_gateway(const Access& access, const Defaults& defaults) {
  return defaults.gateway && access.git_url == defaults.gateway->git_url();
}

bool uses_gateway(const Access& access, const Defaults& defaults) {
  return llm_through_gateway(access, defaults) || git_through_gateway(access, defaults);
}

bool is_archived(const Access& access, const Defaults& defaults) {
  return uses_gateway(access, defaults) && !defaults.gateway->archive.empty();
}

bool wants_gateway_for_git(const Workspace& workspace, const Defaults& defaults) {
  if (workspace.via == Via::kUnsaid)
    return defaults.gateway && policy::git_through_gateway(workspace.url, "");
  return workspace.via == Via::kGateway;
}

Json desired_service_account(const Workspace& workspace) {
  Json object = base_object(workspace, kube::resources::kServiceAccounts, workspace.agent_object());
  object["automountServiceAccountToken"] = false;
  return object;
}

Json desired_secret(const Workspace& workspace, const std::string& token) {
  Json object = base_object(workspace, kube::resources::kSecrets, workspace.git_secret());
  object["type"] = "Opaque";
  object["data"] = {{"token", kube::encode_base64(token)}};
  return object;
}

Json desired_gateway_secret(const Workspace& workspace, const Gateway& gateway,
                            const std::string& token) {
  return {{"apiVersion", "v1"},
          {"kind", "Secret"},
          {"type", "Opaque"},
          {"metadata",
           {{"name", workspace.gateway_secret()},
            {"namespace", gateway.ns},
            {"labels", {{kGitTokenLabel, "true"}, {kManagedByLabel, kManagedBy}}},
            {"annotations", {{kWorkspaceLabel, workspace.ns + "/" + workspace.name}}}}},
          {"data",
           {{"token", kube::encode_base64(token)},
            {"username", kube::encode_base64(workspace.username)}}}};
}

Json desired_llm_secret(const Workspace& workspace, const std::string& key) {
  Json object = base_object(workspace, kube::resources::kSecrets, workspace.llm_secret());
  object["type"] = "Opaque";
  object["data"] = {{"key", kube::encode_base64(key)}};
  return object;
}

Json desired_volume_claim(const Workspace& workspace) {
  Json object = base_object(workspace, volume_claims(), workspace.volume_claim());
  if (workspace.retain) object["metadata"].erase("ownerReferences");
  object["metadata"]["annotations"] = {{kWorkspaceUidAnnotation, workspace.uid}};
  const Storage& storage = *workspace.storage;
  object["spec"] = {{"accessModes", {"ReadWriteOnce"}},
                    {"resources", {{"requests", {{"storage", storage.size}}}}}};
  if (storage.storage_class) object["spec"]["storageClassName"] = *storage.storage_class;
  return object;
}

Json relay_config(const Workspace& workspace, const Defaults& defaults, const Access& access) {
  const auto by_gateway = [](Json& out, const Endpoint& endpoint, bool own) {
    out["address"] = endpoint.alias.empty() ? endpoint.host : endpoint.alias;
    if (!own) return;
    out["tokenFile"] = "/var/run/secrets/palisade/gateway/token";
    out["caFile"] = std::string("/etc/palisade/") + kGatewayCaKey;
  };
  const auto route = [&](const char* name, std::uint16_t port, const char* path,
                         const std::string& url, const Endpoint& endpoint, bool own) {
    Json out{{"name", name},
             {"listen", "127.0.0.1:" + std::to_string(port)},
             {"url", url},
             {"path", path}};
    by_gateway(out, endpoint, own);
    return out;
  };
  const bool own = llm_through_gateway(access, defaults);
  Json routes = Json::array({route("llm", kLlmPort, "/v1", access.llm_url, access.llm, own)});
  if (!own && workspace.llm_key) routes[0]["tokenFile"] = "/var/run/secrets/palisade/llm/key";
  if (git_through_gateway(access, defaults))
    routes.push_back(route("git", kGitPort, "/git", access.git_url, access.git, true));
  Json out{{"routes", routes}, {"terminationLog", "/dev/termination-log"}};
  if (is_archived(access, defaults)) {
    out["archive"] = {
        {"url", defaults.gateway->archive_url()}, {"record", kRecordFile}, {"output", kOutputFile}};
    by_gateway(out["archive"], own ? access.llm : access.git, true);
  }
  return out;
}

Json desired_config_map(const Workspace& workspace, const Defaults& defaults, const Access& access,
                        const std::vector<Unreachable>& unreachable) {
  // Through the gateway it has neither token nor authorities: the relay has the one, and the
  // gateway the others.
  const bool direct = !git_through_gateway(access, defaults);
  const bool token = direct && workspace.has_credentials();
  const bool authorities = direct && !defaults.git_ca.empty();
  Json courier{
      {"url", direct ? workspace.url : kRelayGitUrl},
      {"ref", workspace.ref},
      {"branch", workspace.branch},
      {"access", workspace.read_only || !workspace.has_credentials() ? "ReadOnly" : "ReadWrite"},
      {"username", token ? workspace.username : ""},
      {"tokenFile", token ? "/var/run/secrets/palisade/git/token" : ""},
      {"caFile", authorities ? "/etc/palisade/git-ca.pem" : ""},
      {"repository", "/var/lib/courier/repo.git"},
      {"bundle", "/seed/repo.bundle"},
      {"workspace", kCheckout},
      {"home", kHome},
      {"terminationLog", "/dev/termination-log"},
      {"pollSeconds", 2},
      {"maxPackBytes", 512 * 1024 * 1024}};
  // A pod that is there was made without the field.
  if (workspace.mount != Mount::kReadWrite) {
    const bool read_only = workspace.mount == Mount::kReadOnly;
    courier["mount"] = read_only ? "ReadOnly" : "GitDirOnly";
    courier["bundle"] = kProjectRepository;
    if (read_only) {
      courier["gitDir"] = std::string(kHome) + "/repo.git";
      courier["outputDir"] = workspace.output_dir;
      courier["output"] = kOutputMount;
    }
  }
  // For people who ask what the courier may do; the gateway knows it from the workspace.
  if (!direct) courier["repositoryUrl"] = workspace.url;
  Json object = base_object(workspace, kube::resources::kConfigMaps, workspace.agent_object());
  object["data"] = {
      {"courier.json", courier.dump(2)},
      {"guard.json", guard_policy(workspace, unreachable, is_archived(access, defaults)).dump(2)},
      {"relay.json", relay_config(workspace, defaults, access).dump(2)},
      {"gitconfig", guard_gitconfig()}};
  if (workspace.setup) {
    courier["ref"] = setup_ref(workspace);
    courier["access"] = "ReadOnly";
    courier.erase("mount");
    object["data"][kSetupCourierKey] = courier.dump(2);
    Json relay = relay_config(workspace, defaults, access);
    std::erase_if(relay["routes"].get_ref<Json::array_t&>(),
                  [](const Json& route) { return route["name"] != "git"; });
    relay.erase("archive");
    relay.erase("terminationLog");  // the courier's
    if (!relay["routes"].empty()) object["data"][kSetupRelayKey] = relay.dump(2);
  }
  if (workspace.warm_pod) object["data"][kCommandKey] = agent_command(workspace).dump();
  if (authorities) object["data"]["git-ca.pem"] = defaults.git_ca;
  if (uses_gateway(access, defaults)) object["data"][kGatewayCaKey] = defaults.gateway->authorities;
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
  Json object =
      base_object(workspace, kube::resources::kNetworkPolicies, workspace.network_policy());
  Json egress = Json::array();
  for (const Endpoint* endpoint : {&access.llm, &access.git}) {
    Json rule{{"to", endpoint->peers}, {"ports", endpoint->ports}};
    // Both may be the gateway.
    if (std::ranges::find(egress, rule) == egress.end()) egress.push_back(std::move(rule));
  }
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

std::string pool_network_name(const std::string& pool) {
  return pool + "-pool";
}

Json desired_pool_network(const PoolPlace& place) {
  Json object =
      pool_object(place, kube::resources::kNetworkPolicies, pool_network_name(place.pool));
  object["spec"] = {{"podSelector", {{"matchLabels", {{kPoolLabel, place.pool}}}}},
                    {"policyTypes", {"Ingress", "Egress"}}};
  return object;
}

Json desired_warm_account(const PoolPlace& place) {
  Json object = pool_object(place, kube::resources::kServiceAccounts, place.name);
  object["automountServiceAccountToken"] = false;
  return object;
}

Json desired_warm_config(const PoolPlace& place, const Workspace& workspace,
                         const std::vector<Unreachable>& unreachable) {
  Json object = pool_object(place, kube::resources::kConfigMaps, place.name);
  Workspace nobody = workspace;
  nobody.name = place.pool;
  nobody.egress = Json::array();
  object["data"] = {{"guard.json", guard_policy(nobody, unreachable).dump(2)},
                    {"gitconfig", guard_gitconfig()}};
  return object;
}

}  // namespace palisade::op
