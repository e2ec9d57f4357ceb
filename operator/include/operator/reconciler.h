// One look at one workspace, from what is known of it to what is written: gather, decide, execute,
// in rounds until only the world can say more. No threads and no queue: the controller has those.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <operator/executor.h>
#include <operator/gather.h>

namespace palisade::op {

// Thread-safe for different workspaces.
class Reconciler {
 public:
  struct Hooks {
    // Adds to what was gathered what the caller alone knows. Each round.
    std::function<void(Observed& seen, const std::string& key)> complete;
    // Sets Observed::turn, where a plan asks for it.
    std::function<void(Observed& seen, const std::string& key, const std::stop_token& stop)> turn;
    // A plan takes Observed::offer. False: it is another's, and Observed::offer has changed.
    std::function<bool(Observed& seen)> choose;
    // A round's plan has been carried out.
    std::function<void(const Observed& seen, const Plan& plan, const std::string& key)> carried_out;
    // What people are to be told.
    std::function<void(const Json& workspace, const std::vector<PlannedEvent>& events)> tell;
  };
  struct Outcome {
    bool ok = true;                             // false: to be tried again with back-off
    std::optional<std::chrono::seconds> after;  // look again then; the server's Retry-After where
                                                // it failed
  };

  Reconciler(std::shared_ptr<const kube::Client> client, std::shared_ptr<Gatherer> gatherer,
             std::shared_ptr<Known> known, Config config,
             std::function<std::chrono::system_clock::time_point()> now, Hooks hooks);

  // `cached` is the workspace as the watch has it.
  [[nodiscard]] Outcome reconcile(const kube::ObjectPtr& cached, const std::stop_token& stop);
  // It is gone.
  void forget(const std::string& key);

  // What a watch tells. True: the owner is to be looked at. `before` is null for what is new,
  // `after` for what has gone. `resource` is the workspaces' or one of the session's objects'.
  [[nodiscard]] bool noticed(const kube::Resource& resource, const kube::ObjectPtr& before,
                             const kube::ObjectPtr& after);

 private:
  struct Look {
    const std::string key;
    const Json& cached;
    kube::ObjectPtr workspace{};   // as this process knows it, with the status that is to be
    std::optional<Json> status{};  // to be written
    std::vector<PlannedEvent> events{};
    Outcome outcome{};
  };
  // What has to be told before the plan is carried out. False: it is not to be.
  [[nodiscard]] bool tell_first(Look& look, const Plan& plan, const std::stop_token& stop);
  // The events; leaves none.
  void tell(Look& look) const;
  // The workspace as it is then, null where it has gone.
  [[nodiscard]] kube::Result<kube::ObjectPtr> write(Look& look, const std::stop_token& stop);

  const std::shared_ptr<const kube::Client> client_;
  const std::shared_ptr<Gatherer> gatherer_;
  const std::shared_ptr<Known> known_;
  const Config config_;
  const std::function<std::chrono::system_clock::time_point()> now_;
  const Hooks hooks_;
  CreateErrors create_errors_;
};

}  // namespace palisade::op
