// Lessons on guards: their examples are requests, told by what the API server asks the webhook. The
// workspace fix-login of namespace team-a is jane's; its pod is fix-login-agent.
#include <array>

#include "lessons.h"

namespace palisade::cli {
namespace {

constexpr std::array kGuardLessons{
    Lesson{.control = "session-access",
           .attack = "A colleague with the right to exec in the namespace opens a shell in the "
                     "agent's container and pushes to its branch through the courier: in the audit "
                     "log of the git host it was the agent.",
           .bad = R"(operation: CONNECT      # kubectl exec -n team-a fix-login-agent -- sh
resource: pods/exec
namespace: team-a
name: fix-login-agent
user: joe
)",
           .good = R"(operation: CONNECT      # the same by jane, who created the workspace
resource: pods/exec
namespace: team-a
name: fix-login-agent
user: jane
)"},
    Lesson{.control = "scheduler-binding",
           .attack = "Someone binds the waiting pod to a node of their choice before its "
                     "NetworkPolicy is there, and the binding's labels, which replace the pod's, "
                     "take it out of every selector.",
           .bad = R"(operation: CREATE
resource: pods/binding
namespace: team-a
name: fix-login-agent
user: joe
object:
  apiVersion: v1
  kind: Binding
  metadata: {name: fix-login-agent, namespace: team-a}
  target: {kind: Node, name: node-1}
)",
           .good = R"(operation: CREATE
resource: pods/binding
namespace: team-a
name: fix-login-agent
user: system:kube-scheduler
object:
  apiVersion: v1
  kind: Binding
  metadata: {name: fix-login-agent, namespace: team-a}
  target: {kind: Node, name: node-1}
)"},
    Lesson{
        .control = "agent-identity",
        .attack = "The pod's label palisade.dev/workspace goes, and with it the NetworkPolicy "
                  "that selects by it: the running agent is now in an open network.",
        .bad = R"(operation: UPDATE      # kubectl label pod fix-login-agent palisade.dev/workspace-
resource: pods/status
namespace: team-a
name: fix-login-agent
user: joe
object:
  apiVersion: v1
  kind: Pod
  metadata: {name: fix-login-agent, namespace: team-a}
oldObject:
  apiVersion: v1
  kind: Pod
  metadata:
    name: fix-login-agent
    namespace: team-a
    labels: {palisade.dev/workspace: fix-login}
)",
        .good =
            R"(operation: UPDATE      # other labels are free, as long as no network opens by them
resource: pods/status
namespace: team-a
name: fix-login-agent
user: joe
object:
  apiVersion: v1
  kind: Pod
  metadata:
    name: fix-login-agent
    namespace: team-a
    labels: {palisade.dev/workspace: fix-login, example.com/reviewed: "yes"}
oldObject:
  apiVersion: v1
  kind: Pod
  metadata:
    name: fix-login-agent
    namespace: team-a
    labels: {palisade.dev/workspace: fix-login}
)"},
    Lesson{.control = "workspace-objects",
           .attack = "Somebody deletes the workspace's NetworkPolicy for a minute. The operator "
                     "puts it back, but what the agent sent in between is gone.",
           .bad = R"(operation: DELETE
group: networking.k8s.io
resource: networkpolicies
namespace: team-a
name: fix-login-agent
user: joe
oldObject:
  apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata:
    name: fix-login-agent
    namespace: team-a
    ownerReferences:
      - {apiVersion: palisade.dev/v1alpha1, kind: AgentWorkspace, name: fix-login, uid: uid-fix-login}
  spec:
    podSelector: {matchLabels: {palisade.dev/workspace: fix-login}}
    policyTypes: [Ingress, Egress]
)",
           .good =
               R"(operation: DELETE      # a policy that is no workspace's and closes no agent's pod
group: networking.k8s.io
resource: networkpolicies
namespace: team-a
name: web
user: joe
oldObject:
  apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: web, namespace: team-a}
  spec:
    podSelector: {matchLabels: {app: web}}
    policyTypes: [Ingress]
)"},
    Lesson{.control = "agent-rights",
           .attack = "A RoleBinding for every account of the namespace is meant for a build job. "
                     "The agent's account is one of them, and it may now read the namespace's "
                     "Secrets as soon as anything gives it a token.",
           .bad = R"(operation: CREATE
group: rbac.authorization.k8s.io
resource: rolebindings
namespace: team-a
name: builders
user: joe
object:
  apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: builders, namespace: team-a}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
  subjects:
    - {apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:serviceaccounts:team-a"}
)",
           .good = R"(operation: CREATE
group: rbac.authorization.k8s.io
resource: rolebindings
namespace: team-a
name: builders
user: joe
object:
  apiVersion: rbac.authorization.k8s.io/v1
  kind: RoleBinding
  metadata: {name: builders, namespace: team-a}
  roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edit}
  subjects:
    - {kind: ServiceAccount, name: builder, namespace: team-a}
)"},
    Lesson{
        .control = "namespace-labels",
        .attack = "Who may label the namespace turns the guard off, starts a privileged agent, "
                  "and turns it on again. The pod stays.",
        .bad = R"(operation: UPDATE      # kubectl label namespace team-a palisade.dev/enforce=off
resource: namespaces
name: team-a
user: joe
object:
  apiVersion: v1
  kind: Namespace
  metadata: {name: team-a, labels: {palisade.dev/enforce: "off"}}
oldObject:
  apiVersion: v1
  kind: Namespace
  metadata: {name: team-a}
)",
        .good = R"(operation: UPDATE      # stricter is for everybody
