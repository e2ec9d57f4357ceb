#include "verdict.h"

#include <algorithm>

#include <kube/base64.h>
#include <policy/json_text.h>

namespace palisade::webhook {

namespace {

using policy::Finding;

// kubectl shows each warning on a line; the API server cuts them at 256 characters and drops them
// above 4 KiB in all.
constexpr std::size_t kMaxWarnings = 12;
constexpr std::size_t kMaxWarning = 250;
constexpr std::size_t kMaxAnnotation = 2 * 1024;

std::string cut(std::string text, std::size_t most) {
  if (text.size() <= most) return text;
  std::size_t end = most - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;
  text.resize(end);
  return text + "...";
}

void add_once(std::vector<std::string_view>& ids, std::string_view id) {
  if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
}

void begin(std::string& out, std::string_view uid, bool allowed) {
  out = R"({"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":)";
  policy::append_json(out, uid);
  out += allowed ? R"(,"allowed":true)" : R"(,"allowed":false)";
}

void annotate(std::string& out, std::string_view verdict, std::string_view reason,
              const Outcome& outcome, std::string_view recorded) {
  out += R"(,"auditAnnotations":{"verdict":")";
  out += verdict;
  out += R"(","reason":)";
  policy::append_json(out, reason);
  const auto list = [&](std::string_view key, const std::vector<std::string_view>& ids) {
    if (ids.empty()) return;
    out.append(",\"").append(key).append("\":");
    policy::append_json(out, joined(ids));
  };
  list("denied-controls", outcome.denied_controls);
  list("warned-controls", outcome.warned_controls);
  list("audited-controls", outcome.audited_controls);
  if (!recorded.empty()) {
    out += R"(,"findings":)";
    policy::append_json(out, recorded);
  }
  if (!outcome.exceptions.empty()) {
    std::string uses;
    for (const ExceptionUse& use : outcome.exceptions) {
      uses += (uses.empty() ? "" : "; ") + use.exception->name + " (" + use.exception->ticket +
              "): " + use.controls;
    }
    out += R"(,"exceptions":)";
    policy::append_json(out, cut(policy::shown(uses), kMaxAnnotation));
  }
  out += '}';
}

void warn(std::string& out, const std::vector<std::string>& warnings) {
  if (warnings.empty()) return;
  out += R"(,"warnings":[)";
  const std::size_t shown = std::min(warnings.size(), kMaxWarnings);
  for (std::size_t i = 0; i < shown; ++i) {
    if (i > 0) out += ',';
    policy::append_json(out, cut(policy::shown(warnings[i]), kMaxWarning));
  }
  if (warnings.size() > shown) {
    out += ',';
    policy::append_json(out, "palisade: and " + std::to_string(warnings.size() - shown) + " more");
  }
  out += ']';
}

void append_causes(std::string& out, const std::vector<Finding>& findings) {
  out += R"(,"details":{"causes":[)";
  bool first = true;
  for (const Finding& finding : findings) {
    out += first ? R"({"reason":"FieldValueForbidden","field":)"
                 : R"(,{"reason":"FieldValueForbidden","field":)";
    first = false;
    policy::append_json(out, finding.field);
    out += R"(,"message":)";
    policy::append_json(
        out, "[" + std::string(finding.control) + "] is " + finding.found + ": " + finding.message);
    out += '}';
  }
  out += "]}";
}

void deny(const Request& request, std::string_view reason, std::string_view message,
          const std::vector<Finding>& findings, const std::vector<std::string>& warnings,
          Outcome& outcome) {
  outcome.allowed = false;
  outcome.subject = subject_of(request);
  outcome.ns = request.ns.substr(0, 253);
  outcome.name = request.object_name().substr(0, 253);
  std::string& out = outcome.body;
  begin(out, request.uid, false);
  annotate(out, "denied", reason, outcome, {});
  warn(out, warnings);
  out += R"(,"status":{"status":"Failure","code":403,"reason":"Forbidden","message":)";
  policy::append_json(out, message);
  if (!findings.empty()) append_causes(out, findings);
  out += "}}}";
}

struct Sorted {
  std::vector<Finding> denied;
  std::vector<std::string> warnings;
  std::string recorded;
};

Sorted sort(const Judgement& judgement, const NamespaceRules* rules, Outcome& outcome) {
  Sorted out;
  out.warnings = judgement.warnings;
  for (const Finding& finding : judgement.findings) {
    const Action action =
        judgement.always || rules == nullptr ? Action::kEnforce : rules->action_of(finding.control);
    if (action == Action::kEnforce) {
      add_once(outcome.denied_controls, finding.control);
      out.denied.push_back(finding);
      continue;
    }
    std::string line = "[" + std::string(finding.control) + "] " + finding.field + " is " +
                       finding.found + ": " + finding.message;
    if (action == Action::kWarn) {
      add_once(outcome.warned_controls, finding.control);
      out.warnings.push_back("palisade would reject this: " + line);
    } else {
      add_once(outcome.audited_controls, finding.control);
    }
    if (out.recorded.size() < kMaxAnnotation)
      out.recorded += (out.recorded.empty() ? "" : "; ") + std::move(line);
  }
  out.recorded = cut(policy::shown(out.recorded), kMaxAnnotation);
  return out;
}

}  // namespace

std::string joined(const std::vector<std::string_view>& ids) {
  std::string out;
  for (const std::string_view id : ids)
    out.append(out.empty() ? "" : ",").append(id);
  return out;
}

void deny_not_understood(const Request& request, const std::string& why, Outcome& outcome) {
  deny(request, "not understood", "Palisade denies what it does not understand: " + why, {}, {},
       outcome);
}

void answer_with_patch(const Request& request, const std::string& patch, Outcome& outcome) {
  outcome.allowed = true;
  begin(outcome.body, request.uid, true);
  if (!patch.empty()) {
    outcome.body += R"(,"patchType":"JSONPatch","patch":")";
    outcome.body += kube::encode_base64(patch);
    outcome.body += '"';
  }
  outcome.body += "}}";
}

void conclude(const Request& request, const Judgement& judgement, const NamespaceRules* rules,
              Outcome& outcome) {
  outcome.is_agent = judgement.is_agent;
  if (judgement.nonsense) {
    deny_not_understood(request, judgement.error, outcome);
    return;
  }
  if (!judgement.error.empty()) {
    deny(request, "uncertain", "Palisade cannot judge this now, so it denies: " + judgement.error,
         {}, {}, outcome);
    return;
  }
  for (const UsedException& used : judgement.exceptions)
    outcome.exceptions.push_back({used.exception, joined(used.controls)});
  if (!outcome.exceptions.empty()) outcome.subject = subject_of(request);
  const Sorted sorted = sort(judgement, rules, outcome);
  if (!sorted.denied.empty()) {
    deny(request, judgement.reason,
         "Palisade refuses this " + judgement.subject + " (" + judgement.reason +
             "): " + policy::explain(sorted.denied),
         sorted.denied, sorted.warnings, outcome);
    return;
  }
  outcome.allowed = true;
  begin(outcome.body, request.uid, true);
  annotate(outcome.body,
           outcome.warned_controls.empty() && outcome.audited_controls.empty() ? "allowed"
                                                                               : "allowed-by-mode",
           judgement.reason, outcome, sorted.recorded);
  warn(outcome.body, sorted.warnings);
  outcome.body += "}}";
}

}  // namespace palisade::webhook
