// no-sysctls: kernel settings stay as they are.
//
// | field                        | allowed       |
// | ---------------------------- | ------------- |
// | spec.securityContext.sysctls | absent, empty |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_sysctls {
namespace {

constexpr std::string_view kId = "no-sysctls";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, Sysctls"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  const Node sysctls = pod.security()["sysctls"];
  each_item(report, sysctls, [&](const Node& item) {
    report(item, "sets a kernel parameter; an agent needs none");
  });
}

std::string twin(const Settings& /*settings*/) {
  return cel::where("size(variables.sec.?sysctls.orValue([])) > 0", "spec.securityContext.sysctls");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No sysctls",
    .why =
        "Kernel parameters weaken isolation (ping groups, port ranges, core patterns) and an agent "
        "needs none of them.",
    .remedy = "remove spec.securityContext.sysctls",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_sysctls
