// What commands read from a cluster. Nothing here changes anything there.
#pragma once

#include <chrono>
#include <expected>
#include <functional>
#include <iosfwd>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <kube/client.h>

#include "commands.h"
#include "status_line.h"

namespace palisade::cli {

// Which cluster, as kubectl names it.
struct ClusterOptions {
  std::string kubeconfig;
  std::string context;
  kube::Impersonation as;
};
void add_cluster_options(CLI::App& app, ClusterOptions& options);

// Which objects of it.
struct ScopeOptions {
  std::string ns;  // "" is the context's namespace
  bool all_namespaces = false;
  std::string selector;
};
// `everywhere`: all namespaces are what is read unless one is named, and there is no -A.
void add_scope_options(CLI::App& app, ScopeOptions& options, bool everywhere = false);

namespace kinds {
extern const kube::Resource kAgentPolicies, kHardeningExceptions, kAgentWorkspaces;
extern const kube::Resource kRoleBindings, kClusterRoleBindings;
}  // namespace kinds

// Says on standard error how far a long reading is, where that is a terminal.
class Progress {
 public:
  explicit Progress(std::ostream& err);

  void read(std::size_t objects, std::string_view what);
  // Takes the line away: before anything else is written.
  void end();

 private:
  std::optional<StatusLine> line_;  // on a terminal alone
  std::chrono::steady_clock::time_point next_;
  std::size_t total_ = 0;
};

// A connection. All errors are sentences that say what could not be read and what to do about it.
class Live {
 public:
  [[nodiscard]] static std::expected<Live, std::string> connect(const ClusterOptions& options);

  [[nodiscard]] const kube::Client& client() const { return *client_; }
  // Whether anybody answers there: asked once before many reads, each of whose errors would say so.
  [[nodiscard]] std::expected<void, std::string> reach() const;
  // "" for all namespaces.
  [[nodiscard]] std::string scope(const ScopeOptions& options) const;

  [[nodiscard]] std::expected<kube::Json, std::string> get(const kube::Resource& resource,
                                                           std::string_view ns,
                                                           std::string_view name) const;
  // The same; nullopt where there is no such object, or no such kind.
  [[nodiscard]] std::expected<std::optional<kube::Json>, std::string> find(
      const kube::Resource& resource, std::string_view ns, std::string_view name) const;
  // Every object, page by page. Where the server has lost its place (410), it begins anew:
  // `start` is called before each beginning.
  [[nodiscard]] std::expected<void, std::string> each(
      const kube::Resource& resource, const std::string& ns, const std::string& selector,
      Progress& progress, const std::function<void()>& start,
      const std::function<void(const kube::Json&)>& take) const;
  // All of a kind that is small; none where the cluster does not serve it.
  [[nodiscard]] std::expected<std::vector<kube::Json>, std::string> all(
      const kube::Resource& resource, const std::string& ns, Progress& progress) const;

 private:
  [[nodiscard]] kube::Result<void> pages(const kube::Resource& resource, const std::string& ns,
                                         const std::string& selector, Progress& progress,
                                         const std::function<void()>& start,
                                         const std::function<void(const kube::Json&)>& take) const;
  explicit Live(std::shared_ptr<const kube::Client> client) : client_(std::move(client)) {}
  std::shared_ptr<const kube::Client> client_;
};

// "list pods in team-a: 403 Forbidden: ..." and the next step, safe for a terminal.
[[nodiscard]] std::string trouble(std::string_view verb, const kube::Resource& resource,
                                  std::string_view ns, std::string_view name,
                                  const kube::Error& error);

}  // namespace palisade::cli
