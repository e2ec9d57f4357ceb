// no-windows-host-process: no process of the Windows node.
//
// | field                                                       | allowed       |
// | ----------------------------------------------------------- | ------------- |
// | {spec,CONTAINER}.securityContext.windowsOptions.hostProcess | false, absent |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_windows_host_process {
namespace {

constexpr std::string_view kId = "no-windows-host-process";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, HostProcess"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.11"),
};

void judge(Report& report, const Node& security) {
  const Node options = security["windowsOptions"];
  const Node node = options["hostProcess"];
  refuse_true(report, node, "runs the container as a process of the node");
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  judge(report, pod.security());
  for (const Container& container : pod.containers())
    judge(report, container.security);
}

std::string twin(const Settings& /*settings*/) {
  return cel::securities("SEC.?windowsOptions.?hostProcess.orValue(false)",
                         ".windowsOptions.hostProcess");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No Windows HostProcess containers",
    .why = "A HostProcess container is an unconfined process of the node.",
    .remedy = "remove windowsOptions.hostProcess",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_windows_host_process
