// Budgets that hold across replicas and restarts: one ConfigMap a namespace, in the gateway's own
// namespace, which replicas change by optimistic concurrency.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gateway/core/services.h>

#include <kube/client.h>

namespace palisade::gateway {

struct BudgetsOptions {
  std::string ns;  // the gateway's
  // Ledgers of other namespaces are left to whoever serves these; empty: all are this gateway's.
  std::vector<std::string> namespaces;
  // How long a request waits for the ledger before it is refused.
  std::chrono::milliseconds patience{5'000};
  // What was spent beyond what was taken is written at most this much later.
  std::chrono::milliseconds flush{3'000};
  // Entries of workspaces that are gone, and ledgers that nobody needs, are removed that often by
  // the replica that leads.
  std::chrono::milliseconds sweep{10 * 60'000};
  // The term of this replica; none where another leads. Without it this replica is alone.
  std::function<std::optional<std::stop_token>()> term;
  std::size_t max_waiting = 4096;  // requests of a namespace that wait for its ledger
  int threads = 2;
};

inline constexpr std::string_view kBudgetPrefix = "palisade-budget-";  // and the namespace
inline constexpr std::string_view kBudgetLabel = "palisade.dev/budget";

struct BudgetCounters {
  std::uint64_t writes = 0;     // of ledgers
  std::uint64_t conflicts = 0;  // another replica was faster
  std::uint64_t unknown = 0;    // nobody told how a write ended; its allotments count as spent
  std::uint64_t failures = 0;   // exchanges that gave up
  std::uint64_t waits = 0;      // requests that waited for a ledger
};

// What stands in the ledger is taken before it is spent (ledger.h, purse.h), so:
// - Replicas together never give more than a budget, but for calls that take more than their
//   estimate.
// - A replica that is killed, or a write of which nobody knows how it ended, loses what it had
//   taken ahead: at most a sixteenth of what was left, counted as spent.
// - Without the API server requests are served from what is held, then refused with 503.
// - Limits under 16 requests a minute are exact across replicas; above that up to a sixteenth of
//   what was left may stay unused where another replica holds it. Minutes are those of the fastest
//   clock; one that is off starts at most one window a minute, and a window that lies in the future
//   ends after a minute. Around a minute's end up to two windows' requests may come close together.
// - A namespace's day is the replica's own (UTC), and each day is given out once: a clock that is
//   off by days uses another day's budget, and is refused once it is behind all the days kept.
//
// Thread-safe. `client` should have a short call deadline (3 s). Rights: get, list, create, patch
// and delete of ConfigMaps in the gateway's namespace; list of AgentWorkspaces.
class KubeBudgets : public Budgets {
 public:
  KubeBudgets(std::shared_ptr<const kube::Client> client, BudgetsOptions options);
  ~KubeBudgets() override;  // without giving anything back: as if it was killed

  void start();
  // Refuses what comes, gives back what is held and not set aside, and ends. Blocks up to
  // `patience`, and a call's deadline beyond it.
  void stop(std::chrono::milliseconds patience);

  [[nodiscard]] Task<std::expected<std::unique_ptr<Reservation>, Refusal>> reserve(
      const Caller& caller, const Spent& estimate) override;

  // The workspace is gone: its entry is no longer needed.
  void forget(std::string_view ns, std::string_view uid);

  [[nodiscard]] BudgetCounters counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
