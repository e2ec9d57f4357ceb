// linux-only: agents run where the rest of this policy means something.
//
// | field                                              | allowed          |
// | -------------------------------------------------- | ---------------- |
// | spec.os.name                                       | linux, absent    |
// | {spec,CONTAINER}.securityContext.windowsOptions    |                  |
// |   .gmsaCredentialSpec, .gmsaCredentialSpecName,    |                  |
// |   .runAsUserName                                   | absent, ""       |
//
// hostProcess is no-windows-host-process's.
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::linux_only {
namespace {

constexpr std::string_view kId = "linux-only";
constexpr std::array kReferences{
    std::string_view("Kubernetes documentation: Security for Windows Nodes"),
};

void judge(Report& report, const Node& security) {
  const Node options = security["windowsOptions"];
  for (const std::string_view field :
       {"gmsaCredentialSpec", "gmsaCredentialSpecName", "runAsUserName"}) {
    const Node node = options[field];
    const auto value = node.text();
    if (value.broken()) {
      report.wrong_type(node, "absent");
    } else if (value.present() && !value.value.empty()) {
      report(node, "sets an account of Windows");
    }
  }
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  const Node os = pod.spec()["os"];
  const Node name_node = os["name"];
  const auto name = name_node.text();
  if (name.broken()) {
    report.wrong_type(name_node, "linux");
  } else if (name.present() && name.value != "linux") {
    report(name_node, "must be linux: elsewhere nothing of this hardening applies");
  }
  judge(report, pod.security());
  for (const Container& container : pod.containers())
    judge(report, container.security);
}

std::string twin(const Settings& /*settings*/) {
  return cel::where("variables.spec.?os.?name.orValue('linux') != 'linux'", "spec.os.name") +
         " + " +
         cel::securities(
             "SEC.?windowsOptions.?gmsaCredentialSpec.orValue('') != '' || "
             "SEC.?windowsOptions.?gmsaCredentialSpecName.orValue('') != '' || "
             "SEC.?windowsOptions.?runAsUserName.orValue('') != ''",
             ".windowsOptions");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "Agents run on Linux",
    .why =
        "A Windows node knows no user namespaces, seccomp or capabilities, and ignores the fields "
        "that ask for them.",
    .remedy = "remove spec.os and windowsOptions, or set spec.os.name: linux",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::linux_only
