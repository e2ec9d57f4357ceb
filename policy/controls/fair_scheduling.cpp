// fair-scheduling: the pod is placed like everybody else's, and displaces nobody.
//
// | field                                          | allowed                                   |
// | ---------------------------------------------- | ----------------------------------------- |
// | spec.priorityClassName                         | absent, not one that begins with system-  |
// | spec.priority                                  | absent, at most 1000000000                |
// | spec.tolerations[*].key                        | not absent, "" (every taint), not one     |
// |                                                | that begins with node-role.kubernetes.io/ |
// | spec.affinity.podAntiAffinity.required*[*]     |                                           |
// |   .namespaces, .namespaceSelector              | absent, empty list                        |
//
// A hard anti-affinity keeps the pods that it names away from the node or the zone for as long as
// this pod runs: those of other namespaces are not its to keep away.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::fair_scheduling {
namespace {

constexpr std::string_view kId = "fair-scheduling";
constexpr std::array kReferences{
    std::string_view("Kubernetes documentation: Pod Priority and Preemption"),
    std::string_view("Kubernetes documentation: Taints and Tolerations"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: resource policies"),
};

constexpr std::string_view kSystemClasses = "system-";
constexpr std::string_view kNodeRoles = "node-role.kubernetes.io/";
constexpr std::int64_t kHighestUserPriority = 1'000'000'000;

void check_priority(Report& report, const Node& spec) {
  const Node name_node = spec["priorityClassName"];
  const auto name = name_node.text();
  if (name.broken()) {
    report.wrong_type(name_node, "the name of a PriorityClass");
  } else if (name.value.starts_with(kSystemClasses)) {
    report(name_node, "is a priority of the cluster's own pods: everybody else is evicted for it");
  }
  const Node priority_node = spec["priority"];
  const auto priority = priority_node.integer();
  if (priority.broken()) {
    report.wrong_type(priority_node, "a whole number");
  } else if (priority.value > kHighestUserPriority) {
    report(priority_node, "is above what PriorityClasses of users may have (1000000000)");
  }
}

void check_toleration(Report& report, const Node& toleration) {
  const Node node = toleration["key"];
  const auto key = node.text();
  if (key.broken()) {
    report.wrong_type(node, "the key of a taint");
  } else if (key.value.empty()) {
    report(node, "tolerates every taint");
  } else if (key.value.starts_with(kNodeRoles)) {
    report(node, "lets the pod onto nodes that are kept for the cluster itself");
  }
}

void check_term(Report& report, const Node& term) {
  const Node namespaces = term["namespaces"];
  if (const auto list = namespaces.list(); list.broken()) {
    report.wrong_type(namespaces, "absent");
  } else if (list.present() && list.value.begin() != list.value.end()) {
    report(namespaces, "keeps pods of the namespaces that it names away");
  }
  const Node selector = term["namespaceSelector"];
  if (selector.present()) report(selector, "keeps pods of other namespaces away");
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  check_priority(report, pod.spec());
  const Node tolerations = pod.spec()["tolerations"];
  each_item(report, tolerations, [&](const Node& item) { check_toleration(report, item); });
  const Node affinity = pod.spec()["affinity"];
  const Node anti = affinity["podAntiAffinity"];
  const Node terms = anti["requiredDuringSchedulingIgnoredDuringExecution"];
  each_item(report, terms, [&](const Node& term) { check_term(report, term); });
}

std::string twin(const Settings& /*settings*/) {
  const std::string terms =
      "variables.spec.?affinity.?podAntiAffinity.?requiredDuringSchedulingIgnoredDuringExecution";
  return cel::where("variables.spec.?priorityClassName.orValue('').startsWith(" +
                        cel::text(kSystemClasses) + ")",
                    "spec.priorityClassName") +
         " + " +
         cel::where("variables.spec.?priority.orValue(0) > " + std::to_string(kHighestUserPriority),
                    "spec.priority") +
         " + " +
         cel::where(
             "variables.spec.?tolerations.orValue([]).exists(t, t.?key.orValue('') == '' || "
             "t.key.startsWith(" +
                 cel::text(kNodeRoles) + "))",
             "spec.tolerations") +
         " + " +
         cel::where(terms +
                        ".orValue([]).exists(t, size(t.?namespaces.orValue([])) > 0 || "
                        "has(t.namespaceSelector))",
                    "spec.affinity.podAntiAffinity");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "Scheduled like everybody else",
    .why =
        "A system priority evicts the neighbours, a toleration of everything lands on the control "
        "plane's nodes, and a wide anti-affinity locks others out of a zone.",
    .remedy =
        "remove system priority classes, tolerations without a key or of node-role.kubernetes.io/, "
        "and namespaces and namespaceSelector from required pod anti-affinity",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::fair_scheduling
