// Carries a plan out, in order, and stops at the first action that fails.
#pragma once

#include <map>
#include <mutex>
#include <optional>
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

// What the API server said last of an attempt that failed, by the key of whose it was. Thread-safe.
class CreateErrors {
 public:
  [[nodiscard]] std::string of(const std::string& key) const;  // "": it did not fail
  void learn(const std::string& key, const std::string& error);
  void forget(const std::string& key) { learn(key, ""); }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> errors_;
};

// Takes the status off the plan, for whoever writes it last; nullopt where it has none.
[[nodiscard]] std::optional<Json> take_status(Plan& plan);
// The object with the status that is to be.
[[nodiscard]] kube::ObjectPtr with_status(const Json& object, const Json& status);

// `workspace` may also be a pool that says its kind; so in both.
//
// `status` as that of `workspace`; a conflict where the workspace has changed meanwhile: what a
// status counts (restarts, losses, the end) is never written over by who has not seen it. Returns
// the workspace as it is then, null where it has gone.
[[nodiscard]] kube::Result<kube::ObjectPtr> write_status(const kube::Client& client,
                                                         const Json& workspace, const Json& status,
                                                         Known& known, const std::stop_token& stop);

}  // namespace palisade::op
