#include <array>

#include <policy/guards.h>

namespace palisade::policy {
namespace {

using Reference = std::string_view;

constexpr Reference kPolicyMechanism{"CIS Kubernetes Benchmark 1.8: 5.2.1"};
constexpr Reference kAuthorization{
    "NSA/CISA Kubernetes Hardening Guidance 1.2: authentication and authorization"};
constexpr Reference kAccess{"SOC 2: CC6.1"};

constexpr std::array kSessions{Reference("MITRE ATT&CK: T1609 Container Administration Command"),
                               kAuthorization, kAccess};
constexpr std::array kScheduling{
    Reference("Kubernetes documentation: Assigning Pods to Nodes"),
    Reference("Kubernetes documentation: Multi-tenancy, Node isolation"), kAccess};
constexpr std::array kIdentity{Reference("MITRE ATT&CK: T1036 Masquerading"), kPolicyMechanism};
constexpr std::array kObjects{
    Reference("CIS Kubernetes Benchmark 1.8: 5.1.2"),
    Reference("CIS Kubernetes Benchmark 1.8: 5.1.6"),
    Reference("NSA/CISA Kubernetes Hardening Guidance 1.2: network separation and hardening"),
    kAccess};
constexpr std::array kRights{
    Reference("MITRE ATT&CK: T1098.006 Account Manipulation: Additional Container Cluster Roles"),
    Reference("Kubernetes documentation: Role Based Access Control Good Practices"),
    kAuthorization};
constexpr std::array kLabels{Reference("MITRE ATT&CK: T1562.001 Impair Defenses: Disable or Modify "
                                       "Tools"),
                             kPolicyMechanism, Reference("SOC 2: CC8.1")};
constexpr std::array kOwn{Reference("MITRE ATT&CK: T1562.001 Impair Defenses: Disable or Modify "
                                    "Tools"),
                          Reference("CIS Kubernetes Benchmark 1.8: 5.1.12"), kPolicyMechanism,
                          Reference("SOC 2: CC8.1")};
constexpr std::array kCreator{Reference("MITRE ATT&CK: T1609 Container Administration Command"),
                              kAuthorization, Reference("SOC 2: CC6.3")};
constexpr std::array kBounds{
    kPolicyMechanism, Reference("NSA/CISA Kubernetes Hardening Guidance 1.2: resource policies"),
    Reference("SOC 2: CC6.8")};

Control guard(std::string_view id, std::string_view title, std::string_view why,
              std::string_view remedy, std::span<const std::string_view> references) {
  return {.id = id,
          .title = title,
          .why = why,
          .remedy = remedy,
          .references = references,
          .check = nullptr,
          .needs_cluster = true,
          .is_guard = true};
}

}  // namespace

std::span<const Control> guards() {
  static const std::array kTable{
      guard(kSessionAccess, "Who enters an Aider pod created it, or is named for it",
            "Whoever execs, attaches or forwards a port into an agent's pod, or puts a debug "
            "container beside it, works with its checkout, its mounts and its way out, as if they "
            "were the agent; what the agent wrote there can in turn talk to their terminal.",
            "have the creator of the workspace open the session, or have an administrator name "
            "the user or group in sessionUsers or sessionGroups of the settings, or in "
            "spec.sessions of an AgentPolicy",
            kSessions),
      guard(kSchedulerBinding, "Only schedulers put an Aider pod on a node",
            "A binding places the pod past taints, quotas of nodes and the gate that waits for "
            "its NetworkPolicy, and copies its own labels and annotations over the pod's without "
            "an update that anybody judges.",
            "leave placing to the scheduler, say where with nodeSelector or affinity, and have an "
            "administrator list a scheduler of your own in webhook.schedulers of the chart",
            kScheduling),
      guard(kAgentIdentity, "Marks of a workspace's pod are the operator's alone",
            "By labels, owner references and the network gate NetworkPolicies, the operator and "
            "this guard find an agent's pod: without them it is nobody's and open, and with forged "
            "ones another pod gets what belongs to the agent's.",
            "leave labels and annotations under palisade.dev/, owner references to an "
            "AgentWorkspace and the pod's images as the operator wrote them; change the "
            "AgentWorkspace instead",
            kIdentity),
      guard(kWorkspaceObjects, "What belongs to a workspace is changed by the operator alone",
            "A workspace's NetworkPolicy, Secret, ConfigMap and ServiceAccount are its walls and "
            "keys: whoever changes them opens the network, reads the git token, or gets a token "
            "of the agent's account, and the pod looks as hardened as before.",
            "change or delete the AgentWorkspace and let the operator follow; give objects of your "
            "own no label palisade.dev/workspace and no owner reference to one",
            kObjects),
      guard(kAgentRights, "An agent's ServiceAccount gets no rights",
            "An agent that reaches the API server with rights of its own reads Secrets, starts "
            "pods and undoes its own walls; what it runs comes out of repositories and models "
            "that nobody has read.",
            "leave the agent's ServiceAccount, its user name and groups that take it in out of the "
            "binding's subjects; name the accounts that need the rights one by one",
            kRights),
      guard(kNamespaceLabels, "A namespace's guard is loosened by administrators alone",
            "palisade.dev/enforce, palisade.dev/mode and control.palisade.dev/ID decide what is "
            "judged here: who may label the namespace could turn the guard off, do the deed, and "
            "turn it on again.",
            "leave the label as strict as it is, or have an administrator (webhook.administrators "
            "of the chart) change it",
            kLabels),
      guard(kPalisadeObjects, "Palisade's own configuration is written by administrators alone",
            "An AgentPolicy bounds every agent of a namespace and a HardeningException lifts a "
            "control for it: who may write one chooses their own bounds, and a broken definition "
            "leaves nothing to judge by.",
            "have an administrator (webhook.administrators of the chart) write it, in the form "
            "that docs/admission.md shows",
            kOwn),
      guard(kWorkspaceCreator, "A workspace's recorded creator is who created it",
            "palisade.dev/created-by decides who may enter the agent's pod: a forged one is a "
            "session in somebody else's name, past audit logs and RBAC.",
            "leave the annotation palisade.dev/created-by out when you create a workspace, and as "
            "it is when you change it: the webhook writes it",
            kCreator),
      guard(kWorkspaceBounds, "A workspace asks for no more than its namespace's bounds",
            "Settings and AgentPolicies say which gateways, models, budgets, git hosts, "
            "repositories, "
            "images, RuntimeClasses and how much of a node an agent here may have; a workspace "
            "beyond "
            "them has a way out, or a share of the money and of the node, that nobody agreed to.",
            "ask for what the settings and the AgentPolicies of the namespace allow, or have an "
            "administrator widen them",
            kBounds),
  };
  return kTable;
}

}  // namespace palisade::policy
