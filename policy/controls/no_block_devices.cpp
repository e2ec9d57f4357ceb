// no-block-devices: no container is handed a raw device.
//
// | field                   | allowed       |
// | ----------------------- | ------------- |
// | CONTAINER.volumeDevices | absent, empty |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_block_devices {
namespace {

constexpr std::string_view kId = "no-block-devices";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: restricted, Volume Types"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    each_item(report, container.volume_devices, [&](const Node& item) {
      report(item, "maps a raw block device into the container");
    });
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers("size(k.c.?volumeDevices.orValue([])) > 0", ".volumeDevices");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No raw block devices",
    .why =
        "A raw device lets the agent craft a file system that the node's kernel later mounts, and "
        "has no file permissions of its own.",
    .remedy = "remove volumeDevices; mount the claim as a file system (volumeMounts)",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_block_devices
