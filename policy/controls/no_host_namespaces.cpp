// no-host-namespaces: neither the node's namespaces nor one process namespace for all containers.
//
// | field                                           | allowed       |
// | ----------------------------------------------- | ------------- |
// | spec.hostNetwork, spec.hostPID, spec.hostIPC    | false, absent |
// | spec.shareProcessNamespace                      | false, absent |
// | spec.ephemeralContainers[*].targetContainerName | "", absent    |
//
// The last two are stricter than the Pod Security Standards: with them one container reads the
// /proc of the one that holds the git token.
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_host_namespaces {
namespace {

constexpr std::string_view kId = "no-host-namespaces";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: baseline, Host Namespaces"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.3 to 5.2.5"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

struct Field {
  std::string_view name;
  std::string_view message;
};
constexpr std::array kFields{
    Field{"hostNetwork", "puts the pod on the node's network, where no NetworkPolicy applies"},
    Field{"hostPID", "shows the pod every process of the node"},
    Field{"hostIPC", "gives the pod the shared memory of the node"},
    Field{"shareProcessNamespace", "lets the containers of the pod reach into each other"},
};

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  for (const auto& [name, message] : kFields) {
    const Node node = pod.spec()[name];
    refuse_true(report, node, message);
  }
  for (const Container& container : pod.containers()) {
    if (container.kind != ContainerKind::ephemeral) continue;
    const Node target = container.self["targetContainerName"];
    const auto name = target.text();
    if (name.broken()) {
      report.wrong_type(target, "absent");
    } else if (name.present() && !name.value.empty()) {
      report(target, "joins the processes of another container of the pod");
    }
  }
}

std::string twin(const Settings& /*settings*/) {
  std::vector<std::string_view> names;
  for (const Field& field : kFields)
    names.push_back(field.name);
  return cel::list(names) + ".filter(f, variables.spec[?f].orValue(false)).map(f, 'spec.' + f) + " +
         cel::containers("k.e && k.c.?targetContainerName.orValue('') != ''",
                         ".targetContainerName");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No namespace shared with the node or between containers",
    .why =
        "The node's network, processes and memory are those of every other tenant; a shared "
        "process namespace opens the container that holds the git token.",
    .remedy =
        "remove hostNetwork, hostPID, hostIPC and shareProcessNamespace from spec, and "
        "targetContainerName from ephemeral containers",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_host_namespaces
