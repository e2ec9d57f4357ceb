// volume-types: only sources that bring nothing of the node or the network with them.
//
// | field                                       | allowed                            |
// | ------------------------------------------- | ---------------------------------- |
// | spec.volumes[*].SOURCE                      | those of the settings, of the ones |
// |                                             | that the restricted level takes    |
// | spec.volumes[*].projected.sources[*].SOURCE | secret, configMap, downwardAPI,    |
// |                                             | clusterTrustBundle                 |
// | spec.volumes[*].persistentVolumeClaim       | in a workspace's pod (its label):  |
// |   .claimName                                | NAME-workspace; palisade-setup-*   |
// |                                             | with readOnly: true                |
// |   in the pod of a workspace's setup (label) | palisade-setup-*                   |
// |   in any other pod                          | anything but palisade-setup-*      |
// | spec.volumes[*].ephemeral                   |                                    |
// |   .volumeClaimTemplate.spec.volumeName,     |                                    |
// |   .volumeClaimTemplate.spec.dataSourceRef   |                                    |
// |   .namespace                                | absent, ""                         |
//
// Projected ServiceAccount tokens and pod certificates are no-service-account-token's. A source
// that is not known here is refused: a new Kubernetes must not widen the policy. A volume without
// a source is an emptyDir.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include <policy/setup_claims.h>

#include "cel.h"
#include "controls.h"
#include "report.h"
#include "volume_sources.h"

namespace palisade::policy::table::volume_types {
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

constexpr std::string_view kWorkspaceLabel = "palisade.dev/workspace";
constexpr std::string_view kSetupLabel = "palisade.dev/setup";
constexpr std::string_view kClaimSuffix = "-workspace";

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

// The operator makes one claim for a workspace; any other holds what somebody else put there. What
// a setup has made is written in its pod alone, and read in those of its workspaces.
void check_claim(Report& report, const Node& claim, const Node& workspace, const Node& setup) {
  const auto of = workspace.text();
  const Node name = claim["claimName"];
  const auto value = name.text();
  if (of.broken() || value.broken()) {
    report.wrong_type(of.broken() ? workspace : name, "a text");
    return;
  }
  const bool made_by_setup = value.present() && is_setup_claim(value.value);
  if (!setup.absent()) {
    if (!made_by_setup) report(name, "is a claim that is not this setup's own");
  } else if (made_by_setup) {
    const Node read_only = claim["readOnly"];
    if (of.absent()) {
      report(name, "is what a workspace's setup has made, which only the operator mounts");
    } else if (!read_only.boolean().is(true)) {
      report(name, "is what a setup has made, which a workspace's pod mounts with readOnly: true");
    }
  } else if (of.present() &&
             (value.absent() || value.value != std::string(of.value) + std::string(kClaimSuffix))) {
    report(name, "is a claim that is not this workspace's own");
  }
}

void check_ephemeral(Report& report, const Node& ephemeral) {
  const Node claim = ephemeral["volumeClaimTemplate"];
  const Node spec = claim["spec"];
  const Node source = spec["dataSourceRef"];
  const Node volume = spec["volumeName"];
  const Node other = source["namespace"];
  for (const Node* const node : {&volume, &other}) {
    const auto name = node->text();
    if (name.broken()) {
      report.wrong_type(*node, "absent");
    } else if (name.present() && !name.value.empty()) {
      report(*node, node == &volume ? "takes one particular volume, whoever it was made for"
                                    : "copies data of another namespace");
    }
  }
}

void check(const PodView& pod, const Settings& settings, std::vector<Finding>& out) {
  Report report{kId, out};
  const Node labels = pod.metadata()["labels"];
  const Node workspace = labels[kWorkspaceLabel];
  const Node setup = labels[kSetupLabel];
  each_item(report, pod.volumes(), [&](const Node& volume) {
    each_member(report, volume, [&](const Node& source) {
      if (source.absent() || source.key() == "name") return;
      if (!allowed(settings, source.key())) {
        report(source, "is a type of volume that is not allowed");
      } else if (source.object().broken()) {
        report.wrong_type(source, "an object");
      } else if (source.key() == "projected") {
        check_projected(report, source);
      } else if (source.key() == "ephemeral") {
        check_ephemeral(report, source);
      } else if (source.key() == "persistentVolumeClaim") {
        check_claim(report, source, workspace, setup);
      }
    });
  });
}

std::string twin(const Settings& settings) {
  std::vector<std::string_view> sources{"name"};
  for (const std::string_view source : kRestrictedVolumeSources) {
    if (allowed(settings, source)) sources.push_back(source);
  }
  const std::string labels = "variables.pod.?metadata.?labels[?";
  const std::string label = labels + cel::text(kWorkspaceLabel) + "]";
  const std::string setup = labels + cel::text(kSetupLabel) + "]";
  const std::string name = "v.v.persistentVolumeClaim.?claimName.orValue('')";
  const std::string claim = "v.v.?ephemeral.?volumeClaimTemplate.?spec";
  return cel::volumes("v.v.exists(s, !(s in " + cel::list(sources) + "))", "") + " + " +
         cel::volumes(
             "has(v.v.projected) && v.v.projected.?sources.orValue([]) != null && "
             "v.v.projected.?sources.orValue([]).exists(s, s.exists(f, !(f in " +
                 cel::list(kProjected) + ")))",
             ".projected") +
         " + " +
         cel::volumes("has(v.v.persistentVolumeClaim) && (" + name + ".matches(" +
                          cel::text(kSetupClaims) + ") ? !(" + setup + ".hasValue() || " + label +
                          ".hasValue() && v.v.persistentVolumeClaim.?readOnly.orValue(false)) : " +
                          setup + ".hasValue() || " + label + ".hasValue() && " + name +
                          " != " + label + ".orValue('') + " + cel::text(kClaimSuffix) + ")",
                      ".persistentVolumeClaim.claimName") +
         " + " +
         cel::volumes(claim + ".?volumeName.orValue('') != '' || " + claim +
                          ".?dataSourceRef.?namespace.orValue('') != ''",
                      ".ephemeral.volumeClaimTemplate.spec");
}

}  // namespace

const Control control{
    .id = kId,
    .title = "Only harmless volume types",
    .why =
        "A hostPath is the disk of the node; network and inline driver volumes reach storage that "
        "nobody gave this pod.",
    .remedy =
        "use emptyDir, configMap, secret, projected, downwardAPI, ephemeral or "
        "persistentVolumeClaim (in a workspace's pod its own NAME-workspace alone, which "
        "spec.storage asks for, and what its spec.setup has made, read-only), and leave volumeName "
        "and dataSourceRef.namespace out of claim "
        "templates",
    .references = kReferences,
    .check = check,
    .cel = twin,
};

}  // namespace palisade::policy::table::volume_types
