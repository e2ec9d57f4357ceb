// run-as-non-root: the kubelet must refuse to start anything as UID 0.
//
// | field                                  | allowed                              |
// | -------------------------------------- | ------------------------------------ |
// | spec.securityContext.runAsNonRoot      | true, absent                         |
// | CONTAINER.securityContext.runAsNonRoot | true; absent where the pod's is true |
//
// A pod-level false is refused even where every container overrides it: the next container, an
// ephemeral one say, would inherit it.
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::run_as_non_root {
namespace {

constexpr std::string_view kId = "run-as-non-root";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: restricted, Running as Non-root"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.7"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: non-root containers"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  each_inherited(
      pod, "runAsNonRoot",
      [&](const Node& node) {
        const auto value = node.boolean();
        if (value.broken()) {
          report.wrong_type(node, "true");
        } else if (!value.value) {
          report(node, "lets containers run as root");
        }
      },
      [&](const Node& node) {
        report(node,
               "is set neither here nor for the pod, so the image decides whether it is root");
      });
}

std::string twin(const Settings& /*settings*/) {
  return cel::inherited("runAsNonRoot", "!VALUE");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "Containers must not run as root",
    .why =
        "Root in a container owns every file of the image and is one kernel bug away from root on "
        "the node.",
    .remedy = "set spec.securityContext.runAsNonRoot: true and no container-level false",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::run_as_non_root
