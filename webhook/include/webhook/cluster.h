// The judges' view of a real cluster: watches of what is small and always needed, live reads of the
// rest.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <kube/client.h>
#include <kube/reflector.h>
#include <policy/agent_policy.h>
#include <policy/network.h>
#include <webhook/cluster_view.h>
#include <webhook/signatures.h>

namespace palisade::webhook {

// Of one live read, which holds a review up.
inline constexpr std::chrono::milliseconds kLiveDeadline{1000};

struct ClusterOptions {
  policy::Settings settings;
  Principals principals;
  std::shared_ptr<Signatures> signatures;
};

// The live Aider pods of a namespace, from whoever watches pods (the Scanner).
using AgentPods = std::function<Lookup<std::vector<AgentPod>>(std::string_view ns)>;

// Owns the watches. Thread-safe.
class Cluster {
 public:
  // The watches run on `client`. `live` makes the reads that hold reviews up, so its call deadline
  // must be kLiveDeadline. `on_change` is called (on a watch's thread) when the rules or the
  // NetworkPolicies of a namespace may have changed; "" stands for all of them.
  Cluster(std::shared_ptr<const kube::Client> client, std::shared_ptr<const kube::Client> live,
          ClusterOptions options, std::function<void(std::string_view ns)> on_change = {});
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  void start();
  // Set before start().
  void set_agent_pods(AgentPods agent_pods);
  // What has not synced yet, for readiness; "" when all has.
  [[nodiscard]] std::string not_synced() const;
  [[nodiscard]] bool has_synced() const { return not_synced().empty(); }
  [[nodiscard]] std::vector<const kube::Reflector*> watches() const;
  // From the watch alone; an error where it has not synced or does not know the namespace.
  [[nodiscard]] Lookup<std::shared_ptr<const NamespaceRules>> known_rules(
      std::string_view ns) const;
  // The NetworkPolicies of a namespace, from the watch alone.
  [[nodiscard]] Lookup<std::vector<std::shared_ptr<const policy::NetworkPolicy>>>
  known_network_policies(std::string_view ns) const;

  // For one review. Where a live read is needed and `may_wait` is false, the look-up fails and
  // must_wait() says so: the review is to be judged again where waiting holds nobody up.
  class View;
  [[nodiscard]] View view(bool may_wait, std::chrono::steady_clock::time_point deadline) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class Cluster::View : public ClusterView {
 public:
  View(const Cluster& cluster, bool may_wait, std::chrono::steady_clock::time_point deadline)
      : cluster_(cluster), may_wait_(may_wait), deadline_(deadline) {}

  [[nodiscard]] bool must_wait() const { return must_wait_; }

  [[nodiscard]] const Principals& principals() const override;
  [[nodiscard]] Lookup<std::shared_ptr<const NamespaceRules>> rules(
      std::string_view ns) const override;
  [[nodiscard]] Lookup<std::vector<WorkspaceFacts>> workspaces(std::string_view ns) const override;
  [[nodiscard]] Lookup<std::optional<WorkspaceFacts>> workspace(
      std::string_view ns, std::string_view name) const override;
  [[nodiscard]] Lookup<std::shared_ptr<const policy::WorkspaceTemplate>> workspace_template(
      std::string_view ns, std::string_view name) const override;
  [[nodiscard]] Lookup<std::vector<AgentPod>> agent_pods(std::string_view ns) const override;
  [[nodiscard]] Lookup<std::optional<AgentPod>> pod(std::string_view ns,
                                                    std::string_view name) const override;
  [[nodiscard]] Lookup<std::vector<std::shared_ptr<const policy::NetworkPolicy>>> network_policies(
      std::string_view ns, bool live) const override;
  [[nodiscard]] Lookup<std::string> signature_problem(
      const policy::ImageToVerify& image, const policy::SignatureRule& rule) const override;

 private:
  [[nodiscard]] Lookup<std::shared_ptr<const NamespaceRules>> find_rules(std::string_view ns) const;
  // "" where a live read may be made now.
  [[nodiscard]] std::string no_live_read() const;

  const Cluster& cluster_;
  const bool may_wait_;
  const std::chrono::steady_clock::time_point deadline_;
  mutable bool must_wait_ = false;
  // A review is judged by one state of its namespace, and looks it up once.
  mutable std::string ruled_;
  mutable std::shared_ptr<const NamespaceRules> rules_;
};

}  // namespace palisade::webhook
