// The pod view and the control table on any JSON: the same answer twice, bounded, and fit to be
// shown.
#include <policy/policy.h>
#include <policy/selector.h>

#include "fuzz/json_mutator.h"

namespace {

using namespace palisade;

bool same(const std::vector<policy::Finding>& a, const std::vector<policy::Finding>& b) {
  return std::ranges::equal(a, b, [](const policy::Finding& x, const policy::Finding& y) {
    return x.control == y.control && x.field == y.field && x.found == y.found &&
           x.message == y.message;
  });
}

policy::Settings narrow() {
  policy::Settings settings;
  settings.allowed_volume_types = {"emptyDir"};
  settings.max_lifetime_seconds = 1;
  settings.max_cpu_millis = 1;
  settings.max_memory_bytes = 1;
  settings.max_ephemeral_bytes = 1;
  settings.max_empty_dir_bytes = 1;
  settings.allowed_registries.emplace();
  settings.require_digests = true;
  settings.allowed_runtime_classes = {"gvisor"};
  return settings;
}

std::vector<policy::Finding> judge(simdjson::dom::element pod, const policy::Settings& settings) {
  auto findings = policy::evaluate(pod, settings);
  fuzz::check(findings.size() <= policy::kMaxFindings, "findings are bounded");
  for (const policy::Finding& finding : findings) {
    const policy::Control* const control = policy::find_control(finding.control);
    fuzz::check(control != nullptr, "a finding names a control of the table", finding.control);
    fuzz::check(!finding.field.empty() && !finding.found.empty() && !finding.message.empty(),
                "a finding says where, what and why", finding.control);
    fuzz::check(simdjson::validate_utf8(finding.field) && simdjson::validate_utf8(finding.found) &&
                    simdjson::validate_utf8(finding.message),
                "a finding is UTF-8", finding.field);
    fuzz::check(finding.found.size() <= 1024, "what a finding repeats is bounded", finding.field);
  }
  fuzz::check_shown(policy::explain(findings), 16 * 1024 + 256, true);
  return findings;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const policy::Settings kDefault;
  static const policy::Settings kNarrow = narrow();
  simdjson::dom::parser parser;
  simdjson::dom::element pod;
  const simdjson::padded_string text(fuzz::view(data, size));
  if (parser.parse(text).get(pod) != simdjson::SUCCESS) return -1;
  const auto findings = judge(pod, kDefault);
  fuzz::check(same(findings, policy::evaluate(pod, kDefault)), "the same pod, the same findings");
  // A quarter each, as a run costs what it evaluates.
  if (size % 4 == 0) {
    fuzz::check(policy::evaluate(pod, kDefault, "spec.template.").size() == findings.size(),
                "a pod in a template is judged like a pod");
  } else if (size % 4 == 1) {
    const auto more = judge(pod, kNarrow);
    fuzz::check(more.size() >= findings.size() || more.size() == policy::kMaxFindings,
                "narrower settings find no less");
  }
  const std::string reason = policy::agent_reason(pod);
  fuzz::check(reason == policy::agent_reason(pod), "the same pod, the same reason", reason);
  fuzz::check_shown(reason, 1024);
  (void)policy::labels_of(pod);
  return 0;
}
