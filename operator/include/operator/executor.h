// Carries a plan out, in order, and stops at the first action that fails.
#pragma once

#include <stop_token>
#include <string>

#include <kube/client.h>
#include <operator/decide.h>
#include <operator/known.h>

namespace palisade::op {

// Writes name a UID, and what is new is created and never adopted: two executors at once do no
// harm. What the API server said of a kApply or kCreatePod that failed is in `create_error` too; ""
// otherwise. Answers go into `known`.
[[nodiscard]] kube::Result<void> execute(const kube::Client& client, const Json& workspace,
                                         const Plan& plan, Known& known, std::string& create_error,
                                         std::stop_token stop);

// The plan's last status alone, or nothing. Returns the workspace as it is then, null where it has
// gone.
[[nodiscard]] kube::Result<kube::ObjectPtr> write_status(const kube::Client& client,
                                                         const Json& workspace, const Json& status,
                                                         Known& known, std::stop_token stop);

}  // namespace palisade::op
