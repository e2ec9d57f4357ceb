// proc-mount: /proc keeps its masked and read-only paths.
//
// | field                               | allowed             |
// | ----------------------------------- | ------------------- |
// | CONTAINER.securityContext.procMount | Default, "", absent |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::proc_mount {
namespace {

constexpr std::string_view kId = "proc-mount";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, /proc Mount Type"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    const Node node = container.security["procMount"];
    const auto value = node.text();
    if (value.broken()) {
      report.wrong_type(node, "Default");
    } else if (value.present() && value.value != "Default" && !value.value.empty()) {
      report(node, "must be Default: it unmasks /proc");
    }
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers("!(k.s.?procMount.orValue('') in ['', 'Default'])",
                         ".securityContext.procMount");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "The default /proc mount",
    .why = "An unmasked /proc shows kernel memory and settings and makes /proc/sys writable.",
    .remedy = "remove securityContext.procMount or set it to Default",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::proc_mount
