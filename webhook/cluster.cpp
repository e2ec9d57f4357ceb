#include <algorithm>
#include <array>
#include <mutex>

#include <spdlog/spdlog.h>

#include <kube/labels.h>
#include <webhook/cluster.h>

namespace palisade::webhook {

namespace {

using kube::Json;
using kube::labels_of;
using NetworkPolicies = std::vector<std::shared_ptr<const policy::NetworkPolicy>>;

const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace",
                                 true};
const kube::Resource kAgentPolicies{"palisade.dev", "v1alpha1", "agentpolicies", "AgentPolicy",
                                    false};
const kube::Resource kExceptions{"palisade.dev", "v1alpha1", "hardeningexceptions",
                                 "HardeningException", false};

const kube::Resource kTemplates{"palisade.dev", "v1alpha1", "agentworkspacetemplates",
                                "AgentWorkspaceTemplate", true};

// policy/ reads simdjson's documents.
template <class Parse>
auto parsed(const Json& object, Parse parse) -> decltype(parse(simdjson::dom::element{})) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(object.dump());
  simdjson::dom::element root;
  if (const auto error = parser.parse(text).get(root); error != simdjson::SUCCESS)
    return std::unexpected(std::string(simdjson::error_message(error)));
  return parse(root);
}

std::string pointed_text(const Json& object, const char* pointer) {
  const Json::json_pointer at(pointer);
  return object.contains(at) && object[at].is_string() ? object[at].get<std::string>()
                                                       : std::string();
}

WorkspaceFacts workspace_facts(const Json& object) {
  WorkspaceFacts out;
  out.ns = pointed_text(object, "/metadata/namespace");
  out.name = pointed_text(object, "/metadata/name");
  out.uid = pointed_text(object, "/metadata/uid");
  const Json::json_pointer annotations("/metadata/annotations");
  if (object.contains(annotations)) {
    const auto found = object[annotations].find(std::string(kCreatedByAnnotation));
    if (found != object[annotations].end() && found->is_string())
      out.created_by = found->get<std::string>();
  }
  out.deleting = object.contains(Json::json_pointer("/metadata/deletionTimestamp"));
  out.setup_claim = pointed_text(object, "/status/setup/claim");
  return out;
}

// Only what workspace_facts() reads.
Json slim_workspace(Json object) {
  const std::string claim = pointed_text(object, "/status/setup/claim");
  object.erase("spec");
  object.erase("status");
  if (!claim.empty()) object["status"]["setup"]["claim"] = claim;
  return object;
}

void set_owner(const Json& pod, AgentPod& out) {
  const Json::json_pointer at("/metadata/ownerReferences");
  if (!pod.contains(at) || !pod[at].is_array()) return;
  const Json& owners = pod[at];
  for (const Json& owner : owners) {
    const std::string kind = pointed_text(owner, "/kind");
    if ((kind == "AgentWorkspace" || kind == "AgentWorkspacePool") &&
        pointed_text(owner, "/apiVersion").starts_with("palisade.dev/")) {
      (kind == "AgentWorkspace" ? out.workspace : out.pool) = pointed_text(owner, "/name");
      out.workspace_uid = pointed_text(owner, "/uid");
      return;
    }
  }
}

AgentPod agent_pod(const Json& object) {
  AgentPod out;
  out.ns = pointed_text(object, "/metadata/namespace");
  out.name = pointed_text(object, "/metadata/name");
  out.uid = pointed_text(object, "/metadata/uid");
  out.labels = labels_of(object);
  set_owner(object, out);
  const auto reason =
      parsed(object, [](simdjson::dom::element root) -> std::expected<std::string, std::string> {
        return policy::agent_reason(root);
      });
  // What cannot be read is treated as an agent.
  out.reason = reason ? *reason : reason.error();
  return out;
}

}  // namespace

struct Cluster::Impl {
  Impl(std::shared_ptr<const kube::Client> client, std::shared_ptr<const kube::Client> live_reads,
       ClusterOptions given, std::function<void(std::string_view)> changed)
      : live(std::move(live_reads)),
        options(std::move(given)),
        on_change(std::move(changed)),
        namespaces(client, kube::resources::kNamespaces, {}, namespace_events()),
        workspaces(client, kWorkspaces, slim(), {}),
        policies(client, kAgentPolicies, {}, cluster_events()),
        exceptions(client, kExceptions, {}, cluster_events()),
        network(client, kube::resources::kNetworkPolicies, {}, network_events()) {}

  static kube::ReflectorOptions slim() {
    kube::ReflectorOptions out;
    out.transform = slim_workspace;
    return out;
  }

