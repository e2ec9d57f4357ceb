// bounded-lifetime: the kubelet ends the pod.
//
// | field                      | allowed                                 |
// | -------------------------- | --------------------------------------- |
// | spec.activeDeadlineSeconds | 1 to maxLifetimeSeconds of the settings |
#include <array>
#include <string>
#include <string_view>

#include "controls.h"
#include "report.h"

namespace palisade::policy::table {
namespace {

constexpr std::string_view kId = "bounded-lifetime";
constexpr std::array kReferences{
    std::string_view("SOC 2: CC6.1"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: resource policies"),
};

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
}

}  // namespace

const Control bounded_lifetime{
    .id = kId,
    .title = "The pod ends by itself",
    .why = "An agent that never ends keeps whatever foothold an injected prompt gave it.",
    .remedy = "set spec.activeDeadlineSeconds to how long the session may last",
    .references = kReferences,
    .check = check,
};

}  // namespace palisade::policy::table
