// Lessons on what a pod shares with its node and its neighbours.
#include <array>

#include "lessons.h"

namespace palisade::cli {
namespace {

constexpr std::array kPodLessons{
    Lesson{.control = "user-namespace",
           .attack = "The agent gets out of the container through a hole in the runtime. With the "
                     "node's UIDs it is now a real user there; in a user namespace it is a number "
                     "that owns nothing.",
           .bad = R"(spec:
  hostUsers: true
  containers:
    - name: aider
)",
           .good = R"(spec:
  hostUsers: false
  containers:
    - name: aider
)"},
    Lesson{.control = "no-host-namespaces",
           .attack =
               "With hostNetwork the agent speaks to the kubelet and the metadata server from "
               "the node's own address. With a shared process namespace it reads the git token "
               "out of /proc of the container beside it.",
           .bad = R"(spec:
  hostNetwork: true
  shareProcessNamespace: true
  containers:
    - name: aider
)",
           .good = R"(spec:
  containers:
    - name: aider
)"},
    Lesson{.control = "no-sysctls",
           .attack =
               "A sysctl opens low ports to everybody or lets core dumps go through a pipe: one "
               "more step of an escape that the default settings would have stopped.",
           .bad = R"(spec:
  securityContext:
    sysctls:
      - {name: kernel.shm_rmid_forced, value: "0"}
  containers:
    - name: aider
)",
           .good = R"(spec:
  securityContext:
    runAsNonRoot: true
  containers:
    - name: aider
)"},
    Lesson{.control = "linux-only",
           .attack = "On a Windows node the fields that this policy insists on are accepted and do "
                     "nothing: the pod looks hardened and is not.",
           .bad = R"(spec:
  os: {name: windows}
  containers:
    - name: aider
)",
           .good = R"(spec:
  os: {name: linux}
  containers:
    - name: aider
)"},
    Lesson{.control = "no-runtime-annotations",
           .attack =
               "One annotation asks the runtime for a device, another the network plugin for a "
               "second network card, and the pod's spec stays spotless.",
           .bad = R"(metadata:
  annotations:
    k8s.v1.cni.cncf.io/networks: storage-network
spec:
  containers:
    - name: aider
)",
           .good = R"(metadata:
  annotations:
    example.com/team: payments
spec:
  containers:
    - name: aider
)"},
    Lesson{.control = "volume-types",
           .attack = "A hostPath of / shows the agent every file of the node; one of the runtime's "
                     "socket lets it start privileged containers that no admission ever sees.",
           .bad = R"(spec:
  containers:
    - name: aider
  volumes:
    - name: socket
      hostPath: {path: /run/containerd/containerd.sock}
)",
           .good = R"(spec:
  containers:
    - name: aider
  volumes:
    - name: workspace
      emptyDir: {sizeLimit: 4Gi}
)"},
    Lesson{.control = "sized-empty-dirs",
           .attack =
               "The agent downloads until the node's disk is full. The kubelet then evicts pods "
               "to get room, and not only this one.",
           .bad = R"(spec:
  containers:
    - name: aider
  volumes:
    - name: workspace
      emptyDir: {}
)",
           .good = R"(spec:
  containers:
    - name: aider
  volumes:
    - name: workspace
      emptyDir: {sizeLimit: 4Gi}
)"},
    Lesson{.control = "no-device-claims",
           .attack = "A claim for \"a network card\" gives the pod a second way out that no "
                     "NetworkPolicy knows.",
           .bad = R"(spec:
  resourceClaims:
    - {name: card, resourceClaimName: fast-network}
  containers:
    - name: aider
      resources:
        claims: [{name: card}]
)",
           .good = R"(spec:
  containers:
    - name: aider
)"},
    Lesson{.control = "no-service-account-token",
           .attack =
               "The agent finds a token in /var/run/secrets and asks the API server what it may "
               "do. Often that is: read every ConfigMap of the namespace, or make pods.",
           .bad = R"(spec:
  serviceAccountName: builder
  containers:
    - name: aider
)",
           .good = R"(spec:
  serviceAccountName: fix-login-agent
  automountServiceAccountToken: false
  containers:
    - name: aider
)"},
    Lesson{.control = "bounded-lifetime",
           .attack = "The session was forgotten. Months later an issue that the agent still polls "
                     "holds an injected prompt, and nobody is watching.",
           .bad = R"(spec:
  containers:
    - name: aider
)",
           .good = R"(spec:
  activeDeadlineSeconds: 7200
  terminationGracePeriodSeconds: 60
  containers:
    - name: aider
)"},
    Lesson{.control = "runtime-class",
           .attack =
               "The cluster runs agents in a sandbox. A manifest names the class that was made "
               "for GPU drivers, and the agent meets the node's kernel without it.",
           .bad = R"(spec:
  runtimeClassName: nvidia
  containers:
    - name: aider
)",
           .good = R"(spec:
  runtimeClassName: kata
  containers:
    - name: aider
)",
           .settings = "allowedRuntimeClasses: [kata]\n"},
    Lesson{.control = "no-node-name",
           .attack =
               "A manifest names a control plane node. The scheduler is never asked, so neither "
               "the taint there nor the gate that waits for the NetworkPolicy holds the pod "
               "back.",
           .bad = R"(spec:
  nodeName: control-plane-1
  containers:
    - name: aider
)",
           .good = R"(spec:
  nodeSelector:
    example.com/pool: agents
  containers:
    - name: aider
)"},
    Lesson{.control = "fair-scheduling",
           .attack =
               "A pod of system-cluster-critical priority that tolerates every taint: it lands "
               "on the control plane, and what ran there is evicted to make room.",
           .bad = R"(spec:
  priorityClassName: system-cluster-critical
  tolerations:
    - {operator: Exists}
  containers:
    - name: aider
)",
           .good = R"(spec:
  tolerations:
    - {key: example.com/agents, operator: Exists}
  containers:
    - name: aider
)"},
    Lesson{.control = "known-fields",
           .attack = "A newer Kubernetes adds a field that hands a container the node's devices. A "
                     "policy from before has never heard of it and would wave it through.",
           .bad = R"(spec:
  hostEverything: true
  containers:
    - name: aider
)",
           .good = R"(spec:
  restartPolicy: Never
  containers:
    - name: aider
)"},
};

}  // namespace

std::span<const Lesson> pod_lessons() {
  return kPodLessons;
}

}  // namespace palisade::cli
