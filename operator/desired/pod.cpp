// The hardened pod: courier (the only container with the token), checkout, aider.
#include <algorithm>

#include "desired/common.h"

namespace palisade::op {

namespace {

constexpr int kAgentUser = 1001;
constexpr int kCourierUser = 1002;

Json security_context(int user) {
  return {{"runAsNonRoot", true},
          {"runAsUser", user},
          {"runAsGroup", kAgentUser},
          {"privileged", false},
          {"allowPrivilegeEscalation", false},
          {"readOnlyRootFilesystem", true},
          {"capabilities", {{"drop", {"ALL"}}}},
          {"seccompProfile", {{"type", "RuntimeDefault"}}}};
}

Json mount(const char* volume, const char* path, bool read_only = false) {
  Json out{{"name", volume}, {"mountPath", path}};
  if (read_only) out["readOnly"] = true;
  return out;
}

Json variable(const char* name, const std::string& value) {
  return {{"name", name}, {"value", value}};
}

Json courier_container(const Workspace& w, const Defaults& defaults) {
  Json mounts{mount("courier", "/var/lib/courier"), mount("seed", "/seed"),
              mount("config", "/etc/palisade", true), mount("workspace", "/workspace", true)};
  if (w.secret) mounts.push_back(mount("git-token", "/var/run/secrets/palisade/git", true));
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

Json checkout_container(const Defaults& defaults) {
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
      {"volumeMounts",
       {mount("seed", "/seed", true), mount("config", "/etc/palisade", true),
        mount("workspace", "/workspace"), mount("tmp", "/tmp")}}};
}

// One word for a POSIX shell: Aider hands its test command to one.
std::string shell_quoted(const std::string& word) {
  std::string out = "'";
  for (const char c : word)
    out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

Json aider_command(const Workspace& w) {
  // An init as PID 1: the kernel drops a SIGTERM that PID 1 does not handle, and Aider does not.
  Json command{"/usr/bin/tini",
               "--",
               "aider",
               "--no-check-update",
               "--analytics-disable",
               "--no-show-model-warnings",
               "--no-show-release-notes",
               "--no-gitignore",
               "--no-suggest-shell-commands",
               "--disable-playwright",
               "--chat-history-file",
               "/workspace/.home/aider.chat.history.md",
               "--input-history-file",
               "/workspace/.home/aider.input.history",
               "--model",
               "openai/" + w.model,
               "--edit-format",
               "diff"};
  if (!w.task) return command;
  for (const char* option : {"--yes-always", "--no-pretty"})
    command.push_back(option);
  if (!w.task->test_command.empty()) {
    std::string line;
    for (const std::string& word : w.task->test_command)
      line += (line.empty() ? "" : " ") + shell_quoted(word);
    command.push_back("--test-cmd");
    command.push_back(line);
    command.push_back("--auto-test");
  }
  // One word, so that a message that begins with a dash is still a message.
  command.push_back("--message=" + w.task->message);
  for (const std::string& file : w.task->files)
    command.push_back("--file=" + file);
  return command;
}

Json aider_container(const Workspace& w, const Defaults& defaults, const Access& access) {
  Json container{
      {"name", "aider"},
      {"image", w.image.empty() ? defaults.agent_image : w.image},
      {"imagePullPolicy", "IfNotPresent"},
      {"command", aider_command(w)},
      {"workingDir", "/workspace/repo"},
      {"env",
       {variable("HOME", "/workspace/.home"), variable("TMPDIR", "/tmp"),
        variable("OPENAI_API_BASE", access.llm_url), variable("OPENAI_API_KEY", "none"),
        variable("LITELLM_LOCAL_MODEL_COST_MAP", "True"), variable("PYTHONDONTWRITEBYTECODE", "1"),
        variable("PYTHONUNBUFFERED", "1"), variable("GIT_AUTHOR_NAME", "Aider (Palisade)"),
        variable("GIT_AUTHOR_EMAIL", "aider@palisade.invalid"),
        variable("GIT_COMMITTER_NAME", "Aider (Palisade)"),
        variable("GIT_COMMITTER_EMAIL", "aider@palisade.invalid"),
        variable("GIT_TERMINAL_PROMPT", "0")}},
      {"resources", {{"limits", w.limits}, {"requests", w.requests}}},
      {"securityContext", security_context(kAgentUser)},
      {"volumeMounts",
       {mount("workspace", "/workspace"), mount("tmp", "/tmp"),
        // The runtime would mount both writable.
        mount("closed", "/dev/shm", true), mount("closed", "/dev/mqueue", true)}}};
  if (!w.task) {
    container["stdin"] = true;
    container["tty"] = true;
  }
  return container;
}

Json empty_dir(const char* name, const char* size, bool memory = false) {
  Json directory{{"sizeLimit", size}};
  if (memory) directory["medium"] = "Memory";
  return {{"name", name}, {"emptyDir", directory}};
}

}  // namespace

Json desired_pod(const Workspace& w, const Defaults& defaults, const Access& access,
                 const std::string& token) {
  Json volumes{empty_dir("workspace", "4Gi"),
               empty_dir("tmp", "512Mi", true),
               empty_dir("seed", "2Gi"),
               empty_dir("courier", "4Gi"),
               empty_dir("closed", "1Mi", true),
               {{"name", "config"}, {"configMap", {{"name", w.agent_object()}}}}};
  if (w.secret)
    volumes.push_back({{"name", "git-token"},
                       {"secret", {{"secretName", w.git_secret()}, {"defaultMode", 0440}}}});

  Json aliases = Json::array();
  for (const Endpoint* endpoint : {&access.llm, &access.git}) {
    if (!endpoint->alias.empty())
      aliases.push_back({{"ip", endpoint->alias}, {"hostnames", {endpoint->host}}});
  }
  Json spec{{"serviceAccountName", w.agent_object()},
            {"automountServiceAccountToken", false},
            {"enableServiceLinks", false},
            {"hostUsers", !w.user_namespace},
            {"restartPolicy", "Never"},
            {"activeDeadlineSeconds", w.deadline.count()},
            {"terminationGracePeriodSeconds", 60},
            {"dnsPolicy", "None"},
            {"dnsConfig", {{"nameservers", {"127.0.0.1"}}}},
            {"schedulingGates", {{{"name", kSchedulingGate}}}},
            {"securityContext",
             {{"runAsNonRoot", true},
              {"runAsUser", kAgentUser},
              {"runAsGroup", kAgentUser},
              {"fsGroup", kAgentUser},
              {"fsGroupChangePolicy", "OnRootMismatch"},
              {"seccompProfile", {{"type", "RuntimeDefault"}}}}},
            {"initContainers", {courier_container(w, defaults), checkout_container(defaults)}},
            {"containers", {aider_container(w, defaults, access)}},
            {"volumes", volumes}};
  if (!aliases.empty()) spec["hostAliases"] = aliases;
  if (!w.runtime_class.empty()) spec["runtimeClassName"] = w.runtime_class;

  Json pod = base_object(w, kube::resources::kPods, w.agent_object());
  pod["metadata"]["labels"][kAgentLabel] = "aider";
  // The courier reads its configuration once: another one means another pod.
  pod["metadata"]["annotations"] = {
      {kSpecHashAnnotation,
       hash_text(spec.dump() + desired_config_map(w, defaults)["data"].dump())},
      {kTokenHashAnnotation, hash_text(w.uid + token)},
      {kAccessAnnotation, to_json(access).dump()}};
  pod["spec"] = std::move(spec);
  return pod;
}

}  // namespace palisade::op
