// Lessons on controls that take more than the pod to tell: their examples are what stands around
// it.
#include <array>

#include "lessons.h"

namespace palisade::cli {
namespace {

constexpr std::array kClusterLessons{
    Lesson{.control = "deny-all-network",
           .attack = "The agent packs the repository and sends it to an address out of an injected "
                     "comment, or looks round the cluster for a database without a password. No "
                     "policy selects it, so nothing stops the packets.",
           .bad = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: agents, namespace: team-a}
spec:
  podSelector: {}
  policyTypes: [Ingress]   # egress stays open
)",
           .good = R"(apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: agents, namespace: team-a}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  egress:
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: llm}},
            podSelector: {matchLabels: {app: llm-gateway}}}]
      ports: [{port: 8080}]
)"},
    Lesson{.control = "image-signature",
           .attack = "A stolen token of the build's pushes an image beside the good ones, into the "
                     "repository that everybody trusts. The next session's git is the thief's, and "
                     "copies the token.",
           .bad = R"(apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: team-a, labels: {palisade.dev/agent: aider}}
spec:
  containers:
    - name: aider
      image: registry.example.com/palisade/aider:0.86.2   # nothing that could be signed
)",
           .good = R"(apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: team-a, labels: {palisade.dev/agent: aider}}
spec:
  containers:
    - name: aider   # signed: cosign sign --key cosign.key registry.example.com/palisade/aider@sha256:9f86...
      image: registry.example.com/palisade/aider@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
)",
           .settings = R"(apiVersion: palisade.dev/v1alpha1
kind: AgentPolicy
metadata: {name: signed}
spec:
  requireSignatures:
    - repositories: [registry.example.com/palisade]
      keys:
        - name: release
          publicKey: |
            -----BEGIN PUBLIC KEY-----
            MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEe5LZ6GvACOETb/HyN+ZAs0pnE2MS
            hg3B7dvbFFyjImP837hGWP71tMaiZaY8RJOtuzaMEAmLMvfHT+mGJ2lKJQ==
            -----END PUBLIC KEY-----
)"},
};

}  // namespace

std::span<const Lesson> cluster_lessons() {
  return kClusterLessons;
}

}  // namespace palisade::cli
