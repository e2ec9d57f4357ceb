// no-runtime-annotations: nothing is asked of runtimes and network plugins beside the spec.
//
// | field                   | allowed                                                            |
// | ----------------------- | ------------------------------------------------------------------ |
// | metadata.annotations[*] | not one of a domain that a container runtime, its plugins or a     |
// |                         | network plugin takes devices, mounts, networks or sandbox settings |
// |                         | from (kDomains below)                                              |
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "cel.h"
#include "controls.h"
#include "report.h"

namespace palisade::policy::table::no_runtime_annotations {
namespace {

constexpr std::string_view kId = "no-runtime-annotations";
constexpr std::array kReferences{
    std::string_view("Container Device Interface specification: annotations"),
    std::string_view("Kubernetes Network Custom Resource Definition De-facto Standard"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

// The text before an annotation's "/": equal to one of these, or ending with "." and it. And whole
// beginnings, for those who write no "/" at all.
constexpr std::array kDomains{
    std::string_view("cdi.k8s.io"),             // devices, by containerd and CRI-O
    std::string_view("nri.io"),                 // devices and mounts, by NRI plugins
    std::string_view("nri.containerd.io"),      // the same
    std::string_view("crio.io"),                // CPU, interrupts, seccomp
    std::string_view("cri-o.io"),               // the same
    std::string_view("kubernetes.cri-o.io"),    // the same
    std::string_view("k8s.v1.cni.cncf.io"),     // further networks, which no policy covers
    std::string_view("v1.multus-cni.io"),       // another default network
    std::string_view("cni.projectcalico.org"),  // addresses of one's choice
};
constexpr std::array kBeginnings{
    std::string_view("io.kubernetes.cri-o."),  // devices, user namespaces, cgroups
    std::string_view("io.katacontainers."),    // the sandbox's own settings
    std::string_view("io.containerd."),        // the same
    std::string_view("dev.gvisor."),           // the same
    std::string_view("run.oci."),              // crun: hooks, seccomp, groups
};

bool read_by_runtimes(std::string_view key) {
  if (std::ranges::any_of(kBeginnings, [&](std::string_view b) { return key.starts_with(b); })) {
    return true;
  }
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return false;
  const std::string_view domain = key.substr(0, slash);
  return std::ranges::any_of(kDomains, [&](std::string_view known) {
    return domain.ends_with(known) &&
           (domain.size() == known.size() || domain[domain.size() - known.size() - 1] == '.');
  });
}

void check(const PodView& pod, const Settings& /*settings*/, std::vector<Finding>& out) {
  Report report{kId, out};
  each_member(report, pod.annotations(), [&](const Node& annotation) {
    if (annotation.absent() || !read_by_runtimes(annotation.key())) return;
    report(annotation, "asks the container runtime or the network plugin for more than the spec");
  });
}

std::string twin(const Settings& /*settings*/) {
  return cel::annotations("a.matches(" +
                          cel::text("^(" + cel::alternatives(kBeginnings) + ")|^([^/]*\\.)?(" +
                                    cel::alternatives(kDomains) + ")/") +
                          ")");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "No annotations that runtimes act on",
    .why =
        "Annotations are no part of the spec, yet runtimes and network plugins hand out devices, "
        "mounts and networks for them that nothing else here sees.",
    .remedy = "remove the annotation",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::no_runtime_annotations
