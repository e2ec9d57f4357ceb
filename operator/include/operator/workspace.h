// An AgentWorkspace as the operator understands it: the object's JSON, read strictly, with every
// default filled in.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include <kube/client.h>

namespace palisade::op {

using Json = nlohmann::json;

inline constexpr const char* kApiVersion = "palisade.dev/v1alpha1";
inline constexpr const char* kKind = "AgentWorkspace";
inline constexpr const char* kFinalizer = "palisade.dev/workspace";
inline constexpr const char* kFieldManager = "palisade-operator";
inline constexpr const char* kWorkspaceLabel = "palisade.dev/workspace";
inline constexpr const char* kAgentLabel = "palisade.dev/agent";
// On the pod of a workspace's setup, instead of kWorkspaceLabel: the agent's NetworkPolicy does not
// select it.
inline constexpr const char* kSetupLabel = "palisade.dev/setup";
inline constexpr const char* kPoolLabel = "palisade.dev/pool";  // on what waits in a pool
inline constexpr const char* kManagedByLabel = "app.kubernetes.io/managed-by";
inline constexpr const char* kManagedBy = "palisade";
inline constexpr const char* kSchedulingGate = "palisade.dev/network-policy";

// agentworkspaces.palisade.dev
[[nodiscard]] const kube::Resource& workspaces();
// PersistentVolumeClaims
[[nodiscard]] const kube::Resource& volume_claims();

// The name of a workspace's NetworkPolicy and, but for a pod that comes from a pool, of its Pod,
// ServiceAccount and ConfigMap.
[[nodiscard]] inline std::string agent_object(const std::string& workspace) {
  return workspace + "-agent";
}

struct SecretRef {
  std::string name;
  std::string key = "token";
  std::string username = "x-access-token";
  bool operator==(const SecretRef&) const = default;
};

struct SecretKey {
  std::string name;
  std::string key;
  bool operator==(const SecretKey&) const = default;
};

// spec.repository.credentials.githubApp, .gitlab and .gitea: what mints tokens (operator/tokens).
struct GithubApp {
  std::int64_t app_id = 0;
  std::optional<std::int64_t> installation_id;
  SecretKey private_key;
  std::string api_url;
  bool operator==(const GithubApp&) const = default;
};
struct Gitlab {
  SecretKey secret;
  std::string api_url;
  std::string role;
  bool operator==(const Gitlab&) const = default;
};
struct Gitea {
  std::string secret;
  std::string username_key;
  std::string password_key;
  std::string api_url;
  bool operator==(const Gitea&) const = default;
};

struct MergeRequestSpec {
  std::string title;  // empty: made from the task
  bool draft = false;
  bool operator==(const MergeRequestSpec&) const = default;
};

// spec.repository.mount: what the agent has of the project.
enum class Mount : std::uint8_t {
  kReadWrite,   // a clone of its own
  kGitDirOnly,  // the .git directory to read, and a scratch checkout of its own that stands on it
  kReadOnly,    // a checkout to read, but for one directory, which is collected
};

// spec.repository.via
enum class Via : std::uint8_t { kUnsaid, kGateway, kDirect };

struct Task {
  std::string message;
  std::vector<std::string> files;
  // What the agent's work is checked with, one word an item.
  std::vector<std::string> lint_command;
  std::vector<std::string> test_command;
  int rounds = 3;  // how often what they print goes back to the agent
  [[nodiscard]] bool has_checks() const { return !lint_command.empty() || !test_command.empty(); }
  bool operator==(const Task&) const = default;
};

// spec.isolation.exec
struct ExecSettings {
  bool audit = false;              // record what would have been refused, and let it through
  std::vector<std::string> allow;  // programs beyond Aider's own, by absolute path
  bool operator==(const ExecSettings&) const = default;
};

// spec.storage
struct Storage {
  std::string size = "5Gi";                  // a quantity
  std::optional<std::string> storage_class;  // nullopt: the cluster's default
  bool operator==(const Storage&) const = default;
};

// spec.setup: what installs the project's dependencies before there is an agent.
struct Setup {
  std::string image;                 // empty: the agent's
  std::vector<std::string> command;  // its words
  std::vector<std::string> inputs;   // files of the repository, all that it is shown
  std::string ref;  // branch, tag or a commit of spec.repository.ref; empty: spec.repository.ref
  std::optional<std::vector<std::string>> mirrors;  // by name; nullopt: all of the AgentPolicies'
  Storage storage{.size = "2Gi", .storage_class = {}};
  bool shared = false;  // the volume may be mounted on several nodes (ReadWriteMany)
  std::chrono::seconds timeout{600};
  Json limits = Json::object();
  Json requests = Json::object();
  bool operator==(const Setup&) const = default;
};

// A commit's full name, by SHA-1.
[[nodiscard]] bool is_commit_id(std::string_view text);
// The name of a claim that holds what a setup has made: palisade-setup-HASH.
[[nodiscard]] bool is_setup_claim_name(std::string_view name);

// status.warmPod: the pod of a pool that a workspace takes instead of having one made. It is the
// workspace's once its owner reference says so; until then it is no more than looked at.
struct WarmPod {
  std::string name;  // of the pod, and of its ServiceAccount and ConfigMap
  std::string uid;
  std::string pool;
  std::string since;                // when it was chosen (RFC 3339): the session's start
  std::chrono::seconds lifetime{};  // its activeDeadlineSeconds, which count from the pod's start
  bool operator==(const WarmPod&) const = default;
};
// nullopt where there is none, or where it is none that the operator writes.
[[nodiscard]] std::optional<WarmPod> warm_pod_of(const Json& workspace);
// The name of its pod, wherever that comes from.
[[nodiscard]] std::string pod_name_of(const Json& workspace);

struct Workspace {
  std::string name;
  std::string ns;
  std::string uid;
  std::int64_t generation = 0;
  bool deleting = false;
  bool has_finalizer = false;

