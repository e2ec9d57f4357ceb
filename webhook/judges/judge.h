// What judges are: pure functions from a request and what is known of the cluster to findings.
// Whether a finding denies, warns or is only recorded is decided in one place (verdict.h), by the
// namespace's modes. A finding names one of policy::controls() or policy::guards().
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>
#include <webhook/cluster_view.h>
#include <webhook/request.h>

namespace palisade::webhook {

// A HardeningException that let findings pass.
struct UsedException {
  std::shared_ptr<const policy::HardeningException> exception;
  std::vector<std::string_view> controls;
};

struct Judgement {
  // What must be denied, warned of or recorded.
  std::vector<policy::Finding> findings;
  // Denied whatever the namespace's modes are: what is no matter of a namespace, or could turn the
  // modes off.
  bool always = false;
  std::string subject;  // "Aider pod", "NetworkPolicy": what a refusal calls the object
  std::string reason;   // why it is judged, or why it passes: short, for people and audit logs
  bool is_agent = false;
  std::vector<std::string> warnings;
  std::vector<UsedException> exceptions;
  // The JSON patch of a mutating answer; "" for none.
  std::string patch;
  // Non-empty: not judged, and denied with this text: for want of certainty, or because the
  // review makes no sense.
  std::string error;
  bool nonsense = false;

  static Judgement pass(std::string reason) {
    Judgement out;
    out.reason = std::move(reason);
    return out;
  }
  static Judgement not_understood(std::string error) {
    Judgement out = unsure(std::move(error));
    out.nonsense = true;
    return out;
  }
  static Judgement unsure(std::string error) {
    Judgement out;
    out.error = std::move(error);
    return out;
  }
};

using Judge = Judgement (*)(const Request&, const ClusterView&);

// One request of the API that is judged. "*" as subresource: any that is listed nowhere else.
struct Dispatch {
  std::string_view group;
  std::string_view resource;
  std::string_view subresource;
  Judge judge;
};

// Each in a file of its own.
Judgement judge_pod(const Request& request, const ClusterView& cluster);
Judgement judge_template(const Request& request, const ClusterView& cluster);
Judgement judge_workspace(const Request& request, const ClusterView& cluster);

Judgement judge_workspace_template(const Request& request, const ClusterView& cluster);

Judgement judge_connect(const Request& request, const ClusterView& cluster);  // pods/exec and such
Judgement judge_binding(const Request& request, const ClusterView& cluster);  // and legacy bindings
Judgement judge_pod_status(const Request& request, const ClusterView& cluster);
// secrets, configmaps, serviceaccounts
Judgement judge_owned_object(const Request& request, const ClusterView& cluster);
// persistentvolumeclaims, their status too
Judgement judge_volume_claim(const Request& request, const ClusterView& cluster);
Judgement judge_token_request(const Request& request, const ClusterView& cluster);
Judgement judge_network_policy(const Request& request, const ClusterView& cluster);
// Network policies of other APIs, namespaced and cluster-scoped: see policy/foreign_network.h.
Judgement judge_foreign_network_policy(const Request& request, const ClusterView& cluster);
Judgement judge_role_binding(const Request& request, const ClusterView& cluster);  // and cluster's
// status and finalize too: labels can be written with either.
Judgement judge_namespace(const Request& request, const ClusterView& cluster);
Judgement judge_own_crd(const Request& request, const ClusterView& cluster);
Judgement judge_agent_policy(const Request& request, const ClusterView& cluster);
Judgement judge_hardening_exception(const Request& request, const ClusterView& cluster);
Judgement judge_workspace_status(const Request& request, const ClusterView& cluster);

// The mutating side: AgentWorkspaces, CREATE and UPDATE. See Judgement::patch.
Judgement mutate_workspace(const Request& request, const ClusterView& cluster);

// Parts that judges of pods and workspaces share.
//
// Who created a workspace is who asks, and never changes.
[[nodiscard]] Lookup<std::vector<policy::Finding>> creator_findings(const Request& request);
// Of a workspace that names a template: what that one fixes and the workspace has otherwise.
[[nodiscard]] Lookup<std::vector<policy::Finding>> template_findings(const Request& request,
                                                                     const ClusterView& cluster);
// What a template adds to a workspace: operations of a JSON patch, each followed by a comma. The
// request's objects are there.
[[nodiscard]] Lookup<std::string> template_patch(const Request& request,
                                                 const ClusterView& cluster);
// What annotation palisade.dev/template of a workspace is to be.
[[nodiscard]] Lookup<std::optional<std::string>> template_version(const Request& request,
                                                                  const ClusterView& cluster);
// Of a pod that is created: marks that make it a workspace's. `pod` may be a template's, `prefix`
// goes before each path.
[[nodiscard]] std::vector<policy::Finding> membership_findings(const simdjson::dom::element& pod,
                                                               std::string_view prefix);
// Of any pod, created or updated, through any subresource: marks and owner references that are the
// operator's. None for the operator.
[[nodiscard]] std::vector<policy::Finding> pod_metadata_findings(const Request& request,
                                                                 const ClusterView& cluster);
// deny-all-network of an agent pod that is created, or of one whose labels change.
[[nodiscard]] Lookup<std::vector<policy::Finding>> pod_network_findings(const Request& request,
                                                                        const ClusterView& cluster);
// image-signature of a pod or of what makes pods, as far as its images were not the same before.
[[nodiscard]] std::vector<policy::Finding> signature_findings(
    const ClusterView& cluster, const NamespaceRules& rules, const simdjson::dom::element& pod,
    const std::optional<simdjson::dom::element>& before, std::string_view prefix);
// Of what the operator makes for a workspace: writes by others while it lives, and forged claims.
[[nodiscard]] Lookup<std::vector<policy::Finding>> owned_findings(const Request& request,
                                                                  const ClusterView& cluster);
// Of an update of pods/ephemeralcontainers: a debug container in a workspace's pod is a session
// too, and may mount what the pod mounts.
[[nodiscard]] Lookup<std::vector<policy::Finding>> debug_findings(const Request& request,
                                                                  const ClusterView& cluster,
                                                                  const NamespaceRules& rules);
// Whether who asks may enter this agent pod.
[[nodiscard]] Judgement session_judgement(const Request& request, const ClusterView& cluster,
                                          const NamespaceRules& rules, const AgentPod& pod);

}  // namespace palisade::webhook
