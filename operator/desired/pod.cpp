// The hardened pod: relay (the only container with an identity, and the agent's only way out),
// courier (fetches and pushes; the only one with the git token where it does not go through the
// gateway), checkout, guard (puts its program where the agent's container can run it), recorder
// (shows the record), aider under guard.
#include <algorithm>
#include <initializer_list>

#include <fmt/format.h>

#include "desired/common.h"
#include "desired/pod_parts.h"

namespace palisade::op {

namespace {

constexpr const char* kRelayConfig = "/etc/palisade/relay.json";
constexpr const char* kGuard = "/palisade/bin/palisade-guard";
constexpr const char* kGuardInImage = "/usr/local/bin/palisade-guard";
constexpr const char* kGuardPolicy = "/palisade/policy/guard.json";
constexpr const char* kCommandFile = "/palisade/policy/command.json";
constexpr int kRecorderUser = 1003;
constexpr int kRelayUser = 1004;

// The fetched repository, from the courier to the checkout and, with another mount than ReadWrite,
// to the agent.
Json seed_mount(const Workspace& w, bool read_only) {
  return mount("seed", w.mount == Mount::kReadWrite ? "/seed" : kProjectMount, read_only);
}

// The agent's scratch space. Where the checkout is on a volume of its own, this is its HOME alone.
Json workspace_mount(const Workspace& w) {
  return mount("workspace", w.mount == Mount::kReadOnly ? kHome : "/workspace");
}

// A pool's pod waits for its session with its containers running: each begins once its
// configuration is there.
void let_wait(Json& container) {
  container["command"].push_back("--wait");
  container.erase("startupProbe");
}

// The first to start and the last to end: the courier's pushes go through it.
Json relay_container(const Workspace& w, const Defaults& defaults, const Access& access) {
  Json mounts = Json::array({mount("config", "/etc/palisade", true)});
  if (uses_gateway(access, defaults))
    mounts.push_back(mount("identity", "/var/run/secrets/palisade/gateway", true));
  if (w.llm_key && !llm_through_gateway(access, defaults))
    mounts.push_back(mount("llm-key", "/var/run/secrets/palisade/llm", true));
  // It reads what guard writes there itself: no port and no path of its leads to the archive.
  if (is_archived(access, defaults)) mounts.push_back(mount("record", kRecordMount, true));
  return {{"name", "relay"},
          {"image", defaults.courier_image},
          {"imagePullPolicy", "IfNotPresent"},
          {"command", {kRelay, "serve", "--config", kRelayConfig}},
          {"restartPolicy", "Always"},
          {"resources",
           {{"requests", {{"cpu", "10m"}, {"memory", "16Mi"}}},
            {"limits", {{"cpu", "500m"}, {"memory", "64Mi"}, {"ephemeral-storage", "64Mi"}}}}},
          {"securityContext", security_context(kRelayUser)},
          {"startupProbe",
           {{"exec", {{"command", {kRelay, "ready", "--config", kRelayConfig}}}},
            {"periodSeconds", 1},
            {"timeoutSeconds", 5},
            {"failureThreshold", 60}}},
          {"volumeMounts", mounts}};
}

Json courier_container(const Workspace& w, const Defaults& defaults, const Access& access) {
  Json mounts{mount("courier", "/var/lib/courier"), seed_mount(w, false),
              mount("config", "/etc/palisade", true),
              w.mount == Mount::kReadOnly ? mount("output", kOutputMount, true)
                                          : mount("workspace", "/workspace", true)};
  if (w.has_credentials() && !git_through_gateway(access, defaults))
    mounts.push_back(mount("git-token", "/var/run/secrets/palisade/git", true));
  return {{"name", "courier"},
          {"image", defaults.courier_image},
          {"imagePullPolicy", "IfNotPresent"},
          {"command",
           {"/usr/local/bin/palisade-courier", "serve", "--config", "/etc/palisade/courier.json"}},
          {"restartPolicy", "Always"},
          {"env", {variable("HOME", "/var/lib/courier"), variable("TMPDIR", "/var/lib/courier")}},
          {"resources",
           {{"requests", {{"cpu", "50m"}, {"memory", "64Mi"}}},
            {"limits", {{"cpu", "1"}, {"memory", "512Mi"}, {"ephemeral-storage", "2Gi"}}}}},
          {"securityContext", security_context(kCourierUser)},
          // Until the repository has been fetched nothing else starts; a container that fails is
          // restarted, which is the retry.
          {"startupProbe",
           {{"exec",
             {{"command",
               {"/usr/local/bin/palisade-courier", "ready", "--config",
                "/etc/palisade/courier.json"}}}},
            {"periodSeconds", 1},
            {"timeoutSeconds", 5},
            {"failureThreshold", 600}}},
          {"volumeMounts", mounts}};
}

Json checkout_container(const Workspace& w, const Defaults& defaults) {
  Json mounts{seed_mount(w, true), mount("config", "/etc/palisade", true), workspace_mount(w),
              mount("tmp", "/tmp")};
  if (w.mount == Mount::kReadOnly) {
    mounts.push_back(mount("project", kCheckout));
    mounts.push_back(mount("output", kOutputMount));
  }
  return {
      {"name", "checkout"},
      {"image", defaults.courier_image},
      {"imagePullPolicy", "IfNotPresent"},
      {"command",
       {"/usr/local/bin/palisade-courier", "checkout", "--config", "/etc/palisade/courier.json"}},
      {"env", {variable("HOME", "/tmp"), variable("TMPDIR", "/tmp")}},
      {"resources",
       {{"requests", {{"cpu", "50m"}, {"memory", "64Mi"}}},
        {"limits", {{"cpu", "1"}, {"memory", "512Mi"}, {"ephemeral-storage", "2Gi"}}}}},
      {"securityContext", security_context(kAgentUser)},
      {"volumeMounts", mounts}};
}

// Puts guard on a volume that the agent's container mounts read-only. In a pool's pod it proves
// first that the network is closed.
Json guard_container(const Defaults& defaults, bool warm) {
  Json out{{"name", "guard"},
           {"image", defaults.courier_image},
           {"imagePullPolicy", "IfNotPresent"},
           {"command", {kGuardInImage, "install", "/palisade/bin"}},
           {"resources",
            {{"requests", {{"cpu", "10m"}, {"memory", "16Mi"}}},
             {"limits", {{"cpu", "500m"}, {"memory", "64Mi"}, {"ephemeral-storage", "64Mi"}}}}},
           {"securityContext", security_context(kCourierUser)},
           {"volumeMounts", Json::array({mount("guard", "/palisade/bin")})}};
  if (!warm) return out;
  out["command"].push_back("--preflight");
  out["command"].push_back(kGuardPolicy);
  out["volumeMounts"].push_back(mount("policy", "/palisade/policy", true));
  return out;
}

std::string agent_image(const Workspace& w, const Defaults& defaults) {
  return w.image.empty() ? defaults.agent_image : w.image;
}

// Prints the record: what is in its log no agent can forge or take back. In a pool's pod it runs
// guard's program in the agent's image, so that the node has that before anybody waits for it.
Json recorder_container(const Workspace& w, const Defaults& defaults, bool warm) {
  Json out{{"name", "recorder"},
           {"image", defaults.courier_image},
           {"imagePullPolicy", "IfNotPresent"},
           {"command", {kGuardInImage, "tail", kRecordFile}},
           {"restartPolicy", "Always"},
           {"resources",
            {{"requests", {{"cpu", "10m"}, {"memory", "16Mi"}}},
             {"limits", {{"cpu", "500m"}, {"memory", "64Mi"}, {"ephemeral-storage", "256Mi"}}}}},
           {"securityContext", security_context(kRecorderUser)},
           {"volumeMounts", Json::array({mount("record", kRecordMount, true)})}};
  if (!warm) return out;
  out["image"] = agent_image(w, defaults);
  out["command"][0] = kGuard;
  out["volumeMounts"].push_back(mount("guard", "/palisade/bin", true));
  return out;
}

}  // namespace

Json agent_command(const Workspace& w) {
  Json command = Json::array();
  // One word, so that a message that begins with a dash is still a message.
  const std::string message = w.task ? "--message=" + w.task->message : "";
  const bool rounds = w.task && w.task->has_checks();
  if (rounds) {
    // It gives Aider the message: first this one, then what the commands print.
    for (const std::string& word :
         {std::string(kGuard), std::string("rounds"), message,
          fmt::format("--rounds={}", w.task->rounds), fmt::format("--relay-port={}", kLlmPort)})
      command.push_back(word);
    for (const auto& [name, words] :
         {std::pair("lint", &w.task->lint_command), std::pair("test", &w.task->test_command)}) {
      if (!words->empty())
        command.push_back(fmt::format(
            "--{}={}", name, Json(*words).dump(-1, ' ', false, Json::error_handler_t::replace)));
    }
    command.push_back("--");
  }
  for (const std::string& word : std::initializer_list<std::string>{
           "aider", "--no-check-update", "--analytics-disable", "--no-show-model-warnings",
           "--no-show-release-notes", "--no-gitignore", "--no-suggest-shell-commands",
           "--disable-playwright", "--chat-history-file", "/workspace/.home/aider.chat.history.md",
           "--input-history-file", "/workspace/.home/aider.input.history", "--model",
           "openai/" + w.model,
           // For commit messages and summaries Aider would take a model of its own choice.
           "--weak-model", "openai/" + w.model, "--edit-format", "diff"})
    command.push_back(word);
  if (!w.task) return command;
  for (const char* option : {"--yes-always", "--no-pretty"})
    command.push_back(option);
  if (rounds) {
    // What a test prints names addresses; nobody wants them fetched.
    command.push_back("--no-detect-urls");
  } else {
    command.push_back(message);
  }
  for (const std::string& file : w.task->files) {
    const bool fixed = w.mount == Mount::kReadOnly && !file.starts_with(w.output_dir + "/");
    command.push_back((fixed ? "--read=" : "--file=") + file);
  }
  return command;
}

namespace {

Json guarded_command(const Workspace& w, bool warm) {
  Json command{kGuard, "run", "--policy", kGuardPolicy};
  if (warm) {
    command.push_back("--command-file");
    command.push_back(kCommandFile);
    return command;
  }
  command.push_back("--");
  for (Json& word : agent_command(w))
    command.push_back(std::move(word));
  return command;
}

Json aider_container(const Workspace& w, const Defaults& defaults, bool warm) {
  Json container{
      {"name", "aider"},
      {"image", agent_image(w, defaults)},
      {"imagePullPolicy", "IfNotPresent"},
      {"command", guarded_command(w, warm)},
      {"workingDir", kCheckout},
      {"env",
       {variable("HOME", kHome), variable("TMPDIR", "/tmp"),
        variable("OPENAI_API_BASE", kRelayLlmUrl), variable("OPENAI_API_KEY", "none"),
        variable("LITELLM_LOCAL_MODEL_COST_MAP", "True"), variable("PYTHONDONTWRITEBYTECODE", "1"),
        // Else the line editor asks the terminal where its cursor is, and prints that it got no
        // answer.
        variable("PYTHONUNBUFFERED", "1"), variable("PROMPT_TOOLKIT_NO_CPR", "1"),
        variable("GIT_AUTHOR_NAME", "Aider (Palisade)"),
        variable("GIT_AUTHOR_EMAIL", "aider@palisade.invalid"),
        variable("GIT_COMMITTER_NAME", "Aider (Palisade)"),
        variable("GIT_COMMITTER_EMAIL", "aider@palisade.invalid")}},
      {"resources", {{"limits", w.limits}, {"requests", w.requests}}},
      {"securityContext", security_context(kAgentUser)},
      {"volumeMounts",
       {workspace_mount(w), mount("tmp", "/tmp"), mount("guard", "/palisade/bin", true),
        mount("policy", "/palisade/policy", true),
        // Guard writes here; its Landlock rules keep the agent out.
        mount("record", kRecordMount),
        // The runtime would mount both writable.
        mount("closed", "/dev/shm", true), mount("closed", "/dev/mqueue", true)}}};
  if (w.mount != Mount::kReadWrite) container["volumeMounts"].push_back(seed_mount(w, true));
  if (w.mount == Mount::kReadOnly) {
    container["volumeMounts"].push_back(mount("project", kCheckout, true));
    container["volumeMounts"].push_back(mount("output", output_path(w).c_str()));
  }
  for (const Json& entry : guard_git_environment())
    container["env"].push_back(entry);
  if (!w.setup_claim.empty())
    container["volumeMounts"].push_back(mount("setup", kSetupMount, true));
  if (!w.task && !warm) {
    container["stdin"] = true;
    container["tty"] = true;
  }
  return container;
}

Json init_containers(const Workspace& w, const Defaults& defaults, const Access& access,
                     bool warm) {
  Json relay = relay_container(w, defaults, access);
  Json courier = courier_container(w, defaults, access);
  Json checkout = checkout_container(w, defaults);
  if (!warm)
    return {relay, courier, checkout, guard_container(defaults, false),
            recorder_container(w, defaults, false)};
  // The checkout ends once there is a repository: all before it runs already by then.
  for (Json* const waits : {&relay, &courier, &checkout})
    let_wait(*waits);
  return {guard_container(defaults, true), recorder_container(w, defaults, true), relay, courier,
          checkout};
}

// All of a session's pod but its metadata. `object`: the name of its ServiceAccount and ConfigMap;
// `warm`: it is a pool's, or was.
Json pod_spec(const Workspace& w, const Defaults& defaults, const Access& access,
              const std::string& object, bool warm) {
  Json policy_items{{{"key", "guard.json"}, {"path", "guard.json"}},
                    {{"key", "gitconfig"}, {"path", "gitconfig"}}};
  if (warm) policy_items.push_back({{"key", kCommandKey}, {"path", kCommandKey}});
  Json volumes{w.storage ? Json{{"name", "workspace"},
                                {"persistentVolumeClaim", {{"claimName", w.volume_claim()}}}}
                         : empty_dir("workspace", "4Gi"),
               empty_dir("tmp", "512Mi", true),
               empty_dir("seed", "2Gi"),
               empty_dir("courier", "4Gi"),
               empty_dir("closed", "1Mi", true),
               empty_dir("guard", "32Mi"),
               empty_dir("record", "128Mi"),
               {{"name", "config"}, {"configMap", {{"name", object}}}},
               {{"name", "policy"}, {"configMap", {{"name", object}, {"items", policy_items}}}}};
  // The command comes with the session.
  if (warm) volumes.back()["configMap"]["optional"] = true;
  if (w.mount == Mount::kReadOnly) {
    volumes.push_back(empty_dir("project", "4Gi"));
    volumes.push_back(empty_dir("output", "1Gi"));
  }
  if (!w.setup_claim.empty())
    volumes.push_back(
        {{"name", "setup"},
         {"persistentVolumeClaim", {{"claimName", w.setup_claim}, {"readOnly", true}}}});
  const bool llm_own = llm_through_gateway(access, defaults);
  const bool git_own = git_through_gateway(access, defaults);
  if (w.has_credentials() && !git_own) volumes.push_back(git_token_volume(w));
  if (w.llm_key && !llm_own)
    volumes.push_back(
        {{"name", "llm-key"}, {"secret", {{"secretName", w.llm_secret()}, {"defaultMode", 0440}}}});
  if (llm_own || git_own) volumes.push_back(identity_volume(defaults));

  // The relay knows the gateway's address from its configuration. The other addresses are told
  // here, where nobody can change them: a live pod's access is checked against them.
  Json aliases = Json::array();
  for (const auto& [endpoint, own] : {std::pair{&access.llm, llm_own}, {&access.git, git_own}}) {
    if (!own && !endpoint->alias.empty())
      aliases.push_back({{"ip", endpoint->alias}, {"hostnames", {endpoint->host}}});
  }
  Json spec{{"serviceAccountName", object},
            {"automountServiceAccountToken", false},
            {"enableServiceLinks", false},
            {"hostUsers", !w.user_namespace},
            {"restartPolicy", "Never"},
            {"activeDeadlineSeconds", (w.warm_pod ? w.warm_pod->lifetime : w.time()).count()},
            {"terminationGracePeriodSeconds", 60},
            {"dnsPolicy", "None"},
            {"dnsConfig", {{"nameservers", {"127.0.0.1"}}}},
            {"schedulingGates", {{{"name", kSchedulingGate}}}},
            {"securityContext", pod_security_context()},
            {"initContainers", init_containers(w, defaults, access, warm)},
            {"containers", Json::array({aider_container(w, defaults, warm)})},
            {"volumes", volumes}};
  if (!aliases.empty()) spec["hostAliases"] = aliases;
  if (!w.runtime_class.empty()) spec["runtimeClassName"] = w.runtime_class;
  return spec;
}

// Of a session in a pool's pod, as far as the pod knows of it.
Access own_access(const Defaults& defaults) {
  return {defaults.gateway->llm_url(), {}, {}, defaults.gateway->git_url()};
}

}  // namespace

std::string no_warm_pod(const Workspace& w, const Defaults& defaults, const std::string& llm_url) {
  if (!defaults.gateway) return "it needs Palisade's own gateway, which is not installed";
  if (llm_url != defaults.gateway->llm_url())
    return "spec.llm.gateway " + w.gateway + " is not Palisade's own";
  if (!wants_gateway_for_git(w, defaults)) return "its git goes to the host itself";
  if (w.llm_key) return "spec.llm.keySecretRef would have to be mounted";
  if (w.storage) return "spec.storage would have to be mounted";
  if (w.setup) return "what spec.setup makes would have to be mounted";
  return {};
}

std::string warm_shape(const Workspace& w, const Defaults& defaults) {
  if (!defaults.gateway) return {};
  Workspace whole = w;
  whole.warm_pod.reset();
  whole.time_left.reset();
  Json spec = pod_spec(whole, defaults, own_access(defaults), {}, true);
  spec.erase("activeDeadlineSeconds");
  return hash_text(spec.dump());
}

Json desired_warm_pod(const PoolPlace& place, const Workspace& w, const Defaults& defaults) {
  Json pod = pool_object(place, kube::resources::kPods, place.name);
  pod["metadata"]["labels"][kAgentLabel] = "aider";
  pod["metadata"]["annotations"] = {{kShapeAnnotation, warm_shape(w, defaults)}};
  pod["spec"] = pod_spec(w, defaults, own_access(defaults), place.name, true);
  pod["spec"]["activeDeadlineSeconds"] = place.lifetime.count();
  return pod;
}

Json desired_pod(const Workspace& w, const Defaults& defaults, const Access& access,
                 const std::string& token) {
  Json spec = pod_spec(w, defaults, access, w.agent_object(), w.warm_pod.has_value());
  Json pod = base_object(w, kube::resources::kPods, w.agent_object());
  pod["metadata"]["labels"][kAgentLabel] = "aider";
  // What is left of a deadline is no change of it.
  Workspace whole = w;
  whole.time_left.reset();
  Json made_from = spec;
  made_from["activeDeadlineSeconds"] = whole.time().count();
  // Courier, relay and guard read their configuration once: another one means another pod. Not so
  // for the network, where the NetworkPolicy says what a live pod may reach, for what must not
  // answer at its start, and for the gateway's authorities, which the relay reads again.
  Json config = desired_config_map(w, defaults, access, {})["data"];
  config.erase(kGatewayCaKey);
  const bool archived = is_archived(access, defaults);
  Json guard = guard_policy(whole, {}, archived);
  guard.erase("network");
  guard.erase("preflight");
  config["guard.json"] = guard.dump();
  pod["metadata"]["annotations"] = {
      {kSpecHashAnnotation, hash_text(made_from.dump() + config.dump())},
      {kTokenHashAnnotation, hash_text(w.uid + token)},
      {kAccessAnnotation, to_json(access).dump()}};
  if (archived) pod["metadata"]["annotations"][kArchiveAnnotation] = defaults.gateway->archive;
  if (w.warm_pod) pod["metadata"]["annotations"][kShapeAnnotation] = warm_shape(w, defaults);
  pod["spec"] = std::move(spec);
  return pod;
}

}  // namespace palisade::op
