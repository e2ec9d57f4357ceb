// apparmor: the runtime's profile stays on.
//
// | field                                                 | allowed                        |
// | ----------------------------------------------------- | ------------------------------ |
// | {spec,CONTAINER}.securityContext.appArmorProfile.type | RuntimeDefault; absent profile |
// | metadata.annotations[*]                               | runtime/default, "", absent    |
//
// The annotations are container.apparmor.security.beta.kubernetes.io/NAME. Stricter than the Pod
// Security Standards, which take any Localhost profile: a profile on the node may allow
// everything.
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::apparmor {
namespace {

constexpr std::string_view kId = "apparmor";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, AppArmor"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.7.3"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

constexpr std::string_view kAnnotation = "container.apparmor.security.beta.kubernetes.io/";

void judge(Report& report, const Node& security) {
  const Node profile = security["appArmorProfile"];
  if (profile.absent()) return;
  const Node type = profile["type"];
  const auto value = type.text();
  if (value.broken()) {
    report.wrong_type(type, "RuntimeDefault");
  } else if (!value.is("RuntimeDefault")) {
    report(type, "must be RuntimeDefault");
  }
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  judge(report, pod.security());
  for (const Container& container : pod.containers())
    judge(report, container.security);
  each_member(report, pod.annotations(), [&](const Node& annotation) {
    if (!annotation.key().starts_with(kAnnotation)) return;
    const auto value = annotation.text();
    if (value.broken()) {
      report.wrong_type(annotation, "runtime/default");
    } else if (value.present() && value.value != "runtime/default" && !value.value.empty()) {
      report(annotation, "asks for another AppArmor profile than the runtime's");
    }
  });
}

std::string twin(const Settings& /*settings*/) {
  return cel::securities(
             "has(SEC.appArmorProfile) && SEC.appArmorProfile.?type.orValue('') != "
             "'RuntimeDefault'",
             ".appArmorProfile") +
         " + " +
         cel::annotations("a.startsWith(" + cel::text(kAnnotation) +
                          ") && !(variables.annotations[a] in ['', 'runtime/default'])");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "AppArmor is not loosened",
    .why =
        "The default profile denies mounts, ptrace of others and writes to /proc and /sys even "
        "when another layer fails.",
    .remedy =
        "remove appArmorProfile and the container.apparmor.security.beta.kubernetes.io "
        "annotations, or ask for RuntimeDefault",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::apparmor
