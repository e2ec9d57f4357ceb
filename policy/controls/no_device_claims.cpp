// no-device-claims: no device is handed in by dynamic resource allocation.
//
// | field                                      | allowed       |
// | ------------------------------------------ | ------------- |
// | spec.resourceClaims                        | absent, empty |
// | {spec,CONTAINER}.resources.claims          | absent, empty |
//
// A claim's driver adds device files, mounts and environment of its choice to the container, and a
// network device is outside of every NetworkPolicy.
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_device_claims {
namespace {

constexpr std::string_view kId = "no-device-claims";
constexpr std::array kReferences{
    std::string_view("Kubernetes documentation: Dynamic Resource Allocation"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

void judge(Report& report, const Node& claims) {
  each_item(report, claims, [&](const Node& item) { report(item, "hands the pod a device"); });
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  const Node claims = pod.spec()["resourceClaims"];
  judge(report, claims);
  const Node resources = pod.spec()["resources"];
  const Node of_pod = resources["claims"];
  judge(report, of_pod);
  for (const Container& container : pod.containers()) {
    const Node of_container = container.resources["claims"];
    judge(report, of_container);
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::where("size(variables.spec.?resourceClaims.orValue([])) > 0", "spec.resourceClaims") +
         " + " +
         cel::where("size(variables.spec.?resources.?claims.orValue([])) > 0",
                    "spec.resources.claims") +
         " + " +
         cel::containers("size(k.c.?resources.?claims.orValue([])) > 0", ".resources.claims");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No devices are claimed",
    .why =
        "A claimed device comes with a driver's files, mounts and network cards: a way round the "
        "file system, the NetworkPolicy and the user namespace.",
    .remedy = "remove spec.resourceClaims and resources.claims",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_device_claims
