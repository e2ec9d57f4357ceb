// user-namespace: root in the pod is nobody on the node.
//
// | field          | allowed                                              |
// | -------------- | ---------------------------------------------------- |
// | spec.hostUsers | false; anything where the settings do not require it |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::user_namespace {
namespace {

constexpr std::string_view kId = "user-namespace";
constexpr std::array kReferences{
    std::string_view("Kubernetes documentation: User Namespaces"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: non-root containers"),
};

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  if (!settings.require_user_namespace) return;
  Report report{kId, out};
  const Node node = pod.spec()["hostUsers"];
  const auto value = node.boolean();
  if (value.broken()) {
    report.wrong_type(node, "false");
  } else if (!value.is(false)) {
    report(node, "must be false: the pod shares the user IDs of the node");
  }
}

std::string twin(const Settings& settings) {
  if (!settings.require_user_namespace) return "[]";
  return cel::where("variables.spec.?hostUsers.orValue(true)", "spec.hostUsers");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "A user namespace of its own",
    .why =
        "Without it a UID in the pod is the same UID on the node, so an escape keeps every right "
        "that UID has there.",
    .remedy =
        "set spec.hostUsers: false (or requireUserNamespace: false in the settings, for nodes "
        "without user namespaces)",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::user_namespace
