// resource-limits: no container can starve its node.
//
// | field                                           | allowed                                  |
// | ----------------------------------------------- | ---------------------------------------- |
// | {containers,initContainers}[*].resources.limits |                                          |
// |   .cpu                                          | above 0, to maxCpuMillis of the settings |
// |   .memory                                       | above 0, to maxMemoryBytes               |
// |   .ephemeral-storage                            | above 0, to maxEphemeralBytes            |
// | spec.resources.limits.*                         | absent, a quantity above 0               |
//
// Ephemeral containers are exempt: the API refuses resources on them, and they live in the cgroup
// of the pod, which the limits of the others bound. Pod-level limits do not stand in for the
// containers': they know no ephemeral-storage, and an API server without that feature drops them
// without a word.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "cel.h"
#include "controls.h"
#include "quantity_field.h"
#include "report.h"

namespace palisade::policy::table::resource_limits {
namespace {

constexpr std::string_view kId = "resource-limits";
constexpr std::array kReferences{
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: resource policies"),
    std::string_view("Kubernetes documentation: Resource Management for Pods and Containers"),
};

struct Bound {
  std::string_view name;
  Unit unit;
  std::int64_t most;
  std::string_view of;  // what the bound counts
};

void judge(Report& report, const Node& limits, const Bound& bound) {
  const Node node = limits[bound.name];
  const auto value = read_quantity(node, bound.unit);
  if (value.broken()) {
    report.wrong_type(node, "a quantity such as 500m or 2Gi");
  } else if (value.absent()) {
    report(node, "no limit is set");
  } else if (value.value <= 0 || value.value > bound.most) {
    report(node, "must be above 0 and at most " + std::to_string(bound.most) + " " +
                     std::string(bound.of));
  }
}

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  const std::array bounds{
      Bound{"cpu", Unit::milli, settings.max_cpu_millis, "thousandths of a CPU"},
      Bound{"memory", Unit::one, settings.max_memory_bytes, "bytes"},
      Bound{"ephemeral-storage", Unit::one, settings.max_ephemeral_bytes, "bytes"},
  };
  const Node pod_resources = pod.spec()["resources"];
  const Node pod_limits = pod_resources["limits"];
  each_member(report, pod_limits, [&](const Node& limit) {
    const auto value = read_quantity(limit, Unit::milli);
    if (value.broken()) {
      report.wrong_type(limit, "a quantity such as 500m or 2Gi");
    } else if (value.present() && value.value <= 0) {
      report(limit, "must be above 0");
    }
  });
  for (const Container& container : pod.containers()) {
    if (container.kind == ContainerKind::ephemeral && !container.self.broken()) continue;
    const Node limits = container.resources["limits"];
    for (const Bound& bound : bounds)
      judge(report, limits, bound);
  }
}

std::string twin(const Settings& settings) {
  std::string out = cel::where(
      "variables.spec.?resources.?limits.orValue({}).exists(r, "
      "!quantity(string(variables.spec.resources.limits[r])).isGreaterThan(quantity('0')))",
      "spec.resources.limits");
  for (const auto& [name, most] :
       {std::pair("cpu", std::to_string(settings.max_cpu_millis) + "m"),
        {"memory", std::to_string(settings.max_memory_bytes)},
        {"ephemeral-storage", std::to_string(settings.max_ephemeral_bytes)}}) {
    out += " + " + cel::containers(
                       "!k.e && " + cel::bad_quantity(
                                        "k.c.?resources.?limits[?" + cel::text(name) + "]", most),
                       ".resources.limits." + std::string(name));
  }
  return out;
}

}  // namespace

const Control control{
    .id = kId,
    .title = "CPU, memory and disk limits",
    .why =
        "An agent without limits starves its node: a fork bomb, a memory hog or a full disk hits "
        "every neighbour.",
    .remedy =
        "set resources.limits for cpu, memory and ephemeral-storage on each container, within the "
        "bounds of the settings",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::resource_limits
