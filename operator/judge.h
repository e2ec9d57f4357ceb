// The administrator's bounds, held against a pod that is about to be written.
#pragma once

#include <string>
#include <vector>

#include <operator/decide.h>

namespace palisade::op {

[[nodiscard]] policy::Settings bounds_of(const Config& config,
                                         const std::vector<policy::AgentPolicy>& policies);
// policy/ on the pod as the API server will see it; "" where it has nothing against it.
[[nodiscard]] std::string judge_pod(const Json& pod, const policy::Settings& bounds);

}  // namespace palisade::op
