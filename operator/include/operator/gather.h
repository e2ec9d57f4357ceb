// Everything that decide() wants to know of one workspace, from caches and live reads.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include <kube/client.h>
#include <kube/reflector.h>
#include <operator/decide.h>
#include <operator/known.h>

namespace palisade::op {

// Names to addresses; an empty list with an error text where that fails. Blocks; called from
// workers.
using Resolver =
    std::function<std::expected<std::vector<std::string>, std::string>(const std::string& host)>;
// getaddrinfo, IPv4 first.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> resolve_host(
    const std::string& host);

// agentpolicies.palisade.dev
[[nodiscard]] const kube::Resource& agent_policies();

// The index of pods by the workspace that they belong to.
inline constexpr const char* kByWorkspace = "workspace";

struct Caches {
  const kube::Cache* service_accounts = nullptr;
  const kube::Cache* config_maps = nullptr;
  const kube::Cache* network_policies = nullptr;
  const kube::Cache* pods = nullptr;  // with index kByWorkspace
  const kube::Cache* volume_claims = nullptr;
  const kube::Cache* namespaces =
      nullptr;  // null: each is read from the API server as it is asked for
  const kube::Cache* agent_policies = nullptr;
};

// Thread-safe.
class Gatherer {
 public:
  // `gateways`: name to base URL; `own`: Palisade's own gateway, where there is one; `unreachable`:
  // Services, NAMESPACE/NAME, whose pods no session may reach.
  Gatherer(std::shared_ptr<const kube::Client> client, Caches caches,
           std::map<std::string, std::string> gateways, std::optional<Gateway> own,
           std::vector<std::string> unreachable, Resolver resolver, std::shared_ptr<Known> known);

  // An error where the API server did not answer: then nothing may be decided. `before`: what this
  // gave a moment ago, in the same look; what surrounds a workspace of the same spec is taken from
  // it. May be null.
  [[nodiscard]] kube::Result<Observed> gather(const kube::ObjectPtr& workspace,
                                              std::stop_token stop,
                                              const Observed* before = nullptr);

  // AgentPolicies that select the namespace.
  [[nodiscard]] kube::Result<std::expected<std::vector<policy::AgentPolicy>, Problem>> policies(
      const std::string& ns, const std::stop_token& stop) const;
  // What no session may reach, read anew once a minute.
  struct OffLimits {
    std::vector<std::string> api_server;
    std::vector<Unreachable> targets;
  };
  [[nodiscard]] kube::Result<OffLimits> off_limits(const std::stop_token& stop);
  // From the API server itself; null where it is not there.
  [[nodiscard]] kube::Result<kube::ObjectPtr> read(const kube::Resource& resource,
                                                   const std::string& ns, const std::string& name,
                                                   const std::stop_token& stop) const;

 private:
  // The session's own objects.
  [[nodiscard]] kube::Result<void> find_objects(Observed& seen, const std::string& key,
                                                const std::optional<Workspace>& workspace,
                                                const std::stop_token& stop) const;
  [[nodiscard]] kube::Result<void> find_setup_writer(Observed& seen, const Workspace& named,
                                                     const std::stop_token& stop) const;
  // Pods that are the workspace's beside its own.
  [[nodiscard]] kube::Result<void> find_strays(Observed& seen, const Workspace& named,
                                               const std::stop_token& stop) const;
  // Shared by all workspaces: an object that was read less than a second ago, and after `after`.
  // One that is not there is an error.
  [[nodiscard]] kube::Result<Json> fresh(
      const kube::Resource& resource, const std::string& ns, const std::string& name,
      const std::stop_token& stop,
      Known::Clock::time_point after = Known::Clock::time_point::min()) const;
  [[nodiscard]] kube::Result<std::expected<std::string, Problem>> token(
      const Workspace& workspace, const std::stop_token& stop) const;
  // One line of printable characters that a user's Secret holds; `what` says it in messages.
  [[nodiscard]] kube::Result<std::expected<std::string, Problem>> line_of(
      const Workspace& workspace, const SecretKey& reference, const char* what,
      const std::stop_token& stop) const;
  // The authorities of Palisade's own gateway, read anew every few seconds.
  [[nodiscard]] kube::Result<std::expected<std::string, Problem>> gateway_ca(
      const std::stop_token& stop);
  [[nodiscard]] kube::Result<std::expected<Access, Problem>> access(
      const Workspace& workspace, const std::vector<std::string>& api_server,
      const std::stop_token& stop) const;
  [[nodiscard]] kube::Result<std::expected<Endpoint, Problem>> endpoint(
      const std::string& field, const std::string& url, const std::vector<std::string>& api_server,
      const std::stop_token& stop) const;

  const std::shared_ptr<const kube::Client> client_;
  const Caches caches_;
  const std::map<std::string, std::string> gateways_;
  const Defaults own_;  // the gateway alone
  const std::vector<std::string> unreachable_;
  const Resolver resolver_;
  const std::shared_ptr<Known> known_;
  mutable std::mutex mutex_;
  struct Fresh {
    Json object;
    std::chrono::steady_clock::time_point at;
  };
  mutable std::map<std::string, Fresh> fresh_;  // guarded by mutex_
  std::string gateway_ca_;
  std::chrono::steady_clock::time_point gateway_ca_read_;
  OffLimits off_limits_;
  std::chrono::steady_clock::time_point off_limits_read_;
};

}  // namespace palisade::op
