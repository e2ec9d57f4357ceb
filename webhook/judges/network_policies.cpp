// NetworkPolicies: none but the operator's gives an agent pod more than it has, and the last one
// that closes a live agent pod's network stays as long as the pod.
#include <algorithm>

#include <policy/foreign_network.h>
#include <policy/network.h>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

using policy::Direction;
using policy::Finding;
using policy::NetworkPolicy;
using simdjson::dom::element;
using Policies = std::vector<std::shared_ptr<const NetworkPolicy>>;

// An agent pod that lives, or that a workspace's operator may make at any moment.
struct Target {
  std::string ns;
  std::string name;
  policy::Labels labels;
  std::string own_policy;
  std::string workspace_uid;
  bool lives = true;

  [[nodiscard]] policy::NetworkOf network() const { return {labels, own_policy, workspace_uid}; }
};

// Of a namespace, of all of them for "".
Lookup<std::vector<Target>> targets(std::string_view ns, const ClusterView& cluster) {
  const auto pods = cluster.agent_pods(ns);
  if (!pods) return std::unexpected(pods.error());
  const auto workspaces = cluster.workspaces(ns);
  if (!workspaces) return std::unexpected(workspaces.error());
  std::vector<Target> out;
  for (const AgentPod& pod : *pods) {
    const std::string own = own_policy(pod.labels, pod.workspace, pod.pool);
    out.push_back({pod.ns, pod.name, pod.labels, own, pod.workspace_uid, true});
  }
  for (const WorkspaceFacts& workspace : *workspaces) {
    const std::string name = workspace.name + std::string(kAgentSuffix);
    if (workspace.deleting) continue;
    out.push_back({workspace.ns,
                   name,
                   {{std::string(kWorkspaceLabel), workspace.name},
                    {std::string(kAgentLabel), "aider"},
                    {"app.kubernetes.io/managed-by", "palisade"}},
                   name,
                   workspace.uid,
                   false});
    // And the one that may come before that.
    const std::string setup = workspace.name + std::string(kSetupSuffix);
    out.push_back({workspace.ns,
                   setup,
                   {{std::string(kSetupLabel), workspace.name},
                    {std::string(kAgentLabel), "aider"},
                    {"app.kubernetes.io/managed-by", "palisade"}},
                   setup,
                   workspace.uid,
                   false});
  }
  return out;
}

// Whether an exception lets the pod's network be open; it is noted as used.
bool excepted(const Request& request, const NamespaceRules& rules, const Target& pod,
              Judgement& out) {
  const auto found = std::ranges::find_if(rules.exceptions, [&](const auto& exception) {
    return exception->covers(policy::kDenyAllNetwork, pod.ns, pod.labels, request.now);
  });
  if (found == rules.exceptions.end()) return false;
  if (std::ranges::find(out.exceptions, *found, &UsedException::exception) == out.exceptions.end())
    out.exceptions.push_back({*found, {policy::kDenyAllNetwork}});
  return true;
}

bool same_spec(const Request& request) {
  if (!request.object || !request.old_object) return false;
  // Cilium's have `specs` too.
  for (const char* member : {"spec", "specs"}) {
    element before;
    element now;
    const bool had = object_at(*request.old_object, member, before);
    if (object_at(*request.object, member, now) != had) return false;
    if (had && std::string(simdjson::minify(before)) != std::string(simdjson::minify(now)))
      return false;
  }
  return true;
}

void judge_widening(const Request& request, const NamespaceRules& rules,
                    const NetworkPolicy& policy, const std::vector<Target>& targets,
                    Judgement& out) {
  if (policy.openings().empty()) return;
  for (const Target& pod : targets) {
    auto found = policy::widenings(policy, pod.network());
    if (found.empty() || excepted(request, rules, pod, out)) continue;
    out.reason = "it selects the Aider pod " + clipped(pod.name);
    out.findings = std::move(found);
    return;
  }
}

bool isolated(const Policies& policies, const policy::Labels& pod, Direction direction) {
  return std::ranges::any_of(policies, [&](const auto& policy) {
    return !policy->terminating() && policy->isolates(direction) && policy->selects(pod);
  });
}

// `now` is null where the policy is deleted.
Lookup<void> judge_uncovering(const Request& request, const ClusterView& cluster,
                              const NamespaceRules& rules, const NetworkPolicy& before,
                              const NetworkPolicy* now, const std::vector<Target>& targets,
                              Judgement& out) {
  // One that is on its way out counted no more when that was judged.
  if (before.terminating()) return {};
  std::optional<Policies> others;
  for (const Target& pod : targets) {
    if (!pod.lives || !before.selects(pod.labels)) continue;
    for (const auto& [direction, way] :
         {std::pair{Direction::ingress, "into"}, std::pair{Direction::egress, "out of"}}) {
      if (!before.isolates(direction)) continue;
      if (now != nullptr && now->isolates(direction) && now->selects(pod.labels)) continue;
      if (!others) {
        // Live: of two that are deleted one after the other, the second is the last.
        auto all = cluster.network_policies(request.ns, true);
        if (!all) return std::unexpected(all.error());
        std::erase_if(*all, [&](const auto& policy) { return policy->name() == before.name(); });
        others = *std::move(all);
      }
      if (isolated(*others, pod.labels, direction) || excepted(request, rules, pod, out)) {
        continue;
      }
      out.reason = "it closes the network of the Aider pod " + clipped(pod.name);
      out.findings.push_back(
          {policy::kDenyAllNetwork, now != nullptr ? "spec" : "metadata.name", shown(before.name()),
           std::string("it is the last NetworkPolicy that closes the way ") + way + " pod " +
               clipped(pod.name) + ": delete the pod first, or create another policy before"});
    }
    if (!out.findings.empty()) break;
  }
  return {};
}

}  // namespace