  kube::EventHandler namespace_events() {
    const auto forget = [this](const kube::ObjectPtr& object) {
      forget_rules(pointed_text(*object, "/metadata/name"));
    };
    return {forget, [forget](const auto&, const auto& now) { forget(now); }, forget};
  }
  kube::EventHandler cluster_events() {
    const auto forget = [this](const kube::ObjectPtr&) { forget_rules(""); };
    return {forget, [forget](const auto&, const auto& now) { forget(now); }, forget};
  }
  kube::EventHandler network_events() {
    const auto tell = [this](const Json& object) {
      if (on_change) on_change(pointed_text(object, "/metadata/namespace"));
    };
    const auto kept = [this, tell](const kube::ObjectPtr& now) {
      keep(*now);
      tell(*now);
    };
    return {kept, [kept](const auto&, const auto& now) { kept(now); },
            [this, tell](const kube::ObjectPtr& gone) {
              drop(*gone);
              tell(*gone);
            }};
  }

  // In the same words to whoever asks for readiness and to whose review is denied.
  [[nodiscard]] std::string unsynced(const kube::Reflector& watch) const {
    const std::array watches{
        std::pair{&namespaces, "namespaces"}, std::pair{&workspaces, "AgentWorkspaces"},
        std::pair{&policies, "AgentPolicies"}, std::pair{&exceptions, "HardeningExceptions"},
        std::pair{&network, "NetworkPolicies"}};
    for (const auto& [one, what] : watches) {
      if (one == &watch) return std::string("the watch of ") + what + " has not synced";
    }
    return "a watch has not synced";
  }
  [[nodiscard]] std::string not_yet(const kube::Reflector& watch) const {
    return "its view of the cluster is not complete yet, " + unsynced(watch) +
           "; try again in a moment";
  }

  void forget_rules(std::string_view ns) {
    {
      const std::unique_lock lock(mutex);
      ++generation;
      if (ns.empty()) {
        rules.clear();
      } else if (const auto known = rules.find(std::string(ns)); known != rules.end()) {
        rules.erase(known);
      }
    }
    if (on_change) on_change(ns);
  }

  void keep(const Json& object) {
    auto policy = parsed(object, policy::NetworkPolicy::parse);
    if (!policy) {
      // The API server stores no such thing; were it so, its namespace would have no certain
      // answer, and only a policy that is known can isolate a pod.
      spdlog::error("NetworkPolicy {}/{}: {}", pointed_text(object, "/metadata/namespace"),
                    pointed_text(object, "/metadata/name"), policy.error());
      drop(object);
      return;
    }
    auto shared = std::make_shared<const policy::NetworkPolicy>(std::move(*policy));
    const std::unique_lock lock(mutex);
    NetworkPolicies& kept = network_by_namespace[shared->ns()];
    std::erase_if(kept, [&](const auto& old) { return old->name() == shared->name(); });
    kept.push_back(std::move(shared));
  }

  void drop(const Json& object) {
    const std::string name = pointed_text(object, "/metadata/name");
    const std::unique_lock lock(mutex);
    const auto found = network_by_namespace.find(pointed_text(object, "/metadata/namespace"));
    if (found == network_by_namespace.end()) return;
    std::erase_if(found->second, [&](const auto& old) { return old->name() == name; });
    if (found->second.empty()) network_by_namespace.erase(found);
  }

  // What labels, AgentPolicies and exceptions make of a namespace.
  std::shared_ptr<const NamespaceRules> make_rules(const Json& ns) const {
    auto out = std::make_shared<NamespaceRules>();
    out->labels = labels_of(ns);
    const policy::Labels& labels = out->labels;
    const std::string name = pointed_text(ns, "/metadata/name");
    static_cast<policy::Modes&>(*out) = policy::modes_of(labels);
    out->terminating = ns.contains(Json::json_pointer("/metadata/deletionTimestamp"));
    std::vector<policy::AgentPolicy> selecting;
    const auto all = policies.cache().all();
    for (const kube::ObjectPtr& object : all) {
      auto policy = parsed(*object, policy::parse_agent_policy);
      if (!policy) {
        out->problem = "AgentPolicy " + pointed_text(*object, "/metadata/name") +
                       " cannot be read: " + policy.error();
      } else if (policy->namespaces.matches(labels)) {
        selecting.push_back(std::move(*policy));
      }
    }
    std::vector<const policy::AgentPolicy*> bounds;
    for (const policy::AgentPolicy& policy : selecting)
      bounds.push_back(&policy);
    out->settings = policy::tightened(options.settings, bounds);
    const auto allowed = exceptions.cache().all();
    for (const kube::ObjectPtr& object : allowed) {
      auto exception = parsed(*object, policy::parse_exception);
      if (!exception) {
        spdlog::warn("HardeningException {} is not used: {}",
                     pointed_text(*object, "/metadata/name"), exception.error());
      } else if (std::ranges::find(exception->namespaces, name) != exception->namespaces.end()) {
        out->exceptions.push_back(
            std::make_shared<const policy::HardeningException>(std::move(*exception)));
      }
    }
    return out;
  }

