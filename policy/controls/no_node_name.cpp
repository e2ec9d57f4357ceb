// no-node-name: the scheduler places the pod.
//
// | field         | allowed                                            |
// | ------------- | -------------------------------------------------- |
// | spec.nodeName | absent, ""; anything once the pod has been placed: |
// |               | its status has the condition PodScheduled, True    |
//
// Whoever creates a pod cannot write that condition: the API server empties the status first.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_node_name {
namespace {

constexpr std::string_view kId = "no-node-name";
constexpr std::array kReferences{
    std::string_view("Kubernetes documentation: Assigning Pods to Nodes, nodeName"),
    std::string_view("Kubernetes documentation: Pod Scheduling Readiness"),
};

bool scheduled(const Node& status) {
  const Node conditions = status["conditions"];
  const auto list = conditions.list();
  if (!list.present()) return false;
  return std::ranges::any_of(list.value, [](const simdjson::dom::element condition) {
    std::string_view type;
    std::string_view value;
    return condition["type"].get(type) == simdjson::SUCCESS && type == "PodScheduled" &&
           condition["status"].get(value) == simdjson::SUCCESS && value == "True";
  });
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  const Node node = pod.spec()["nodeName"];
  const auto name = node.text();
  if (name.broken()) {
    report.wrong_type(node, "absent");
  } else if (name.present() && !name.value.empty() && !scheduled(pod.status())) {
    report(node, "puts the pod on a node by hand, past the scheduler");
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::where(
      "variables.spec.?nodeName.orValue('') != '' && "
      "!variables.pod.?status.?conditions.orValue([]).exists(c, "
      "c.type == 'PodScheduled' && c.status == 'True')",
      "spec.nodeName");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "The scheduler chooses the node",
    .why =
        "A node name set by hand goes past scheduling gates, taints and quotas: the pod starts "
        "before its NetworkPolicy stands, or on a node that is kept for others.",
    .remedy = "remove spec.nodeName; use nodeSelector or affinity",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_node_name
