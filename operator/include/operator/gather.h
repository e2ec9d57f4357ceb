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

namespace palisade::op {

// Names to addresses; an empty list with an error text where that fails. Blocks; called from
// workers.
using Resolver =
    std::function<std::expected<std::vector<std::string>, std::string>(const std::string& host)>;
// getaddrinfo, IPv4 first.
[[nodiscard]] std::expected<std::vector<std::string>, std::string> resolve_host(
    const std::string& host);

struct Caches {
  const kube::Cache* service_accounts = nullptr;
  const kube::Cache* config_maps = nullptr;
  const kube::Cache* network_policies = nullptr;
  const kube::Cache* pods = nullptr;
};

// Thread-safe.
class Gatherer {
 public:
  // `gateways`: name to base URL.
  Gatherer(std::shared_ptr<const kube::Client> client, Caches caches,
           std::map<std::string, std::string> gateways, Resolver resolver);

  // An error where the API server did not answer: then nothing may be decided.
  [[nodiscard]] kube::Result<Observed> gather(const kube::ObjectPtr& workspace,
                                              std::stop_token stop);

 private:
  [[nodiscard]] kube::Result<kube::ObjectPtr> read(const kube::Resource& resource,
                                                   const kube::Cache* cache, const std::string& ns,
                                                   const std::string& name,
                                                   const std::stop_token& stop) const;
  [[nodiscard]] kube::Result<std::expected<std::string, Problem>> token(
      const Workspace& workspace, const std::stop_token& stop) const;
  [[nodiscard]] kube::Result<std::expected<Access, Problem>> access(
      const Workspace& workspace, const std::vector<std::string>& api_server,
      const std::stop_token& stop) const;
  [[nodiscard]] kube::Result<std::expected<Endpoint, Problem>> endpoint(
      const std::string& field, const std::string& url, const std::vector<std::string>& api_server,
      const std::stop_token& stop) const;
  [[nodiscard]] kube::Result<std::vector<std::string>> api_server(const std::stop_token& stop);

  const std::shared_ptr<const kube::Client> client_;
  const Caches caches_;
  const std::map<std::string, std::string> gateways_;
  const Resolver resolver_;
  std::mutex mutex_;
  std::vector<std::string> api_server_;
  std::chrono::steady_clock::time_point api_server_read_;
};

}  // namespace palisade::op
