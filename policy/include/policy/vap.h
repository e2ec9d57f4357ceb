// What a ValidatingAdmissionPolicy has to say so that the API server itself judges agent pods as
// evaluate() does: expressions, made of the controls' CEL twins and of the rules of agent_reason().
// Source:
// https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>
#include <policy/templates.h>

namespace palisade::policy {

// spec.variables: each may read those before it.
struct CelVariable {
  std::string name;
  std::string expression;
};

// For objects whose pod template stands at one path.
struct CelPolicy {
  std::vector<const PodTemplate*> kinds;  // pods alone, or kinds with one path to their template
  std::vector<CelVariable> variables;
  std::string validation;          // holds where the object may pass
  std::string message;             // for people who read the policy
  std::string message_expression;  // the same with control ids, paths and fixes; one line
};

// One for pods, and one for each path at which pod templates stand.
[[nodiscard]] std::vector<CelPolicy> cel_policies(const Settings& settings);

// A match condition for a webhook entry on pods: whether the one in the request, or the old one of
// an update, could be an Aider pod. True wherever agent_reason() gives a reason for either.
[[nodiscard]] std::string agent_match_condition();

// The name of the variable that holds a control's paths: no_host_namespaces.
[[nodiscard]] std::string cel_variable(const Control& control);

}  // namespace palisade::policy
