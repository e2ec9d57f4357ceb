// Carries a plan out, in order, and stops at the first action that fails.
#pragma once

#include <stop_token>
#include <string>

#include <kube/client.h>
#include <operator/decide.h>
#include <operator/known.h>

namespace palisade::op {

// What it does, for a log: "apply", "lift the gate of", ...
[[nodiscard]] const char* action_name(ActionKind kind);

// Writes name a UID, applies the resourceVersion that was looked at too, and what is new is created
// and never adopted: two executors at once do no harm, and what one sent long ago does none either.
// After a conflict `known` has the object as it is. What the API server said of a kApply or
// kCreatePod that failed is in `create_error` too; "" otherwise. Answers go into `known`.
[[nodiscard]] kube::Result<void> execute(const kube::Client& client, const Json& workspace,
                                         const Plan& plan, Known& known, std::string& create_error,
                                         std::stop_token stop);

// `workspace` may also be a pool that says its kind; so in both.
//
// `status` as that of `workspace`; a conflict where the workspace has changed meanwhile: what a
// status counts (restarts, losses, the end) is never written over by who has not seen it. Returns
// the workspace as it is then, null where it has gone.
[[nodiscard]] kube::Result<kube::ObjectPtr> write_status(const kube::Client& client,
                                                         const Json& workspace, const Json& status,
                                                         Known& known, const std::stop_token& stop);

}  // namespace palisade::op
