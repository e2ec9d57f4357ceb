// What setups have made (spec.setup) is kept for the next workspace, and collected once nobody has
// used it for a while.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include <operator/gather.h>

namespace palisade::op {

// What to do about the claims of setups among `claims`, which may be older than they are by now:
// each action names the version that was looked at. A claim that a workspace of `workspaces` uses,
// or is about to, is never removed; one that is not complete, once its writer has gone.
[[nodiscard]] std::vector<Action> sweep_setups(const std::vector<kube::ObjectPtr>& claims,
                                               const std::vector<kube::ObjectPtr>& workspaces,
                                               std::chrono::system_clock::time_point now,
                                               std::chrono::seconds unused_for);

// Of `workspaces`, which are of the claim's namespace, those that wait for what it is to hold:
// their keys. They have no part in the claim.
[[nodiscard]] std::vector<std::string> setup_waiters(
    const Json& claim, const std::vector<kube::ObjectPtr>& workspaces);

class SetupCollector {
 public:
  SetupCollector(std::shared_ptr<const kube::Client> client, std::shared_ptr<Known> known,
                 const kube::Cache& claims, const kube::Cache& workspaces,
                 std::chrono::seconds unused_for,
                 std::function<std::chrono::system_clock::time_point()> now);

  // One look at all of them.
  void sweep(const std::stop_token& stop) const;
  // The same every so often, until it is to stop.
  void work(const std::stop_token& stop) const;

 private:
  const std::shared_ptr<const kube::Client> client_;
  const std::shared_ptr<Known> known_;
  const kube::Cache& claims_;
  const kube::Cache& workspaces_;
  const std::chrono::seconds unused_for_;
  const std::function<std::chrono::system_clock::time_point()> now_;
};

}  // namespace palisade::op