  std::string template_name;  // spec.templateRef; empty: none
  std::optional<WarmPod> warm_pod;

  std::string image;  // empty: the operator's default
  std::string model = "gpt-4o";
  Json limits = Json::object();
  Json requests = Json::object();
  std::string url;
  std::string ref = "main";
  std::string branch;
  bool read_only = false;
  Mount mount = Mount::kReadWrite;
  std::string output_dir;  // with kReadOnly alone: below the repository's root
  Via via = Via::kUnsaid;
  // At most one of these.
  std::optional<SecretRef> secret;
  std::optional<GithubApp> github_app;
  std::optional<Gitlab> gitlab;
  std::optional<Gitea> gitea;
  std::string username;  // that goes with the token; empty without credentials
  std::optional<MergeRequestSpec> merge_request;
  std::optional<Task> task;
  // spec.llm. Its models and budget are the gateway's to read.
  std::string gateway = "default";
  std::optional<SecretKey> llm_key;
  bool user_namespace = true;
  std::string runtime_class;
  Json egress = Json::array();  // NetworkPolicyEgressRule objects
  ExecSettings exec;
  std::chrono::seconds deadline{7200};
  // Of the deadline, for a pod that is not the session's first.
  std::optional<std::chrono::seconds> time_left;
  std::chrono::seconds idle_timeout{0};     // 0: none
  std::chrono::seconds command_timeout{0};  // 0: none
  std::chrono::seconds ttl_after_finished{3600};
  bool suspend = false;
  int max_restarts = 3;
  std::optional<Storage> storage;  // nullopt: what is not pushed ends with the pod
  bool retain = false;             // the volume outlives the workspace
  std::optional<Setup> setup;
  std::string setup_claim;  // of status.setup, once it is complete; what the agent's pod mounts

  // Of Pod, ServiceAccount and ConfigMap.
  [[nodiscard]] std::string agent_object() const {
    return warm_pod ? warm_pod->name : op::agent_object(name);
  }
  [[nodiscard]] std::string network_policy() const { return op::agent_object(name); }
  // Of the setup's Pod and NetworkPolicy.
  [[nodiscard]] std::string setup_object() const { return name + "-setup"; }
  [[nodiscard]] std::string git_secret() const { return name + "-git"; }
  [[nodiscard]] std::string llm_secret() const { return name + "-llm"; }
  [[nodiscard]] std::string volume_claim() const { return name + "-workspace"; }
  // In the gateway's namespace.
  [[nodiscard]] std::string gateway_secret() const { return "git-" + uid; }
  [[nodiscard]] std::chrono::seconds time() const { return time_left.value_or(deadline); }
  [[nodiscard]] bool has_credentials() const { return secret || mints(); }
  // Whether its tokens are minted, and not copied.
  [[nodiscard]] bool mints() const { return github_app || gitlab || gitea; }
  bool operator==(const Workspace&) const = default;
};

// The schema may have been by-passed (an older CRD, a conversion): what it promises is checked
// again where safety rests on it. The error names the field.
[[nodiscard]] std::expected<Workspace, std::string> parse_workspace(const Json& object);

// status.phase of a session that has ended: it is never started again.
[[nodiscard]] bool is_final_phase(std::string_view phase);

// "1h30m" and the like; nullopt for anything else.
[[nodiscard]] std::optional<std::chrono::seconds> parse_duration(const std::string& text);

// A path below a repository's root of plain words: letters, digits, _, . and -, beginning with
// neither . nor -.
[[nodiscard]] bool is_output_dir(const std::string& path);

// A branch or tag name that no git command can mistake for an option, a range or another namespace.
[[nodiscard]] bool is_safe_ref_name(const std::string& name);

}  // namespace palisade::op
