// volume-types: only sources that bring nothing of the node or the network with them.
//
// | field                                       | allowed                            |
// | ------------------------------------------- | ---------------------------------- |
// | spec.volumes[*].SOURCE                      | those of the settings, of the ones |
// |                                             | that the restricted level takes    |
// | spec.volumes[*].projected.sources[*].SOURCE | secret, configMap, downwardAPI,    |
// |                                             | clusterTrustBundle                 |
//
// Projected ServiceAccount tokens and pod certificates are no-service-account-token's. A source
// that is not known here is refused: a new Kubernetes must not widen the policy. A volume without
// a source is an emptyDir.
#include <algorithm>
#include <array>
#include <string_view>

#include "controls.h"
#include "report.h"
#include "volume_sources.h"

namespace palisade::policy::table {
namespace {

constexpr std::string_view kId = "volume-types";
constexpr std::array kReferences{
    std::string_view("Pod Security Standards: restricted, Volume Types"),
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.2.12"),
    std::string_view("NSA/CISA Kubernetes Hardening Guidance 1.2: pod security enforcement"),
};

constexpr std::array kProjected{
    std::string_view("secret"),
    std::string_view("configMap"),
    std::string_view("downwardAPI"),
    std::string_view("clusterTrustBundle"),
    std::string_view("serviceAccountToken"),
    std::string_view("podCertificate"),
};

bool allowed(const Settings& settings, std::string_view source) {
  return std::ranges::find(settings.allowed_volume_types, source) !=
             settings.allowed_volume_types.end() &&
         std::ranges::find(kRestrictedVolumeSources, source) != kRestrictedVolumeSources.end();
}

void check_projected(Report& report, const Node& projected) {
  const Node sources = projected["sources"];
  each_item(report, sources, [&](const Node& item) {
    each_member(report, item, [&](const Node& source) {
      if (source.absent() || std::ranges::find(kProjected, source.key()) != kProjected.end())
        return;
      report(source, "is a projected source that is not known to be harmless");
    });
    if (item.present() && item.object().broken()) report.wrong_type(item, "an object");
  });
}

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  each_item(report, pod.volumes(), [&](const Node& volume) {
    each_member(report, volume, [&](const Node& source) {
      if (source.absent() || source.key() == "name") return;
      if (!allowed(settings, source.key())) {
        report(source, "is a type of volume that is not allowed");
      } else if (source.object().broken()) {
        report.wrong_type(source, "an object");
      } else if (source.key() == "projected") {
        check_projected(report, source);
      }
    });
  });
}

}  // namespace

const Control volume_types{
    .id = kId,
    .title = "Only harmless volume types",
    .why =
        "A hostPath is the disk of the node; network and inline driver volumes reach storage that "
        "nobody gave this pod.",
    .remedy =
        "use emptyDir, configMap, secret, projected, downwardAPI, ephemeral or "
        "persistentVolumeClaim",
    .references = kReferences,
    .check = check,
};

}  // namespace palisade::policy::table
