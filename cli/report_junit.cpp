#include <ostream>

#include "report.h"
#include "sources.h"
#include "text.h"

namespace palisade::cli {

void print_junit(std::string_view name, const std::vector<JunitCase>& cases, std::ostream& out) {
  std::size_t failures = 0;
  std::size_t errors = 0;
  std::size_t skipped = 0;
  for (const JunitCase& one : cases) {
    if (!one.error.empty()) {
      ++errors;
    } else if (!one.failure_type.empty()) {
      ++failures;
    } else if (!one.skipped.empty()) {
      ++skipped;
    }
  }
  const std::string counts = " tests=\"" + std::to_string(cases.size()) + "\" failures=\"" +
                             std::to_string(failures) + "\" errors=\"" + std::to_string(errors) +
                             "\" skipped=\"" + std::to_string(skipped) + "\" time=\"0\"";
  out << "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"" << xml(name) << '"'
      << counts << ">\n  <testsuite name=\"" << xml(name) << '"' << counts << ">\n";
  for (const JunitCase& one : cases) {
    out << "    <testcase classname=\"" << xml(one.suite) << "\" name=\"" << xml(one.name) << '"';
    if (!one.file.empty()) out << " file=\"" << xml(one.file) << '"';
    out << " time=\"0\">\n";
    if (!one.error.empty()) {
      out << "      <error type=\"unreadable\" message=\"" << xml(one.error) << "\"/>\n";
    } else if (!one.failure_type.empty()) {
      out << "      <failure type=\"" << xml(one.failure_type) << "\" message=\""
          << xml(one.failure_message) << "\">" << xml(one.failure) << "</failure>\n";
    } else if (!one.skipped.empty()) {
      out << "      <skipped message=\"" << xml(one.skipped) << "\"/>\n";
    }
    if (!one.output.empty()) out << "      <system-out>" << xml(one.output) << "</system-out>\n";
    out << "    </testcase>\n";
  }
  out << "  </testsuite>\n</testsuites>\n";
}

void print_junit(const Outcome& outcome, std::ostream& out) {
  std::vector<JunitCase> cases;
  for (const Judged& pod : outcome.pods) {
    JunitCase& one = cases.emplace_back();
    one.suite = pod.file.empty() ? "cluster" : shown(pod.file);
    one.name = pod.title();
    if (!pod.file.empty()) one.file = shown(pod.file);
    if (!pod.checked) {
      one.skipped = pod.guard.empty() ? "no Aider pod" : pod.guard;
      continue;
    }
    if (pod.denied()) {
      const auto findings = pod.findings(Effect::deny);
      one.failure_type = findings.front().control;
      one.failure_message = counted(findings.size(), "finding") +
                            ", first: " + findings.front().field + ": " + findings.front().message;
      one.failure = policy::explain(findings);
    }
    for (const Found& found : pod.found) {
      if (found.effect == Effect::deny) continue;
      one.output += "let through (" + std::string(effect_name(found.effect)) + "): [" +
                    std::string(found.finding.control) + "] " + found.finding.field + "\n";
    }
  }
  if (outcome.unreadable) {
    JunitCase& one = cases.emplace_back();
    one.suite = "palisade check";
    one.name = "input";
    one.error = "something could not be read; standard error says what";
  }
  print_junit("palisade check", cases, out);
}

}  // namespace palisade::cli
