// selinux: the container's domain is one of those made for containers.
//
// | field                                           | allowed                              |
// | ----------------------------------------------- | ------------------------------------ |
// | {spec,CONTAINER}.securityContext.seLinuxOptions |                                      |
// |   .type                                         | container_t, container_init_t,       |
// |                                                 | container_kvm_t, container_engine_t, |
// |                                                 | "", absent                           |
// |   .user, .role                                  | "", absent                           |
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::selinux {
namespace {

constexpr std::string_view kId = "selinux";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, SELinux"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.7.3"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

constexpr std::array kTypes{
    std::string_view(""),
    std::string_view("container_t"),
    std::string_view("container_init_t"),
    std::string_view("container_kvm_t"),
    std::string_view("container_engine_t"),
};

void judge(Report& report, const Node& security) {
  const Node options = security["seLinuxOptions"];
  const Node type = options["type"];
  const auto name = type.text();
  if (name.broken()) {
    report.wrong_type(type, "absent");
  } else if (name.present() && std::ranges::find(kTypes, name.value) == kTypes.end()) {
    report(type, "is not one of the types made for containers");
  }
  for (const std::string_view field : {"user", "role"}) {
    const Node node = options[field];
    const auto value = node.text();
    if (value.broken()) {
      report.wrong_type(node, "absent");
    } else if (value.present() && !value.value.empty()) {
      report(node, "sets an SELinux user or role of its own");
    }
  }
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  judge(report, pod.security());
  for (const Container& container : pod.containers())
    judge(report, container.security);
}

std::string twin(const Settings& /*settings*/) {
  return cel::securities("!(SEC.?seLinuxOptions.?type.orValue('') in " + cel::list(kTypes) +
                             ") || SEC.?seLinuxOptions.?user.orValue('') != '' || "
                             "SEC.?seLinuxOptions.?role.orValue('') != ''",
                         ".seLinuxOptions");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "SELinux is not loosened",
    .why =
        "A custom type such as spc_t is an unconfined domain: SELinux no longer separates the pod "
        "from the node.",
    .remedy = "remove seLinuxOptions, or use the type container_t without user and role",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::selinux
