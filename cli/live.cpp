#include "live.h"

#include <CLI/CLI.hpp>
#include <kube/patience.h>

#include "terminal_out.h"
#include "text.h"

namespace palisade::cli {

namespace kinds {
const kube::Resource kAgentPolicies{"palisade.dev", "v1alpha1", "agentpolicies", "AgentPolicy",
                                    false};
const kube::Resource kHardeningExceptions{"palisade.dev", "v1alpha1", "hardeningexceptions",
                                          "HardeningException", false};
const kube::Resource kAgentWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces",
                                      "AgentWorkspace", true};
const kube::Resource kRoleBindings{"rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding",
                                   true};
const kube::Resource kClusterRoleBindings{"rbac.authorization.k8s.io", "v1", "clusterrolebindings",
                                          "ClusterRoleBinding", false};
}  // namespace kinds

namespace {

using namespace std::chrono_literals;

constexpr const char* kRightCluster =
    "; is the cluster up, and is this the right --kubeconfig and --context?";
constexpr std::uint32_t kPage = 500;
constexpr int kBeginnings = 5;  // of one list, where its pages expire

}  // namespace

void add_cluster_options(CLI::App& app, ClusterOptions& options) {
  app.add_option("--kubeconfig", options.kubeconfig,
                 "Which cluster; else $KUBECONFIG, ~/.kube/config, or the pod's ServiceAccount")
      ->type_name("FILE");
  app.add_option("--context", options.context, "Context of the kubeconfig; else its current one")
      ->type_name("NAME");
  app.add_option("--as", options.as.user, "Act as this user, where RBAC lets you impersonate it")
      ->type_name("USER");
  app.add_option("--as-group", options.as.groups, "In this group, with --as (may be given again)")
      ->type_name("GROUP")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--as-uid", options.as.uid, "With this UID, with --as")->type_name("UID");
}

void add_scope_options(CLI::App& app, ScopeOptions& options, bool everywhere) {
  auto* ns = app.add_option("-n,--namespace", options.ns,
                            everywhere ? "Namespace; else all" : "Namespace; else the context's")
                 ->type_name("NAME");
  if (everywhere) {
    options.all_namespaces = true;
  } else {
    app.add_flag("-A,--all-namespaces", options.all_namespaces, "Every namespace")->excludes(ns);
  }
  app.add_option("-l,--selector", options.selector, "Only objects with these labels: app=web,!old")
      ->type_name("SELECTOR");
}

Progress::Progress(std::ostream& err) : next_(std::chrono::steady_clock::now() + 2s) {
  if (is_terminal(err)) line_.emplace(err);
}

void Progress::read(std::size_t objects, std::string_view what) {
  total_ += objects;
  const auto now = std::chrono::steady_clock::now();
  if (!line_ || now < next_) return;
  next_ = now + 200ms;
  line_->show(std::to_string(total_) + " objects read, now " + std::string(what) + " ...");
}

void Progress::end() {
  if (line_) line_->clear();
}

std::string trouble(std::string_view verb, const kube::Resource& resource, std::string_view ns,
                    std::string_view name, const kube::Error& error) {
  std::string out(verb);
  out += " " + resource.plural;
  if (!name.empty()) out += " " + std::string(name);
  if (!ns.empty()) out += " in " + std::string(ns);
  out += ": " + error.text();
  const std::string can_i =
      "kubectl auth can-i " + std::string(verb) + " " + resource.plural +
      (resource.group.empty() ? "" : "." + resource.group) +
      (ns.empty() ? (resource.namespaced ? " -A" : "") : " -n " + std::string(ns));
  if (error.is_forbidden()) {
    out += "; this user lacks the right (" + can_i + " says so too): ask for it" +
           (resource.namespaced && ns.empty() ? ", or name one namespace with -n" : "");
  } else if (error.code == 401) {
    out += "; the credentials of the kubeconfig are not valid (any more): log in again";
  } else if (error.is_transport()) {
    out += kRightCluster;
  } else if (error.code == 400) {
    out += "; check the selector and the names";
  } else if (error.is_retriable()) {
    out += "; try again in a moment";
  }
  return printable(out);
}

std::expected<Live, std::string> Live::connect(const ClusterOptions& options) {
  auto config = kube::load_config(options.kubeconfig, options.context, options.as);
  if (!config) {
    return std::unexpected(printable("no cluster to read from: " + config.error().message +
                                     "; --kubeconfig FILE and --context NAME say which one"));
  }
  return Live(kube::Client::connect(std::move(*config), kube::Client::TransportKind::kBeast, 30s,
                                    kube::patient()));
}

std::expected<void, std::string> Live::reach() const {
  const auto answer = client_->get_raw("/version");
  // Whoever refuses to tell is there.
  if (answer || !answer.error().is_transport()) return {};
  return std::unexpected(
      printable("the cluster cannot be reached: " + answer.error().text() + kRightCluster));
}

std::string Live::scope(const ScopeOptions& options) const {
  if (options.all_namespaces && options.ns.empty()) return {};
  return options.ns.empty() ? client_->config().namespace_ : options.ns;
}

std::expected<kube::Json, std::string> Live::get(const kube::Resource& resource,
                                                 std::string_view ns, std::string_view name) const {
  auto object = client_->get(resource, ns, name);
  if (!object) return std::unexpected(trouble("get", resource, ns, name, object.error()));
  return std::move(*object);
}

std::expected<std::optional<kube::Json>, std::string> Live::find(const kube::Resource& resource,
                                                                 std::string_view ns,
                                                                 std::string_view name) const {
  auto object = client_->get(resource, ns, name);
  if (object) return std::move(*object);
  if (object.error().is_not_found()) return std::nullopt;
  return std::unexpected(trouble("get", resource, ns, name, object.error()));
}

kube::Result<void> Live::pages(const kube::Resource& resource, const std::string& ns,
                               const std::string& selector, Progress& progress,
                               const std::function<void()>& start,
                               const std::function<void(const kube::Json&)>& take) const {
  kube::ListOptions options;
  options.ns = resource.namespaced ? ns : "";
  options.label_selector = selector;
  options.limit = kPage;
  int beginnings = 0;
  for (;;) {
    if (options.continue_token.empty()) {
      ++beginnings;
      start();
    }
    const auto page = client_->list_page(resource, options);
    if (!page) {
      const bool lost = page.error().is_gone() && !options.continue_token.empty();
      if (lost && beginnings < kBeginnings) {
        options.continue_token.clear();
        continue;
      }
      return std::unexpected(page.error());
    }
    for (const kube::Json& item : page->items)
      take(item);
    progress.read(page->items.size(), resource.plural);
    if (page->continue_token.empty()) return {};
    options.continue_token = page->continue_token;
  }
}

std::expected<void, std::string> Live::each(
    const kube::Resource& resource, const std::string& ns, const std::string& selector,
    Progress& progress, const std::function<void()>& start,
    const std::function<void(const kube::Json&)>& take) const {
  const auto done = pages(resource, ns, selector, progress, start, take);
  if (!done) return std::unexpected(trouble("list", resource, ns, "", done.error()));
  return {};
}

std::expected<std::vector<kube::Json>, std::string> Live::all(const kube::Resource& resource,
                                                              const std::string& ns,
                                                              Progress& progress) const {
  std::vector<kube::Json> out;
  const auto done = pages(
      resource, ns, "", progress, [&] { out.clear(); },
      [&](const kube::Json& item) { out.push_back(item); });
  // A kind that is not served has no objects.
  if (!done && !done.error().is_not_found())
    return std::unexpected(trouble("list", resource, ns, "", done.error()));
  return out;
}

}  // namespace palisade::cli
