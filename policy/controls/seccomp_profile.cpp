// seccomp-profile: every container runs under the runtime's syscall filter or a known one.
//
// | field                                         | allowed                                  |
// | --------------------------------------------- | ---------------------------------------- |
// | spec.securityContext.seccompProfile.type      | RuntimeDefault; Localhost with a         |
// |                                               | localhostProfile of the settings; absent |
// | CONTAINER.securityContext.seccompProfile.type | the same; absent where the pod's is set  |
// | metadata.annotations[*]                       | runtime/default, docker/default,         |
// |                                               | localhost/ and a profile of the settings |
//
// The annotations are seccomp.security.alpha.kubernetes.io/pod and
// container.seccomp.security.alpha.kubernetes.io/NAME. They do nothing since Kubernetes 1.27; they
// are read for the older ones.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::seccomp_profile {
namespace {

constexpr std::string_view kId = "seccomp-profile";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: restricted, Seccomp"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.7.2"),
    std::string_view(
        "NSA/CISA Kubernetes Hardening Guidance 1.2: hardening applications with seccomp"),
};

constexpr std::string_view kPodAnnotation = "seccomp.security.alpha.kubernetes.io/pod";
constexpr std::string_view kContainerAnnotation = "container.seccomp.security.alpha.kubernetes.io/";

bool allowlisted(const Settings& settings, std::string_view profile) {
  return !profile.empty() &&
         std::ranges::find(settings.allowed_seccomp_localhost_profiles, profile) !=
             settings.allowed_seccomp_localhost_profiles.end();
}

void judge(Report& report, const Settings& settings, const Node& profile) {
  const Node type = profile["type"];
  const auto name = type.text();
  if (name.broken()) {
    report.wrong_type(type, "RuntimeDefault");
  } else if (name.is("Localhost")) {
    const Node file = profile["localhostProfile"];
    const auto path = file.text();
    if (path.broken()) {
      report.wrong_type(file, "the path of an allowlisted profile");
    } else if (!allowlisted(settings, path.value)) {
      report(file,
             "is not among the profiles that the settings allow "
             "(allowedSeccompLocalhostProfiles)");
    }
  } else if (!name.is("RuntimeDefault")) {
    report(type, "must be RuntimeDefault, or Localhost with an allowlisted profile");
  }
}

void judge_annotation(Report& report, const Settings& settings, const Node& annotation) {
  const std::string_view key = annotation.key();
  if (key != kPodAnnotation && !key.starts_with(kContainerAnnotation)) return;
  const auto value = annotation.text();
  if (value.broken()) {
    report.wrong_type(annotation, "runtime/default");
    return;
  }
  if (value.absent() || value.value == "runtime/default" || value.value == "docker/default") return;
  constexpr std::string_view kLocalhost = "localhost/";
  if (value.value.starts_with(kLocalhost) &&
      allowlisted(settings, value.value.substr(kLocalhost.size()))) {
    return;
  }
  report(annotation, "asks for another seccomp profile than the runtime's");
}

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  each_inherited(
      pod, "seccompProfile", [&](const Node& node) { judge(report, settings, node); },
      [&](const Node& node) {
        report(node, "is set neither here nor for the pod, so no syscall filter need apply");
      });
  each_member(report, pod.annotations(),
              [&](const Node& annotation) { judge_annotation(report, settings, annotation); });
}

std::string twin(const Settings& settings) {
  std::vector<std::string> files;
  std::vector<std::string> values{"runtime/default", "docker/default"};
  for (const std::string& profile : settings.allowed_seccomp_localhost_profiles) {
    if (profile.empty()) continue;
    files.push_back(profile);
    values.push_back("localhost/" + profile);
  }
  return cel::inherited(
             "seccompProfile",
             "!(VALUE.?type.orValue('') == 'RuntimeDefault' || (VALUE.?type.orValue('') == "
             "'Localhost' && VALUE.?localhostProfile.orValue('') in " +
                 cel::list(files) + "))") +
         " + " +
         cel::annotations("(a == " + cel::text(kPodAnnotation) + " || a.startsWith(" +
                          cel::text(kContainerAnnotation) + ")) && !(variables.annotations[a] in " +
                          cel::list(values) + ")");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "A seccomp profile filters system calls",
    .why =
        "Without a filter the whole system call surface of the node kernel is open to an exploit.",
    .remedy = "set spec.securityContext.seccompProfile: {type: RuntimeDefault}",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::seccomp_profile
