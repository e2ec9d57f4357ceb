#include <algorithm>
#include <array>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include <gateway/serve/directory.h>
#include <spdlog/spdlog.h>

#include <kube/labels.h>
#include <kube/reflector.h>
#include <policy/agent_policy.h>

#include "grant.h"
#include "kinds.h"

namespace palisade::gateway {

namespace {

using kube::Json;
using kube::labels_of;
using kube::ObjectPtr;
namespace resources = kube::resources;

constexpr const char* kAgentLabel = "palisade.dev/agent";

Refusal refuse(int status, std::string code, std::string message) {
  return {status, std::move(code), std::move(message)};
}

struct Owner {
  std::string name;
  std::string uid;
};

// The pod's controller, if that is one AgentWorkspace.
std::optional<Owner> owner_of(const Json& pod) {
  const Json::json_pointer at("/metadata/ownerReferences");
  if (!pod.contains(at) || !pod[at].is_array()) return std::nullopt;
  const Json& owners = pod[at];
  std::optional<Owner> out;
  for (const Json& one : owners) {
    const auto controller = one.find("controller");
    if (controller == one.end() || !controller->is_boolean() || !controller->get<bool>()) continue;
    if (out) return std::nullopt;
    if (text_at(one, "/kind") != "AgentWorkspace" ||
        !text_at(one, "/apiVersion").starts_with("palisade.dev/"))
      return std::nullopt;
    out = Owner{text_at(one, "/name"), text_at(one, "/uid")};
  }
  if (!out || out->name.empty() || out->uid.empty()) return std::nullopt;
  return out;
}

// Whether it is nobody's yet: a workspace may take it at any moment.
bool waits_in_pool(const Json& pod) {
  const Json::json_pointer at("/metadata/ownerReferences");
  return pod.contains(at) && pod[at].is_array() &&
         std::ranges::any_of(pod[at], [](const Json& one) {
           return text_at(one, "/kind") == "AgentWorkspacePool" &&
                  text_at(one, "/apiVersion").starts_with("palisade.dev/");
         });
}

using Namespaces = std::vector<std::string>;

kube::ReflectorOptions pods_only(const Namespaces& namespaces) {
  kube::ReflectorOptions out;
  out.namespaces = namespaces;
  out.label_selector = kAgentLabel;
  out.transform = slim_pod;
  return out;
}

kube::ReflectorOptions workspaces_only(const Namespaces& namespaces) {
  kube::ReflectorOptions out;
  out.namespaces = namespaces;
  out.transform = slim_workspace;
  return out;
}

kube::ReflectorOptions these(const Namespaces& namespaces) {
  kube::ReflectorOptions out;
  out.namespaces = namespaces;
  return out;
}

std::string waits(const char* what, const std::string& error) {
  return std::string("the watch of ") + what + " has not synced" +
         (error.empty() ? "" : ": " + error);
}

}  // namespace

struct Directory::Impl {
  // The settings of a namespace, or why there are none.
  using Rules = std::expected<policy::Settings, std::string>;
  struct Granted {
    ObjectPtr workspace;  // of which it was made
    std::shared_ptr<const Grant> grant;
  };

  Impl(const std::shared_ptr<const kube::Client>& client, policy::Settings given,
       DirectoryEvents told, Namespaces only)
      : settings(std::move(given)),
        events(std::move(told)),
        served(std::move(only)),
        pods(client, resources::kPods, pods_only(served), pod_events()),
        workspaces(client, kWorkspaces, workspaces_only(served), workspace_events()),
        policies(client, kAgentPolicies, {}, rules_events()),
        namespaces(client, resources::kNamespaces, these(served), namespace_events()) {}

  using Watched = std::pair<const kube::Reflector*, const char*>;
  // What there is one of for each namespace.
  [[nodiscard]] std::array<Watched, 3> by_namespace() const {
    return {Watched{&namespaces, "namespaces"}, Watched{&workspaces, "AgentWorkspaces"},
            Watched{&pods, "agent pods"}};
  }

  // What an answer to agents of that namespace waits for; "" where it waits for nothing.
  [[nodiscard]] std::string not_synced(std::string_view ns) const {
    if (!policies.has_synced()) return waits("AgentPolicies", policies.last_error());
    for (const auto& [watch, what] : by_namespace()) {
      if (!watch->has_synced(ns)) return waits(what, watch->last_error(ns));
    }
    return {};
  }

