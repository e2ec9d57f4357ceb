// Reports for people and for scripts.
#include <ostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "json_out.h"
#include "report.h"
#include "sources.h"
#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

void print_tolerated(const Judged& pod, std::ostream& out) {
  for (const Found& one : pod.found) {
    if (one.effect == Effect::deny) continue;
    const std::string why = one.effect == Effect::except
                                ? "HardeningException " + printable(one.exception)
                                : "mode " + std::string(effect_name(one.effect));
    out << fmt::format("  let through ({}): [{}] {}\n", why, one.finding.control,
                       printable(one.finding.field));
  }
}

}  // namespace

void print_text(const Outcome& outcome, std::ostream& out) {
  for (const Judged& pod : outcome.pods) {
    if (!pod.file.empty()) out << shown(pod.file) << ':' << pod.line << ": ";
    out << pod.title();
    if (!pod.checked) {
      out << ": "
          << (pod.guard.empty() ? std::string("no Aider pod, not checked (--all checks it)")
                                : pod.guard)
          << '\n';
      continue;
    }
    if (!pod.reason.empty()) {
      out << " (Aider pod: " << pod.reason << ')';
    } else if (!pod.guard.empty()) {
      out << " (" << pod.guard << ')';
    }
    out << (pod.denied() ? ": " + policy::explain(pod.findings(Effect::deny)) : ": compliant")
        << '\n';
    print_tolerated(pod, out);
  }
  const Counts counts = count(outcome);
  out << fmt::format("{} checked: {} compliant, {} with findings ({})",
                     counted(counts.compliant + counts.failing, outcome.live ? "object" : "pod"),
                     counts.compliant, counts.failing, counts.findings);
  if (counts.tolerated > 0) out << "; " << counted(counts.tolerated, "finding") << " let through";
  if (counts.passed_over > 0) {
    out << "; "
        << (outcome.live ? counted(counts.passed_over, "other") + " not judged"
                         : std::to_string(counts.passed_over) + " no Aider pod");
  }
  if (outcome.others > 0) out << "; " << counted(outcome.others, "other object") << " skipped";
  if (outcome.not_objects > 0) {
    out << "; " << counted(outcome.not_objects, "document") << " without kind and apiVersion passed"
        << " over";
  }
  out << '\n';
}

void print_json(const Outcome& outcome, std::ostream& out) {
  json pods = json::array();
  for (const Judged& pod : outcome.pods) {
    json findings = json::array();
    for (const Found& one : pod.found) {
      const policy::Finding& finding = one.finding;
      const policy::Control* control = policy::find_control(finding.control);
      json entry{{"control", finding.control},
                 {"field", finding.field},
                 {"found", finding.found},
                 {"message", finding.message},
                 {"effect", effect_name(one.effect)},
                 {"why", control != nullptr ? control->why : ""},
                 {"fix", control != nullptr ? control->remedy : ""}};
      if (one.place.line > 0) {
        entry["line"] = one.place.line;
        entry["column"] = one.place.column;
      }
      if (one.effect == Effect::except) entry["exception"] = one.exception;
      findings.push_back(std::move(entry));
    }
    json entry{{"kind", pod.kind},    {"namespace", pod.space}, {"name", pod.name},
               {"agent", pod.reason}, {"checked", pod.checked}, {"findings", std::move(findings)}};
    if (!pod.file.empty()) {
      entry["file"] = pod.file == "-" ? "<stdin>" : pod.file;
      entry["line"] = pod.line;
    }
    if (!pod.guard.empty()) entry["guard"] = pod.guard;
    pods.push_back(std::move(entry));
  }
  const Counts counts = count(outcome);
  const json document{{"pods", std::move(pods)},
                      {"summary",
                       {{"compliant", counts.compliant},
                        {"failing", counts.failing},
                        {"notChecked", counts.passed_over},
                        {"otherObjects", outcome.others},
                        {"notKubernetes", outcome.not_objects},
                        {"findings", counts.findings},
                        {"tolerated", counts.tolerated},
                        {"unreadable", outcome.unreadable}}}};
  out << json_text(document);
}

}  // namespace palisade::cli
