// read-only-root-filesystem: only volumes are writable.
//
// | field                                            | allowed                      |
// | ------------------------------------------------ | ---------------------------- |
// | CONTAINER.securityContext.readOnlyRootFilesystem | true                         |
// | CONTAINER.terminationMessagePath                 | /dev/termination-log, absent |
//
// The kubelet mounts a writable file of the node at the latter, over whatever was there.
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::read_only_root_filesystem {
namespace {

constexpr std::string_view kId = "read-only-root-filesystem";
constexpr std::array kReferences{
    std::string_view(
        "NSA/CISA Kubernetes Hardening Guidance 1.2: immutable container file systems"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.7.3"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    const Node node = container.security["readOnlyRootFilesystem"];
    const auto value = node.boolean();
    if (value.broken()) {
      report.wrong_type(node, "true");
    } else if (!value.is(true)) {
      report(node, "must be true: otherwise the programs of the image can be replaced");
    }
    const Node message = container.self["terminationMessagePath"];
    const auto path = message.text();
    if (path.broken()) {
      report.wrong_type(message, "/dev/termination-log");
    } else if (path.present() && !path.value.empty() && path.value != "/dev/termination-log") {
      report(message, "must be /dev/termination-log: a writable file is mounted there");
    }
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers("!k.s.?readOnlyRootFilesystem.orValue(false)",
                         ".securityContext.readOnlyRootFilesystem") +
         " + " +
         cel::containers(
             "!(k.c.?terminationMessagePath.orValue('') in ['', '/dev/termination-log'])",
             ".terminationMessagePath");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "The root file system is read-only",
    .why =
        "A writable root lets the agent replace the programs that run after it and fill the node's "
        "disk.",
    .remedy =
        "set readOnlyRootFilesystem: true for each container and mount an emptyDir where it must "
        "write; leave terminationMessagePath out",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::read_only_root_filesystem
