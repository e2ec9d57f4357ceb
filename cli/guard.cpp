#include "guard.h"

#include <algorithm>

namespace palisade::cli {
namespace {

using simdjson::dom::element;

Effect effect_of(policy::Action action) {
  switch (action) {
    case policy::Action::kEnforce:
      return Effect::deny;
    case policy::Action::kWarn:
      return Effect::warn;
    case policy::Action::kAudit:
      return Effect::audit;
  }
  return Effect::deny;
}

std::string text(element object, std::string_view key) {
  std::string_view value;
  return object[key].get(value) == simdjson::SUCCESS ? std::string(value) : std::string();
}

// Nothing of it runs, or ever will without a change that is judged.
bool at_rest(element object, const policy::PodTemplate& kind) {
  if (kind.kind == "Pod") {
    std::string_view phase;
    return object["status"]["phase"].get(phase) == simdjson::SUCCESS &&
           (phase == "Succeeded" || phase == "Failed");
  }
  if (kind.kind != "ReplicaSet") return false;
  std::int64_t replicas = 1;
  simdjson::dom::array owners;
  return object["spec"]["replicas"].get(replicas) == simdjson::SUCCESS && replicas == 0 &&
         object["metadata"]["ownerReferences"].get(owners) == simdjson::SUCCESS &&
         owners.size() > 0;
}

struct Owner {
  std::string name;
  std::string uid;
};

// The AgentWorkspace that controls the pod.
Owner workspace_named_by(element pod) {
  simdjson::dom::array owners;
  if (pod["metadata"]["ownerReferences"].get(owners) != simdjson::SUCCESS) return {};
  for (const element owner : owners) {
    bool controller = false;
    if (owner["controller"].get(controller) == simdjson::SUCCESS && controller &&
        text(owner, "kind") == "AgentWorkspace" &&
        text(owner, "apiVersion").starts_with("palisade.dev/")) {
      return {text(owner, "name"), text(owner, "uid")};
    }
  }
  return {};
}

}  // namespace

std::vector<policy::Finding> network_findings_of(
    element pod, const std::vector<std::shared_ptr<const policy::NetworkPolicy>>& networks) {
  const Owner owner = workspace_named_by(pod);
  const policy::Labels labels = policy::labels_of(pod);
  const char* const suffix = labels.contains("palisade.dev/setup") ? "-setup" : "-agent";
  const std::string own = owner.name.empty() ? "" : owner.name + suffix;
  return policy::network_findings({labels, own, owner.uid}, networks);
}

std::optional<Judged> judge_template(element pod, std::string_view kind, std::string_view name,
                                     std::string_view prefix, const Guard& guard,
                                     const JudgeOptions& options) {
  Judged out;
  out.kind = kind;
  out.space = guard.ns;
  out.name = name;
  out.prefix = prefix;
  out.reason = policy::agent_reason(pod);
  if (!options.all) {
    if (guard.exempt || guard.modes.mode == policy::Mode::kOff) return std::nullopt;
    if (out.reason.empty()) {
      if (guard.modes.mode != policy::Mode::kAll) return std::nullopt;
      out.guard = "the namespace enforces all pods";
    }
  }
  out.checked = true;
  const policy::Labels labels = policy::labels_of(pod);
  auto findings = policy::evaluate(pod, guard.settings, out.prefix);
  if (kind == "Pod" && !out.reason.empty() && guard.networks_known) {
    for (policy::Finding& finding : network_findings_of(pod, guard.networks))
      findings.push_back(std::move(finding));
  }
  for (policy::Finding& finding : findings) {
    if (std::ranges::find(options.skip, finding.control) != options.skip.end()) continue;
    Found one;
    one.effect = effect_of(guard.modes.action_of(finding.control));
    const auto exception = std::ranges::find_if(guard.exceptions, [&](const auto& candidate) {
      return candidate.covers(finding.control, guard.ns, labels, options.now);
    });
    if (exception != guard.exceptions.end()) {
      one.effect = Effect::except;
      one.exception = exception->name;
    }
    one.finding = std::move(finding);
    out.found.push_back(std::move(one));
  }
  return out;
}

std::optional<Judged> judge_live(element object, const policy::PodTemplate& kind,
                                 const Guard& guard, const JudgeOptions& options) {
  const auto pod = policy::pod_in(object, kind);
  if (!pod || at_rest(object, kind)) return std::nullopt;
  std::string_view name;
  if (object["metadata"]["name"].get(name) != simdjson::SUCCESS) name = {};
  return judge_template(*pod, kind.kind, name, kind.prefix(), guard, options);
}

}  // namespace palisade::cli
