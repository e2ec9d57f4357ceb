// Palisade's own kinds, as the gateway reads them.
#pragma once

#include <kube/client.h>

namespace palisade::gateway {

inline const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces",
                                        "AgentWorkspace", true};
inline const kube::Resource kAgentPolicies{"palisade.dev", "v1alpha1", "agentpolicies",
                                           "AgentPolicy", false};

}  // namespace palisade::gateway
