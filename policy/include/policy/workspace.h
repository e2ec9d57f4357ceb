// What the settings and AgentPolicies say of an AgentWorkspace before any pod is made of it.
#pragma once

#include <string_view>
#include <vector>

#include <policy/policy.h>

namespace palisade::policy {

// Whether the settings let a workspace have this repository: one of allowed_repositories, where
// hosts are compared without case, without port 443 and without a slash at the end. An escaped or
// dotted path is in no set.
[[nodiscard]] bool repository_allowed(std::string_view url, const Settings& settings);
// Whether git goes through the gateway, where there is one: spec.repository.via says so ("" where
// it is absent), or nothing is said and the host is not a Service (NAME.NAMESPACE.svc).
[[nodiscard]] bool git_through_gateway(std::string_view url, std::string_view via);
[[nodiscard]] bool model_allowed(std::string_view model, const Settings& settings);

// Findings of control workspace-bounds: gateway, models, LLM budget, git host, repository, image,
// RuntimeClass, user namespace, limits, deadline and setup beyond the settings. Fields that are
// absent have the defaults of the CRD. The API server has checked the object against its schema;
// what has the wrong type all the same is a finding.
[[nodiscard]] std::vector<Finding> evaluate_workspace(simdjson::dom::element workspace,
                                                      const Settings& settings);

}  // namespace palisade::policy
