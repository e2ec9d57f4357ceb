#include "pod_fields.h"

#include <array>
#include <cstddef>

#include "pod_field_types.h"

namespace palisade::policy {
namespace {

using namespace field_table;

constexpr std::array kPodSpec{
    list("containers", tContainer), list("initContainers", tContainer),
    list("ephemeralContainers", tEphemeralContainer), list("volumes", tVolume),
    object("securityContext", tPodSecurityContext),
    judged("activeDeadlineSeconds", "bounded-lifetime"),
    judged("terminationGracePeriodSeconds", "bounded-lifetime"),
    judged("hostNetwork", "no-host-namespaces"), judged("hostPID", "no-host-namespaces"),
    judged("hostIPC", "no-host-namespaces"), judged("shareProcessNamespace", "no-host-namespaces"),
    judged("hostUsers", "user-namespace"),
    judged("automountServiceAccountToken", "no-service-account-token"),
    judged("nodeName", "no-node-name"), judged("runtimeClassName", "runtime-class"),
    object("resources", tResourceRequirements), refused("resourceClaims", "no-device-claims"),
    judged("priorityClassName", "fair-scheduling"), judged("priority", "fair-scheduling"),
    list("tolerations", tToleration), object("affinity", tAffinity), object("os", tPodOS),
    // Where the pod may run: taints, quotas and the node's own labels still hold.
    harmless("nodeSelector"), harmless("schedulerName"), harmless("preemptionPolicy"),
    harmless("overhead"), list("topologySpreadConstraints", tTopologySpreadConstraint),
    // Gates only hold a pod back; a group waits for its members.
    list("schedulingGates", tPodSchedulingGate), object("schedulingGroup", tPodSchedulingGroup),
    list("readinessGates", tPodReadinessGate),
    // Names. What they lead to is behind the NetworkPolicy (deny-all-network), whatever answers.
    harmless("dnsPolicy"), harmless("hostname"), harmless("hostnameOverride"),
    harmless("subdomain"), harmless("setHostnameAsFQDN"), harmless("enableServiceLinks"),
    object("dnsConfig", tPodDNSConfig), list("hostAliases", tHostAlias),
    // An account without a token of it (no-service-account-token) logs in nowhere; pull Secrets are
    // the kubelet's alone.
    harmless("serviceAccountName"), harmless("serviceAccount"),
    list("imagePullSecrets", tLocalObjectReference), harmless("restartPolicy")};
constexpr std::array kContainer{
    judged("image", "image-source"), object("securityContext", tSecurityContext),
    // no-llm-key-by-value looks for keys in the words; which program runs is the image's matter.
    judged("command", "no-llm-key-by-value"), judged("args", "no-llm-key-by-value"),
    list("env", tEnvVar), list("envFrom", tEnvFromSource), list("ports", tContainerPort),
    object("resources", tResourceRequirements), list("volumeMounts", tVolumeMount),
    refused("volumeDevices", "no-block-devices"), object("livenessProbe", tProbe),
    object("readinessProbe", tProbe), object("startupProbe", tProbe),
    object("lifecycle", tLifecycle), judged("terminationMessagePath", "read-only-root-filesystem"),
    // Restarts, resizes and messages of the pod itself; who may attach to stdin is judged at
    // attach.
    harmless("name"), harmless("imagePullPolicy"), harmless("workingDir"), harmless("stdin"),
    harmless("stdinOnce"), harmless("tty"), harmless("terminationMessagePolicy"),
    harmless("restartPolicy"), list("resizePolicy", tContainerResizePolicy),
    list("restartPolicyRules", tContainerRestartRule)};
constexpr std::array kEphemeralContainer{
    judged("image", "image-source"), object("securityContext", tSecurityContext),
    // no-llm-key-by-value looks for keys in the words; which program runs is the image's matter.
    judged("command", "no-llm-key-by-value"), judged("args", "no-llm-key-by-value"),
    list("env", tEnvVar), list("envFrom", tEnvFromSource), list("ports", tContainerPort),
    object("resources", tResourceRequirements), list("volumeMounts", tVolumeMount),
    refused("volumeDevices", "no-block-devices"), object("livenessProbe", tProbe),
    object("readinessProbe", tProbe), object("startupProbe", tProbe),
    object("lifecycle", tLifecycle), judged("terminationMessagePath", "read-only-root-filesystem"),
    // Restarts, resizes and messages of the pod itself; who may attach to stdin is judged at
    // attach.
    harmless("name"), harmless("imagePullPolicy"), harmless("workingDir"), harmless("stdin"),
    harmless("stdinOnce"), harmless("tty"), harmless("terminationMessagePolicy"),
    harmless("restartPolicy"), list("resizePolicy", tContainerResizePolicy),
    list("restartPolicyRules", tContainerRestartRule),
    judged("targetContainerName", "no-host-namespaces")};
constexpr std::array kPodSecurityContext{
    judged("runAsNonRoot", "run-as-non-root"), judged("runAsUser", "non-zero-ids"),
    judged("runAsGroup", "non-zero-ids"), judged("fsGroup", "non-zero-ids"),
    judged("supplementalGroups", "non-zero-ids"), object("seccompProfile", tSeccompProfile),
    object("appArmorProfile", tAppArmorProfile), object("seLinuxOptions", tSELinuxOptions),
    object("windowsOptions", tWindowsSecurityContextOptions), refused("sysctls", "no-sysctls"),
    // How volumes are relabelled and chowned, not to whom; Merge is what an absent policy means.
    harmless("fsGroupChangePolicy"), harmless("seLinuxChangePolicy"),
    harmless("supplementalGroupsPolicy")};
constexpr std::array kSecurityContext{judged("runAsNonRoot", "run-as-non-root"),
                                      judged("runAsUser", "non-zero-ids"),
                                      judged("runAsGroup", "non-zero-ids"),
                                      judged("privileged", "not-privileged"),
                                      judged("allowPrivilegeEscalation", "no-privilege-escalation"),
                                      judged("readOnlyRootFilesystem", "read-only-root-filesystem"),
                                      judged("procMount", "proc-mount"),
                                      object("capabilities", tCapabilities),
                                      object("seccompProfile", tSeccompProfile),
                                      object("appArmorProfile", tAppArmorProfile),
                                      object("seLinuxOptions", tSELinuxOptions),
                                      object("windowsOptions", tWindowsSecurityContextOptions)};
constexpr std::array kCapabilities{judged("add", "drop-all-capabilities"),
                                   judged("drop", "drop-all-capabilities")};
constexpr std::array kSeccompProfile{judged("type", "seccomp-profile"),
                                     judged("localhostProfile", "seccomp-profile")};
constexpr std::array kAppArmorProfile{judged("type", "apparmor"),
                                      // Only of the type Localhost, which is refused.
                                      harmless("localhostProfile")};
constexpr std::array kSELinuxOptions{
    judged("type", "selinux"), judged("user", "selinux"), judged("role", "selinux"),
    // The standard lets levels pass: they separate pods, types confine them.
    harmless("level")};
constexpr std::array kWindowsSecurityContextOptions{
    judged("hostProcess", "no-windows-host-process"), judged("gmsaCredentialSpec", "linux-only"),
    judged("gmsaCredentialSpecName", "linux-only"), judged("runAsUserName", "linux-only")};
constexpr std::array kEnvVar{judged("name", "no-llm-key-by-value"),
                             judged("value", "no-llm-key-by-value"),
                             object("valueFrom", tEnvVarSource)};
constexpr std::array kEnvVarSource{
    refused("secretKeyRef", "no-secret-in-env"),
    // The namespace's ConfigMaps, the pod's own fields, a file of its own scratch volume.
    object("configMapKeyRef", tConfigMapKeySelector), object("fieldRef", tObjectFieldSelector),
    object("fileKeyRef", tFileKeySelector), object("resourceFieldRef", tResourceFieldSelector)};
constexpr std::array kConfigMapKeySelector{harmless("name"), harmless("key"), harmless("optional")};
constexpr std::array kObjectFieldSelector{harmless("apiVersion"), harmless("fieldPath")};
constexpr std::array kFileKeySelector{harmless("volumeName"), harmless("path"), harmless("key"),
                                      harmless("optional")};
constexpr std::array kResourceFieldSelector{harmless("containerName"), harmless("resource"),
                                            harmless("divisor")};
constexpr std::array kEnvFromSource{refused("secretRef", "no-secret-in-env"),
                                    object("configMapRef", tConfigMapEnvSource),
                                    harmless("prefix")};
constexpr std::array kConfigMapEnvSource{harmless("name"), harmless("optional")};
constexpr std::array kProbe{object("exec", tExecAction),
                            object("httpGet", tHTTPGetAction),
                            object("tcpSocket", tTCPSocketAction),
                            object("grpc", tGRPCAction),
                            judged("terminationGracePeriodSeconds", "bounded-lifetime"),
                            harmless("initialDelaySeconds"),
                            harmless("periodSeconds"),
                            harmless("timeoutSeconds"),
                            harmless("successThreshold"),
                            harmless("failureThreshold")};
constexpr std::array kLifecycle{object("postStart", tLifecycleHandler),
                                object("preStop", tLifecycleHandler),
                                // The grace period ends in SIGKILL, whichever signal begins it.
                                harmless("stopSignal")};
constexpr std::array kLifecycleHandler{
    object("exec", tExecAction), object("httpGet", tHTTPGetAction),
    object("tcpSocket", tTCPSocketAction), object("sleep", tSleepAction)};
constexpr std::array kExecAction{judged("command", "no-llm-key-by-value")};
constexpr std::array kHTTPGetAction{judged("host", "no-probe-host"),
                                    // The request goes to the pod itself.
                                    harmless("path"), harmless("port"), harmless("scheme"),
                                    list("httpHeaders", tHTTPHeader)};
constexpr std::array kHTTPHeader{harmless("name"), harmless("value")};
constexpr std::array kTCPSocketAction{judged("host", "no-probe-host"), harmless("port")};
constexpr std::array kGRPCAction{harmless("port"), harmless("service")};
constexpr std::array kSleepAction{harmless("seconds")};
constexpr std::array kContainerPort{
    judged("hostPort", "host-ports"),
    // hostIP says nothing without a hostPort; a containerPort opens nothing.
    harmless("name"), harmless("containerPort"), harmless("protocol"), harmless("hostIP")};
constexpr std::array kContainerResizePolicy{harmless("resourceName"), harmless("restartPolicy")};
constexpr std::array kContainerRestartRule{harmless("action"),
                                           object("exitCodes", tContainerRestartRuleOnExitCodes)};
constexpr std::array kContainerRestartRuleOnExitCodes{harmless("operator"), harmless("values")};
constexpr std::array kResourceRequirements{judged("limits", "resource-limits"),
                                           // At most the limits: the API server sees to it.
                                           harmless("requests"),
                                           refused("claims", "no-device-claims")};
constexpr std::array kVolumeMount{
    judged("mountPropagation", "no-mount-propagation"),
    // subPath stays inside its volume: the kubelet opens it without following links.
    harmless("name"), harmless("mountPath"), harmless("readOnly"), harmless("recursiveReadOnly"),
    harmless("subPath"), harmless("subPathExpr")};
constexpr std::array kVolume{
    harmless("name"), object("configMap", tConfigMapVolumeSource),
    object("secret", tSecretVolumeSource), object("downwardAPI", tDownwardAPIVolumeSource),
    object("emptyDir", tEmptyDirVolumeSource), object("projected", tProjectedVolumeSource),
    object("persistentVolumeClaim", tPersistentVolumeClaimVolumeSource),
    object("ephemeral", tEphemeralVolumeSource),
    // Only where the settings let them in.
    object("csi", tCSIVolumeSource), object("image", tImageVolumeSource),
    refused("hostPath", "volume-types"), refused("awsElasticBlockStore", "volume-types"),
    refused("azureDisk", "volume-types"), refused("azureFile", "volume-types"),
    refused("cephfs", "volume-types"), refused("cinder", "volume-types"),
    refused("fc", "volume-types"), refused("flexVolume", "volume-types"),
    refused("flocker", "volume-types"), refused("gcePersistentDisk", "volume-types"),
    refused("gitRepo", "volume-types"), refused("glusterfs", "volume-types"),
    refused("iscsi", "volume-types"), refused("nfs", "volume-types"),
    refused("photonPersistentDisk", "volume-types"), refused("portworxVolume", "volume-types"),
    refused("quobyte", "volume-types"), refused("rbd", "volume-types"),
    refused("scaleIO", "volume-types"), refused("storageos", "volume-types"),
    refused("vsphereVolume", "volume-types")};
constexpr std::array kConfigMapVolumeSource{harmless("name"), harmless("optional"),
                                            harmless("defaultMode"), list("items", tKeyToPath)};
constexpr std::array kSecretVolumeSource{
    // Which container gets which Secret as files is the pod author's choice, as it is who gets the
    // pod.
    harmless("secretName"), harmless("optional"), harmless("defaultMode"),
    list("items", tKeyToPath)};
constexpr std::array kKeyToPath{harmless("key"), harmless("path"), harmless("mode")};
constexpr std::array kDownwardAPIVolumeSource{harmless("defaultMode"),
                                              list("items", tDownwardAPIVolumeFile)};
constexpr std::array kDownwardAPIVolumeFile{harmless("path"), harmless("mode"),
                                            object("fieldRef", tObjectFieldSelector),
                                            object("resourceFieldRef", tResourceFieldSelector)};
constexpr std::array kEmptyDirVolumeSource{judged("sizeLimit", "sized-empty-dirs"),
                                           harmless("medium")};
constexpr std::array kProjectedVolumeSource{harmless("defaultMode"),
                                            list("sources", tVolumeProjection)};
constexpr std::array kVolumeProjection{
    object("configMap", tConfigMapProjection),
    object("secret", tSecretProjection),
    object("downwardAPI", tDownwardAPIProjection),
    object("clusterTrustBundle", tClusterTrustBundleProjection),
    object("serviceAccountToken", tServiceAccountTokenProjection),
    refused("podCertificate", "no-service-account-token")};
constexpr std::array kConfigMapProjection{harmless("name"), harmless("optional"),
                                          list("items", tKeyToPath)};
constexpr std::array kSecretProjection{harmless("name"), harmless("optional"),
                                       list("items", tKeyToPath)};
constexpr std::array kDownwardAPIProjection{list("items", tDownwardAPIVolumeFile)};
constexpr std::array kClusterTrustBundleProjection{
    // Certificates, no keys.
    harmless("name"), harmless("signerName"), harmless("optional"), harmless("path"),
    object("labelSelector", tLabelSelector)};
constexpr std::array kServiceAccountTokenProjection{judged("audience", "no-service-account-token"),
                                                    harmless("expirationSeconds"),
                                                    harmless("path")};
constexpr std::array kPersistentVolumeClaimVolumeSource{harmless("claimName"),
                                                        harmless("readOnly")};
constexpr std::array kEphemeralVolumeSource{
    object("volumeClaimTemplate", tPersistentVolumeClaimTemplate)};
constexpr std::array kPersistentVolumeClaimTemplate{object("metadata", tObjectMeta),
                                                    object("spec", tPersistentVolumeClaimSpec)};
constexpr std::array kObjectMeta{// Of the claim; the API server takes labels and annotations only.
                                 harmless("name"),
                                 harmless("generateName"),
                                 harmless("namespace"),
                                 harmless("labels"),
                                 harmless("annotations"),
                                 harmless("uid"),
                                 harmless("resourceVersion"),
                                 harmless("generation"),
                                 harmless("creationTimestamp"),
                                 harmless("deletionTimestamp"),
                                 harmless("deletionGracePeriodSeconds"),
                                 harmless("finalizers"),
                                 harmless("selfLink"),
                                 list("ownerReferences", tOwnerReference),
                                 list("managedFields", tManagedFieldsEntry)};
constexpr std::array kOwnerReference{harmless("apiVersion"), harmless("kind"),
                                     harmless("name"),       harmless("uid"),
                                     harmless("controller"), harmless("blockOwnerDeletion")};
constexpr std::array kManagedFieldsEntry{
    harmless("apiVersion"), harmless("fieldsType"),  harmless("fieldsV1"), harmless("manager"),
    harmless("operation"),  harmless("subresource"), harmless("time")};
constexpr std::array kPersistentVolumeClaimSpec{
    judged("volumeName", "volume-types"), object("dataSourceRef", tTypedObjectReference),
    object("dataSource", tTypedLocalObjectReference),
    // Classes and sizes are the quota's; Block needs volumeDevices.
    harmless("accessModes"), harmless("storageClassName"), harmless("volumeAttributesClassName"),
    harmless("volumeMode"), object("resources", tVolumeResourceRequirements),
    object("selector", tLabelSelector)};
constexpr std::array kVolumeResourceRequirements{harmless("limits"), harmless("requests")};
constexpr std::array kTypedLocalObjectReference{harmless("apiGroup"), harmless("kind"),
                                                harmless("name")};
constexpr std::array kTypedObjectReference{
    judged("namespace", "volume-types"), harmless("apiGroup"), harmless("kind"), harmless("name")};
constexpr std::array kCSIVolumeSource{harmless("driver"), harmless("fsType"), harmless("readOnly"),
                                      harmless("volumeAttributes"),
                                      object("nodePublishSecretRef", tLocalObjectReference)};
constexpr std::array kImageVolumeSource{judged("reference", "image-source"),
                                        harmless("pullPolicy")};
constexpr std::array kLocalObjectReference{harmless("name")};
constexpr std::array kLabelSelector{harmless("matchLabels"),
                                    list("matchExpressions", tLabelSelectorRequirement)};
constexpr std::array kLabelSelectorRequirement{harmless("key"), harmless("operator"),
                                               harmless("values")};
constexpr std::array kToleration{judged("key", "fair-scheduling"), harmless("operator"),
                                 harmless("value"), harmless("effect"),
                                 harmless("tolerationSeconds")};
constexpr std::array kAffinity{object("nodeAffinity", tNodeAffinity),
                               object("podAffinity", tPodAffinity),
                               object("podAntiAffinity", tPodAntiAffinity)};
constexpr std::array kNodeAffinity{
    object("requiredDuringSchedulingIgnoredDuringExecution", tNodeSelector),
    list("preferredDuringSchedulingIgnoredDuringExecution", tPreferredSchedulingTerm)};
constexpr std::array kNodeSelector{list("nodeSelectorTerms", tNodeSelectorTerm)};
constexpr std::array kNodeSelectorTerm{list("matchExpressions", tNodeSelectorRequirement),
                                       list("matchFields", tNodeSelectorRequirement)};
constexpr std::array kNodeSelectorRequirement{harmless("key"), harmless("operator"),
                                              harmless("values")};
constexpr std::array kPreferredSchedulingTerm{harmless("weight"),
                                              object("preference", tNodeSelectorTerm)};
constexpr std::array kPodAffinity{
    list("requiredDuringSchedulingIgnoredDuringExecution", tPodAffinityTerm),
    list("preferredDuringSchedulingIgnoredDuringExecution", tWeightedPodAffinityTerm)};
constexpr std::array kPodAntiAffinity{
    // Hard terms keep others away as well: fair-scheduling reads them.
    list("requiredDuringSchedulingIgnoredDuringExecution", tPodAffinityTerm),
    list("preferredDuringSchedulingIgnoredDuringExecution", tWeightedPodAffinityTerm)};
constexpr std::array kPodAffinityTerm{judged("namespaces", "fair-scheduling"),
                                      object("namespaceSelector", tLabelSelector),
                                      object("labelSelector", tLabelSelector),
                                      harmless("topologyKey"),
                                      harmless("matchLabelKeys"),
                                      harmless("mismatchLabelKeys")};
constexpr std::array kWeightedPodAffinityTerm{harmless("weight"),
                                              object("podAffinityTerm", tPodAffinityTerm)};
constexpr std::array kTopologySpreadConstraint{harmless("maxSkew"),
                                               harmless("topologyKey"),
                                               harmless("whenUnsatisfiable"),
                                               harmless("minDomains"),
                                               harmless("nodeAffinityPolicy"),
                                               harmless("nodeTaintsPolicy"),
                                               harmless("matchLabelKeys"),
                                               object("labelSelector", tLabelSelector)};
constexpr std::array kPodDNSConfig{harmless("nameservers"), harmless("searches"),
                                   list("options", tPodDNSConfigOption)};
constexpr std::array kPodDNSConfigOption{harmless("name"), harmless("value")};
constexpr std::array kHostAlias{harmless("ip"), harmless("hostnames")};
constexpr std::array kPodOS{judged("name", "linux-only")};
constexpr std::array kPodReadinessGate{harmless("conditionType")};
constexpr std::array kPodSchedulingGate{harmless("name")};
constexpr std::array kPodSchedulingGroup{harmless("podGroupName")};

constexpr std::array kTypes{
    PodType{"PodSpec", kPodSpec, ""},
    PodType{"Container", kContainer, ""},
    PodType{"EphemeralContainer", kEphemeralContainer, ""},
    PodType{"PodSecurityContext", kPodSecurityContext, ""},
    PodType{"SecurityContext", kSecurityContext, ""},
    PodType{"Capabilities", kCapabilities, ""},
    PodType{"SeccompProfile", kSeccompProfile, ""},
    PodType{"AppArmorProfile", kAppArmorProfile, ""},
    PodType{"SELinuxOptions", kSELinuxOptions, ""},
    PodType{"WindowsSecurityContextOptions", kWindowsSecurityContextOptions, ""},
    PodType{"EnvVar", kEnvVar, ""},
    PodType{"EnvVarSource", kEnvVarSource, ""},
    PodType{"ConfigMapKeySelector", kConfigMapKeySelector, ""},
    PodType{"ObjectFieldSelector", kObjectFieldSelector, ""},
    PodType{"FileKeySelector", kFileKeySelector, ""},
    PodType{"ResourceFieldSelector", kResourceFieldSelector, ""},
    PodType{"EnvFromSource", kEnvFromSource, ""},
    PodType{"ConfigMapEnvSource", kConfigMapEnvSource, ""},
    PodType{"Probe", kProbe, ""},
    PodType{"Lifecycle", kLifecycle, ""},
    PodType{"LifecycleHandler", kLifecycleHandler, ""},
    PodType{"ExecAction", kExecAction, ""},
    PodType{"HTTPGetAction", kHTTPGetAction, ""},
    PodType{"HTTPHeader", kHTTPHeader, ""},
    PodType{"TCPSocketAction", kTCPSocketAction, ""},
    PodType{"GRPCAction", kGRPCAction, ""},
    PodType{"SleepAction", kSleepAction, ""},
    PodType{"ContainerPort", kContainerPort, ""},
    PodType{"ContainerResizePolicy", kContainerResizePolicy, ""},
    PodType{"ContainerRestartRule", kContainerRestartRule, ""},
    PodType{"ContainerRestartRuleOnExitCodes", kContainerRestartRuleOnExitCodes, ""},
    PodType{"ResourceRequirements", kResourceRequirements, ""},
    PodType{"VolumeMount", kVolumeMount, ""},
    PodType{"Volume", kVolume, "volume-types"},
    PodType{"ConfigMapVolumeSource", kConfigMapVolumeSource, ""},
    PodType{"SecretVolumeSource", kSecretVolumeSource, ""},
    PodType{"KeyToPath", kKeyToPath, ""},
    PodType{"DownwardAPIVolumeSource", kDownwardAPIVolumeSource, ""},
    PodType{"DownwardAPIVolumeFile", kDownwardAPIVolumeFile, ""},
    PodType{"EmptyDirVolumeSource", kEmptyDirVolumeSource, ""},
    PodType{"ProjectedVolumeSource", kProjectedVolumeSource, ""},
    PodType{"VolumeProjection", kVolumeProjection, "volume-types"},
    PodType{"ConfigMapProjection", kConfigMapProjection, ""},
    PodType{"SecretProjection", kSecretProjection, ""},
    PodType{"DownwardAPIProjection", kDownwardAPIProjection, ""},
    PodType{"ClusterTrustBundleProjection", kClusterTrustBundleProjection, ""},
    PodType{"ServiceAccountTokenProjection", kServiceAccountTokenProjection, ""},
    PodType{"PersistentVolumeClaimVolumeSource", kPersistentVolumeClaimVolumeSource, ""},
    PodType{"EphemeralVolumeSource", kEphemeralVolumeSource, ""},
    PodType{"PersistentVolumeClaimTemplate", kPersistentVolumeClaimTemplate, ""},
    PodType{"ObjectMeta", kObjectMeta, ""},
    PodType{"OwnerReference", kOwnerReference, ""},
    PodType{"ManagedFieldsEntry", kManagedFieldsEntry, ""},
    PodType{"PersistentVolumeClaimSpec", kPersistentVolumeClaimSpec, ""},
    PodType{"VolumeResourceRequirements", kVolumeResourceRequirements, ""},
    PodType{"TypedLocalObjectReference", kTypedLocalObjectReference, ""},
    PodType{"TypedObjectReference", kTypedObjectReference, ""},
    PodType{"CSIVolumeSource", kCSIVolumeSource, ""},
    PodType{"ImageVolumeSource", kImageVolumeSource, ""},
    PodType{"LocalObjectReference", kLocalObjectReference, ""},
    PodType{"LabelSelector", kLabelSelector, ""},
    PodType{"LabelSelectorRequirement", kLabelSelectorRequirement, ""},
    PodType{"Toleration", kToleration, ""},
    PodType{"Affinity", kAffinity, ""},
    PodType{"NodeAffinity", kNodeAffinity, ""},
    PodType{"NodeSelector", kNodeSelector, ""},
    PodType{"NodeSelectorTerm", kNodeSelectorTerm, ""},
    PodType{"NodeSelectorRequirement", kNodeSelectorRequirement, ""},
    PodType{"PreferredSchedulingTerm", kPreferredSchedulingTerm, ""},
    PodType{"PodAffinity", kPodAffinity, ""},
    PodType{"PodAntiAffinity", kPodAntiAffinity, ""},
    PodType{"PodAffinityTerm", kPodAffinityTerm, ""},
    PodType{"WeightedPodAffinityTerm", kWeightedPodAffinityTerm, ""},
    PodType{"TopologySpreadConstraint", kTopologySpreadConstraint, ""},
    PodType{"PodDNSConfig", kPodDNSConfig, ""},
    PodType{"PodDNSConfigOption", kPodDNSConfigOption, ""},
    PodType{"HostAlias", kHostAlias, ""},
    PodType{"PodOS", kPodOS, ""},
    PodType{"PodReadinessGate", kPodReadinessGate, ""},
    PodType{"PodSchedulingGate", kPodSchedulingGate, ""},
    PodType{"PodSchedulingGroup", kPodSchedulingGroup, ""}};

// A slot for each name of a type, by a few of its characters; collisions take the next one. No type
// has half as many fields as there are slots.
constexpr std::size_t kSlots = 128;
using Slots = std::array<std::uint8_t, kSlots>;  // a field's place plus one; 0 is free

constexpr std::size_t slot_of(std::string_view name) {
  const auto at = [&](std::size_t i) {
    return static_cast<std::size_t>(static_cast<unsigned char>(name[i]));
  };
  if (name.empty()) return 0;
  const std::size_t size = name.size();
  return (size * 37 + at(0) * 5 + at(size - 1) * 11 + at(size / 2) * 3) % kSlots;
}

constexpr auto kIndex = [] {
  std::array<Slots, kTypes.size()> out{};
  for (std::size_t type = 0; type < kTypes.size(); ++type) {
    const auto fields = kTypes.at(type).fields;
    for (std::size_t i = 0; i < fields.size(); ++i) {
      std::size_t slot = slot_of(fields[i].name);
      while (out.at(type).at(slot) != 0)
        slot = (slot + 1) % kSlots;
      out.at(type).at(slot) = static_cast<std::uint8_t>(i + 1);
    }
  }
  return out;
}();

}  // namespace

std::span<const PodType> pod_types() {
  return kTypes;
}

const PodField* find_field(TypeIndex type, std::string_view name) {
  const Slots& slots = kIndex.at(type);
  const auto fields = kTypes.at(type).fields;
  for (std::size_t slot = slot_of(name); slots.at(slot) != 0; slot = (slot + 1) % kSlots) {
    const PodField& field = fields[slots.at(slot) - 1U];
    if (field.name == name) return &field;
  }
  return nullptr;
}

}  // namespace palisade::policy
