// no-mount-propagation: mounts stay on the side where they were made.
//
// | field                                      | allowed          |
// | ------------------------------------------ | ---------------- |
// | CONTAINER.volumeMounts[*].mountPropagation | None, "", absent |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_mount_propagation {
namespace {

constexpr std::string_view kId = "no-mount-propagation";
constexpr std::array kReferences{
    std::string_view("Kubernetes documentation: Volumes, Mount propagation"),
    std::string_view("CIS Docker Benchmark 1.6: 5.20"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    each_item(report, container.volume_mounts, [&](const Node& mount) {
      const Node node = mount["mountPropagation"];
      const auto value = node.text();
      if (value.broken()) {
        report.wrong_type(node, "None");
      } else if (value.present() && value.value != "None" && !value.value.empty()) {
        report(node, "must be None: mounts cross between the node and the container");
      }
    });
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers(
      "k.c.?volumeMounts.orValue([]).exists(m, !(m.?mountPropagation.orValue('') in ['', 'None']))",
      ".volumeMounts");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No mounts shared with the node",
    .why =
        "A mount that propagates appears on the node and in other pods, or brings what is mounted "
        "there later into this one, after it was judged.",
    .remedy = "remove mountPropagation from the volumeMounts of each container",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_mount_propagation
