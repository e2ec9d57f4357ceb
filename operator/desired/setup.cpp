// The objects of spec.setup. Its pod is hardened as the agent's. What is trusted in it, and holds
// token or identity, is an init container that has ended before the first word of the project's
// runs: its relay serves that container alone.
#include <policy/policy.h>

#include "desired/pod_parts.h"

namespace palisade::op {

namespace {

constexpr const char* kCourier = "/usr/local/bin/palisade-courier";
constexpr const char* kCourierConfig = "/etc/palisade/setup.json";
constexpr const char* kRelayConfigFile = "/etc/palisade/setup-relay.json";
constexpr const char* kInputs = "/palisade/inputs";
constexpr const char* kSetupHome = "/palisade/home";

std::string image_of(const Workspace& w, const Defaults& defaults) {
  if (!w.setup->image.empty()) return w.setup->image;
  return w.image.empty() ? defaults.agent_image : w.image;
}

Json address_block(const std::string& address) {
  return {
      {"ipBlock", {{"cidr", address + (address.find(':') == std::string::npos ? "/32" : "/128")}}}};
}

// Fetches, and writes the inputs where the setup reads them; says commit and digest at its end.
Json fetch_container(const Workspace& w, const Defaults& defaults, const Access& access,
                     const SetupInputs& inputs) {
  const bool through_gateway = git_through_gateway(access, defaults);
  Json command = Json::array();
  if (through_gateway) {
    for (const char* word : {kRelay, "with", "--config", kRelayConfigFile, "--"})
      command.push_back(word);
  }
  for (const char* word : {kCourier, "inputs", "--config", kCourierConfig, "--into", kInputs})
    command.push_back(word);
  if (!inputs.commit.empty()) command.push_back("--commit=" + inputs.commit);
  for (const std::string& file : w.setup->inputs)
    command.push_back("--input=" + file);
  Json mounts{mount("courier", "/var/lib/courier"), mount("inputs", kInputs),
              mount("config", "/etc/palisade", true)};
  if (through_gateway) {
    mounts.push_back(mount("identity", "/var/run/secrets/palisade/gateway", true));
  } else if (w.has_credentials()) {
    mounts.push_back(mount("git-token", "/var/run/secrets/palisade/git", true));
  }
  return {{"name", "fetch"},
          {"image", defaults.courier_image},
          {"imagePullPolicy", "IfNotPresent"},
          {"command", command},
          {"env", {variable("HOME", "/var/lib/courier"), variable("TMPDIR", "/var/lib/courier")}},
          {"resources",
           {{"requests", {{"cpu", "50m"}, {"memory", "64Mi"}}},
            {"limits", {{"cpu", "1"}, {"memory", "512Mi"}, {"ephemeral-storage", "2Gi"}}}}},
          {"securityContext", security_context(kCourierUser)},
          {"volumeMounts", mounts}};
}

// A pod that only finds out the commit has no more to do then: what holds an identity is never the
// pod's main container.
Json nothing_container(const Defaults& defaults) {
  return {
      {"name", "resolved"},
      {"image", defaults.courier_image},
      {"imagePullPolicy", "IfNotPresent"},
      {"command", {kCourier, "--version"}},
      {"resources",
       {{"requests", {{"cpu", "10m"}, {"memory", "16Mi"}}},
        {"limits", {{"cpu", "500m"}, {"memory", "64Mi"}, {"ephemeral-storage", "64Mi"}}}}},
      {"securityContext", security_context(kCourierUser)},
      {"volumeMounts", {mount("closed", "/dev/shm", true), mount("closed", "/dev/mqueue", true)}}};
}

// Runs what the workspace says, with nothing but the inputs, the mirrors and the volume.
Json setup_container(const Workspace& w, const Defaults& defaults) {
  return {{"name", "setup"},
          {"image", image_of(w, defaults)},
          {"imagePullPolicy", "IfNotPresent"},
          {"command", w.setup->command},
          {"workingDir", kInputs},
          {"env",
           {variable("HOME", kSetupHome), variable("TMPDIR", "/tmp"),
            variable("PALISADE_SETUP", kSetupMount)}},
          {"resources", {{"limits", w.setup->limits}, {"requests", w.setup->requests}}},
          {"securityContext", security_context(kAgentUser)},
          // What it printed last is why it failed.
          {"terminationMessagePolicy", "FallbackToLogsOnError"},
          {"volumeMounts",
           {mount("setup", kSetupMount), mount("inputs", kInputs, true), mount("home", kSetupHome),
            mount("tmp", "/tmp"),
            // The runtime would mount both writable.
            mount("closed", "/dev/shm", true), mount("closed", "/dev/mqueue", true)}}};
}

Json config_volume(const Workspace& w, const Defaults& defaults, const Access& access) {
  Json items = Json::array();
  const auto add = [&](const char* key) { items.push_back({{"key", key}, {"path", key}}); };
  add(kSetupCourierKey);
  if (git_through_gateway(access, defaults)) {
    add(kSetupRelayKey);
    add(kGatewayCaKey);
  } else if (!defaults.git_ca.empty()) {
    add("git-ca.pem");
  }
  return {{"name", "config"}, {"configMap", {{"name", w.agent_object()}, {"items", items}}}};
}

Json volumes_of(const Workspace& w, const Defaults& defaults, const Access& access,
                const std::string& key) {
  Json out{empty_dir("inputs", "64Mi"), empty_dir("courier", "4Gi"),
           config_volume(w, defaults, access)};
  if (!key.empty()) {
    out.push_back(
        {{"name", "setup"}, {"persistentVolumeClaim", {{"claimName", setup_claim_name(key)}}}});
    out.push_back(empty_dir("home", "2Gi"));
    out.push_back(empty_dir("tmp", "512Mi", true));
  }
  out.push_back(empty_dir("closed", "1Mi", true));
  if (git_through_gateway(access, defaults)) {
    out.push_back(identity_volume(defaults));
  } else if (w.has_credentials()) {
    out.push_back(git_token_volume(w));
  }
  return out;
}

Json aliases_of(const Defaults& defaults, const Access& access, const SetupInputs& inputs) {
  Json out = Json::array();
  if (!git_through_gateway(access, defaults) && !access.git.alias.empty())
    out.push_back({{"ip", access.git.alias}, {"hostnames", {access.git.host}}});
  for (const policy::SetupMirror& mirror : inputs.mirrors) {
    for (const std::string& address : mirror.addresses)
      out.push_back({{"ip", address}, {"hostnames", {mirror.name}}});
  }
  return out;
}

}  // namespace

std::string setup_ref(const Workspace& w) {
  return w.setup->ref.empty() || is_commit_id(w.setup->ref) ? w.ref : w.setup->ref;
}

std::string setup_key(const Workspace& w, const Defaults& defaults, const SetupInputs& inputs) {
  Json mirrors = Json::array();
  for (const policy::SetupMirror& mirror : inputs.mirrors)
    mirrors.push_back({mirror.name, mirror.addresses, mirror.port});
  const Storage& storage = w.setup->storage;
  return hash_text(Json{
      {"version", 1},
      {"image", image_of(w, defaults)},
      {"command", w.setup->command},
      {"repository", w.url},
      {"files", w.setup->inputs},
      {"contents", inputs.digest.empty() ? "commit " + inputs.commit : "digest " + inputs.digest},
      {"mirrors", mirrors},
      {"size", storage.size},
      {"class", storage.storage_class ? Json(*storage.storage_class) : Json()},
      {"shared", w.setup->shared}}
                       .dump());
}

std::string setup_claim_name(const std::string& key) {
  return "palisade-setup-" + key;
}

Json desired_setup_claim(const Workspace& w, const std::string& key) {
  const Storage& storage = w.setup->storage;
  Json object{
      {"apiVersion", volume_claims().api_version()},
      {"kind", volume_claims().kind},
      {"metadata",
       {{"name", setup_claim_name(key)},
        {"namespace", w.ns},
        {"labels", {{kManagedByLabel, kManagedBy}}},
        {"annotations", {{kSetupKeyAnnotation, key}, {kSetupByAnnotation, w.name + "/" + w.uid}}}}},
      {"spec",
       {{"accessModes", {w.setup->shared ? "ReadWriteMany" : "ReadWriteOnce"}},
        {"resources", {{"requests", {{"storage", storage.size}}}}}}}};
  if (storage.storage_class) object["spec"]["storageClassName"] = *storage.storage_class;
  return object;
}

Json desired_setup_network(const Workspace& w, const Access& access,
                           const std::vector<policy::SetupMirror>& mirrors) {
  Json object = base_object(w, kube::resources::kNetworkPolicies, w.setup_object());
  Json egress = Json::array({{{"to", access.git.peers}, {"ports", access.git.ports}}});
  for (const policy::SetupMirror& mirror : mirrors) {
    Json to = Json::array();
    for (const std::string& address : mirror.addresses)
      to.push_back(address_block(address));
    egress.push_back({{"to", to}, {"ports", {{{"protocol", "TCP"}, {"port", mirror.port}}}}});
  }
  object["spec"] = {{"podSelector", {{"matchLabels", {{kSetupLabel, w.name}}}}},
                    {"policyTypes", {"Ingress", "Egress"}},
                    {"egress", egress}};
  object["metadata"]["annotations"][kNetworkHashAnnotation] = hash_text(object["spec"].dump());
  return object;
}

Json desired_setup_pod(const Workspace& w, const Defaults& defaults, const Access& access,
                       const SetupInputs& inputs, const std::string& key) {
  Json pod = base_object(w, kube::resources::kPods, w.setup_object());
  Json& labels = pod["metadata"]["labels"];
  labels.erase(kWorkspaceLabel);
  labels[kSetupLabel] = w.name;
  labels[kAgentLabel] = "aider";
  Json spec{{"serviceAccountName", w.agent_object()},
            {"automountServiceAccountToken", false},
            {"enableServiceLinks", false},
            {"hostUsers", !w.user_namespace},
            {"restartPolicy", "Never"},
            {"activeDeadlineSeconds", w.setup->timeout.count()},
            {"terminationGracePeriodSeconds", 5},
            {"dnsPolicy", "None"},
            {"dnsConfig", {{"nameservers", {"127.0.0.1"}}}},
            {"schedulingGates", {{{"name", kSchedulingGate}}}},
            {"securityContext", pod_security_context()},
            {"volumes", volumes_of(w, defaults, access, key)}};
  spec["initContainers"] = Json::array({fetch_container(w, defaults, access, inputs)});
  spec["containers"] =
      Json::array({key.empty() ? nothing_container(defaults) : setup_container(w, defaults)});
  if (Json aliases = aliases_of(defaults, access, inputs); !aliases.empty())
    spec["hostAliases"] = std::move(aliases);
  if (!w.runtime_class.empty()) spec["runtimeClassName"] = w.runtime_class;
  pod["metadata"]["annotations"] = {{kSetupKeyAnnotation, key},
                                    {kSpecHashAnnotation, hash_text(spec.dump())}};
  pod["spec"] = std::move(spec);
  return pod;
}

}  // namespace palisade::op