  // null where the watch does not know the namespace.
  std::shared_ptr<const NamespaceRules> cached_rules(std::string_view ns) {
    std::uint64_t made_at = 0;
    {
      const std::shared_lock lock(mutex);
      if (const auto known = rules.find(std::string(ns)); known != rules.end())
        return known->second;
      made_at = generation;
    }
    const auto object = namespaces.cache().get(ns);
    if (!object) return nullptr;
    auto made = make_rules(*object);
    const std::unique_lock lock(mutex);
    // Something changed meanwhile: right for this review, but not to be kept.
    if (generation == made_at) rules.insert_or_assign(std::string(ns), made);
    return made;
  }

  const std::shared_ptr<const kube::Client> live;
  const ClusterOptions options;
  const std::function<void(std::string_view)> on_change;
  AgentPods agent_pods;

  mutable std::shared_mutex mutex;
  std::uint64_t generation = 0;
  std::unordered_map<std::string, std::shared_ptr<const NamespaceRules>> rules;
  std::unordered_map<std::string, NetworkPolicies> network_by_namespace;

  // Last: their threads use what stands above.
  kube::Reflector namespaces, workspaces, policies, exceptions, network;
};

Cluster::Cluster(std::shared_ptr<const kube::Client> client,
                 std::shared_ptr<const kube::Client> live, ClusterOptions options,
                 std::function<void(std::string_view ns)> on_change)
    : impl_(std::make_unique<Impl>(std::move(client), std::move(live), std::move(options),
                                   std::move(on_change))) {}

Cluster::~Cluster() = default;

void Cluster::set_agent_pods(AgentPods agent_pods) {
  impl_->agent_pods = std::move(agent_pods);
}

void Cluster::start() {
  for (kube::Reflector* watch : {&impl_->namespaces, &impl_->workspaces, &impl_->policies,
                                 &impl_->exceptions, &impl_->network}) {
    watch->start();
  }
}

std::vector<const kube::Reflector*> Cluster::watches() const {
  return {&impl_->namespaces, &impl_->workspaces, &impl_->policies, &impl_->exceptions,
          &impl_->network};
}

std::string Cluster::not_synced() const {
  for (const kube::Reflector* watch : watches()) {
    if (watch->has_synced()) continue;
    const std::string error = watch->last_error();
    return impl_->unsynced(*watch) + (error.empty() ? "" : ": " + error);
  }
  return {};
}

Lookup<std::shared_ptr<const NamespaceRules>> Cluster::known_rules(std::string_view ns) const {
  if (ns.empty()) return std::unexpected("the review names no namespace");
  for (const kube::Reflector* watch : {&impl_->namespaces, &impl_->policies, &impl_->exceptions}) {
    if (!watch->has_synced()) return std::unexpected(impl_->not_yet(*watch));
  }
  if (auto known = impl_->cached_rules(ns)) return known;
  return std::unexpected("the namespace is not known yet");
}

Lookup<NetworkPolicies> Cluster::known_network_policies(std::string_view ns) const {
  if (!impl_->network.has_synced()) return std::unexpected(impl_->not_yet(impl_->network));
  const std::shared_lock lock(impl_->mutex);
  const auto known = impl_->network_by_namespace.find(std::string(ns));
  return known == impl_->network_by_namespace.end() ? NetworkPolicies() : known->second;
}

Cluster::View Cluster::view(bool may_wait, std::chrono::steady_clock::time_point deadline) const {
  return {*this, may_wait, deadline};
}

std::string Cluster::View::no_live_read() const {
  if (!may_wait_) {
    must_wait_ = true;
    return "it takes a read of the API server";
  }
  if (deadline_ != std::chrono::steady_clock::time_point::max() &&
      deadline_ - std::chrono::steady_clock::now() < kLiveDeadline) {
    return "no time is left to ask the API server; try again in a moment";
  }
  return {};
}

const Principals& Cluster::View::principals() const {
  return cluster_.impl_->options.principals;
}

Lookup<std::shared_ptr<const NamespaceRules>> Cluster::View::rules(std::string_view ns) const {
  if (rules_ && ruled_ == ns) return rules_;
  auto found = find_rules(ns);
  if (found) {
    ruled_ = ns;
    rules_ = *found;
  }
  return found;
}

