#include "policy/vap.h"

#include <algorithm>
#include <array>

#include "cel.h"
#include "cel_identity.h"

namespace palisade::policy {
namespace {

constexpr std::size_t kMaxMessage = 4000;  // the API server takes 5 kB

// The pod or template in object or oldObject, as a map: dyn, so that members can be listed.
std::string pod_at(std::string_view object, const PodTemplate& where) {
  std::string out = "dyn(" + std::string(object) + ")";
  if (where.path[0].empty()) return out;
  for (const std::string_view member : where.path) {
    if (!member.empty()) out.append(".?").append(member);
  }
  return out + ".orValue({})";
}

std::string container_entries() {
  std::string out;
  for (const std::string_view list : cel::kContainerLists) {
    if (!out.empty()) out += " + ";
    out += "variables.spec.?" + std::string(list) + ".orValue([]).map(c, {'at': dyn('spec." +
           std::string(list) +
           "[' + c.name + ']'), 'c': dyn(c), 's': dyn(c.?securityContext.orValue({})), 'e': dyn(" +
           (list == "ephemeralContainers" ? "true" : "false") + ")})";
  }
  return out;
}

std::vector<CelVariable> variables_for(const PodTemplate& where, const Settings& settings) {
  std::vector<CelVariable> out{
      // Unknown values count as the strictest.
      {"enforce", "namespaceObject.metadata.?labels[?'palisade.dev/enforce'].orValue('agents')"},
      {"pod", pod_at("object", where)},
      {"old", "request.operation == 'UPDATE' ? " + pod_at("oldObject", where) + " : dyn({})"},
      {"pod_containers", cel::containers_of("variables.pod")},
      {"old_containers", cel::containers_of("variables.old")},
      {"reason_now", cel::reason_of("variables.pod", "variables.pod_containers")},
      {"reason_before", cel::reason_of("variables.old", "variables.old_containers")},
      {"reason",
       "variables.reason_now != '' ? variables.reason_now : variables.reason_before != '' ? "
       "variables.reason_before : variables.enforce in ['agents', 'off'] ? '' : "
       "'the namespace enforces all pods'"},
      {"spec", "variables.pod.?spec.orValue({})"},
      {"sec", "variables.spec.?securityContext.orValue({})"},
      {"annotations", "variables.pod.?metadata.?annotations.orValue({})"},
      {"containers", container_entries()},
      {"volumes",
       "variables.spec.?volumes.orValue([]).map(v, {'at': dyn('spec.volumes[' + v.name + ']'), "
       "'v': dyn(v)})"},
  };
  std::string paths;
  std::string ids;
  std::string details;
  for (const Control& control : controls()) {
    if (control.cel == nullptr) continue;
    const std::string name = cel_variable(control);
    out.push_back({name, control.cel(settings)});
    const std::string value = "variables." + name;
    paths += (paths.empty() ? "" : " + ") + value;
    const std::string some = "(size(" + value + ") > 0 ? [";
    ids += (ids.empty() ? "" : " + ") + some + cel::text(control.id) + "] : [])";
    details.append(details.empty() ? "" : " + ")
        .append(some)
        .append(cel::text("[" + std::string(control.id) + "] "))
        .append(" + ")
        .append(value)
        .append(".join(', ') + ")
        .append(cel::text("; fix: " + std::string(control.remedy) + "."))
        .append("] : [])");
  }
  out.push_back({"paths", paths});
  // What an update leaves as it was is not its doing: a pod from before the guard can still be
  // labelled, finished and deleted.
  out.push_back({"unchanged",
                 "request.operation == 'UPDATE' && (variables.reason_before != '' || "
                 "!(variables.enforce in ['agents', 'off'])) && "
                 "variables.spec == variables.old.?spec.orValue({}) && variables.paths.all(p, "
                 "!p.startsWith('metadata.annotations[') || "
                 "variables.annotations[?p.substring(21, size(p) - 1)] == "
                 "variables.old.?metadata.?annotations[?p.substring(21, size(p) - 1)])"});
  out.push_back(
      {"refused",
       "variables.enforce != 'off' && variables.reason != '' && size(variables.paths) > 0 "
       "&& !variables.unchanged"});
  out.push_back({"broken_controls", ids});
  out.push_back({"details", details});
  return out;
}

}  // namespace

std::string cel_variable(const Control& control) {
  std::string out(control.id);
  std::ranges::replace(out, '-', '_');
  return out;
}

std::string agent_match_condition() {
  return cel::could_be_agent("object") + " || oldObject != null && (" +
         cel::could_be_agent("oldObject") + ")";
}

std::vector<CelPolicy> cel_policies(const Settings& settings) {
  std::vector<CelPolicy> out;
  for (const PodTemplate& kind : pod_templates()) {
    const auto same = std::ranges::find_if(
        out, [&](const CelPolicy& policy) { return policy.kinds.front()->path == kind.path; });
    if (same != out.end()) {
      same->kinds.push_back(&kind);
      continue;
    }
    const std::string what =
        kind.path[0].empty() ? "Aider pod" : "pod template (" + kind.prefix() + ") of Aider pods";
    CelPolicy policy;
    policy.kinds = {&kind};
    policy.variables = variables_for(kind, settings);
    policy.validation = "!variables.refused";
    policy.message = "Palisade refuses this " + what + ": it breaks the hardening contract";
    policy.message_expression =
        "variables.refused ? [" + cel::text("Palisade refuses this " + what + " (") +
        " + variables.reason + '). It breaks ' + variables.broken_controls.join(', ') + '. ' + "
        "variables.details.join(' ')].map(m, size(m) > " +
        std::to_string(kMaxMessage) + " ? m.substring(0, " + std::to_string(kMaxMessage) +
        ") + '...' : m)[0] : ''";
    out.push_back(std::move(policy));
  }
  return out;
}

}  // namespace palisade::policy
