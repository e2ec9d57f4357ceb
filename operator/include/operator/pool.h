// An AgentWorkspacePool: pods that wait for workspaces of one AgentWorkspaceTemplate. What to do
// about it is a pure function, as for a workspace (decide.h); what a workspace does to take one of
// its pods is the workspace's decision (decide/warm.cpp).
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <vector>

#include <operator/decide.h>

namespace palisade::op {

inline constexpr const char* kPoolFinalizer = "palisade.dev/pool";

// agentworkspacepools.palisade.dev and agentworkspacetemplates.palisade.dev
[[nodiscard]] const kube::Resource& pools();
[[nodiscard]] const kube::Resource& workspace_templates();

struct Pool {
  std::string name;
  std::string ns;
  std::string uid;
  std::int64_t generation = 0;
  bool deleting = false;
  bool has_finalizer = false;
  std::string template_name;
  int replicas = 1;
};
[[nodiscard]] std::expected<Pool, std::string> parse_pool(const Json& object);

// The workspace that a template makes where nothing else is said, on no repository.
[[nodiscard]] std::expected<Workspace, std::string> template_workspace(const Pool& pool,
                                                                       const Json& the_template);

// One pod of a pool and what is named after it, as far as the pool owns them.
struct WarmPlace {
  std::string name;
  kube::ObjectPtr account{}, config{}, pod{};
  bool taken = false;  // the pod is a workspace's by now, and the rest follows it
};

struct PoolObserved {
  Json pool;
  kube::ObjectPtr workspace_template;  // null: there is none of that name
  std::vector<WarmPlace> places;
  kube::ObjectPtr network;  // live; whoever owns it
  std::expected<std::vector<policy::AgentPolicy>, Problem> policies;
  std::vector<Unreachable> unreachable;         // what no session may reach
  std::map<std::string, std::string> gateways;  // LLM gateways by name: base URLs
  std::string create_error;                     // why the last attempt to make a pod failed; or ""
};

// Its containers wait for a session: it can be taken.
[[nodiscard]] bool is_warm(const Json& pod);
// Whether a workspace may be offered it: warm, the pool's alone, and nobody has had a hand in it.
// `wanted` is the pod as the pool makes it (desired_warm_pod), `config_map` the one that it mounts.
[[nodiscard]] bool may_be_taken(const Json& pod, const Json& config_map, const Json& wanted,
                                const std::string& pool_uid);
// Puts down on a pod that is to be made what its ConfigMap holds: until the webhook knows that the
// pod lives, the ConfigMap is nobody's to guard.
void seal(Json& pod, const Json& config_map);
// Whether pod and ConfigMap are as they were made: what the containers of a pod that waits have
// read already, or will, is nobody else's.
[[nodiscard]] bool is_untouched(const Json& pod, const Json& config_map, const Json& wanted);

// Applying the plan and deciding again does nothing more.
[[nodiscard]] Plan decide_pool(const PoolObserved& observed, const Config& config,
                               std::chrono::system_clock::time_point now);

}  // namespace palisade::op
