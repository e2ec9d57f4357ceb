// A field of the wrong JSON type is a finding of every control that reads it, never a pass.
#include <algorithm>

#include <gtest/gtest.h>

#include "policy/fixture.h"

namespace palisade::policy::testing {
namespace {

enum class Kind { boolean, integer, text, list, object, quantity };

// A value of each JSON type but those that `kind` takes.
std::vector<json> wrong_values(Kind kind) {
  std::vector<json> out;
  if (kind != Kind::boolean) out.push_back(true);
  if (kind != Kind::integer && kind != Kind::quantity) out.push_back(7);
  if (kind == Kind::integer) out.insert(out.end(), {1.5, 1e300, 18446744073709551615ULL});
  if (kind != Kind::text) out.push_back("x");
  if (kind != Kind::list) out.push_back(json::array({"x"}));
  if (kind != Kind::object) out.push_back({{"x", "y"}});
  return out;
}

struct Field {
  std::string control;
  std::string pointer;
  std::string path;
  Kind kind;
};

std::vector<Field> container_fields() {
  const std::string p = "/securityContext/";
  const std::string d = ".securityContext.";
  std::vector<Field> out{
      {"run-as-non-root", p + "runAsNonRoot", d + "runAsNonRoot", Kind::boolean},
      {"non-zero-ids", p + "runAsUser", d + "runAsUser", Kind::integer},
      {"non-zero-ids", p + "runAsGroup", d + "runAsGroup", Kind::integer},
      {"not-privileged", p + "privileged", d + "privileged", Kind::boolean},
      {"no-privilege-escalation", p + "allowPrivilegeEscalation", d + "allowPrivilegeEscalation",
       Kind::boolean},
      {"drop-all-capabilities", p + "capabilities", d + "capabilities", Kind::object},
      {"drop-all-capabilities", p + "capabilities/drop", d + "capabilities.drop", Kind::list},
      {"drop-all-capabilities", p + "capabilities/drop/0", d + "capabilities.drop[0]", Kind::text},
      {"drop-all-capabilities", p + "capabilities/add", d + "capabilities.add", Kind::list},
      {"seccomp-profile", p + "seccompProfile", d + "seccompProfile", Kind::object},
      {"read-only-root-filesystem", p + "readOnlyRootFilesystem", d + "readOnlyRootFilesystem",
       Kind::boolean},
      {"proc-mount", p + "procMount", d + "procMount", Kind::text},
      {"apparmor", p + "appArmorProfile", d + "appArmorProfile", Kind::object},
      {"selinux", p + "seLinuxOptions", d + "seLinuxOptions", Kind::object},
      {"no-windows-host-process", p + "windowsOptions", d + "windowsOptions", Kind::object},
      {"image-source", "/image", ".image", Kind::text},
      {"no-mount-propagation", "/volumeMounts", ".volumeMounts", Kind::list},
      {"read-only-root-filesystem", "/terminationMessagePath", ".terminationMessagePath",
       Kind::text},
      {"known-fields", "/volumeMounts", ".volumeMounts", Kind::list},
      {"no-device-claims", "/resources", ".resources", Kind::object},
      {"host-ports", "/ports", ".ports", Kind::list},
      {"no-block-devices", "/volumeDevices", ".volumeDevices", Kind::list},
      {"no-probe-host", "/livenessProbe", ".livenessProbe", Kind::object},
      {"no-probe-host", "/lifecycle", ".lifecycle", Kind::object},
      {"no-secret-in-env", "/env", ".env", Kind::list},
      {"no-llm-key-by-value", "/env", ".env", Kind::list},
      {"no-secret-in-env", "/envFrom", ".envFrom", Kind::list},
      {"no-llm-key-by-value", "/command", ".command", Kind::list},
      {"no-llm-key-by-value", "/args", ".args", Kind::list},
      {"resource-limits", "/resources", ".resources", Kind::object},
      {"resource-limits", "/resources/limits", ".resources.limits", Kind::object},
      {"resource-limits", "/resources/limits/cpu", ".resources.limits.cpu", Kind::quantity},
  };
  for (const char* control :
       {"run-as-non-root", "non-zero-ids", "not-privileged", "no-privilege-escalation",
        "drop-all-capabilities", "seccomp-profile", "read-only-root-filesystem", "proc-mount",
        "apparmor", "selinux", "no-windows-host-process"}) {
    out.push_back({control, "/securityContext", ".securityContext", Kind::object});
  }
  return out;
}

std::vector<Field> pod_fields() {
  const std::string p = "/spec/securityContext/";
  const std::string d = "spec.securityContext.";
  std::vector<Field> out{
      {"run-as-non-root", p + "runAsNonRoot", d + "runAsNonRoot", Kind::boolean},
      {"non-zero-ids", p + "runAsUser", d + "runAsUser", Kind::integer},
      {"non-zero-ids", p + "fsGroup", d + "fsGroup", Kind::integer},
      {"non-zero-ids", p + "supplementalGroups", d + "supplementalGroups", Kind::list},
      {"seccomp-profile", p + "seccompProfile", d + "seccompProfile", Kind::object},
      {"seccomp-profile", p + "seccompProfile/type", d + "seccompProfile.type", Kind::text},
      {"no-sysctls", p + "sysctls", d + "sysctls", Kind::list},
      {"user-namespace", "/spec/hostUsers", "spec.hostUsers", Kind::boolean},
      {"no-host-namespaces", "/spec/hostNetwork", "spec.hostNetwork", Kind::boolean},
      {"no-host-namespaces", "/spec/hostPID", "spec.hostPID", Kind::boolean},
      {"no-node-name", "/spec/nodeName", "spec.nodeName", Kind::text},
      {"runtime-class", "/spec/runtimeClassName", "spec.runtimeClassName", Kind::text},
      {"image-source", "/spec/volumes", "spec.volumes", Kind::list},
      {"no-host-namespaces", "/spec/hostIPC", "spec.hostIPC", Kind::boolean},
      {"no-host-namespaces", "/spec/shareProcessNamespace", "spec.shareProcessNamespace",
       Kind::boolean},
      {"no-service-account-token", "/spec/automountServiceAccountToken",
       "spec.automountServiceAccountToken", Kind::boolean},
      {"bounded-lifetime", "/spec/activeDeadlineSeconds", "spec.activeDeadlineSeconds",
       Kind::integer},
      {"seccomp-profile", "/metadata/annotations", "metadata.annotations", Kind::object},
      {"apparmor", "/metadata/annotations", "metadata.annotations", Kind::object},
      {"no-runtime-annotations", "/metadata/annotations", "metadata.annotations", Kind::object},
      {"no-runtime-annotations", "/metadata", "metadata", Kind::object},
      {"known-fields", "/spec/affinity", "spec.affinity", Kind::object},
      {"known-fields", "/spec/hostAliases", "spec.hostAliases", Kind::list},
      {"known-fields", "/spec/volumes/5/configMap", "spec.volumes[5].configMap", Kind::object},
      {"fair-scheduling", "/spec/tolerations", "spec.tolerations", Kind::list},
      {"fair-scheduling", "/spec/affinity", "spec.affinity", Kind::object},
      {"fair-scheduling", "/spec/priority", "spec.priority", Kind::integer},
      {"fair-scheduling", "/spec/priorityClassName", "spec.priorityClassName", Kind::text},
      {"no-device-claims", "/spec/resourceClaims", "spec.resourceClaims", Kind::list},
      {"linux-only", "/spec/os", "spec.os", Kind::object},
      {"linux-only", p + "windowsOptions", d + "windowsOptions", Kind::object},
      {"bounded-lifetime", "/spec/terminationGracePeriodSeconds",
       "spec.terminationGracePeriodSeconds", Kind::integer},
      {"seccomp-profile", "/metadata", "metadata", Kind::object},
      {"apparmor", "/metadata", "metadata", Kind::object},
      {"resource-limits", "/spec/resources", "spec.resources", Kind::object},
      {"volume-types", "/spec/volumes", "spec.volumes", Kind::list},
      {"sized-empty-dirs", "/spec/volumes", "spec.volumes", Kind::list},
      {"no-service-account-token", "/spec/volumes", "spec.volumes", Kind::list},
      {"sized-empty-dirs", "/spec/volumes/0/emptyDir", "spec.volumes[0].emptyDir", Kind::object},
      {"sized-empty-dirs", "/spec/volumes/0/emptyDir/sizeLimit",
       "spec.volumes[0].emptyDir.sizeLimit", Kind::quantity},
  };
  for (const char* control : {"run-as-non-root", "non-zero-ids", "seccomp-profile", "apparmor",
                              "selinux", "no-sysctls", "no-windows-host-process"}) {
    out.push_back({control, "/spec/securityContext", "spec.securityContext", Kind::object});
  }
  for (const Control& control : controls()) {
    if (control.needs_cluster || control.id == "no-runtime-annotations") continue;
    out.push_back({std::string(control.id), "/spec", "spec", Kind::object});
  }
  // Controls that look into containers, each kind of container.
  for (const char* control : {"run-as-non-root",
                              "non-zero-ids",
                              "not-privileged",
                              "no-privilege-escalation",
                              "drop-all-capabilities",
                              "seccomp-profile",
                              "read-only-root-filesystem",
                              "host-ports",
                              "no-probe-host",
                              "proc-mount",
                              "apparmor",
                              "selinux",
                              "no-windows-host-process",
                              "no-block-devices",
                              "no-secret-in-env",
                              "no-llm-key-by-value",
                              "resource-limits",
                              "image-source",
                              "no-mount-propagation",
                              "no-device-claims",
                              "linux-only",
                              "known-fields"}) {
    for (const std::string list : {"containers", "initContainers", "ephemeralContainers"}) {
      out.push_back({control, "/spec/" + list, "spec." + list, Kind::list});
      out.push_back({control, "/spec/" + list + "/0", "spec." + list + "[0]", Kind::object});
    }
  }
  return out;
}

void expect_found(const json& pod, const Field& field, const std::string& path) {
  const auto findings = findings_of(pod);
  const auto hits = std::ranges::count_if(findings, [&](const Finding& finding) {
    return finding.control == field.control && finding.field == path &&
           finding.message.starts_with("must be ");
  });
  EXPECT_EQ(hits, 1) << field.control << " at " << path << ":\n" << tell(findings);
}

TEST(Types, WrongOnesInContainers) {
  for (const Field& field : container_fields()) {
    for (const json& value : wrong_values(field.kind)) {
      for (const auto& [pointer, path] : std::vector<std::pair<std::string, std::string>>{
               {"/spec/containers/0", "spec.containers[0]"},
               {"/spec/initContainers/0", "spec.initContainers[0]"},
               {"/spec/ephemeralContainers/0", "spec.ephemeralContainers[0]"}}) {
        if (field.control == "resource-limits" && pointer == "/spec/ephemeralContainers/0")
          continue;
        SCOPED_TRACE(pointer + field.pointer + " = " + value.dump());
        json pod = good_pod_with_ephemeral();
        apply(pod, {pointer + field.pointer, value.dump()});
        expect_found(pod, field, path + field.path);
      }
    }
  }
}

TEST(Types, WrongOnesInThePod) {
  for (const Field& field : pod_fields()) {
    for (const json& value : wrong_values(field.kind)) {
      // An ephemeral container that is no object has no resources that could be forbidden.
      SCOPED_TRACE(field.pointer + " = " + value.dump());
      json pod = good_pod_with_ephemeral();
      apply(pod, {field.pointer, value.dump()});
      if (field.control == "resource-limits" && field.pointer == "/spec/ephemeralContainers/0")
        continue;
      expect_found(pod, field, field.path);
    }
  }
}

TEST(Types, ANullContainerIsNoContainer) {
  for (const std::string list : {"containers", "initContainers", "ephemeralContainers"}) {
    json pod = good_pod_with_ephemeral();
    pod["spec"][list].push_back(nullptr);
    EXPECT_FALSE(findings_of(pod).empty()) << list;
  }
}

TEST(Types, GarbageNeverPasses) {
  for (const char* text : {"null", "true", "1", "\"x\"", "[]", "{}", R"({"spec": null})",
                           R"({"spec": {}})", R"({"spec": []})", R"([{"spec": {}}])"}) {
    EXPECT_FALSE(findings_of(std::string(text)).empty()) << text;
  }
}

// JSON lets a member be written twice, and readers differ in which they take.
TEST(Types, AMemberGivenTwiceIsRefused) {
  const std::string good = good_pod().dump();
  for (const auto& [control, member, again] : std::vector<std::array<std::string, 3>>{
           {"no-host-namespaces", R"("spec":{)", R"("spec":{"hostPID":false,"hostPID":true,)"},
           {"no-host-namespaces", R"("spec":{)", R"("spec":{"hostPID":true,"hostPID":null,)"},
           {"user-namespace", R"("hostUsers":false)", R"("hostUsers":false,"hostUsers":true)"},
           {"not-privileged", R"("privileged":false)", R"("privileged":false,"privileged":true)"},
           {"not-privileged", R"("privileged":false)",
            R"("privileged":false,"privileged":true,"privileged":false)"},
           {"run-as-non-root", R"("spec":{)", R"("spec":{"containers":[],)"},
           {"run-as-non-root", R"("spec":{)", R"("spec":{},"spec":{)"},
       }) {
    std::string text = good;
    const auto at = text.find(member);
    ASSERT_NE(at, std::string::npos) << member;
    text.replace(at, member.size(), again);
    const auto findings = findings_of(text);
    const auto hit = std::ranges::find_if(findings, [&, id = control](const Finding& finding) {
      return finding.control == id && finding.found == "(given twice)";
    });
    EXPECT_NE(hit, findings.end()) << again << "\n" << tell(findings);
  }
}

TEST(Types, MoreContainersThanAnyPodHasAreRefusedInBoundedMemory) {
  std::string text = R"({"spec": {"containers": [{})";
  for (int i = 0; i < 300000; ++i)
    text += ",{}";
  text += "]}}";
  const auto findings = findings_of(text);
  EXPECT_FALSE(findings.empty());
  EXPECT_LE(findings.size(), 100U);
  EXPECT_EQ(findings[0].field, "spec.containers");
  EXPECT_NE(findings[0].message.find("500"), std::string::npos);
}

TEST(Types, LongValuesAreShortened) {
  json pod = good_pod();
  std::string value;
  for (int i = 0; i < 1000; ++i)
    value += "\xC3\xA9";
  pod["spec"]["containers"][0]["securityContext"]["procMount"] = value;
  const auto findings = findings_of(pod);
  ASSERT_EQ(findings.size(), 1U);
  EXPECT_LT(findings[0].found.size(), 200U);
  EXPECT_TRUE(findings[0].found.ends_with("..."));
  EXPECT_NO_THROW(static_cast<void>(json(findings[0].found).dump())) << "no UTF-8 sequence is cut";
}

}  // namespace
}  // namespace palisade::policy::testing
