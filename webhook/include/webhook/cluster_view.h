// What judges may know of the cluster beside the review itself. A look-up that cannot be answered
// for certain is an error whose text says why, and the review is then denied: no verdict rests on a
// cache that has not synced.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <policy/exceptions.h>
#include <policy/modes.h>
#include <policy/policy.h>
#include <policy/selector.h>
#include <policy/signatures.h>
#include <policy/workspace_template.h>

namespace palisade::policy {
class NetworkPolicy;
}

namespace palisade::webhook {

template <class T>
using Lookup = std::expected<T, std::string>;

// How a namespace's labels guard it.
using policy::Action;
using policy::Mode;

inline constexpr std::string_view kCreatedByAnnotation = "palisade.dev/created-by";

// How a namespace is guarded. Immutable once made.
struct NamespaceRules : policy::Modes {
  policy::Settings settings;  // the cluster's, and every AgentPolicy's
  policy::Labels labels;      // the namespace's own
  // Those that name this namespace; expired ones too.
  std::vector<std::shared_ptr<const policy::HardeningException>> exceptions;
  std::string problem;  // why agents cannot be judged here (a broken AgentPolicy); or ""
  bool terminating = false;
};

struct WorkspaceFacts {
  std::string ns;
  std::string name;
  std::string uid;
  std::string created_by;  // the annotation; "" where it is not there
  bool deleting = false;
  std::string setup_claim{};  // status.setup.claim; "" where there is none
};

// A live pod that counts as an Aider pod.
struct AgentPod {
  std::string ns;
  std::string name;
  std::string uid;
  std::string workspace;      // name of the AgentWorkspace that owns it; "" for one made by hand
  std::string workspace_uid;  // the uid that its owner reference gives; or ""
  policy::Labels labels;
  std::string reason;  // policy::agent_reason; "" where the pod is no Aider pod
  // The AgentWorkspacePool that owns it while it waits (then workspace_uid is the pool's); or "".
  std::string pool{};
};

// Names that the chart gives; users and groups as the API server authenticates them.
struct Principals {
  std::string operator_user;  // system:serviceaccount:NS:palisade-operator
  std::string webhook_user;
  std::vector<std::string> administrator_users;
  std::vector<std::string> administrator_groups{"system:masters"};
  std::vector<std::string> scheduler_users{"system:kube-scheduler"};
};

// Thread-safe.
class ClusterView {
 public:
  ClusterView() = default;
  virtual ~ClusterView() = default;
  ClusterView(const ClusterView&) = delete;
  ClusterView& operator=(const ClusterView&) = delete;

  [[nodiscard]] virtual const Principals& principals() const = 0;
  [[nodiscard]] virtual Lookup<std::shared_ptr<const NamespaceRules>> rules(
      std::string_view ns) const = 0;

  // AgentWorkspaces, of all namespaces for ""; those on their way out too. nullopt: there is none
  // of that name (asked live where the cache has none).
  [[nodiscard]] virtual Lookup<std::vector<WorkspaceFacts>> workspaces(
      std::string_view ns) const = 0;
  [[nodiscard]] virtual Lookup<std::optional<WorkspaceFacts>> workspace(
      std::string_view ns, std::string_view name) const = 0;

  // Read live; null where there is none of that name.
  [[nodiscard]] virtual Lookup<std::shared_ptr<const policy::WorkspaceTemplate>> workspace_template(
      std::string_view ns, std::string_view name) const = 0;

  // Live Aider pods of a namespace, of all namespaces for "".
  [[nodiscard]] virtual Lookup<std::vector<AgentPod>> agent_pods(std::string_view ns) const = 0;
  // One pod of any kind, read live; nullopt where there is none.
  [[nodiscard]] virtual Lookup<std::optional<AgentPod>> pod(std::string_view ns,
                                                            std::string_view name) const = 0;

  // The namespace's NetworkPolicies. `live`: asked of the API server instead of the cache, for who
  // is about to refuse something because one is missing.
  [[nodiscard]] virtual Lookup<std::vector<std::shared_ptr<const policy::NetworkPolicy>>>
  network_policies(std::string_view ns, bool live) const = 0;

  // Whether one of the rule's keys signed the image: "" where one did, else why that is not so.
  [[nodiscard]] virtual Lookup<std::string> signature_problem(
      const policy::ImageToVerify& image, const policy::SignatureRule& rule) const = 0;
};

// Helpers that every judge needs.
[[nodiscard]] bool is_administrator(const Principals& principals, std::string_view user,
                                    const std::vector<std::string_view>& groups);

}  // namespace palisade::webhook
