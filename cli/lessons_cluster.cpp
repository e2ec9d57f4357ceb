// Lessons on controls that take more than the pod to tell: their examples are what stands around
// it.
#include <array>

#include "lessons.h"

namespace palisade::cli {
namespace {

constexpr std::array kLessons{
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
};

}  // namespace

std::span<const Lesson> cluster_lessons() {
  return kLessons;
}

}  // namespace palisade::cli