Lookup<std::vector<Finding>> pod_network_findings(const Request& request,
                                                  const ClusterView& cluster) {
  if (!request.object) return std::unexpected("the review holds no object");
  const policy::Labels labels = policy::labels_of(*request.object);
  std::optional<policy::Labels> before;
  if (request.operation == Operation::kUpdate && request.old_object)
    before = policy::labels_of(*request.old_object);
  if (before == labels) return std::vector<Finding>();
  Target pod{std::string(request.ns), {}, labels, {}, {}, true};
  const auto owners = workspace_owners(*request.object);
  if (!owners.empty()) {
    const std::string_view name = owners.front().name;
    const bool pool = owners.front().pool;
    pod.own_policy = own_policy(labels, pool ? "" : name, pool ? name : "");
    pod.workspace_uid = owners.front().uid;
  }
  const auto find = [&](bool live) -> Lookup<std::vector<Finding>> {
    const auto policies = cluster.network_policies(request.ns, live);
    if (!policies) return std::unexpected(policies.error());
    auto found = policy::network_findings(pod.network(), *policies);
    if (before && !found.empty()) {
      // A pod from before the guard may still be labelled, as long as nothing opens it more.
      const auto standing =
          policy::network_findings({*before, pod.own_policy, pod.workspace_uid}, *policies);
      std::erase_if(found, [&](const Finding& finding) {
        return std::ranges::any_of(standing, [&](const Finding& old) {
          return old.field == finding.field && old.message == finding.message;
        });
      });
    }
    return found;
  };
  auto found = find(false);
  // The policy may be younger than the cache.
  if (found && !found->empty()) return find(true);
  return found;
}

Judgement judge_network_policy(const Request& request, const ClusterView& cluster) {
  const bool writes =
      request.operation == Operation::kCreate || request.operation == Operation::kUpdate;
  if (!writes && request.operation != Operation::kDelete) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (by_operator(request, cluster)) return Judgement::pass("the operator's doing");
  auto owned = owned_findings(request, cluster);
  if (!owned) return Judgement::unsure(owned.error());
  Judgement out;
  out.subject = "NetworkPolicy";
  if (!owned->empty()) {
    out.findings = *std::move(owned);
    out.reason = "it is a workspace's, or would seem so";
    return out;
  }
  const auto rules = cluster.rules(request.ns);
  if (!rules) return Judgement::unsure(rules.error());
  std::optional<NetworkPolicy> now;
  std::optional<NetworkPolicy> before;
  for (const auto& [object, target, wanted] :
       {std::tuple{&request.object, &now, writes},
        std::tuple{&request.old_object, &before, request.operation != Operation::kCreate}}) {
    if (!wanted) continue;
    if (!*object)
      return Judgement::not_understood("the review holds no object, or not the old one");
    auto parsed = NetworkPolicy::parse(**object);
    if (!parsed) return Judgement::unsure(parsed.error());
    *target = *std::move(parsed);
  }
  if (request.operation == Operation::kUpdate && same_spec(request))
    return Judgement::pass("its spec stays as it is");
  const auto pods = targets(request.ns, cluster);
  if (!pods) return Judgement::unsure(pods.error());
  out.reason = "it opens no Aider pod";
  if (now) judge_widening(request, **rules, *now, *pods, out);
  if (before && out.findings.empty()) {
    if (auto done =
            judge_uncovering(request, cluster, **rules, *before, now ? &*now : nullptr, *pods, out);
        !done) {
      return Judgement::unsure(done.error());
    }
  }
  return out;
}

// Policies of other APIs, which add up with NetworkPolicies or go before them. What may open an
// agent pod is an administrator's; of cluster-scoped ones every namespace's agents are looked at,
// each by the modes and exceptions of its own.
Judgement judge_foreign_network_policy(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (!request.object) return Judgement::not_understood("the review holds no object");
  if (by_administrator(request, cluster)) return Judgement::pass("an administrator's doing");
  if (request.operation == Operation::kUpdate && same_spec(request))
    return Judgement::pass("its spec stays as it is");
  const auto pods = targets(request.ns, cluster);
  if (!pods) return Judgement::unsure(pods.error());
  if (pods->empty()) {
    return Judgement::pass(request.ns.empty() ? "no agents live in the cluster"
                                              : "no agents live in its namespace");
  }
  Judgement out;
  out.subject = clipped(request.resource) + "." + clipped(request.group);
  out.reason = "it opens no Aider pod";
  for (const Target& pod : *pods) {
    const auto rules = cluster.rules(pod.ns);
    if (!rules) return Judgement::unsure(rules.error());
    if ((*rules)->mode == Mode::kOff) continue;
    const auto opening = policy::foreign_opening(request.group, request.resource, *request.object,
                                                 {pod.ns, (*rules)->labels, pod.labels});
    if (!opening || excepted(request, **rules, pod, out)) continue;
    const std::string whose = "Aider pod " + clipped(pod.ns) + "/" + clipped(pod.name);
    Finding finding{policy::kDenyAllNetwork, opening->field, opening->found,
                    "this may open the network of the " + whose +
                        ": select other pods (without the label palisade.dev/agent), write a "
                        "NetworkPolicy of networking.k8s.io instead, or have an administrator "
                        "write this one"};
    // Of the modes of several namespaces no one speaks for the object.
    if (request.ns.empty() && (*rules)->action_of(policy::kDenyAllNetwork) != Action::kEnforce) {
      if (out.warnings.empty()) {
        out.warnings.push_back("palisade would reject this where it is enforced: " + finding.field +
                               ": " + finding.message);
      }
      continue;
    }
    out.reason = "it may select the " + whose;
    out.findings.push_back(std::move(finding));
    break;
  }
  return out;
}

}  // namespace palisade::webhook