  kube::EventHandler rules_events() {
    const auto forget = [this](const ObjectPtr&) { forget_rules(); };
    return {forget, [this](const auto&, const auto&) { forget_rules(); }, forget};
  }
  // Of a namespace only the labels count.
  kube::EventHandler namespace_events() {
    const auto forget = [this](const ObjectPtr&) { forget_rules(); };
    return {forget,
            [this](const ObjectPtr& before, const ObjectPtr& after) {
              if (labels_of(*before) != labels_of(*after)) forget_rules();
            },
            forget};
  }
  kube::EventHandler pod_events() {
    kube::EventHandler out;
    out.on_delete = [this](const ObjectPtr& gone) {
      const std::unique_lock lock(mutex);
      callers.erase(text_at(*gone, "/metadata/uid"));
    };
    return out;
  }
  kube::EventHandler workspace_events() {
    kube::EventHandler out;
    out.on_delete = [this](const ObjectPtr& gone) {
      const std::string uid = text_at(*gone, "/metadata/uid");
      {
        const std::unique_lock lock(mutex);
        grants.erase(uid);
        std::erase_if(callers, [&](const auto& one) { return one.second->workspace == gone; });
      }
      if (events.workspace_gone) events.workspace_gone(text_at(*gone, "/metadata/namespace"), uid);
    };
    return out;
  }

  // Whom a proof names, as it was found before: good while all that it was made of is what it was.
  struct Found {
    Proven proven;
    ObjectPtr pod;
    ObjectPtr workspace;
    std::uint64_t generation = 0;
    Caller caller;
  };

  [[nodiscard]] std::optional<Caller> found(const Proven& proven) const {
    std::shared_ptr<const Found> known;
    {
      const std::shared_lock lock(mutex);
      const auto one = callers.find(proven.pod_uid);
      if (one == callers.end() || one->second->generation != generation) return std::nullopt;
      known = one->second;
    }
    if (known->proven != proven || pods.cache().get(proven.ns, proven.pod) != known->pod ||
        workspaces.cache().get(proven.ns, known->caller.workspace) != known->workspace)
      return std::nullopt;
    return known->caller;
  }

  [[nodiscard]] std::uint64_t generation_now() const {
    const std::shared_lock lock(mutex);
    return generation;
  }

  void keep(Found one) {
    constexpr std::size_t kMost = 20'000;
    auto kept = std::make_shared<const Found>(std::move(one));
    const std::unique_lock lock(mutex);
    if (callers.size() >= kMost) callers.clear();
    callers.insert_or_assign(kept->caller.pod_uid, kept);
  }

  void forget_rules() {
    const std::unique_lock lock(mutex);
    ++generation;
    callers.clear();
    rules.clear();
    grants.clear();
  }

  Rules make_rules(const Json& ns) const {
    policy::Settings base;
    {
      const std::shared_lock lock(mutex);
      base = settings;
    }
    const policy::Labels labels = labels_of(ns);
    std::vector<policy::AgentPolicy> selecting;
    const auto all = policies.cache().all();
    for (const ObjectPtr& object : all) {
      auto policy = parsed(*object, policy::parse_agent_policy);
      // Nobody can tell whom it selects and what it would not allow.
      if (!policy)
        return std::unexpected("AgentPolicy " + text_at(*object, "/metadata/name") +
                               " cannot be read: " + policy.error());
      if (policy->namespaces.matches(labels)) selecting.push_back(std::move(*policy));
    }
    std::vector<const policy::AgentPolicy*> bounds;
    bounds.reserve(selecting.size());
    for (const policy::AgentPolicy& one : selecting)
      bounds.push_back(&one);
    return policy::tightened(std::move(base), bounds);
  }

  std::expected<std::shared_ptr<const Grant>, Refusal> grant(const ObjectPtr& workspace,
                                                             const std::string& uid) {
    const std::string ns = text_at(*workspace, "/metadata/namespace");
    std::uint64_t made_at = 0;
    std::shared_ptr<const Rules> known;
    {
      const std::shared_lock lock(mutex);
      const auto granted = grants.find(uid);
      if (granted != grants.end() && granted->second.workspace == workspace)
        return granted->second.grant;
      made_at = generation;
      if (const auto found = rules.find(ns); found != rules.end()) known = found->second;
    }
    if (!known) {
      const auto object = namespaces.cache().get(ns);
      if (!object)
        return std::unexpected(
            refuse(503, "not_synced", "namespace " + ns + " is not known yet; try again"));
      known = std::make_shared<const Rules>(make_rules(*object));
    }
    if (!*known)
      return std::unexpected(refuse(
          403, "policy_unreadable",
          known->error() + "; until it can be read, agents of namespace " + ns + " are refused"));
    const auto made = grant_of(*workspace, **known);
    if (!made)
      return std::unexpected(refuse(403, "workspace_unreadable",
                                    "AgentWorkspace " + ns + "/" +
                                        text_at(*workspace, "/metadata/name") + ": " +
                                        made.error()));
    auto out = std::make_shared<const Grant>(*made);
    const std::unique_lock lock(mutex);
    if (generation == made_at) {  // else something changed meanwhile
      rules.insert_or_assign(ns, known);
      grants.insert_or_assign(uid, Granted{workspace, out});
    }
    return out;
  }

