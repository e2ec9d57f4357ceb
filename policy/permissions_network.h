// What the namespace's NetworkPolicies let a pod reach, as grants.
#pragma once

#include <expected>
#include <string>
#include <utility>
#include <vector>

#include <simdjson.h>

#include <policy/permissions.h>

namespace palisade::policy {

// Capability and grant; `pod_name` is how grants name the pod. An error where a policy is none.
[[nodiscard]] std::expected<std::vector<std::pair<std::string, Grant>>, std::string> network_grants(
    simdjson::dom::element objects, simdjson::dom::element pod, const std::string& pod_name);

}  // namespace palisade::policy
