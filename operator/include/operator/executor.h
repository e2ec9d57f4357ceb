// Carries a plan out, in order, and stops at the first action that fails.
#pragma once

#include <stop_token>
#include <string>

#include <kube/client.h>
#include <operator/decide.h>

namespace palisade::op {

// Deletes carry a UID precondition, writes are idempotent: two executors at once do no harm. What
// the API server said of a kApply or kCreatePod that failed is in `create_error` too; "" otherwise.
[[nodiscard]] kube::Result<void> execute(const kube::Client& client, const Json& workspace,
                                         const Plan& plan, std::string& create_error,
                                         std::stop_token stop);

}  // namespace palisade::op
