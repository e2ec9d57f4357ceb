// not-privileged: no container is given the node.
//
// | field                                | allowed       |
// | ------------------------------------ | ------------- |
// | CONTAINER.securityContext.privileged | false, absent |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::not_privileged {
namespace {

constexpr std::string_view kId = "not-privileged";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, Privileged Containers"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.2"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    const Node node = container.security["privileged"];
    refuse_true(report, node, "gives the container every device and capability of the node");
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers("k.s.?privileged.orValue(false)", ".securityContext.privileged");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No privileged containers",
    .why =
        "A privileged container is root on the node: all devices, all capabilities, no seccomp, no "
        "AppArmor.",
    .remedy = "remove securityContext.privileged or set it to false",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::not_privileged
