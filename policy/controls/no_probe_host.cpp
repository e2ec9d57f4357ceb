// no-probe-host: the kubelet probes the pod and nothing else.
//
// | field                                                                | allowed    |
// | -------------------------------------------------------------------- | ---------- |
// | CONTAINER.{liveness,readiness,startup}Probe.{httpGet,tcpSocket}.host | absent, "" |
// | CONTAINER.lifecycle.{postStart,preStop}.{httpGet,tcpSocket}.host     | absent, "" |
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_probe_host {
namespace {

constexpr std::string_view kId = "no-probe-host";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, Host Probes / Lifecycle Hooks"),
};

void judge(Report& report, const Node& handler) {
  for (const std::string_view action : {"httpGet", "tcpSocket"}) {
    const Node request = handler[action];
    const Node host = request["host"];
    const auto value = host.text();
    if (value.broken()) {
      report.wrong_type(host, "absent");
    } else if (value.present() && !value.value.empty()) {
      report(host, "makes the kubelet connect to a host of the pod author's choice");
    }
  }
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const Container& container : pod.containers()) {
    judge(report, container.liveness_probe);
    judge(report, container.readiness_probe);
    judge(report, container.startup_probe);
    for (const std::string_view hook : {"postStart", "preStop"}) {
      const Node handler = container.lifecycle[hook];
      judge(report, handler);
    }
  }
}

std::string twin(const Settings& /*settings*/) {
  std::string out;
  for (const std::string handler : {"livenessProbe", "readinessProbe", "startupProbe",
                                    "lifecycle.postStart", "lifecycle.preStop"}) {
    const std::string at = "k.c.?" + cel::replaced(handler, ".", ".?");
    if (!out.empty()) out += " + ";
    out += cel::containers(
        at + ".?httpGet.?host.orValue('') != '' || " + at + ".?tcpSocket.?host.orValue('') != ''",
        "." + handler);
  }
  return out;
}

}  // namespace

const Control control{
    .id = kId,
    .title = "Probes and hooks name no host",
    .why =
        "The kubelet sends the request from the node's network: past every NetworkPolicy, to "
        "metadata servers and node-local services.",
    .remedy = "remove host from httpGet and tcpSocket of probes and lifecycle hooks",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_probe_host
