// AgentWorkspaces: what their schema cannot say, before a pod is made of them.
#include <algorithm>
#include <iterator>

#include <policy/workspace.h>

#include "judges/judge.h"

namespace palisade::webhook {

Judgement judge_workspace(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (!request.object) return Judgement::not_understood("the review holds no object");
  const auto rules = cluster.rules(request.ns);
  if (!rules) return Judgement::unsure(rules.error());
  Judgement out;
  out.subject = "AgentWorkspace";
  out.reason = "an AgentWorkspace";
  if (!(*rules)->problem.empty()) {
    out.error = (*rules)->problem;
    return out;
  }
  auto creator = creator_findings(request);
  auto fixed = template_findings(request, cluster);
  out.findings = policy::evaluate_workspace(*request.object, (*rules)->settings);
  // A workspace from before a bound can still be suspended, finished and deleted.
  if (request.operation == Operation::kUpdate && !out.findings.empty()) {
    if (!request.old_object) return Judgement::not_understood("an update without the old object");
    const auto before = policy::evaluate_workspace(*request.old_object, (*rules)->settings);
    std::erase_if(out.findings, [&](const policy::Finding& finding) {
      return std::ranges::any_of(before, [&](const policy::Finding& old) {
        return old.field == finding.field && old.found == finding.found;
      });
    });
  }
  // After the comparison: who created it, and what its template fixes, is no matter of what stood
  // before.
  for (auto* more : {&creator, &fixed}) {
    if (!*more) return Judgement::unsure(more->error());
    std::ranges::move(**more, std::back_inserter(out.findings));
  }
  return out;
}

}  // namespace palisade::webhook
