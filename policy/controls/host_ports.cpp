// host-ports: nothing listens on the node's addresses.
//
// | field                       | allowed   |
// | --------------------------- | --------- |
// | CONTAINER.ports[*].hostPort | 0, absent |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::host_ports {
namespace {

constexpr std::string_view kId = "host-ports";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, Host Ports"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.13"),
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    each_item(report, container.ports, [&](const Node& port) {
      const Node host_port = port["hostPort"];
      const auto value = host_port.integer();
      if (value.broken()) {
        report.wrong_type(host_port, "absent");
      } else if (value.present() && value.value != 0) {
        report(host_port, "opens a port of the node");
      }
    });
  }
}

std::string twin(const Settings& /*settings*/) {
  return cel::containers("k.c.?ports.orValue([]).exists(p, p.?hostPort.orValue(0) != 0)", ".ports");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No ports of the node",
    .why = "A host port bypasses NetworkPolicy and lets the agent pose as a service of the node.",
    .remedy = "remove hostPort from the ports of each container",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::host_ports
