// For every control: the good pod passes, and with one thing broken exactly that control reports,
// at exactly that path, whatever kind of container it is in.
#include <algorithm>

#include <gtest/gtest.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

struct Broken {
  std::string control;
  std::string name;
  std::vector<Change> changes;
  std::vector<std::string> fields;  // relative to the container, or absolute for pods
  bool ephemeral = true;            // whether it applies to ephemeral containers too
};

// Broken things inside one container. Fields begin with a dot.
std::vector<Broken> container_breaks() {
  const std::string sc = "/securityContext/";
  std::vector<Broken> out{
      {"run-as-non-root",
       "false",
       {{sc + "runAsNonRoot", "false"}},
       {".securityContext.runAsNonRoot"}},
      {"non-zero-ids", "user 0", {{sc + "runAsUser", "0"}}, {".securityContext.runAsUser"}},
      {"non-zero-ids", "group 0", {{sc + "runAsGroup", "0"}}, {".securityContext.runAsGroup"}},
      {"non-zero-ids", "negative user", {{sc + "runAsUser", "-1"}}, {".securityContext.runAsUser"}},
      {"non-zero-ids",
       "user and group 0",
       {{sc + "runAsUser", "0"}, {sc + "runAsGroup", "0"}},
       {".securityContext.runAsUser", ".securityContext.runAsGroup"}},
      {"not-privileged", "true", {{sc + "privileged", "true"}}, {".securityContext.privileged"}},
      {"no-privilege-escalation",
       "true",
       {{sc + "allowPrivilegeEscalation", "true"}},
       {".securityContext.allowPrivilegeEscalation"}},
      {"no-privilege-escalation",
       "absent",
       {{sc + "allowPrivilegeEscalation", std::string(kGone)}},
       {".securityContext.allowPrivilegeEscalation"}},
      {"no-privilege-escalation",
       "null",
       {{sc + "allowPrivilegeEscalation", "null"}},
       {".securityContext.allowPrivilegeEscalation"}},
      {"drop-all-capabilities",
       "none dropped",
       {{sc + "capabilities/drop", std::string(kGone)}},
       {".securityContext.capabilities.drop"}},
      {"drop-all-capabilities",
       "no capabilities at all",
       {{sc + "capabilities", std::string(kGone)}},
       {".securityContext.capabilities.drop"}},
      {"drop-all-capabilities",
       "empty drop",
       {{sc + "capabilities/drop", "[]"}},
       {".securityContext.capabilities.drop"}},
      {"drop-all-capabilities",
       "only one dropped",
       {{sc + "capabilities", R"({"drop": ["NET_RAW"]})"}},
       {".securityContext.capabilities.drop"}},
      {"drop-all-capabilities",
       "lower case all",
       {{sc + "capabilities", R"({"drop": ["all"]})"}},
       {".securityContext.capabilities.drop"}},
      {"drop-all-capabilities",
       "one added",
       {{sc + "capabilities", R"({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})"}},
       {".securityContext.capabilities.add[0]"}},
      {"drop-all-capabilities",
       "two added",
       {{sc + "capabilities", R"({"drop": ["ALL"], "add": ["SYS_ADMIN", "CHOWN"]})"}},
       {".securityContext.capabilities.add[0]", ".securityContext.capabilities.add[1]"}},
      {"seccomp-profile",
       "unconfined",
       {{sc + "seccompProfile", R"({"type": "Unconfined"})"}},
       {".securityContext.seccompProfile.type"}},
      {"seccomp-profile",
       "localhost that is not listed",
       {{sc + "seccompProfile", R"({"type": "Localhost", "localhostProfile": "other.json"})"}},
       {".securityContext.seccompProfile.localhostProfile"}},
      {"seccomp-profile",
       "localhost without a profile",
       {{sc + "seccompProfile", R"({"type": "Localhost"})"}},
       {".securityContext.seccompProfile.localhostProfile"}},
      {"seccomp-profile",
       "no type",
       {{sc + "seccompProfile", "{}"}},
       {".securityContext.seccompProfile.type"}},
      {"read-only-root-filesystem",
       "false",
       {{sc + "readOnlyRootFilesystem", "false"}},
       {".securityContext.readOnlyRootFilesystem"}},
      {"read-only-root-filesystem",
       "absent",
       {{sc + "readOnlyRootFilesystem", std::string(kGone)}},
       {".securityContext.readOnlyRootFilesystem"}},
      {"host-ports",
       "one of two",
       {{"/ports", R"([{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}])"}},
       {".ports[1].hostPort"}},
      {"proc-mount",
       "unmasked",
       {{sc + "procMount", R"("Unmasked")"}},
       {".securityContext.procMount"}},
      {"apparmor",
       "unconfined",
       {{sc + "appArmorProfile", R"({"type": "Unconfined"})"}},
       {".securityContext.appArmorProfile.type"}},
      {"apparmor",
       "localhost",
       {{sc + "appArmorProfile", R"({"type": "Localhost", "localhostProfile": "x"})"}},
       {".securityContext.appArmorProfile.type"}},
      {"apparmor",
       "no type",
       {{sc + "appArmorProfile", "{}"}},
       {".securityContext.appArmorProfile.type"}},
      {"selinux",
       "type",
       {{sc + "seLinuxOptions", R"({"type": "spc_t"})"}},
       {".securityContext.seLinuxOptions.type"}},
      {"selinux",
       "user and role",
       {{sc + "seLinuxOptions", R"({"user": "system_u", "role": "system_r"})"}},
       {".securityContext.seLinuxOptions.user", ".securityContext.seLinuxOptions.role"}},
      {"no-windows-host-process",
       "true",
       {{sc + "windowsOptions", R"({"hostProcess": true})"}},
       {".securityContext.windowsOptions.hostProcess"}},
      {"no-block-devices",
       "one",
       {{"/volumeDevices", R"([{"name": "disk", "devicePath": "/dev/xvda"}])"}},
       {".volumeDevices[0]"}},
      {"no-secret-in-env",
       "secretKeyRef",
       {{"/env", R"([{"name": "A", "value": "b"},
          {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])"}},
       {".env[1].valueFrom.secretKeyRef"}},
      {"no-secret-in-env",
       "envFrom",
       {{"/envFrom", R"([{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}])"}},
       {".envFrom[1].secretRef"}},
      {"no-llm-key-by-value",
       "variable",
       {{"/env", R"([{"name": "OPENAI_API_KEY", "value": "abc"}])"}},
       {".env[0].value"}},
      {"no-llm-key-by-value",
       "argument",
       {{"/args", R"(["--openai-api-key", "abc"])"}},
       {".args[1]"}},
      {"no-llm-key-by-value",
       "command",
       {{"/command", R"(["sh", "-c", "env OPENAI_API_KEY=abc run"])"}},
       {".command[2]"}},
  };
  for (const std::string probe : {"livenessProbe", "readinessProbe", "startupProbe"}) {
    for (const std::string action : {"httpGet", "tcpSocket"}) {
      out.push_back(
          {"no-probe-host",
           probe + " " + action,
           {{"/" + probe, "{\"" + action + R"(": {"port": 80, "host": "169.254.169.254"}})"}},
           {"." + probe + "." + action + ".host"}});
    }
  }
  for (const std::string hook : {"postStart", "preStop"}) {
    for (const std::string action : {"httpGet", "tcpSocket"}) {
      out.push_back({"no-probe-host",
                     hook + " " + action,
                     {{"/lifecycle", "{\"" + hook + R"(": {")" + action +
                                         R"(": {"port": 80, "host": "127.0.0.1"}}})"}},
                     {".lifecycle." + hook + "." + action + ".host"}});
    }
  }
  for (const std::string resource : {"cpu", "memory", "ephemeral-storage"}) {
    const std::string pointer = "/resources/limits/" + resource;
    const std::string field = ".resources.limits." + resource;
    out.push_back(
        {"resource-limits", resource + " absent", {{pointer, std::string(kGone)}}, {field}, false});
    for (const char* value : {"0", "-1", "1Zi", "", "abc", "1000P", "9999999999999999999999"}) {
      out.push_back({"resource-limits",
                     resource + " " + value,
                     {{pointer, json(value).dump()}},
                     {field},
                     false});
    }
  }
  out.push_back(
      {"resource-limits",
       "no limits",
       {{"/resources/limits", std::string(kGone)}},
       {".resources.limits.cpu", ".resources.limits.memory", ".resources.limits.ephemeral-storage"},
       false});
  return out;
}

std::vector<Broken> pod_breaks() {
  const std::string sc = "/spec/securityContext/";
  return {
      {"run-as-non-root",
       "false for the pod",
       {{sc + "runAsNonRoot", "false"}},
       {"spec.securityContext.runAsNonRoot"}},
      {"non-zero-ids", "pod user", {{sc + "runAsUser", "0"}}, {"spec.securityContext.runAsUser"}},
      {"non-zero-ids",
       "pod group",
       {{sc + "runAsGroup", "0"}},
       {"spec.securityContext.runAsGroup"}},
      {"non-zero-ids", "fsGroup", {{sc + "fsGroup", "0"}}, {"spec.securityContext.fsGroup"}},
      {"non-zero-ids",
       "supplemental",
       {{sc + "supplementalGroups", "[1001, 0]"}},
       {"spec.securityContext.supplementalGroups[1]"}},
      // The courier has a user and a group of its own; the other two inherit.
      {"non-zero-ids",
       "no user anywhere",
       {{sc + "runAsUser", std::string(kGone)}},
       {"spec.initContainers[1].securityContext.runAsUser",
        "spec.containers[0].securityContext.runAsUser"}},
      {"non-zero-ids",
       "no group anywhere",
       {{sc + "runAsGroup", std::string(kGone)}},
       {"spec.initContainers[1].securityContext.runAsGroup",
        "spec.containers[0].securityContext.runAsGroup"}},
      {"seccomp-profile",
       "pod unconfined",
       {{sc + "seccompProfile/type", R"("Unconfined")"}},
       {"spec.securityContext.seccompProfile.type"}},
      {"seccomp-profile",
       "absent",
       {{sc + "seccompProfile", std::string(kGone)}},
       {"spec.initContainers[0].securityContext.seccompProfile",
        "spec.initContainers[1].securityContext.seccompProfile",
        "spec.containers[0].securityContext.seccompProfile"}},
      {"seccomp-profile",
       "pod annotation",
       {{"/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod", R"("unconfined")"}},
       {R"(metadata.annotations["seccomp.security.alpha.kubernetes.io/pod"])"}},
      {"seccomp-profile",
       "container annotation",
       {{"/metadata/annotations/container.seccomp.security.alpha.kubernetes.io~1aider",
         R"("localhost/other.json")"}},
       {R"(metadata.annotations["container.seccomp.security.alpha.kubernetes.io/aider"])"}},
      {"user-namespace", "true", {{"/spec/hostUsers", "true"}}, {"spec.hostUsers"}},
      {"user-namespace", "absent", {{"/spec/hostUsers", std::string(kGone)}}, {"spec.hostUsers"}},
      {"no-host-namespaces", "network", {{"/spec/hostNetwork", "true"}}, {"spec.hostNetwork"}},
      {"no-host-namespaces", "pid", {{"/spec/hostPID", "true"}}, {"spec.hostPID"}},
      {"no-host-namespaces", "ipc", {{"/spec/hostIPC", "true"}}, {"spec.hostIPC"}},
      {"no-host-namespaces",
       "shared",
       {{"/spec/shareProcessNamespace", "true"}},
       {"spec.shareProcessNamespace"}},
      {"apparmor",
       "pod",
       {{sc + "appArmorProfile", R"({"type": "Unconfined"})"}},
       {"spec.securityContext.appArmorProfile.type"}},
      {"apparmor",
       "annotation",
       {{"/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1aider",
         R"("unconfined")"}},
       {R"(metadata.annotations["container.apparmor.security.beta.kubernetes.io/aider"])"}},
      {"apparmor",
       "annotation localhost",
       {{"/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1aider",
         R"("localhost/x")"}},
       {R"(metadata.annotations["container.apparmor.security.beta.kubernetes.io/aider"])"}},
      {"selinux",
       "pod",
       {{sc + "seLinuxOptions", R"({"type": "unconfined_t"})"}},
       {"spec.securityContext.seLinuxOptions.type"}},
      {"no-sysctls",
       "even a safe one",
       {{sc + "sysctls", R"([{"name": "net.ipv4.tcp_syncookies", "value": "1"}])"}},
       {"spec.securityContext.sysctls[0]"}},
      {"no-windows-host-process",
       "pod",
       {{sc + "windowsOptions", R"({"hostProcess": true})"}},
       {"spec.securityContext.windowsOptions.hostProcess"}},
      {"no-service-account-token",
       "true",
       {{"/spec/automountServiceAccountToken", "true"}},
       {"spec.automountServiceAccountToken"}},
      {"no-service-account-token",
       "absent",
       {{"/spec/automountServiceAccountToken", std::string(kGone)}},
       {"spec.automountServiceAccountToken"}},
      {"volume-types",
       "hostPath",
       {{"/spec/volumes/5", R"({"name": "h", "hostPath": {"path": "/"}})"}},
       {"spec.volumes[5].hostPath"}},
      {"sized-empty-dirs",
       "no size",
       {{"/spec/volumes/0/emptyDir/sizeLimit", std::string(kGone)}},
       {"spec.volumes[0].emptyDir.sizeLimit"}},
      {"sized-empty-dirs",
       "memory without size",
       {{"/spec/volumes/1/emptyDir", R"({"medium": "Memory"})"}},
       {"spec.volumes[1].emptyDir.sizeLimit"}},
      {"sized-empty-dirs",
       "zero",
       {{"/spec/volumes/0/emptyDir/sizeLimit", R"("0")"}},
       {"spec.volumes[0].emptyDir.sizeLimit"}},
      {"sized-empty-dirs",
       "too much",
       {{"/spec/volumes/0/emptyDir/sizeLimit", R"("33Gi")"}},
       {"spec.volumes[0].emptyDir.sizeLimit"}},
      {"sized-empty-dirs",
       "malformed",
       {{"/spec/volumes/0/emptyDir/sizeLimit", R"("lots")"}},
       {"spec.volumes[0].emptyDir.sizeLimit"}},
      {"sized-empty-dirs",
       "no source is an emptyDir",
       {{"/spec/volumes/0", R"({"name": "v"})"}},
       {"spec.volumes[0].emptyDir.sizeLimit"}},
      {"bounded-lifetime",
       "absent",
       {{"/spec/activeDeadlineSeconds", std::string(kGone)}},
       {"spec.activeDeadlineSeconds"}},
      {"bounded-lifetime",
       "zero",
       {{"/spec/activeDeadlineSeconds", "0"}},
       {"spec.activeDeadlineSeconds"}},
      {"bounded-lifetime",
       "negative",
       {{"/spec/activeDeadlineSeconds", "-5"}},
       {"spec.activeDeadlineSeconds"}},
      {"bounded-lifetime",
       "a day and a second",
       {{"/spec/activeDeadlineSeconds", "86401"}},
       {"spec.activeDeadlineSeconds"}},
      {"resource-limits",
       "malformed for the pod",
       {{"/spec/resources", R"({"limits": {"cpu": "much"}})"}},
       {"spec.resources.limits.cpu"}},
      {"resource-limits",
       "zero for the pod",
       {{"/spec/resources", R"({"limits": {"memory": "0"}})"}},
       {"spec.resources.limits.memory"}},
  };
}

struct Place {
  const char* pointer;
  const char* path;
  bool ephemeral;
};
constexpr Place kPlaces[] = {
    {"/spec/containers/0", "spec.containers[0]", false},
    {"/spec/initContainers/0", "spec.initContainers[0]", false},  // a sidecar
    {"/spec/initContainers/1", "spec.initContainers[1]", false},
    {"/spec/ephemeralContainers/0", "spec.ephemeralContainers[0]", true},
};

void expect_only(const std::vector<Finding>& findings, const std::string& control,
                 std::vector<std::string> fields) {
  EXPECT_EQ(controls_of(findings), std::set<std::string>{control}) << tell(findings);
  auto told = fields_of(findings);
  std::ranges::sort(told);
  std::ranges::sort(fields);
  EXPECT_EQ(told, fields) << tell(findings);
}

TEST(Controls, GoodPodsPass) {
  EXPECT_TRUE(findings_of(good_pod()).empty()) << tell(findings_of(good_pod()));
  const auto findings = findings_of(good_pod_with_ephemeral());
  EXPECT_TRUE(findings.empty()) << tell(findings);
}

TEST(Controls, OneThingBrokenInAContainer) {
  for (const Broken& broken : container_breaks()) {
    for (const Place& place : kPlaces) {
      if (place.ephemeral && !broken.ephemeral) continue;
      SCOPED_TRACE(broken.control + ": " + broken.name + " at " + place.path);
      json pod = good_pod_with_ephemeral();
      for (const Change& change : broken.changes)
        apply(pod, change, place.pointer);
      std::vector<std::string> fields;
      for (const std::string& field : broken.fields)
        fields.push_back(place.path + field);
      expect_only(findings_of(pod), broken.control, fields);
    }
  }
}

TEST(Controls, TheSameBrokenThingInTwoContainersIsFoundTwice) {
  for (const Broken& broken : container_breaks()) {
    SCOPED_TRACE(broken.control + ": " + broken.name);
    json pod = good_pod_with_ephemeral();
    std::vector<std::string> fields;
    for (const Place& place : {kPlaces[0], kPlaces[2]}) {
      for (const Change& change : broken.changes)
        apply(pod, change, place.pointer);
      for (const std::string& field : broken.fields)
        fields.push_back(place.path + field);
    }
    expect_only(findings_of(pod), broken.control, fields);
  }
}

TEST(Controls, OneThingBrokenInThePod) {
  for (const Broken& broken : pod_breaks()) {
    SCOPED_TRACE(broken.control + ": " + broken.name);
    json pod = good_pod();
    for (const Change& change : broken.changes)
      apply(pod, change);
    expect_only(findings_of(pod), broken.control, broken.fields);
  }
}

TEST(Controls, EachHasAFixtureThatBreaksIt) {
  std::set<std::string> broken;
  for (const Broken& item : container_breaks())
    broken.insert(item.control);
  for (const Broken& item : pod_breaks())
    broken.insert(item.control);
  std::set<std::string> all;
  for (const Control& control : controls())
    all.emplace(control.id);
  EXPECT_EQ(all, broken);
}

TEST(Controls, AreFullyDescribed) {
  std::set<std::string_view> ids;
  for (const Control& control : controls()) {
    SCOPED_TRACE(control.id);
    EXPECT_TRUE(ids.insert(control.id).second) << "two controls with one id";
    EXPECT_FALSE(control.title.empty());
    EXPECT_FALSE(control.why.empty());
    EXPECT_FALSE(control.remedy.empty());
    EXPECT_FALSE(control.references.empty());
    EXPECT_EQ(control.why.back(), '.');
    EXPECT_NE(control.remedy.back(), '.');
    ASSERT_NE(find_control(control.id), nullptr);
    EXPECT_EQ(find_control(control.id)->id, control.id);
    EXPECT_EQ(control.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string_view::npos);
  }
  EXPECT_EQ(find_control("no-such-control"), nullptr);
  EXPECT_EQ(find_control(""), nullptr);
}

// A pod-level value is judged even where every container overrides it; one at container level wins.
TEST(Controls, ResolvePodAndContainerLevelAsTheKubeletDoes) {
  const std::vector<std::pair<std::string, json>> fields{
      {"runAsNonRoot", true},
      {"runAsUser", 1001},
      {"runAsGroup", 1001},
      {"seccompProfile", {{"type", "RuntimeDefault"}}}};
  for (const auto& [field, good] : fields) {
    SCOPED_TRACE(field);
    json pod = good_pod();
    // Only at container level.
    pod["spec"]["securityContext"].erase(field);
    for (const char* list : {"containers", "initContainers"}) {
      for (json& container : pod["spec"][list])
        container["securityContext"][field] = good;
    }
    EXPECT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
    // Null is absent, so the pod's value is inherited.
    pod = good_pod();
    pod["spec"]["containers"][0]["securityContext"][field] = nullptr;
    EXPECT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
    // No securityContext at all: what is inherited still holds, the rest is found.
    pod["spec"]["containers"][0].erase("securityContext");
    EXPECT_EQ(controls_of(findings_of(pod)),
              (std::set<std::string>{"no-privilege-escalation", "drop-all-capabilities",
                                     "read-only-root-filesystem"}));
  }
}

TEST(Controls, GoodVariantsPass) {
  const std::string c = "/spec/containers/0/";
  const std::vector<Change> changes{
      {c + "securityContext/procMount", R"("Default")"},
      {c + "securityContext/procMount", R"("")"},
      {c + "securityContext/appArmorProfile", R"({"type": "RuntimeDefault"})"},
      {c + "securityContext/seLinuxOptions", R"({"type": "container_t", "level": "s0:c1,c2"})"},
      {c + "securityContext/seLinuxOptions", R"({"type": "container_engine_t", "user": ""})"},
      {c + "securityContext/capabilities", R"({"drop": ["NET_RAW", "ALL"], "add": []})"},
      {c + "securityContext/capabilities/add", "null"},
      {c + "securityContext/windowsOptions", R"({"hostProcess": false})"},
      {c + "securityContext/runAsUser", "1.0e3"},
      {c + "securityContext/privileged", "null"},
      {c + "ports", R"([{"containerPort": 80, "hostPort": 0}])"},
      {c + "ports", "null"},
      {c + "livenessProbe", R"({"httpGet": {"port": 80, "host": ""}})"},
      {c + "livenessProbe", R"({"grpc": {"port": 80}})"},
      {c + "lifecycle", R"({"preStop": {"exec": {"command": ["sync"]}}})"},
      {c + "volumeDevices", "[]"},
      {c + "resources/limits", R"({"cpu": 2, "memory": 1073741824, "ephemeral-storage": "1e9"})"},
      {c + "resources/limits/cpu", "0.5"},
      {c + "resources/limits/cpu", R"("8000m")"},
      {c + "resources/limits/memory", R"("16Gi")"},
      {c + "resources/limits/nvidia.com~1gpu", R"("1")"},
      {c + "envFrom", R"([{"configMapRef": {"name": "c"}}])"},
      {c + "env/0", R"({"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}})"},
      {"/spec/hostNetwork", "false"},
      {"/spec/shareProcessNamespace", "null"},
      {"/spec/activeDeadlineSeconds", "86400"},
      {"/spec/activeDeadlineSeconds", "1"},
      {"/spec/securityContext/sysctls", "[]"},
      {"/spec/securityContext/supplementalGroups", "[2000]"},
      {"/spec/securityContext/fsGroup", "null"},
      {"/spec/resources", R"({"limits": {"cpu": "2", "memory": "4Gi"}})"},
      {"/spec/volumes", "null"},
      {"/spec/volumes/0/emptyDir/sizeLimit", "1024"},
      {"/metadata/annotations", "null"},
      {"/metadata/annotations/container.apparmor.security.beta.kubernetes.io~1aider",
       R"("runtime/default")"},
      {"/metadata/annotations/seccomp.security.alpha.kubernetes.io~1pod", R"("runtime/default")"},
      {"/metadata/annotations/container.seccomp.security.alpha.kubernetes.io~1aider",
       R"("docker/default")"},
      {"/metadata/annotations/example.com~1note", R"("unconfined")"},
  };
  for (const auto& [pointer, text] : changes) {
    SCOPED_TRACE(pointer + " = " + text);
    json pod = good_pod();
    apply(pod, {pointer, text});
    EXPECT_TRUE(findings_of(pod).empty()) << tell(findings_of(pod));
  }
}

