// Bindings, which put a pod on a node without an update of it: pods/binding and the legacy
// bindings. The API server copies a binding's labels and annotations over the pod's own.
#include <algorithm>

#include "judges/guard.h"

namespace palisade::webhook {

Judgement judge_binding(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kCreate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (!request.object) return Judgement::not_understood("the review holds no object");
  const std::string_view name = request.object_name();
  if (request.ns.empty() || name.empty())
    return Judgement::not_understood("the review names no pod");
  const auto rules = cluster.rules(request.ns);
  if (!rules) return Judgement::unsure(rules.error());

  Judgement out;
  out.subject = "Binding";
  const Texts labels = metadata_texts(*request.object, "labels");
  const Texts annotations = metadata_texts(*request.object, "annotations");
  // Of any pod: what carries these marks counts as a workspace's.
  for (const auto& [field, texts] :
       {std::pair{"labels", &labels}, std::pair{"annotations", &annotations}}) {
    for (const auto& [key, value] : *texts) {
      if (!key.starts_with(kOwnPrefix)) continue;
      out.reason = "it sets Palisade's own marks on a pod";
      out.findings.push_back({policy::kAgentIdentity, path_of(field, key), shown(value),
                              "a binding must not set this on a pod: leave it out"});
    }
  }

  const auto pod = cluster.pod(request.ns, name);
  if (!pod) return Judgement::unsure(pod.error());
  if (!*pod || ((*pod)->reason.empty() && (*rules)->mode != Mode::kAll)) {
    if (out.findings.empty()) return Judgement::pass(*pod ? "not an Aider pod" : "no such pod");
    return out;
  }
  out.is_agent = true;
  out.subject = "Binding of an Aider pod";
  out.reason = !(*pod)->reason.empty() ? (*pod)->reason : "the namespace enforces all pods";
  const auto& schedulers = cluster.principals().scheduler_users;
  if (request.user.name.empty() ||
      std::ranges::find(schedulers, request.user.name) == schedulers.end()) {
    out.findings.push_back(
        {policy::kSchedulerBinding, "userInfo.username", shown(request.user.name),
         "only a scheduler puts an agent pod on a node: leave it to one, or have "
         "the administrator name this one to the webhook"});
  }
  const auto refuse = [&](const char* field, const Texts& texts, bool topology) {
    for (const auto& [key, value] : texts) {
      if (key.starts_with(kOwnPrefix)) continue;  // told above
      if (topology && key.starts_with("topology.kubernetes.io/")) continue;
      out.findings.push_back(
          {policy::kSchedulerBinding, path_of(field, key), shown(value),
           "a binding changes nothing of an agent pod but its node: leave it out"});
    }
  };
  refuse("labels", labels, true);
  refuse("annotations", annotations, false);
  return out;
}

}  // namespace palisade::webhook
