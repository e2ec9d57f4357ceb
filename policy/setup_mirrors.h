// spec.setup.mirrors of an AgentPolicy, read strictly.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include <policy/policy.h>

namespace palisade::policy {

// `at` is the field's path. What is wrong, or "".
[[nodiscard]] std::string read_setup_mirrors(simdjson::dom::element value, std::string_view at,
                                             std::vector<SetupMirror>& out);

}  // namespace palisade::policy
