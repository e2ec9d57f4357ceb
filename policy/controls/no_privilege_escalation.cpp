// no-privilege-escalation: no_new_privs is set on every process.
//
// | field                                              | allowed |
// | -------------------------------------------------- | ------- |
// | CONTAINER.securityContext.allowPrivilegeEscalation | false   |
//
// There is no pod-level field, and absent means true.
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_privilege_escalation {
namespace {

constexpr std::string_view kId = "no-privilege-escalation";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: restricted, Privilege Escalation"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.6"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    const Node node = container.security["allowPrivilegeEscalation"];
    const auto value = node.boolean();
    if (value.broken()) {
      report.wrong_type(node, "false");
    } else if (!value.is(false)) {
      report(node, "must be false: otherwise setuid programs and file capabilities work");
    }
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers("k.s.?allowPrivilegeEscalation.orValue(true)",
                         ".securityContext.allowPrivilegeEscalation");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No privilege escalation",
    .why =
        "A setuid program or a file capability in the image turns the agent into root, whatever "
        "UID it started with.",
    .remedy = "set allowPrivilegeEscalation: false in the securityContext of each container",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_privilege_escalation
