// spec.requireSignatures of an AgentPolicy.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include <policy/policy.h>

namespace palisade::policy {

// "" or what is wrong, which begins with `at` and names the field.
[[nodiscard]] std::string read_signature_rules(simdjson::dom::element value, std::string_view at,
                                               std::vector<SignatureRule>& out);

}  // namespace palisade::policy
