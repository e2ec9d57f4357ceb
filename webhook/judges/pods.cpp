// Pods, and what makes them: the control table on the new object, and on the old one to tell what
// an update adds.
#include <algorithm>
#include <iterator>

#include <policy/templates.h>

#include "judges/judge.h"

namespace palisade::webhook {

namespace {

using policy::Finding;
using simdjson::dom::element;

bool same(const Finding& a, const Finding& b) {
  return a.control == b.control && a.field == b.field && a.found == b.found;
}

// What an update adds to what was wrong before: a pod from before the guard can still be finished
// and deleted, but not weakened further.
void keep_added(std::vector<Finding>& now, const std::vector<Finding>& before) {
  std::erase_if(now, [&](const Finding& finding) {
    return std::ranges::any_of(before, [&](const Finding& old) { return same(finding, old); });
  });
}

// Takes out what the namespace's exceptions let pass.
void except(const Request& request, const NamespaceRules& rules, const policy::Labels& labels,
            Judgement& out) {
  if (rules.exceptions.empty() || out.findings.empty()) return;
  std::erase_if(out.findings, [&](const Finding& finding) {
    const auto found = std::ranges::find_if(rules.exceptions, [&](const auto& exception) {
      return exception->covers(finding.control, request.ns, labels, request.now);
    });
    if (found == rules.exceptions.end()) return false;
    auto use = std::ranges::find(out.exceptions, *found, &UsedException::exception);
    if (use == out.exceptions.end())
      use = out.exceptions.insert(out.exceptions.end(), {*found, {}});
    if (std::ranges::find(use->controls, finding.control) == use->controls.end())
      use->controls.push_back(finding.control);
    return true;
  });
}

struct Subject {
  const policy::PodTemplate& kind;
  element pod;
  std::optional<element> before;
};

std::expected<Subject, std::string> subject(const Request& request) {
  const policy::PodTemplate* const kind =
      policy::template_of_resource(request.group, request.resource);
  if (kind == nullptr) return std::unexpected(clipped(request.resource) + " make no pods");
  if (!request.object) return std::unexpected("the review holds no object");
  const auto pod = policy::pod_in(*request.object, *kind);
  if (!pod) return std::unexpected("the " + std::string(kind->kind) + " has no " + pod.error());
  Subject out{*kind, *pod, std::nullopt};
  if (request.operation == Operation::kUpdate) {
    if (!request.old_object) return std::unexpected("an update without the old object");
    const auto before = policy::pod_in(*request.old_object, *kind);
    if (!before)
      return std::unexpected("the old " + std::string(kind->kind) + " has no " + before.error());
    out.before = *before;
  }
  return out;
}

Judgement judge(const Request& request, const ClusterView& cluster, bool is_pod) {
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  const auto what = subject(request);
  if (!what) return Judgement::not_understood(what.error());
  const auto rules = cluster.rules(request.ns);
  if (!rules) return Judgement::unsure(rules.error());
  const bool all = (*rules)->mode == Mode::kAll;
  const std::string now = policy::agent_reason(what->pod);
  const std::string then = what->before ? policy::agent_reason(*what->before) : std::string();
  if (now.empty() && then.empty() && !all) return Judgement::pass("not an Aider pod");

  Judgement out;
  out.is_agent = true;
  out.reason = !now.empty() ? now : !then.empty() ? then : "the namespace enforces all pods";
  out.subject = is_pod ? "Aider pod" : std::string(what->kind.kind) + " of Aider pods";
  if (!(*rules)->problem.empty()) {
    out.error = (*rules)->problem;
    return out;
  }
  const policy::Settings& settings = (*rules)->settings;
  const std::string prefix = what->kind.prefix();
  out.findings = policy::evaluate(what->pod, settings, prefix);
  std::size_t standing = 0;
  // A full list may hide what is new in it: then nothing counts as standing from before.
  if (what->before && (!then.empty() || all) && !out.findings.empty() &&
      out.findings.size() < policy::kMaxFindings) {
    const std::size_t before = out.findings.size();
    keep_added(out.findings, policy::evaluate(*what->before, settings, prefix));
    standing = before - out.findings.size();
    if (standing > 0) {
      out.warnings.push_back(
          "palisade: " + std::to_string(standing) + " hardening problem(s) stand in this " +
          (is_pod ? "pod" : std::string(what->kind.kind)) + " from before; recreate it");
    }
  }
  if (is_pod) {
    auto network = pod_network_findings(request, cluster);
    if (!network) {
      out.error = network.error();
      return out;
    }
    std::ranges::move(*network, std::back_inserter(out.findings));
  }
  // What was no agent before is one with all of its images.
  const bool was_agent = what->before && (!then.empty() || all);
  std::ranges::move(signature_findings(cluster, **rules, what->pod,
                                       was_agent ? what->before : std::nullopt, prefix),
                    std::back_inserter(out.findings));
  except(request, **rules, policy::labels_of(what->pod), out);
  // No exception makes a pod another's.
  std::vector<Finding> identity =
      is_pod ? pod_metadata_findings(request, cluster) : membership_findings(what->pod, prefix);
  if (!is_pod && what->before) keep_added(identity, membership_findings(*what->before, prefix));
  std::ranges::move(identity, std::back_inserter(out.findings));
  if (is_pod && request.subresource == "ephemeralcontainers") {
    auto entry = debug_findings(request, cluster, **rules);
    if (!entry) {
      out.error = entry.error();
      return out;
    }
    std::ranges::move(*entry, std::back_inserter(out.findings));
  }
  if (out.findings.empty() && out.error.empty())
    out.reason = (standing > 0 ? "nothing is weakened further: " : "compliant: ") + out.reason;
  return out;
}

}  // namespace

Judgement judge_pod(const Request& request, const ClusterView& cluster) {
  return judge(request, cluster, true);
}

Judgement judge_template(const Request& request, const ClusterView& cluster) {
  return judge(request, cluster, false);
}

}  // namespace palisade::webhook
