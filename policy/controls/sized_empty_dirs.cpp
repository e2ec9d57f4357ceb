// sized-empty-dirs: scratch space has an end.
//
// | field                              | allowed                                           |
// | ---------------------------------- | ------------------------------------------------- |
// | spec.volumes[*].emptyDir.sizeLimit | above 0, at most maxEmptyDirBytes of the settings |
//
// A volume without any source is an emptyDir without a size.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "quantity_field.h"
#include "report.h"

namespace palisade::policy::table::sized_empty_dirs {
namespace {

constexpr std::string_view kId = "sized-empty-dirs";
constexpr std::array kReferences{
    std::string_view("Kubernetes documentation: Local ephemeral storage"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: resource policies"),
};

// Whether no source is written, so that the API server makes it an emptyDir.
bool without_source(const Node& volume) {
  const auto members = volume.object();
  if (!members.present()) return false;
  return std::ranges::all_of(members.value, [](const auto& member) {
    return member.key == "name" || member.value.type() == simdjson::dom::element_type::NULL_VALUE;
  });
}

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  each_item(report, pod.volumes(), [&](const Node& volume) {
    const Node dir = volume["emptyDir"];
    if (dir.absent() && !without_source(volume)) return;
    const Node limit = dir["sizeLimit"];
    const auto value = read_quantity(limit, Unit::one);
    if (value.broken()) {
      report.wrong_type(limit, "a quantity such as 512Mi");
    } else if (value.absent()) {
      report(limit, "the volume has no size limit");
    } else if (value.value <= 0 || value.value > settings.max_empty_dir_bytes) {
      report(limit, "must be above 0 and at most " + std::to_string(settings.max_empty_dir_bytes) +
                        " bytes");
    }
  });
}

std::string twin(const Settings& settings) {
  return cel::volumes("(has(v.v.emptyDir) || size(v.v) == 1) && " +
                          cel::bad_quantity("v.v.?emptyDir.?sizeLimit",
                                            std::to_string(settings.max_empty_dir_bytes)),
                      ".emptyDir.sizeLimit");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "Every emptyDir has a size",
    .why =
        "An unbounded emptyDir fills the disk of the node, or its memory, and takes its neighbours "
        "down.",
    .remedy = "set sizeLimit on each emptyDir",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::sized_empty_dirs
