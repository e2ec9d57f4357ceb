// What this replica holds of one namespace's budgets: spends of it, and says what to ask the shared
// ledger for. Pure: the time is passed in. Not thread-safe.
//
// Promises, whatever the order of calls, conflicts and lost answers: what all replicas together
// have spent or hold never exceeds what the ledger says was taken, but for what was settled above
// its estimate and is not written yet; and nothing is taken above a limit. An exchange whose
// outcome is not known counts against the replica that began it.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <gateway/core/services.h>
#include <gateway/serve/ledger.h>

namespace palisade::gateway {

struct Moment {
  std::int64_t minute = 0;  // since 1970, by this machine's clock
  std::int64_t day = 0;     // since 1970, UTC
  std::chrono::steady_clock::time_point steady;

  [[nodiscard]] static Moment at(std::chrono::system_clock::time_point wall,
                                 std::chrono::steady_clock::time_point steady);
  [[nodiscard]] static Moment now();
};

// One request: who asks, under which limits, for how much.
struct Ask {
  std::string uid;   // the workspace's
  std::string name;  // NAMESPACE/NAME, for messages and the ledger's reader
  Budget workspace;
  Budget ns;
  Spent estimate;
};

class Purse {
 public:
  // How much is taken ahead: allotments grow where they are used up within a second and shrink
  // where they last for long.
  struct Pace {
    std::int64_t allotment = 0;  // the last one
    std::chrono::steady_clock::time_point taken;

    // `base`: of a call as it was asked for; what the next one should be, at least.
    [[nodiscard]] std::int64_t next(std::int64_t base,
                                    std::chrono::steady_clock::time_point now) const;
    // Less than half of it is left: the next one is fetched while that lasts.
    [[nodiscard]] bool low(std::int64_t left) const { return left < allotment / 2; }
  };
  // Amounts of one kind, taken of one budget.
  struct Pot {
    std::int64_t held = 0;      // taken and not spent; below zero: spent and not in the ledger yet
    std::int64_t reserved = 0;  // of it, set aside for calls under way
    std::optional<std::int64_t> limit;  // under which it was taken
    Pace pace;
  };
  struct Account {
    Pot tokens;
    Pot cost;
    std::chrono::steady_clock::time_point used;
    bool gone = false;
  };
  // Of a window. `seen`: when this replica first saw the ledger in that minute.
  struct Rate {
    std::int64_t minute = 0;
    std::int64_t held = 0;
    std::optional<std::int64_t> limit;
    std::chrono::steady_clock::time_point seen;
    Pace pace;
  };

  // What is set aside for one call. Settled or given back exactly once.
  struct Hold {
    std::shared_ptr<Account> workspace;
    std::shared_ptr<Account> day;
    Spent amount;
    bool low = false;  // little is left here: an exchange should fetch more before it is needed
  };

  // Set aside of what is held here; nullopt: ask the ledger, by plan().
  [[nodiscard]] std::optional<Hold> take(const Ask& ask, const Moment& now);
  static void settle(const Hold& hold, const Spent& spent, const Moment& now);
  static void release(const Hold& hold);

  // The workspace is gone for good: its entry goes with the next exchange.
  void forget(const std::string& uid);

  // An exchange with the ledger: `after` is to be written in place of what was read. Ended by
  // exactly one of commit() and undo(); meanwhile take(), settle() and release() go on, plan() does
  // not.
  struct Plan {
    Ledger after;
    bool changed = false;  // else there is nothing to write
    bool refused = false;  // an answer is a refusal, so what was read must have been fresh
    std::vector<std::expected<Hold, Refusal>> answers;  // in the order of the asks
    struct Move {
      std::shared_ptr<Account> account;
      Spent back;                                               // from here to the ledger
      Spent paid;                                               // debts written
      Spent taken;                                              // from the ledger to here
      bool asked = false;                                       // for a call, under its limits
      std::array<std::optional<std::int64_t>, 2> allotments{};  // by kind
    };
    std::vector<Move> moves;
    struct Requests {
      std::string uid;  // "": the namespace's
      std::int64_t used = 0;
      std::int64_t from_held = 0;
      std::int64_t taken = 0;
      std::int64_t back = 0;
      std::int64_t minute = 0;
      std::chrono::steady_clock::time_point seen;
      std::int64_t limit = 0;
      bool asked = false;
      std::optional<std::int64_t> allotment;
    };
    std::vector<Requests> requests;
    std::chrono::steady_clock::time_point made;
    std::vector<std::string> forgotten;
  };
  // `closing`: everything that is not set aside is given back.
  [[nodiscard]] Plan plan(const Ledger& shared, std::span<const Ask> asks, const Moment& now,
                          bool closing = false);
  // It is written (or nothing was to be). The answers are valid from here on.
  void commit(const Plan& plan);
  // It is not written, or, `unknown`, nobody can tell: then what was on its way to the ledger
  // counts as gone there, and what was to come as spent.
  void undo(const Plan& plan, bool unknown);

  // Whether there is anything that the ledger should hear of, now or once it has been idle.
  [[nodiscard]] bool settled() const;
  [[nodiscard]] std::size_t accounts() const { return workspaces_.size() + days_.size(); }

  // What has not been used for so long is given back.
  static constexpr std::chrono::seconds kIdle{10};
  static constexpr std::chrono::seconds kMinute{60};
  // The part of what is left that may be held beyond what is needed now. Limits below it are exact.
  static constexpr std::int64_t kAhead = 16;

 private:
  struct Workspace {
    std::string name;
    std::shared_ptr<Account> account = std::make_shared<Account>();
    Rate rate;
  };
  class Planner;

  std::map<std::string, Workspace, std::less<>> workspaces_;  // by UID
  std::map<std::int64_t, std::shared_ptr<Account>> days_;
  Rate rate_;  // the namespace's
  std::set<std::string, std::less<>> gone_;
};

}  // namespace palisade::gateway
