// `palisade render vap`: what the API server itself can keep of the policy, as objects to apply.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <policy/policy.h>

namespace palisade::cli {

struct VapOptions {
  std::string name_prefix = "palisade";
  // Namespaces that are never judged, as webhook.exemptNamespaces of the chart.
  std::vector<std::string> exempt_namespaces{"kube-system"};
};

// ValidatingAdmissionPolicies and their bindings, policies first.
[[nodiscard]] std::vector<nlohmann::ordered_json> vap_objects(const policy::Settings& settings,
                                                              const VapOptions& options);

// The same as one YAML text, with a comment that says what they cannot keep.
[[nodiscard]] std::string vap_yaml(const policy::Settings& settings, const VapOptions& options);

}  // namespace palisade::cli
