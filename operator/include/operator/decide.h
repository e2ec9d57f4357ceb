// What to do about a workspace, from what was seen of it: a pure function. One executor carries
// plans out (executor.h). Two properties hold for every input: carrying a plan out and deciding
// again does nothing more; every prefix of a plan keeps the network policy before the pod, and the
// pod's end before anything that loosens its network.
#pragma once

#include <chrono>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <kube/cache.h>
#include <operator/desired.h>
#include <operator/tokens/steward.h>
#include <policy/agent_policy.h>
#include <policy/policy.h>

namespace palisade::op {

// A look-up that failed in the course of things: reason is a condition's reason, message says what
// to do.
struct Problem {
  std::string reason;
  std::string message;
};

// A workspace's place where an AgentPolicy bounds how many of its namespace run at a time.
struct Turn {
  bool granted = false;
  std::size_t position = 0;  // among those that wait, from 1; 0: not known
  std::size_t of = 0;
};

// What the pools of its template have for a workspace that has no pod yet.
enum class WarmPods : std::uint8_t {
  kNoPool,   // there is none, or it names no template
  kUnfit,    // it needs a pod of another shape
  kNone,     // they fit, and none waits
  kOffered,  // Observed::offer
};

// A session's objects, what the administrator has against them, and all that both were made from.
// A look decides several times; where nothing of that has changed since, they are not made again.
struct Draft {
  Workspace workspace;
  Defaults defaults;
  Access access;
  std::string token;
  std::vector<Unreachable> unreachable;
  std::shared_ptr<const void> surroundings;  // Observed::surroundings, and with it the policies
  Json pod, network, config_map;
  std::string offence;  // of the pod, against the policies; "": none
  std::string excess;   // of what it would be allowed to do; "": none
};

struct Observed {
  Json workspace;
  // By name; null where there is none. The Secret and the NetworkPolicy are read live, the others
  // from caches.
  kube::ObjectPtr service_account, secret, config_map, network_policy, pod;
  kube::ObjectPtr volume;  // the claim; from a cache
  // Of spec.setup. The claim is the one that status.setup names; from a cache, as the pod. While
  // the pod's gate is on the NetworkPolicy is read live.
  kube::ObjectPtr setup_pod{}, setup_network{}, setup_claim{};
  bool setup_network_settled = true;
  bool setup_writer_lives = true;  // the workspace that fills setup_claim, where it is another
  // Of status.warmPod, while they are still a pool's; `pod` and the others are null then.
  kube::ObjectPtr warm_pod, warm_account, warm_config;
  // Pods that are the workspace's, and are not `pod`: no session is in them, and none ever will be.
  std::vector<kube::ObjectPtr> strays{};
  WarmPods warm_pods = WarmPods::kNoPool;
  kube::ObjectPtr offer;  // a pod of a pool that fits, where it has none; null: there is none
  // Whether nothing that was sent earlier, be it by a process that led before, can change it any
  // more (Known::is_settled).
  bool network_settled = true, config_settled = true;
  kube::ObjectPtr llm_secret, gateway_secret;      // live; the latter in the gateway's namespace
  std::expected<std::string, Problem> token;       // "" where no credentials are named
  std::string username;                            // that goes with it, where the spec does not say
  std::expected<std::string, Problem> llm_key;     // of spec.llm.keySecretRef; "" without it
  std::expected<std::string, Problem> gateway_ca;  // PEM; "" where there is no gateway
  std::expected<Access, Problem> access;
  std::vector<std::string> api_server;   // its addresses
  std::vector<Unreachable> unreachable;  // what a session must not be able to reach
  // AgentPolicies that select the workspace's namespace.
  std::expected<std::vector<policy::AgentPolicy>, Problem> policies;
  // Equal and not null: token, policies and all else that is not the workspace's own are of one
  // reading.
  std::shared_ptr<const void> surroundings{};
  std::optional<Turn> turn;  // nullopt: it has not been asked for
  tokens::Memory memory;     // of the keeper, beside the Secrets
  std::string process;       // the keeper's
  std::string create_error;  // why the last attempt to make the session's objects failed; or ""
  std::shared_ptr<const Draft> draft{};  // of the decision before (Plan::draft); may be null
};

// Why there is no token yet, where nothing is wrong.
inline constexpr const char* kMintingReason = "Minting";
// The volume behind the claim has gone: only a person can do something about it.
inline constexpr const char* kVolumeLostReason = "VolumeLost";

struct Config {
  Defaults defaults;
  policy::Settings policy;  // AgentPolicies tighten it
};

enum class ActionKind {
  kAddFinalizer,
  kRemoveFinalizer,
  kApply,  // server-side apply of `object` to `uid`; without one it is created, and must not exist
  kStrip,  // merge patch `object` that takes foreign additions away
  kFence,  // merge patch `object` that changes nothing but the version: what was sent before is
           // void
  kCreatePod,
  kLiftGate,  // takes the scheduling gate off pod `uid`
  kDelete,    // `resource` `name` with precondition `uid`
  kStatus,    // writes `object` as the status
  kTake,      // merge patch `object` by which what was a pool's becomes the workspace's
};

struct Action {
  ActionKind kind;
  const kube::Resource* resource = nullptr;
  std::string name;
  std::string uid;
  Json object;
  std::string ns{};  // empty: the workspace's
  // Of kApply, kFence and kTake, and of kDelete where it must not meet what has changed since: the
  // resourceVersion that was looked at. One that comes late, from
  // a process that led before, is refused where anybody has written since.
  std::string version{};
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
  // For the keeper, once the actions are done.
  std::optional<tokens::Job> token_job;
  bool tokens_told = false;  // the events tell Memory::lost
  bool asks_turn = false;    // to be decided again with Observed::turn
  bool gives_turn_back = false;
  bool chooses_offer = false;            // Observed::offer is the pod that is to be taken
  bool tells_first = false;              // the status is written before anything is carried out
  std::shared_ptr<const Draft> draft{};  // null where no session's objects were asked for
};

// What spec.limits.maxRunning of the AgentPolicies allows; the strictest one counts.
struct RunningLimit {
  std::int64_t most = 0;
  std::string policy;  // its name
};
[[nodiscard]] std::optional<RunningLimit> running_limit(const Observed& observed);

// `now` is the wall clock (conditions, deadlines).
[[nodiscard]] Plan decide(const Observed& observed, const Config& config,
                          std::chrono::system_clock::time_point now);

// RFC 3339 in UTC with whole seconds, as metav1.Time.
[[nodiscard]] std::string format_time(std::chrono::system_clock::time_point at);
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_time(
    const std::string& text);

}  // namespace palisade::op