TEST(Controls, SettingsDecideWhatTheySay) {
  Settings settings;
  json pod = good_pod();
  pod["spec"].erase("hostUsers");
  settings.require_user_namespace = false;
  EXPECT_TRUE(findings_of(pod, settings).empty());

  pod = good_pod();
  pod["spec"]["securityContext"]["seccompProfile"] = {{"type", "Localhost"},
                                                      {"localhostProfile", "agent.json"}};
  pod["metadata"]["annotations"]["seccomp.security.alpha.kubernetes.io/pod"] =
      "localhost/agent.json";
  EXPECT_EQ(findings_of(pod).size(), 2U) << tell(findings_of(pod));
  settings = {};
  settings.allowed_seccomp_localhost_profiles = {"agent.json"};
  EXPECT_TRUE(findings_of(pod, settings).empty());

  settings = {};
  settings.max_lifetime_seconds = 7199;
  settings.max_cpu_millis = 1999;
  settings.max_memory_bytes = (2LL << 30) - 1;
  settings.max_ephemeral_bytes = (4LL << 30) - 1;
  settings.max_empty_dir_bytes = (4LL << 30) - 1;
  EXPECT_EQ(
      fields_of(findings_of(good_pod(), settings)),
      (std::vector<std::string>{
          "spec.volumes[0].emptyDir.sizeLimit", "spec.containers[0].resources.limits.cpu",
          "spec.containers[0].resources.limits.memory",
          "spec.containers[0].resources.limits.ephemeral-storage", "spec.activeDeadlineSeconds"}));
}

TEST(Controls, PrefixGoesBeforeEachPath) {
  json pod = good_pod();
  pod["spec"]["hostPID"] = true;
  pod["metadata"]["annotations"]["seccomp.security.alpha.kubernetes.io/pod"] = "unconfined";
  EXPECT_EQ(
      fields_of(findings_of(pod, {}, "spec.jobTemplate.spec.template.")),
      (std::vector<std::string>{
          R"(spec.jobTemplate.spec.template.metadata.annotations["seccomp.security.alpha.kubernetes.io/pod"])",
          "spec.jobTemplate.spec.template.spec.hostPID"}));
}

TEST(Controls, FindingsComeInTheTablesOrder) {
  const auto findings = findings_of(json::parse(R"({"spec": {"containers": [{}, {}]}})"));
  std::size_t last = 0;
  for (const Finding& finding : findings) {
    const auto at = static_cast<std::size_t>(find_control(finding.control) - controls().data());
    EXPECT_GE(at, last);
    last = at;
  }
  EXPECT_GT(findings.size(), 20U);
}

}  // namespace
}  // namespace palisade::policy::testing
