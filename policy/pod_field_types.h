// The words that the table of a pod's fields (pod_fields.cpp) is written in: numbers of its types,
// and one maker for each kind of field.
#pragma once

#include <string_view>

#include "pod_fields.h"

namespace palisade::policy::field_table {

// In the order of kTypes.
enum Type : TypeIndex {
  tPodSpec,
  tContainer,
  tEphemeralContainer,
  tPodSecurityContext,
  tSecurityContext,
  tCapabilities,
  tSeccompProfile,
  tAppArmorProfile,
  tSELinuxOptions,
  tWindowsSecurityContextOptions,
  tEnvVar,
  tEnvVarSource,
  tConfigMapKeySelector,
  tObjectFieldSelector,
  tFileKeySelector,
  tResourceFieldSelector,
  tEnvFromSource,
  tConfigMapEnvSource,
  tProbe,
  tLifecycle,
  tLifecycleHandler,
  tExecAction,
  tHTTPGetAction,
  tHTTPHeader,
  tTCPSocketAction,
  tGRPCAction,
  tSleepAction,
  tContainerPort,
  tContainerResizePolicy,
  tContainerRestartRule,
  tContainerRestartRuleOnExitCodes,
  tResourceRequirements,
  tVolumeMount,
  tVolume,
  tConfigMapVolumeSource,
  tSecretVolumeSource,
  tKeyToPath,
  tDownwardAPIVolumeSource,
  tDownwardAPIVolumeFile,
  tEmptyDirVolumeSource,
  tProjectedVolumeSource,
  tVolumeProjection,
  tConfigMapProjection,
  tSecretProjection,
  tDownwardAPIProjection,
  tClusterTrustBundleProjection,
  tServiceAccountTokenProjection,
  tPersistentVolumeClaimVolumeSource,
  tEphemeralVolumeSource,
  tPersistentVolumeClaimTemplate,
  tObjectMeta,
  tOwnerReference,
  tManagedFieldsEntry,
  tPersistentVolumeClaimSpec,
  tVolumeResourceRequirements,
  tTypedLocalObjectReference,
  tTypedObjectReference,
  tCSIVolumeSource,
  tImageVolumeSource,
  tLocalObjectReference,
  tLabelSelector,
  tLabelSelectorRequirement,
  tToleration,
  tAffinity,
  tNodeAffinity,
  tNodeSelector,
  tNodeSelectorTerm,
  tNodeSelectorRequirement,
  tPreferredSchedulingTerm,
  tPodAffinity,
  tPodAntiAffinity,
  tPodAffinityTerm,
  tWeightedPodAffinityTerm,
  tTopologySpreadConstraint,
  tPodDNSConfig,
  tPodDNSConfigOption,
  tHostAlias,
  tPodOS,
  tPodReadinessGate,
  tPodSchedulingGate,
  tPodSchedulingGroup
};

constexpr PodField harmless(std::string_view name) {
  return {name, PodField::Kind::harmless, {}, 0};
}
constexpr PodField judged(std::string_view name, std::string_view control) {
  return {name, PodField::Kind::judged, control, 0};
}
constexpr PodField refused(std::string_view name, std::string_view control) {
  return {name, PodField::Kind::refused, control, 0};
}
constexpr PodField object(std::string_view name, Type type) {
  return {name, PodField::Kind::object, {}, type};
}
constexpr PodField list(std::string_view name, Type type) {
  return {name, PodField::Kind::list, {}, type};
}

}  // namespace palisade::policy::field_table
