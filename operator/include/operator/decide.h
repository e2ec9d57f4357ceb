// What to do about a workspace, from what was seen of it: a pure function. One executor carries
// plans out (executor.h). Two properties hold for every input: carrying a plan out and deciding
// again does nothing more; every prefix of a plan keeps the network policy before the pod, and the
// pod's end before anything that loosens its network.
#pragma once

#include <chrono>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include <kube/cache.h>
#include <operator/desired.h>
#include <policy/policy.h>

namespace palisade::op {

// A look-up that failed in the course of things: reason is a condition's reason, message says what
// to do.
struct Problem {
  std::string reason;
  std::string message;
};

struct Observed {
  Json workspace;
  // By name; null where there is none. The Secret and the NetworkPolicy are read live, the others
  // from caches.
  kube::ObjectPtr service_account, secret, config_map, network_policy, pod;
  std::expected<std::string, Problem> token;  // "" where no credentials are named
  std::expected<Access, Problem> access;
  std::vector<std::string> api_server;  // its addresses
  std::string create_error;  // why the last attempt to make the session's objects failed; or ""
};

struct Config {
  Defaults defaults;
  policy::Settings policy;
};

enum class ActionKind {
  kAddFinalizer,
  kRemoveFinalizer,
  kApply,  // server-side apply of `object`
  kStrip,  // merge patch `object` that takes foreign additions away
  kCreatePod,
  kLiftGate,  // takes the scheduling gate off pod `uid`
  kDelete,    // `resource` `name` with precondition `uid`
  kStatus,    // writes `object` as the status
};

struct Action {
  ActionKind kind;
  const kube::Resource* resource = nullptr;
  std::string name;
  std::string uid;
  Json object;
};

struct PlannedEvent {
  bool warning = false;
  std::string reason;
  std::string note;
};

struct Plan {
  std::vector<Action> actions;
  std::vector<PlannedEvent> events;
  std::optional<std::chrono::seconds> requeue_after;
};

// `now` is the wall clock (conditions, deadlines).
[[nodiscard]] Plan decide(const Observed& observed, const Config& config,
                          std::chrono::system_clock::time_point now);

// RFC 3339 in UTC with whole seconds, as metav1.Time.
[[nodiscard]] std::string format_time(std::chrono::system_clock::time_point at);
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_time(
    const std::string& text);

}  // namespace palisade::op
