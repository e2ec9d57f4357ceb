// Leader election through a Lease: of the programs that name the same Lease one leads at a time.
// Names and times are those of k8s.io/client-go/tools/leaderelection.
// Source: https://kubernetes.io/docs/concepts/architecture/leases/
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include <kube/client.h>

namespace kube {

struct LeaderOptions {
  std::string ns;        // the Lease's
  std::string name;      // the Lease's
  std::string identity;  // of this process and no other: see unique_identity()
  // A Lease that another holds may be taken this long after it was last seen to change.
  std::chrono::milliseconds lease_duration{15'000};
  // The leader stops leading this long after it began its last renewal that succeeded.
  std::chrono::milliseconds renew_deadline{10'000};
  // Between two renewals; a candidate looks that often, plus up to 1.2 times as much at random.
  std::chrono::milliseconds retry_period{2'000};
};

// Called on the elector's thread, one at a time: the thread that renews, so return soon.
struct LeaderCallbacks {
  // `term` is stopped the moment that the leadership ends: hand it to each call that only the
  // leader may make.
  std::function<void(std::stop_token term)> on_started;
  std::function<void()> on_stopped;  // after `term` was stopped, before the Lease is given back
  std::function<void(const std::string& identity)> on_new_leader;  // also this process itself
};

// `name` (the pod's) and random digits: two processes never share it.
[[nodiscard]] std::string unique_identity(std::string_view name);

// Whoever leads keeps renewing the Lease; a candidate judges it by its own steady clock since it
// last saw it change, so clocks may differ between nodes. Each write carries the resourceVersion
// that was read: of two takers one wins. A leader that cannot renew stops by itself at
// `renew_deadline`, whatever its calls are doing, and that is before another may take over. A term
// that ended so is followed by a new candidacy. Deleting the Lease ends no term: the leader makes
// it anew, and who saw it waits as before; only a candidate that never saw it may begin a term
// beside the leader's, until its next renewal. The Lease fences no write but its own: a process
// that sleeps inside a call may wake after its term, so what leaders write must tolerate two of
// them (resourceVersion, server-side apply).
//
// Rights: get, create and update of that Lease. Thread-safe. Failed calls are logged and tried
// again. The constructor throws std::invalid_argument unless lease_duration > renew_deadline >
// 1.2 * retry_period > 0 and all three names are given.
class LeaderElector {
 public:
  LeaderElector(std::shared_ptr<const Client> client, LeaderOptions options,
                LeaderCallbacks callbacks = {});
  ~LeaderElector();  // stop()
  LeaderElector(const LeaderElector&) = delete;
  LeaderElector& operator=(const LeaderElector&) = delete;

  void start();  // starts the owned threads; once
  // Ends the term (on_stopped has returned), gives the Lease back so that another need not wait (at
  // most a retry_period is spent on it), joins. Idempotent. Not from a callback.
  void stop();

  [[nodiscard]] bool is_leader() const;
  // The present term's token; none where another leads.
  [[nodiscard]] std::optional<std::stop_token> term() const;
  [[nodiscard]] std::string leader() const;      // who was last seen to hold the Lease; "" unknown
  [[nodiscard]] std::string last_error() const;  // "" while the Lease can be read and written

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