resource: namespaces
name: team-a
user: joe
object:
  apiVersion: v1
  kind: Namespace
  metadata: {name: team-a, labels: {palisade.dev/enforce: all}}
oldObject:
  apiVersion: v1
  kind: Namespace
  metadata: {name: team-a}
)"},
    Lesson{.control = "palisade-objects",
           .attack = "The author of a pod that is refused writes the exception for it, with the "
                     "name of somebody else as approver.",
           .bad = R"(operation: CREATE
group: palisade.dev
resource: hardeningexceptions
name: mine
user: joe
object:
  apiVersion: palisade.dev/v1alpha1
  kind: HardeningException
  metadata: {name: mine}
  spec:
    namespaces: [team-a]
    controls: [not-privileged]
    reason: it is quicker
    ticket: OPS-1
    approver: jane@example.com
    expires: "2027-01-31T00:00:00Z"
)",
           .good = R"(operation: CREATE
group: palisade.dev
resource: hardeningexceptions
name: legacy-agent
user: platform-admin
groups: ["system:masters"]      # or whom webhook.administrators of the chart names
object:
  apiVersion: palisade.dev/v1alpha1
  kind: HardeningException
  metadata: {name: legacy-agent}
  spec:
    namespaces: [team-a]
    controls: [read-only-root-filesystem]
    reason: the image writes to /opt until it is rebuilt
    ticket: OPS-1234
    approver: jane@example.com
    expires: "2027-01-31T00:00:00Z"
)"},
    Lesson{.control = "workspace-creator",
           .attack = "Joe may change workspaces of the namespace. He makes himself the creator of "
                     "jane's and opens a session in her agent's pod.",
           .bad = R"(operation: UPDATE
group: palisade.dev
resource: agentworkspaces
namespace: team-a
name: fix-login
user: joe
object:
  apiVersion: palisade.dev/v1alpha1
  kind: AgentWorkspace
  metadata: {name: fix-login, namespace: team-a, annotations: {palisade.dev/created-by: joe}}
  spec: {repository: {url: "https://git.example.com/app.git"}}
oldObject:
  apiVersion: palisade.dev/v1alpha1
  kind: AgentWorkspace
  metadata: {name: fix-login, namespace: team-a, annotations: {palisade.dev/created-by: jane}}
  spec: {repository: {url: "https://git.example.com/app.git"}}
)",
           .good = R"(operation: UPDATE
group: palisade.dev
resource: agentworkspaces
namespace: team-a
name: fix-login
user: joe
object:
  apiVersion: palisade.dev/v1alpha1
  kind: AgentWorkspace
  metadata: {name: fix-login, namespace: team-a, annotations: {palisade.dev/created-by: jane}}
  spec: {repository: {url: "https://git.example.com/app.git"}, lifecycle: {deadline: 1h}}
oldObject:
  apiVersion: palisade.dev/v1alpha1
  kind: AgentWorkspace
  metadata: {name: fix-login, namespace: team-a, annotations: {palisade.dev/created-by: jane}}
  spec: {repository: {url: "https://git.example.com/app.git"}}
)"},
    Lesson{.control = "workspace-bounds",
           .attack = "A workspace names a git host of its author's own: the agent's one way out "
                     "leads to whoever waits there for the company's code.",
           .bad = R"(operation: UPDATE
group: palisade.dev
resource: agentworkspaces
namespace: team-a
name: fix-login
user: jane
object:
  apiVersion: palisade.dev/v1alpha1
  kind: AgentWorkspace
  metadata: {name: fix-login, namespace: team-a, annotations: {palisade.dev/created-by: jane}}
  spec: {repository: {url: "https://git.attacker.example/app.git"}}
oldObject:
  apiVersion: palisade.dev/v1alpha1
  kind: AgentWorkspace
  metadata: {name: fix-login, namespace: team-a, annotations: {palisade.dev/created-by: jane}}
  spec: {repository: {url: "https://git.example.com/app.git"}}
)",
           .good = R"(operation: UPDATE
group: palisade.dev
resource: agentworkspaces
namespace: team-a
name: fix-login
user: jane
object:
  apiVersion: palisade.dev/v1alpha1
  kind: AgentWorkspace
  metadata: {name: fix-login, namespace: team-a, annotations: {palisade.dev/created-by: jane}}
  spec: {repository: {url: "https://git.example.com/other.git"}}
oldObject:
  apiVersion: palisade.dev/v1alpha1
  kind: AgentWorkspace
  metadata: {name: fix-login, namespace: team-a, annotations: {palisade.dev/created-by: jane}}
  spec: {repository: {url: "https://git.example.com/app.git"}}
)",
           .settings = "allowedGitHosts: [git.example.com]\n"},
};

}  // namespace

std::span<const Lesson> guard_lessons() {
  return kGuardLessons;
}

}  // namespace palisade::cli
