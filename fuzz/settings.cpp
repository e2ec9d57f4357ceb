// Everything beside pods that the policy reads: settings, AgentPolicies, HardeningExceptions,
// NetworkPolicies, workspaces, label selectors, quantities, times and address ranges. Each is read
// or refused with a text that can be shown.
#include <array>

#include <policy/agent_policy.h>
#include <policy/exceptions.h>
#include <policy/network.h>
#include <policy/policy.h>
#include <policy/quantity.h>
#include <policy/selector.h>
#include <policy/workspace.h>

#include "cidr.h"
#include "fuzz/json_mutator.h"

namespace {

using namespace palisade;

constexpr std::size_t kMaxError = 4096;

void read_settings(std::string_view text) {
  const auto settings = policy::parse_settings(text);
  fuzz::check(settings == policy::parse_settings(text), "settings are read alike twice");
  if (!settings) {
    fuzz::check_shown(settings.error(), kMaxError);
    return;
  }
  fuzz::check(settings->max_lifetime_seconds > 0 && settings->max_cpu_millis > 0 &&
                  settings->max_memory_bytes > 0 && settings->max_ephemeral_bytes > 0 &&
                  settings->max_empty_dir_bytes > 0,
              "no maximum is nothing or less");
}

void read_selector(simdjson::dom::element document) {
  const auto selector = policy::Selector::parse(document, "spec.podSelector");
  if (!selector) {
    fuzz::check_shown(selector.error(), kMaxError);
    return;
  }
  const policy::Labels labels = policy::labels_of(document);
  const bool matches = selector->matches(labels);
  fuzz::check(matches == selector->matches(labels), "a selector decides alike twice");
  fuzz::check(matches || !selector->everything(), "what selects everything selects this");
}

void read_quantity(std::string_view text) {
  for (const auto unit : {policy::Unit::one, policy::Unit::milli}) {
    const auto value = policy::parse_quantity(text, unit);
    fuzz::check(value == policy::parse_quantity(text, unit), "a quantity is read alike twice");
  }
}

// Bounds only ever tighten.
void read_agent_policy(simdjson::dom::element document) {
  const auto bounds = policy::parse_agent_policy(document);
  if (!bounds) {
    fuzz::check_shown(bounds.error(), kMaxError);
    return;
  }
  const policy::Settings before;
  const std::array<const policy::AgentPolicy*, 1> all{&*bounds};
  const policy::Settings after = policy::tightened(before, all);
  fuzz::check(after.max_cpu_millis <= before.max_cpu_millis &&
                  after.max_memory_bytes <= before.max_memory_bytes &&
                  after.max_ephemeral_bytes <= before.max_ephemeral_bytes &&
                  after.max_lifetime_seconds <= before.max_lifetime_seconds &&
                  after.max_lifetime_seconds > 0 && after.max_cpu_millis > 0,
              "an AgentPolicy raises no maximum and leaves something");
  fuzz::check(after.require_digests || !before.require_digests, "an AgentPolicy drops no demand");
  policy::Settings again = policy::tightened(after, all);
  again.session_users = after.session_users;  // these add up
  again.session_groups = after.session_groups;
  fuzz::check(again == after, "the same bounds twice are the same bounds");
}

void read_exception(simdjson::dom::element document) {
  constexpr std::int64_t kEver = 1LL << 62U;
  const auto exception = policy::parse_exception(document);
  if (!exception) {
    fuzz::check_shown(exception.error(), kMaxError);
    return;
  }
  fuzz::check(!exception->reason.empty() && !exception->ticket.empty() &&
                  !exception->approver.empty() && !exception->controls.empty() &&
                  !exception->namespaces.empty(),
              "an exception says what, why and by whom");
  for (const std::string& control : exception->controls) {
    fuzz::check(policy::find_control(control) != nullptr, "an exception names controls", control);
    for (const std::string& ns : exception->namespaces) {
      fuzz::check(!exception->covers(control, ns, policy::labels_of(document), kEver),
                  "every exception ends");
    }
  }
}

void read_network_policy(simdjson::dom::element document) {
  auto parsed = policy::NetworkPolicy::parse(document);
  if (!parsed) {
    fuzz::check_shown(parsed.error(), kMaxError);
    return;
  }
  fuzz::check(parsed->openings().size() <= 1024, "openings are bounded");
  const policy::Labels labels = {{"palisade.dev/agent", "aider"}};
  fuzz::check(!parsed->selects(labels) || parsed->may_select(labels),
              "what selects a pod may select it");
  const std::array all{std::make_shared<const policy::NetworkPolicy>(*std::move(parsed))};
  for (const auto& finding : policy::network_findings({labels, {}, {}}, all)) {
    fuzz::check(simdjson::validate_utf8(finding.field) && simdjson::validate_utf8(finding.found),
                "a finding is UTF-8", finding.field);
  }
}

void read_texts(std::string_view text) {
  if (const auto time = policy::parse_rfc3339(text); !time)
    fuzz::check_shown(time.error(), kMaxError);
  if (const auto seconds = policy::parse_duration(text); !seconds) {
    fuzz::check_shown(seconds.error(), kMaxError);
  } else {
    fuzz::check(*seconds >= 0, "a duration does not run backwards");
  }
  if (const auto range = policy::parse_cidr(text)) (void)policy::translated(*range);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::view(data, size);
  read_settings(text);
  read_quantity(text);
  simdjson::dom::parser parser;
  simdjson::dom::element document;
  const simdjson::padded_string padded(text);
  if (size < 256 && simdjson::validate_utf8(text)) read_texts(text);
  if (parser.parse(padded).get(document) != simdjson::SUCCESS) return 0;
  read_selector(document);
  read_agent_policy(document);
  read_exception(document);
  read_network_policy(document);
  static const policy::Settings kSettings;
  for (const auto& finding : policy::evaluate_workspace(document, kSettings)) {
    fuzz::check(simdjson::validate_utf8(finding.field) && simdjson::validate_utf8(finding.found) &&
                    simdjson::validate_utf8(finding.message),
                "a finding is UTF-8", finding.field);
  }
  return 0;
}
