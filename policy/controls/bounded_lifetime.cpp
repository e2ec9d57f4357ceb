// bounded-lifetime: the kubelet ends the pod.
//
// | field                                    | allowed                                 |
// | ---------------------------------------- | --------------------------------------- |
// | spec.activeDeadlineSeconds               | 1 to maxLifetimeSeconds of the settings |
// | spec.terminationGracePeriodSeconds,      | up to 600, absent                       |
// | CONTAINER.{liveness,readiness,startup}   |                                         |
// |   Probe.terminationGracePeriodSeconds    |                                         |
//
// A process that ignores SIGTERM lives on after the deadline for as long as the grace period is.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::bounded_lifetime {
namespace {

constexpr std::string_view kId = "bounded-lifetime";
constexpr std::array kReferences{
    std::string_view("SOC 2: CC6.1"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: resource policies"),
};

constexpr std::int64_t kMaxGrace = 600;

void judge_grace(Report& report, const Node& node) {
  const auto value = node.integer();
  if (value.broken()) {
    report.wrong_type(node, "a whole number of seconds");
  } else if (value.value > kMaxGrace) {
    report(node, "must be at most " + std::to_string(kMaxGrace) +
                     " seconds: until then a process that ignores the end lives on");
  }
}

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  const Node node = pod.spec()["activeDeadlineSeconds"];
  const auto value = node.integer();
  if (value.broken()) {
    report.wrong_type(node, "a whole number of seconds");
  } else if (value.absent() || value.value < 1 || value.value > settings.max_lifetime_seconds) {
    report(node, "must be from 1 to " + std::to_string(settings.max_lifetime_seconds) +
                     " seconds, so that the agent's session ends");
  }
  const Node grace = pod.spec()["terminationGracePeriodSeconds"];
  judge_grace(report, grace);
  for (const Container& container : pod.containers()) {
    for (const Node* probe :
         {&container.liveness_probe, &container.readiness_probe, &container.startup_probe}) {
      if (!probe->present()) continue;
      const Node of_probe = (*probe)["terminationGracePeriodSeconds"];
      judge_grace(report, of_probe);
    }
  }
}

std::string twin(const Settings& settings) {
  const std::string grace =
      ".?terminationGracePeriodSeconds.orValue(0) > " + std::to_string(kMaxGrace);
  return cel::where(
             "!(variables.spec.?activeDeadlineSeconds.orValue(0) >= 1 && "
             "variables.spec.?activeDeadlineSeconds.orValue(0) <= " +
                 std::to_string(settings.max_lifetime_seconds) + ")",
             "spec.activeDeadlineSeconds") +
         " + " + cel::where("variables.spec" + grace, "spec.terminationGracePeriodSeconds") +
         " + " +
         cel::containers("k.c.?livenessProbe" + grace + " || k.c.?readinessProbe" + grace +
                             " || k.c.?startupProbe" + grace,
                         ".*Probe.terminationGracePeriodSeconds");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "The pod ends by itself",
    .why = "An agent that never ends keeps whatever foothold an injected prompt gave it.",
    .remedy =
        "set spec.activeDeadlineSeconds to how long the session may last, and "
        "terminationGracePeriodSeconds to at most 600",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::bounded_lifetime
