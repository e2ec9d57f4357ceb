// Namespaces: labels that say how they are guarded get laxer by an administrator's hand only. Every
// other label under palisade.dev/ may be what an AgentPolicy selects by, so it is changed by
// administrators alone.
#include <algorithm>
#include <set>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

using policy::Labels;

// Higher is laxer.
int laxness(Mode mode) {
  switch (mode) {
    case Mode::kAll:
      return 0;
    case Mode::kAgents:
      return 1;
    case Mode::kOff:
      return 2;
  }
  return 2;
}

std::optional<std::string_view> value_of(const Labels& labels, std::string_view key) {
  const auto found = labels.find(key);
  return found == labels.end() ? std::nullopt : std::optional<std::string_view>(found->second);
}

}  // namespace

Judgement judge_namespace(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (!request.object) return Judgement::not_understood("the review holds no object");
  if (request.operation == Operation::kUpdate && !request.old_object)
    return Judgement::not_understood("an update without the old object");
  const Labels now = policy::labels_of(*request.object);
  const Labels before =
      request.operation == Operation::kUpdate ? policy::labels_of(*request.old_object) : Labels();
  if (now == before) return Judgement::pass("its labels stay as they are");
  if (by_administrator(request, cluster)) return Judgement::pass("an administrator's doing");

  Judgement out;
  out.always = true;
  out.subject = "Namespace";
  out.reason = "how it is guarded";
  const policy::Modes then = policy::modes_of(before);
  const policy::Modes next = policy::modes_of(now);
  const auto refuse = [&](std::string_view key, const std::string& what) {
    out.findings.push_back({policy::kNamespaceLabels, path_of("labels", key),
                            shown(value_of(now, key)),
                            what + ": only an administrator of Palisade does that. It was " +
                                shown(value_of(before, key))});
  };
  if (laxness(next.mode) > laxness(then.mode))
    refuse(policy::kEnforceLabel, "fewer pods would be judged here");
  if (next.action > then.action)
    refuse(policy::kModeLabel, "findings would no longer be enforced here");
  std::set<std::string, std::less<>> controls;
  for (const auto* rules : {&then, &next}) {
    for (const auto& [id, action] : rules->actions)
      controls.insert(id);
  }
  for (const std::string& id : controls) {
    if (next.action_of(id) <= then.action_of(id)) continue;
    const std::string key = std::string(policy::kControlLabelPrefix) + id;
    // What follows from the namespace's mode has been said.
    if (value_of(now, key) == value_of(before, key) && next.action > then.action) continue;
    refuse(key, "this control would no longer be enforced here");
  }
  std::set<std::string_view> others;
  for (const Labels* labels : {&before, &now}) {
    for (const auto& [key, value] : *labels) {
      if (key.starts_with(kOwnPrefix) && key != policy::kEnforceLabel && key != policy::kModeLabel)
        others.insert(key);
    }
  }
  for (const std::string_view key : others) {
    if (value_of(before, key) != value_of(now, key))
      refuse(key, "AgentPolicies may select the namespace by this label");
  }
  return out;
}

}  // namespace palisade::webhook
