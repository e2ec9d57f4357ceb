// runtime-class: the pod runs under a container runtime that the settings allow.
//
// | field                 | allowed                                                            |
// | --------------------- | ------------------------------------------------------------------ |
// | spec.runtimeClassName | one of allowedRuntimeClasses of the settings ("" stands for none); |
// |                       | anything where they name none                                      |
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::runtime_class {
namespace {

constexpr std::string_view kId = "runtime-class";
constexpr std::array kReferences{
    std::string_view("Kubernetes documentation: Runtime Class"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: container isolation"),
};

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  const Node node = pod.spec()["runtimeClassName"];
  const auto name = node.text();
  if (name.broken()) {
    report.wrong_type(node, "the name of a RuntimeClass");
  } else if (settings.allowed_runtime_classes &&
             std::ranges::find(*settings.allowed_runtime_classes, name.value) ==
                 settings.allowed_runtime_classes->end()) {
    report(node, "is not among the RuntimeClasses that the settings allow (allowedRuntimeClasses)");
  }
}

std::string twin(const Settings& settings) {
  if (!settings.allowed_runtime_classes) return "[]";
  return cel::where("!(variables.spec.?runtimeClassName.orValue('') in " +
                        cel::list(*settings.allowed_runtime_classes) + ")",
                    "spec.runtimeClassName");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "An allowed container runtime",
    .why =
        "A RuntimeClass chooses what stands between the agent and the node's kernel; one that was "
        "made for trusted pods may take that away.",
    .remedy = "set spec.runtimeClassName to one of allowedRuntimeClasses of the settings",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::runtime_class