Lookup<std::shared_ptr<const NamespaceRules>> Cluster::View::find_rules(std::string_view ns) const {
  auto known = cluster_.known_rules(ns);
  if (known || ns.empty() || !cluster_.impl_->namespaces.has_synced() ||
      !cluster_.impl_->policies.has_synced() || !cluster_.impl_->exceptions.has_synced()) {
    return known;
  }
  // A namespace that was made a moment ago.
  if (const std::string why = no_live_read(); !why.empty()) return std::unexpected(why);
  const auto live = cluster_.impl_->live->get(kube::resources::kNamespaces, "", ns);
  if (!live) return std::unexpected("namespace " + std::string(ns) + ": " + live.error().text());
  return cluster_.impl_->make_rules(*live);
}

Lookup<std::vector<WorkspaceFacts>> Cluster::View::workspaces(std::string_view ns) const {
  const kube::Reflector& watch = cluster_.impl_->workspaces;
  if (!watch.has_synced()) return std::unexpected(cluster_.impl_->not_yet(watch));
  std::vector<WorkspaceFacts> out;
  const auto all = watch.cache().all();
  for (const kube::ObjectPtr& object : all) {
    if (ns.empty() || pointed_text(*object, "/metadata/namespace") == ns)
      out.push_back(workspace_facts(*object));
  }
  return out;
}

Lookup<std::optional<WorkspaceFacts>> Cluster::View::workspace(std::string_view ns,
                                                               std::string_view name) const {
  const kube::Reflector& watch = cluster_.impl_->workspaces;
  if (!watch.has_synced()) return std::unexpected(cluster_.impl_->not_yet(watch));
  if (const auto known = watch.cache().get(ns, name)) return workspace_facts(*known);
  if (const std::string why = no_live_read(); !why.empty()) return std::unexpected(why);
  const auto live = cluster_.impl_->live->get(kWorkspaces, ns, name);
  if (live) return workspace_facts(*live);
  if (live.error().is_not_found()) return std::nullopt;
  return std::unexpected("AgentWorkspace " + std::string(name) + ": " + live.error().text());
}

Lookup<std::shared_ptr<const policy::WorkspaceTemplate>> Cluster::View::workspace_template(
    std::string_view ns, std::string_view name) const {
  if (const std::string why = no_live_read(); !why.empty()) return std::unexpected(why);
  const auto live = cluster_.impl_->live->get(kTemplates, ns, name);
  const std::string what = "AgentWorkspaceTemplate " + std::string(name);
  if (!live) {
    if (live.error().is_not_found()) return nullptr;
    return std::unexpected(what + ": " + live.error().text());
  }
  auto read = parsed(*live, policy::WorkspaceTemplate::parse);
  if (!read) return std::unexpected(what + " cannot be read: " + read.error());
  return std::make_shared<const policy::WorkspaceTemplate>(std::move(*read));
}

Lookup<std::vector<AgentPod>> Cluster::View::agent_pods(std::string_view ns) const {
  if (!cluster_.impl_->agent_pods) return std::unexpected("the pods are not watched");
  return cluster_.impl_->agent_pods(ns);
}

Lookup<std::optional<AgentPod>> Cluster::View::pod(std::string_view ns,
                                                   std::string_view name) const {
  if (const std::string why = no_live_read(); !why.empty()) return std::unexpected(why);
  const auto live = cluster_.impl_->live->get(kube::resources::kPods, ns, name);
  if (live) return agent_pod(*live);
  if (live.error().is_not_found()) return std::nullopt;
  return std::unexpected("pod " + std::string(name) + ": " + live.error().text());
}

Lookup<NetworkPolicies> Cluster::View::network_policies(std::string_view ns, bool live) const {
  const Impl& impl = *cluster_.impl_;
  if (!live) return cluster_.known_network_policies(ns);
  if (const std::string why = no_live_read(); !why.empty()) return std::unexpected(why);
  kube::ListOptions options;
  options.ns = ns;
  const auto list = impl.live->list(kube::resources::kNetworkPolicies, options);
  if (!list) return std::unexpected("NetworkPolicies: " + list.error().text());
  NetworkPolicies out;
  for (const Json& object : list->items) {
    auto policy = parsed(object, policy::NetworkPolicy::parse);
    if (!policy) return std::unexpected("a NetworkPolicy cannot be read: " + policy.error());
    out.push_back(std::make_shared<const policy::NetworkPolicy>(std::move(*policy)));
  }
  return out;
}

Lookup<std::string> Cluster::View::signature_problem(const policy::ImageToVerify& image,
                                                     const policy::SignatureRule& rule) const {
  const std::shared_ptr<Signatures>& signatures = cluster_.impl_->options.signatures;
  if (!signatures) return std::unexpected("this webhook asks no registries");
  if (auto known = signatures->known(image, rule)) return std::move(*known);
  if (!may_wait_) {
    must_wait_ = true;
    return std::unexpected("it takes a question to the registry");
  }
  return signatures->ask(image, rule, deadline_);
}

}  // namespace palisade::webhook
