#include "operator/weakenings.h"

#include <algorithm>

namespace palisade::op::testing {

namespace {

using policy::testing::Change;

const std::string kGone{policy::testing::kGone};

struct Way {
  const char* control;
  const char* name;
  std::string pointer;  // below the place
  std::string text;     // JSON, or kGone
};

// What can be broken in a securityContext of the pod and of a container alike.
std::vector<Way> shared_ways() {
  return {
      {"run-as-non-root", "false", "runAsNonRoot", "false"},
      {"run-as-non-root", "a text", "runAsNonRoot", R"("true")"},
      {"non-zero-ids", "user 0", "runAsUser", "0"},
      {"non-zero-ids", "user -1", "runAsUser", "-1"},
      {"non-zero-ids", "group 0", "runAsGroup", "0"},
      {"seccomp-profile", "unconfined", "seccompProfile", R"({"type": "Unconfined"})"},
      {"seccomp-profile", "unlisted file", "seccompProfile",
       R"({"type": "Localhost", "localhostProfile": "mine.json"})"},
      {"seccomp-profile", "no type", "seccompProfile", "{}"},
      {"apparmor", "unconfined", "appArmorProfile", R"({"type": "Unconfined"})"},
      {"apparmor", "localhost", "appArmorProfile",
       R"({"type": "Localhost", "localhostProfile": "mine"})"},
      {"selinux", "type", "seLinuxOptions", R"({"type": "spc_t"})"},
      {"selinux", "user", "seLinuxOptions", R"({"user": "system_u"})"},
      {"selinux", "role", "seLinuxOptions", R"({"role": "system_r"})"},
      {"no-windows-host-process", "true", "windowsOptions", R"({"hostProcess": true})"},
  };
}

std::vector<Way> container_ways(const Json& container, bool ephemeral) {
  std::vector<Way> out{
      {"not-privileged", "true", "/securityContext/privileged", "true"},
      {"no-privilege-escalation", "true", "/securityContext/allowPrivilegeEscalation", "true"},
      {"no-privilege-escalation", "absent", "/securityContext/allowPrivilegeEscalation", kGone},
      {"drop-all-capabilities", "none dropped", "/securityContext/capabilities/drop", "[]"},
      {"drop-all-capabilities", "absent", "/securityContext/capabilities", kGone},
      {"drop-all-capabilities", "one only", "/securityContext/capabilities/drop", R"(["NET_RAW"])"},
      {"drop-all-capabilities", "one added", "/securityContext/capabilities/add",
       R"(["NET_BIND_SERVICE"])"},
      {"drop-all-capabilities", "all added", "/securityContext/capabilities/add", R"(["ALL"])"},
      {"read-only-root-filesystem", "false", "/securityContext/readOnlyRootFilesystem", "false"},
      {"read-only-root-filesystem", "absent", "/securityContext/readOnlyRootFilesystem", kGone},
      {"proc-mount", "unmasked", "/securityContext/procMount", R"("Unmasked")"},
      {"host-ports", "one", "/ports", R"([{"containerPort": 80, "hostPort": 80}])"},
      {"no-mount-propagation", "to the node", "/volumeMounts/0/mountPropagation",
       R"("Bidirectional")"},
      {"known-fields", "of the future", "/volumeMounts/0/bindMountOptions", R"(["exec"])"},
      {"image-source", "a number", "/image", "7"},
      {"no-device-claims", "one", "/resources/claims", R"([{"name": "nic"}])"},
      {"linux-only", "an account", "/securityContext/windowsOptions",
       R"({"runAsUserName": "ContainerAdministrator"})"},
      {"read-only-root-filesystem", "a writable file", "/terminationMessagePath",
       R"("/etc/ld.so.preload")"},
      {"no-block-devices", "one", "/volumeDevices",
       R"([{"name": "workspace", "devicePath": "/dev/xvda"}])"},
      {"no-secret-in-env", "variable", "/env/-",
       R"({"name": "T", "valueFrom": {"secretKeyRef": {"name": "fix-login-git", "key": "token"}}})"},
      {"no-secret-in-env", "all of it", "/envFrom",
       R"([{"secretRef": {"name": "fix-login-git"}}])"},
      {"no-llm-key-by-value", "variable", "/env/-",
       R"({"name": "ANTHROPIC_API_KEY", "value": "abc"})"},
      {"no-llm-key-by-value", "option", "/command/-", R"("--openai-api-key=abc")"},
      {"no-llm-key-by-value", "argument", "/args", R"(["--api-key", "openai=abc"])"},
  };
  for (const Way& way : shared_ways())
    out.push_back({way.control, way.name, "/securityContext/" + way.pointer, way.text});
  for (const std::string probe : {"livenessProbe", "readinessProbe", "startupProbe"}) {
    for (const std::string action : {"httpGet", "tcpSocket"}) {
      out.push_back({"no-probe-host", "probe", "/" + probe,
                     "{\"" + action + R"(": {"port": 80, "host": "169.254.169.254"}})"});
    }
  }
  for (const std::string hook : {"postStart", "preStop"}) {
    out.push_back({"no-probe-host", "hook", "/lifecycle/" + hook,
                   R"({"httpGet": {"port": 80, "host": "127.0.0.1"}})"});
  }
  if (ephemeral) return out;  // they have no resources of their own
  for (const auto& [resource, limit] : container.at("resources").at("limits").items()) {
    const std::string pointer = "/resources/limits/" + resource;
    out.push_back({"resource-limits", "absent", pointer, kGone});
    for (const char* value : {R"("0")", R"("-1")", R"("1000P")", R"("lots")", "[]"})
      out.push_back({"resource-limits", "out of bounds", pointer, value});
  }
  out.push_back({"resource-limits", "no limits", "/resources/limits", kGone});
  out.push_back({"resource-limits", "no resources", "/resources", kGone});
  return out;
}

std::vector<Way> pod_ways() {
  std::vector<Way> out{
      {"non-zero-ids", "fsGroup 0", "/spec/securityContext/fsGroup", "0"},
      {"non-zero-ids", "supplemental 0", "/spec/securityContext/supplementalGroups", "[1001, 0]"},
      {"no-sysctls", "one", "/spec/securityContext/sysctls",
       R"([{"name": "net.ipv4.ping_group_range", "value": "0 0"}])"},
      {"user-namespace", "the node's", "/spec/hostUsers", "true"},
      {"user-namespace", "absent", "/spec/hostUsers", kGone},
      {"no-service-account-token", "true", "/spec/automountServiceAccountToken", "true"},
      {"no-service-account-token", "absent", "/spec/automountServiceAccountToken", kGone},
      {"no-service-account-token", "projected", "/spec/volumes/-",
       R"({"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}})"},
      {"no-service-account-token", "projected for another audience", "/spec/volumes/-",
       R"({"name": "t", "projected": {"sources":
           [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}})"},
      {"bounded-lifetime", "absent", "/spec/activeDeadlineSeconds", kGone},
      {"bounded-lifetime", "none", "/spec/activeDeadlineSeconds", "0"},
      {"bounded-lifetime", "too long", "/spec/activeDeadlineSeconds", "86401"},
      {"bounded-lifetime", "a long end", "/spec/terminationGracePeriodSeconds", "86400"},
      {"no-node-name", "by hand", "/spec/nodeName", R"("node-1")"},
      {"runtime-class", "a number", "/spec/runtimeClassName", "7"},
      {"fair-scheduling", "the cluster's priority", "/spec/priorityClassName",
       R"("system-cluster-critical")"},
      {"fair-scheduling", "every taint", "/spec/tolerations", R"([{"operator": "Exists"}])"},
      {"no-device-claims", "for the pod", "/spec/resourceClaims", R"([{"name": "nic"}])"},
      {"linux-only", "Windows", "/spec/os", R"({"name": "windows"})"},
      {"known-fields", "in the pod", "/spec/evictionResponders", "[]"},
      {"no-runtime-annotations", "a device", "/metadata/annotations/cdi.k8s.io~1gpu", R"("all")"},
  };
  for (const Way& way : shared_ways())
    out.push_back({way.control, way.name, "/spec/securityContext/" + way.pointer, way.text});
  for (const char* field : {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"})
    out.push_back({"no-host-namespaces", field, std::string("/spec/") + field, "true"});
  return out;
}

// Sources of volumes that are never allowed, as the API spells them.
constexpr std::pair<const char*, const char*> kForeignSources[] = {
    {"hostPath", R"({"path": "/"})"},
    {"nfs", R"({"server": "nfs.example.com", "path": "/"})"},
    {"csi", R"({"driver": "inline.example.com"})"},
    {"iscsi", R"({"targetPortal": "192.0.2.1", "iqn": "iqn.2001-04.com.example:x", "lun": 0})"},
    {"image", R"({"reference": "registry.example.com/tools:1"})"},
    {"gitRepo", R"({"repository": "https://git.example.com/x.git"})"},
    {"flexVolume", R"({"driver": "example.com/x"})"},
    {"aNewSource", "{}"},
};

// "metadata.annotations" has '/' in its names: escaped for a JSON pointer.
std::string annotation_pointer(const std::string& prefix, const std::string& name) {
  return "/metadata/annotations/" + prefix + "~1" + name;
}

}  // namespace

Json with_ephemeral_container(Json pod) {
  const Json& aider = container(pod, "aider");
  pod["spec"]["ephemeralContainers"] =
      Json::array({{{"name", "debug"},
                    {"image", aider["image"]},
                    {"command", {"sh"}},
                    {"env", Json::array()},
                    {"securityContext", aider["securityContext"]}}});
  return pod;
}

std::vector<Weakening> weakenings_of(const Json& pod) {
  std::vector<Weakening> out;
  for (const Way& way : pod_ways())
    out.push_back({way.control,
                   std::string(way.name) + " at the pod's " + way.pointer,
                   {{way.pointer, way.text}}});
  for (const std::string list : {"initContainers", "containers", "ephemeralContainers"}) {
    const Json& containers = pod.at("spec").value(list, Json::array());
    for (std::size_t i = 0; i < containers.size(); ++i) {
      const std::string place = "/spec/" + list + "/" + std::to_string(i);
      const std::string name = containers[i].at("name");
      for (const Way& way : container_ways(containers[i], list == "ephemeralContainers"))
        out.push_back({way.control,
                       std::string(way.name) + " at " + place + way.pointer,
                       {{place + way.pointer, way.text}}});
      // Set neither here nor for the pod; one alone is made up for by the other.
      for (const auto& [control, field] :
           {std::pair("run-as-non-root", "runAsNonRoot"), std::pair("non-zero-ids", "runAsUser"),
            std::pair("non-zero-ids", "runAsGroup"),
            std::pair("seccomp-profile", "seccompProfile")}) {
        out.push_back({control,
                       std::string(field) + " nowhere for " + place,
                       {{place + "/securityContext/" + field, kGone},
                        {std::string("/spec/securityContext/") + field, kGone}}});
      }
      out.push_back({"apparmor",
                     "annotation for " + name,
                     {{annotation_pointer("container.apparmor.security.beta.kubernetes.io", name),
                       R"("unconfined")"}}});
      out.push_back({"seccomp-profile",
                     "annotation for " + name,
                     {{annotation_pointer("container.seccomp.security.alpha.kubernetes.io", name),
                       R"("unconfined")"}}});
    }
  }
  const Json& volumes = pod.at("spec").at("volumes");
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    const std::string place = "/spec/volumes/" + std::to_string(i);
    const std::string name = volumes[i].at("name");
    for (const auto& [source, value] : kForeignSources) {
      out.push_back(
          {"volume-types",
           std::string(source) + " instead of " + name,
           {{place, R"({"name": ")" + name + R"(", ")" + source + "\": " + value + "}"}}});
    }
    out.push_back(
        {"volume-types", "hostPath beside " + name, {{place + "/hostPath", R"({"path": "/"})"}}});
    out.push_back(
        {"sized-empty-dirs", "no source for " + name, {{place, R"({"name": ")" + name + R"("})"}}});
    if (!volumes[i].contains("emptyDir")) continue;
    out.push_back(
        {"sized-empty-dirs", "no size for " + name, {{place + "/emptyDir/sizeLimit", kGone}}});
    for (const char* value : {R"("0")", R"("33Gi")", R"("lots")", "true"})
      out.push_back({"sized-empty-dirs",
                     std::string(value) + " for " + name,
                     {{place + "/emptyDir/sizeLimit", value}}});
  }
  return out;
}

Json weakened(Json pod, const Weakening& weakening) {
  for (const Change& change : weakening.changes)
    policy::testing::apply(pod, change);
  return pod;
}

bool apart(const Weakening& a, const Weakening& b) {
  const auto within = [](const std::string& inner, const std::string& outer) {
    return inner == outer || inner.starts_with(outer + "/");
  };
  return std::ranges::none_of(a.changes, [&](const Change& x) {
    return std::ranges::any_of(b.changes, [&](const Change& y) {
      return within(x.pointer, y.pointer) || within(y.pointer, x.pointer);
    });
  });
}

}  // namespace palisade::op::testing
