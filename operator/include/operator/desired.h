// The objects of a workspace as they should be. Pure: the same inputs give the same objects, byte
// for byte.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <operator/endpoints.h>
#include <operator/workspace.h>
#include <policy/policy.h>

namespace palisade::op {

// Palisade's own gateway.
struct Gateway {
  std::string url;          // https://palisade-gateway.palisade-gateway.svc:8443
  std::string ns;           // its namespace, whose Secrets hold the git tokens
  std::string audience;     // of the tokens that it takes
  std::string authorities;  // PEM that its certificate is judged by
  std::string archive{};    // what it keeps of sessions: where, for people; "": it keeps nothing
  [[nodiscard]] std::string llm_url() const { return url + "/v1"; }
  [[nodiscard]] std::string git_url() const { return url + "/git"; }
  [[nodiscard]] std::string archive_url() const { return url + "/archive"; }
  bool operator==(const Gateway&) const = default;
};

// What the administrator has set for all workspaces.
struct Defaults {
  std::string agent_image;
  std::string courier_image;
  std::string
      git_ca;  // PEM of authorities that git hosts may use beside the public ones; may be empty
  std::optional<Gateway> gateway{};  // nullopt: there is none
  bool operator==(const Defaults&) const = default;
};

struct Access {
  std::string llm_url;  // where the relay's LLM route leads
  Endpoint llm;
  Endpoint git;  // of git_url or, without it, of the git host
  std::string
      git_url{};  // where the relay's git route leads; "": the courier goes to the host itself
  bool operator==(const Access&) const = default;
};

// Whether the session's LLM calls go to Palisade's own gateway, its fetches and pushes, either.
[[nodiscard]] bool llm_through_gateway(const Access& access, const Defaults& defaults);
[[nodiscard]] bool git_through_gateway(const Access& access, const Defaults& defaults);
[[nodiscard]] bool uses_gateway(const Access& access, const Defaults& defaults);
// Whether what guard writes is sent to the gateway's archive.
[[nodiscard]] bool is_archived(const Access& access, const Defaults& defaults);
// Whether it is to go through it, by its spec.
[[nodiscard]] bool wants_gateway_for_git(const Workspace& workspace, const Defaults& defaults);

// The relay's ports on the session's loopback. The agent may reach the first alone.
inline constexpr std::uint16_t kLlmPort = 4000;
inline constexpr std::uint16_t kGitPort = 4001;
inline constexpr const char* kRelayLlmUrl = "http://127.0.0.1:4000/v1";
inline constexpr const char* kRelayGitUrl = "http://127.0.0.1:4001/git";
// In the session's ConfigMap; changes in a live session.
inline constexpr const char* kGatewayCaKey = "gateway-ca.pem";
// On the Secret of a session's git token in the gateway's namespace.
inline constexpr const char* kGitTokenLabel = "palisade.dev/git-token";

[[nodiscard]] Json desired_service_account(const Workspace& workspace);
// The token is copied from the user's Secret, so that the pod mounts an object that ends with the
// session.
[[nodiscard]] Json desired_secret(const Workspace& workspace, const std::string& token);
// The same for the gateway, in its namespace: no owner reference reaches across, so it carries the
// workspace's name as an annotation (kWorkspaceLabel) and its uid in its own name.
[[nodiscard]] Json desired_gateway_secret(const Workspace& workspace, const Gateway& gateway,
                                          const std::string& token);
// The key that spec.llm.keySecretRef names, for the relay.
[[nodiscard]] Json desired_llm_secret(const Workspace& workspace, const std::string& key);
// The volume of a workspace with spec.storage. It is known by the workspace's UID in an annotation:
// one that is to be kept has no owner, for the garbage collector takes what an owner leaves.
[[nodiscard]] Json desired_volume_claim(const Workspace& workspace);
// relay.json, as gateway/relay/README.md says it.
[[nodiscard]] Json relay_config(const Workspace& workspace, const Defaults& defaults,
                                const Access& access);
// The configurations of courier and relay, the guard's policy and git's configuration.
[[nodiscard]] Json desired_config_map(const Workspace& workspace, const Defaults& defaults,
                                      const Access& access,
                                      const std::vector<Unreachable>& unreachable);
// guard.json, as docs/guard.md says it. `archived`: it keeps what the agent prints, too.
[[nodiscard]] Json guard_policy(const Workspace& workspace,
                                const std::vector<Unreachable>& unreachable, bool archived = false);
[[nodiscard]] std::string guard_gitconfig();
// EnvVar objects that make git read that file alone and keep its rules above the repository's own.
[[nodiscard]] Json guard_git_environment();
// Deny all, then the gateway (or the LLM gateway and the git host) and spec.isolation.egress.
[[nodiscard]] Json desired_network_policy(const Workspace& workspace, const Access& access);
// With the scheduling gate on, and annotations that say what it was made from.
[[nodiscard]] Json desired_pod(const Workspace& workspace, const Defaults& defaults,
                               const Access& access, const std::string& token);

// spec.setup (docs/setup.md): what its result depends on beside the workspace.
struct SetupInputs {
  std::vector<policy::SetupMirror> mirrors;
  std::string commit;  // "": not known, and its pod is there to find it out
  std::string digest;  // of the inputs at that commit; "": the spec names the commit itself
};
// Where its files come from: a branch, a tag or, by is_commit_id(), a commit of
// spec.repository.ref.
[[nodiscard]] std::string setup_ref(const Workspace& workspace);
// By which results are told apart: 32 hexadecimal digits.
[[nodiscard]] std::string setup_key(const Workspace& workspace, const Defaults& defaults,
                                    const SetupInputs& inputs);
[[nodiscard]] std::string setup_claim_name(const std::string& key);
// The volume that its result is written to. Workspaces of a namespace share it, so it is nobody's;
// an annotation says who fills it.
[[nodiscard]] Json desired_setup_claim(const Workspace& workspace, const std::string& key);
// Deny all, then the gateway (or the git host) and the mirrors.
[[nodiscard]] Json desired_setup_network(const Workspace& workspace, const Access& access,
                                         const std::vector<policy::SetupMirror>& mirrors);
// With the scheduling gate on. `key` "": it finds out commit and digest, and nothing else runs.
[[nodiscard]] Json desired_setup_pod(const Workspace& workspace, const Defaults& defaults,
                                     const Access& access, const SetupInputs& inputs,
                                     const std::string& key);
inline constexpr const char* kSetupMount = "/opt/setup";
// In the session's ConfigMap: courier.json and relay.json of the setup's pod.
inline constexpr const char* kSetupCourierKey = "setup.json";
inline constexpr const char* kSetupRelayKey = "setup-relay.json";
// On the setup's pod and on the claim: the key ("" on a pod that resolves).
inline constexpr const char* kSetupKeyAnnotation = "palisade.dev/setup-key";
// On the claim: who fills it, as NAME/UID of a workspace; when it was complete; when it was used
// last. The last two are times (RFC 3339).
inline constexpr const char* kSetupByAnnotation = "palisade.dev/setup-by";
inline constexpr const char* kSetupCompleteAnnotation = "palisade.dev/setup-complete";
inline constexpr const char* kSetupUsedAnnotation = "palisade.dev/setup-used";

// A pool's pod, which is made before anybody knows for which session: everything that a session's
// pod has but what that session brings. Nobody's code has run in it, it knows no repository and no
// task, no credential is near it, and its network is closed whole (docs/pools.md).
//
// Whether `workspace` can have such a pod; else why not, for people.
[[nodiscard]] std::string no_warm_pod(const Workspace& workspace, const Defaults& defaults,
                                      const std::string& llm_url);
// All that a warm pod has fixed: two workspaces of one shape fit into the same pod. "" where there
// is no gateway, and so no such pod.
[[nodiscard]] std::string warm_shape(const Workspace& workspace, const Defaults& defaults);

struct PoolPlace {
  std::string ns;
  std::string pool;
  std::string pool_uid;
  std::string name;                 // of ServiceAccount, ConfigMap and Pod
  std::chrono::seconds lifetime{};  // of the pod, waiting and working
};
// The name of a pool's NetworkPolicy, which denies all and selects by kPoolLabel.
[[nodiscard]] std::string pool_network_name(const std::string& pool);
[[nodiscard]] Json desired_pool_network(const PoolPlace& place);
[[nodiscard]] Json desired_warm_account(const PoolPlace& place);
// Guard's policy for its preflight, and git's configuration.
[[nodiscard]] Json desired_warm_config(const PoolPlace& place, const Workspace& workspace,
                                       const std::vector<Unreachable>& unreachable);
[[nodiscard]] Json desired_warm_pod(const PoolPlace& place, const Workspace& workspace,
                                    const Defaults& defaults);

inline constexpr const char* kPoolApiKind = "AgentWorkspacePool";
// On a warm pod: its warm_shape().
inline constexpr const char* kShapeAnnotation = "palisade.dev/shape";
// On a warm pod: what its ConfigMap held as they were made.
inline constexpr const char* kConfigAnnotation = "palisade.dev/config";
// On a pod that was taken: "SPECHASH/SECONDS", written after its ConfigMap, so that the kubelet
// looks at its volumes at once.
inline constexpr const char* kDeliveredAnnotation = "palisade.dev/delivered";
// In the ConfigMap of a session in a pool's pod: what guard starts there.
inline constexpr const char* kCommandKey = "command.json";

inline constexpr const char* kWorkspaceUidAnnotation = "palisade.dev/workspace-uid";
inline constexpr const char* kSpecHashAnnotation = "palisade.dev/spec-hash";
inline constexpr const char* kTokenHashAnnotation = "palisade.dev/token-hash";
// On the NetworkPolicy: what its spec was when the operator last wrote it. Tells drift, which is
// put right at once, from a wish for a wider network, which waits for the pod's end.
inline constexpr const char* kNetworkHashAnnotation = "palisade.dev/network-hash";
// On NetworkPolicy and ConfigMap: the resourceVersion that a fence was put over (decide.h).
inline constexpr const char* kFencedAnnotation = "palisade.dev/fenced-at";
// The addresses that the pod was made with: kept for its life, so that a name that resolves
// differently does not end a session.
inline constexpr const char* kAccessAnnotation = "palisade.dev/access";
// On a pod whose relay sends to an archive: where that is, as the operator was told when it made
// it.
inline constexpr const char* kArchiveAnnotation = "palisade.dev/archive";

[[nodiscard]] Json to_json(const Access& access);
[[nodiscard]] std::optional<Access> access_from_json(const std::string& text);

// First 32 hexadecimal digits of the SHA-256.
[[nodiscard]] std::string hash_text(const std::string& text);

}  // namespace palisade::op
