// The life of a minted token, as the Secret that holds it tells: what to do next, from what is
// written there and the clock. Pure.
//
// The Secret's annotation palisade.dev/git-token-state:
//   {"intent": {"name", "at", "by"},
//    "current": {"name", "id", "minted", "expires", "source", "write", "broad"},
//    "retired": [the same, with "since"]}
// and its data: token, username (of the current one), and retired-NAME for each retired one whose
// host knows no ids.
//
// An intent stands there before the host is asked, and goes in the write that brings the token: a
// token of a name that is in neither was lost between mint and write, and is taken back by its
// name. Names are palisade-WORKSPACEUID-SERIAL, so that they can be found without the Secret too.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <operator/tokens/provider.h>

namespace palisade::op::tokens {

inline constexpr const char* kStateAnnotation = "palisade.dev/git-token-state";

struct Intent {
  std::string name;
  Time at;
  std::string by;  // the process
};

struct Kept {
  Record record;
  Time minted;
  Time expires;
  std::string source;  // Wanted::source when it was minted
  bool write = false;
  std::string broad;
  std::optional<Time> since;  // retired then
};

struct State {
  std::optional<Intent> intent;
  std::optional<Kept> current;
  std::vector<Kept> retired;

  [[nodiscard]] bool empty() const { return !intent && !current && retired.empty(); }
};

// Null, and whatever somebody else has written there that is not a state, is an empty state; text
// that is not of the shape is left out.
[[nodiscard]] State read_state(const nlohmann::json& secret);
// A merge patch's `metadata.annotations` and `data` that make a Secret that says `before` say
// `after`; `username` goes with the current token.
[[nodiscard]] nlohmann::json state_patch(const State& before, const State& after,
                                         const std::string& username);

// What the workspace asks for.
struct Wanted {
  std::string uid;     // of the workspace
  std::string source;  // who mints and where: a hash. A token of another source cannot be revoked
  bool write = false;
};

// What the keeper remembers of a workspace beside the Secret: lost in a restart without harm.
struct Trouble {
  Problem problem;
  int failures = 0;  // in a row
  Time not_before;   // the next attempt
};

enum class Need {
  kNothing,
  kMint,    // nothing that can be used is there
  kRenew,   // the current one is used until then
  kRevoke,  // a retired one's grace is over, or an intent is old
};

struct Step {
  Need need = Need::kNothing;
  std::optional<std::chrono::seconds> again;  // when to look again
};

// Two thirds of a token's life.
[[nodiscard]] Time renew_at(const Kept& kept);
// Whether the current token can be handed out now.
[[nodiscard]] bool usable(const State& state, const Wanted& wanted, Time now);
// The next thing to do; nothing before `trouble` is over, and `again` says when that is. `by` is
// this process: an intent of its own is never in flight when this is asked.
[[nodiscard]] Step next_step(const State& state, const Wanted& wanted,
                             const std::optional<Trouble>& trouble, const std::string& by,
                             Time now);

// Of those retired, whose grace (or life) is over.
[[nodiscard]] bool due(const Kept& retired, const Wanted& wanted, Time now);

[[nodiscard]] std::string name_prefix(const std::string& uid);
// Unlike that of any other mint: milliseconds and the process are in it.
[[nodiscard]] std::string next_name(const Wanted& wanted, Time now, const std::string& by);

// After the n-th failure in a row: 5 s doubling to 5 min, or what the host asked for if longer.
[[nodiscard]] Trouble after_failure(const std::optional<Trouble>& before, Problem problem,
                                    Time now);

// Of a mint that failed: whether the host has said no to it, or was not even asked. After anything
// else (a timeout, an answer that cannot be read) there may be a token.
[[nodiscard]] bool surely_not_minted(const Problem& problem);

// For pushes in flight when a token is replaced.
inline constexpr std::chrono::seconds kGrace{600};
// An intent that is older belongs to a process that has died or given up: longer than a mint and
// its write can take.
inline constexpr std::chrono::seconds kIntentLease{120};

}  // namespace palisade::op::tokens