  mutable std::shared_mutex mutex;
  policy::Settings settings;
  std::uint64_t generation = 0;
  std::unordered_map<std::string, std::shared_ptr<const Rules>> rules;    // by namespace
  std::unordered_map<std::string, Granted> grants;                        // by the workspace's UID
  std::unordered_map<std::string, std::shared_ptr<const Found>> callers;  // by the pod's UID
  const DirectoryEvents events;
  const Namespaces served;  // empty: all

  // Last: their threads use what stands above.
  kube::Reflector pods, workspaces, policies, namespaces;
};

Directory::Directory(std::shared_ptr<const kube::Client> client, policy::Settings settings,
                     DirectoryEvents events, std::vector<std::string> namespaces)
    : impl_(std::make_unique<Impl>(client, std::move(settings), std::move(events),
                                   std::move(namespaces))) {}

Directory::~Directory() = default;

void Directory::start() {
  for (kube::Reflector* watch :
       {&impl_->namespaces, &impl_->policies, &impl_->workspaces, &impl_->pods})
    watch->start();
}

std::vector<const kube::Reflector*> Directory::watches() const {
  return {&impl_->namespaces, &impl_->policies, &impl_->workspaces, &impl_->pods};
}

std::string Directory::not_synced() const {
  if (impl_->served.empty() || !impl_->policies.has_synced()) return impl_->not_synced("");
  std::string refused;
  bool serves = false;
  for (const std::string& ns : impl_->served) {
    std::string waiting = impl_->not_synced(ns);
    const bool fails = std::ranges::any_of(
        impl_->by_namespace(), [&](const auto& one) { return !one.first->last_error(ns).empty(); });
    if (waiting.empty()) {
      serves = true;
    } else if (!fails) {
      return waiting;
    } else {
      refused = std::move(waiting);
    }
  }
  return serves ? std::string() : refused;
}

void Directory::set_settings(policy::Settings settings) {
  {
    const std::unique_lock lock(impl_->mutex);
    impl_->settings = std::move(settings);
  }
  impl_->forget_rules();
}

bool Directory::knows_pod(const Proven& proven) const {
  const auto pod = impl_->pods.cache().get(proven.ns, proven.pod);
  if (!pod || text_at(*pod, "/metadata/uid") != proven.pod_uid || waits_in_pool(*pod)) return false;
  const auto owner = owner_of(*pod);
  return !owner || impl_->workspaces.cache().get(proven.ns, owner->name) != nullptr;
}

std::expected<Caller, Refusal> Directory::caller(const Proven& proven) const {
  if (!impl_->served.empty() && std::ranges::find(impl_->served, proven.ns) == impl_->served.end())
    return std::unexpected(refuse(403, "namespace_not_watched",
                                  "namespace " + proven.ns +
                                      " is none of those that this gateway serves (the chart's "
                                      "watchNamespaces)"));
  if (const std::string waiting = impl_->not_synced(proven.ns); !waiting.empty())
    return std::unexpected(refuse(503, "not_synced", waiting + "; try again in a moment"));
  if (auto found = impl_->found(proven)) return std::move(*found);
  const std::uint64_t generation = impl_->generation_now();
  const std::string who = proven.ns + "/" + proven.pod;
  const auto pod = impl_->pods.cache().get(proven.ns, proven.pod);
  if (!pod)
    return std::unexpected(refuse(
        401, "pod_unknown", "pod " + who + " is gone, or does not carry the label " + kAgentLabel));
  if (text_at(*pod, "/metadata/uid") != proven.pod_uid)
    return std::unexpected(
        refuse(401, "pod_replaced", "pod " + who + " is another than the one of this token"));
  if (text_at(*pod, "/spec/serviceAccountName") != proven.service_account)
    return std::unexpected(refuse(401, "pod_other_account",
                                  "pod " + who +
                                      " runs under another ServiceAccount than this "
                                      "token's"));
  const std::string phase = text_at(*pod, "/status/phase");
  if (phase == "Succeeded" || phase == "Failed")
    return std::unexpected(refuse(401, "pod_ended", "pod " + who + " has ended"));
  const auto owner = owner_of(*pod);
  if (!owner)
    return std::unexpected(
        refuse(403, "pod_not_owned", "pod " + who + " has no AgentWorkspace as its controller"));
  const std::string workspace_name = proven.ns + "/" + owner->name;
  const auto workspace = impl_->workspaces.cache().get(proven.ns, owner->name);
  if (!workspace || text_at(*workspace, "/metadata/uid") != owner->uid)
    return std::unexpected(refuse(
        401, "workspace_gone", "AgentWorkspace " + workspace_name + " of pod " + who + " is gone"));
  auto grant = impl_->grant(workspace, owner->uid);
  if (!grant) return std::unexpected(grant.error());
  Caller out{proven.ns, owner->name, owner->uid, proven.pod, proven.pod_uid, std::move(*grant)};
  impl_->keep({proven, pod, workspace, generation, out});
  return out;
}

}  // namespace palisade::gateway
