// non-zero-ids: no user, group or supplemental group is 0, and none is left to the image.
//
// | field                                            | allowed                                |
// | ------------------------------------------------ | -------------------------------------- |
// | spec.securityContext.runAsUser, .runAsGroup      | above 0; absent where all containers   |
// |                                                  | have their own                         |
// | CONTAINER.securityContext.runAsUser, .runAsGroup | above 0; absent where the pod's is set |
// | spec.securityContext.fsGroup                     | above 0, absent                        |
// | spec.securityContext.supplementalGroups[*]       | above 0                                |
//
// An absent group is refused because the runtime then takes group 0 for a UID that the image's
// /etc/passwd does not list.
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::non_zero_ids {
namespace {

constexpr std::string_view kId = "non-zero-ids";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: restricted, Running as Non-root user"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.7"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: non-root containers"),
};

void judge(Report& report, const Node& node) {
  const auto value = node.integer();
  if (value.broken()) {
    report.wrong_type(node, "a whole number above 0");
  } else if (value.present() && value.value <= 0) {
    report(node, "must be above 0: 0 is root");
  }
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const std::string_view field : {"runAsUser", "runAsGroup"}) {
    each_inherited(
        pod, field, [&](const Node& node) { judge(report, node); },
        [&](const Node& node) {
          report(node,
                 "is set neither here nor for the pod, so the image or the runtime chooses it, "
                 "and may choose 0");
        });
  }
  const Node fs_group = pod.security()["fsGroup"];
  judge(report, fs_group);
  const Node groups = pod.security()["supplementalGroups"];
  each_item(report, groups, [&](const Node& group) { judge(report, group); });
}

std::string twin(const Settings& /*settings*/) {
  return cel::inherited("runAsUser", "VALUE <= 0") + " + " +
         cel::inherited("runAsGroup", "VALUE <= 0") + " + " +
         cel::where("variables.sec.?fsGroup.orValue(1) <= 0", "spec.securityContext.fsGroup") +
         " + " +
         cel::where("variables.sec.?supplementalGroups.orValue([]).exists(g, g <= 0)",
                    "spec.securityContext.supplementalGroups");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "User and group IDs are set and are not 0",
    .why =
        "A process in group 0 or with UID 0 reads and writes what the image and the mounted "
        "volumes keep for root.",
    .remedy =
        "set runAsUser and runAsGroup in spec.securityContext to an ID above 0, and leave 0 out of "
        "fsGroup and supplementalGroups",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::non_zero_ids
