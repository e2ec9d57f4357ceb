// drop-all-capabilities: containers hold no Linux capability.
//
// | field                                       | allowed           |
// | ------------------------------------------- | ----------------- |
// | CONTAINER.securityContext.capabilities.drop | a list with "ALL" |
// | CONTAINER.securityContext.capabilities.add  | absent, empty     |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::drop_all_capabilities {
namespace {

constexpr std::string_view kId = "drop-all-capabilities";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: restricted, Capabilities"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.8 to 5.2.10"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    const Node capabilities = container.security["capabilities"];
    const Node drop = capabilities["drop"];
    bool all = false;
    bool unreadable = drop.list().broken();
    each_item(report, drop, [&](const Node& item) {
      const auto name = item.text();
      if (name.broken()) {
        unreadable = true;
        report.wrong_type(item, "the name of a capability");
      }
      all = all || name.is("ALL");
    });
    if (!all && !unreadable) report(drop, "must contain \"ALL\"");

    const Node add = capabilities["add"];
    each_item(report, add, [&](const Node& item) {
      if (item.text().broken()) {
        report.wrong_type(item, "absent");
      } else {
        report(item, "adds a capability; an agent needs none");
      }
    });
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers("!('ALL' in k.s.?capabilities.?drop.orValue([]))",
                         ".securityContext.capabilities.drop") +
         " + " +
         cel::containers("size(k.s.?capabilities.?add.orValue([])) > 0",
                         ".securityContext.capabilities.add");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "All capabilities dropped, none added",
    .why =
        "Each capability is a part of root: raw sockets spoof other pods, CHOWN and DAC_OVERRIDE "
        "undo file permissions.",
    .remedy =
        "set securityContext.capabilities to {drop: [\"ALL\"]} for each container, with no add",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::drop_all_capabilities
