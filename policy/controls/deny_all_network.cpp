// deny-all-network: NetworkPolicies isolate the pod in both directions, and none allows it more
// than its workspace's does.
//
// The pod does not say which NetworkPolicies select it: whoever sees the cluster finds it.
#include <array>
#include <string_view>

#include "controls.h"

namespace palisade::policy::table::deny_all_network {
namespace {

constexpr std::array kReferences{
    std::string_view("CIS Kubernetes Benchmark 1.8: 5.3.2"),
    std::string_view(
        "NSA/CISA Kubernetes Hardening Guidance 1.2: network separation and hardening"),
    std::string_view("SOC 2: CC6.6"),
};

void check(const PodView& /*pod*/, const Settings& /*settings*/, std::vector<Finding>& /*out*/) {}

}  // namespace

const Control control{
    .id = "deny-all-network",
    .title = "NetworkPolicies close the pod's network",
    .why =
        "A pod that no NetworkPolicy selects talks to the whole cluster, to metadata servers and "
        "to the Internet: the way out for code and tokens, and the way in to other tenants.",
    .remedy =
        "let an AgentWorkspace make the pod, or create a NetworkPolicy first that selects it and "
        "lists Ingress and Egress in policyTypes with nothing but what it needs",
    .references = kReferences,
    .check = check,
    .needs_cluster = true,
};

}  // namespace palisade::policy::table::deny_all_network
