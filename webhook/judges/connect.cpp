// exec, attach, portforward and proxy into an agent pod: for who made its workspace and whom the
// settings name. What runs there is untrusted, and what a session types there the agent sees.
//
// services/proxy is not looked at: it reaches a pod as any client does, and NetworkPolicies let
// none in. nodes/proxy is the kubelet's own door and a matter of RBAC.
#include <algorithm>

#include "judges/guard.h"

namespace palisade::webhook {

Judgement judge_connect(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kConnect) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (request.ns.empty() || request.name.empty())
    return Judgement::not_understood("the review names no pod");
  const auto rules = cluster.rules(request.ns);
  if (!rules) return Judgement::unsure(rules.error());
  const auto pod = cluster.pod(request.ns, request.name);
  if (!pod) return Judgement::unsure(pod.error());
  if (!*pod) return Judgement::pass("there is no such pod");
  if ((*pod)->reason.empty() && (*rules)->mode != Mode::kAll)
    return Judgement::pass("not an Aider pod");
  return session_judgement(request, cluster, **rules, **pod);
}

Judgement session_judgement(const Request& request, const ClusterView& cluster,
                            const NamespaceRules& rules, const AgentPod& pod) {
  Judgement out;
  out.is_agent = true;
  out.reason = !pod.reason.empty() ? pod.reason : "the namespace enforces all pods";
  out.subject = std::string(request.subresource) + " of an Aider pod";
  if (!rules.problem.empty()) {
    out.error = rules.problem;
    return out;
  }
  // What somebody left there would be another's session.
  if (!pod.pool.empty()) {
    out.findings.push_back(
        {policy::kSessionAccess, "userInfo.username", shown(request.user.name),
         "this pod waits in pool " + clipped(pod.pool) +
             " for whoever comes, so nobody enters it, whomever the settings name"});
    return out;
  }
  // What it leaves on the volume is for other workspaces, too.
  if (pod.labels.contains(std::string(kSetupLabel))) {
    out.findings.push_back(
        {policy::kSessionAccess, "userInfo.username", shown(request.user.name),
         "this pod is the setup of workspace " + clipped(pod.workspace) +
             ", whose result others may share, so nobody enters it, whomever the settings name; "
             "its log says what it does"});
    return out;
  }
  const policy::Settings& settings = rules.settings;
  const auto named = [&](const std::vector<std::string>& list, std::string_view who) {
    return !who.empty() && std::ranges::find(list, who) != list.end();
  };
  if (named(settings.session_users, request.user.name) ||
      std::ranges::any_of(request.user.groups, [&](std::string_view group) {
        return named(settings.session_groups, group);
      })) {
    out.reason = "the settings name " + clipped(request.user.name) + " for sessions";
    return out;
  }
  std::string creator;
  if (!pod.workspace.empty()) {
    auto workspace = cluster.workspace(pod.ns, pod.workspace);
    if (!workspace) return Judgement::unsure(workspace.error());
    // A namesake made later has another creator.
    if (*workspace && (pod.workspace_uid.empty() || (*workspace)->uid == pod.workspace_uid))
      creator = (*workspace)->created_by;
  }
  if (!creator.empty() && request.user.name == creator) {
    out.reason = "by the workspace's creator";
    return out;
  }
  std::string message;
  if (pod.workspace.empty()) {
    message =
        "this pod was made by hand, so only whom the settings (or an AgentPolicy's "
        "spec.sessions) name may enter it";
  } else if (creator.empty()) {
    message =
        "who created its workspace " + clipped(pod.workspace) +
        " is not recorded, so only whom the settings (or an AgentPolicy's spec.sessions) name "
        "may enter it; a workspace created anew is its creator's";
  } else {
    message = "only " + clipped(creator) + ", who created the workspace " + clipped(pod.workspace) +
              ", and whom the settings (or an AgentPolicy's spec.sessions) name may enter it";
  }
  out.findings.push_back(
      {policy::kSessionAccess, "userInfo.username", shown(request.user.name), std::move(message)});
  return out;
}

Lookup<std::vector<policy::Finding>> debug_findings(const Request& request,
                                                    const ClusterView& cluster,
                                                    const NamespaceRules& rules) {
  std::vector<policy::Finding> out;
  if (!request.object || !request.old_object || by_operator(request, cluster)) return out;
  const auto owners = workspace_owners(*request.old_object);
  if (owners.empty()) return out;
  const auto debuggers = [](const simdjson::dom::element& pod) {
    simdjson::dom::array list;
    return pod.at_pointer("/spec/ephemeralContainers").get(list) == simdjson::SUCCESS
               ? std::string(simdjson::minify(list))
               : std::string("[]");
  };
  if (debuggers(*request.old_object) == debuggers(*request.object)) return out;
  AgentPod pod;
  pod.ns = request.ns;
  pod.name = request.object_name();
  pod.labels = policy::labels_of(*request.old_object);
  (owners.front().pool ? pod.pool : pod.workspace) = owners.front().name;
  pod.workspace_uid = owners.front().uid;
  Judgement judged = session_judgement(request, cluster, rules, pod);
  if (!judged.error.empty()) return std::unexpected(std::move(judged.error));
  return std::move(judged.findings);
}

}  // namespace palisade::webhook
