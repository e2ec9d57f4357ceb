// The hardening contract: a pod goes in, findings come out. Pure: no I/O, no clock, no state.
// The controls are one ordered table (controls()); the operator, the webhook, the CLI and the
// documentation all read it.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

namespace palisade::policy {

// What an administrator sets. Defaults are the strict ones.
struct Settings {
  std::vector<std::string> allowed_seccomp_localhost_profiles;
  std::vector<std::string> allowed_volume_types{"configMap", "downwardAPI", "emptyDir",
                                                "projected", "secret",      "persistentVolumeClaim",
                                                "ephemeral"};
  std::vector<std::string> allowed_token_audiences;  // audiences of projected ServiceAccount
                                                     // tokens; the API server's never
  bool require_user_namespace = true;                // hostUsers: false
  std::int64_t max_lifetime_seconds = 24 * 3600;     // activeDeadlineSeconds
  std::int64_t max_cpu_millis = 8'000;               // a container's limit
  std::int64_t max_memory_bytes = 16LL << 30;
  std::int64_t max_ephemeral_bytes = 32LL << 30;
  std::int64_t max_empty_dir_bytes = 32LL << 30;
};

// Reads settings from their JSON document (the chart's ConfigMap). Unknown fields and wrong types
// are errors that name the field.
[[nodiscard]] std::expected<Settings, std::string> parse_settings(std::string_view json);

// One broken rule at one place.
struct Finding {
  std::string_view control;  // Control::id
  std::string field;         // exact path, e.g. spec.containers[0].securityContext.runAsNonRoot
  std::string found;         // the value there, as JSON, or "(absent)"; secrets masked
  std::string message;       // one sentence: what is wrong here
};

class PodView;

struct Control {
  std::string_view id;  // kebab-case, e.g. run-as-non-root
  std::string_view title;
  std::string_view why;                          // what an attacker gains without it
  std::string_view remedy;                       // what to write instead
  std::span<const std::string_view> references;  // Pod Security Standards, CIS, NSA/CISA
  void (*check)(const PodView&, const Settings&, std::vector<Finding>&);
};

// All of them, in the order in which they are reported.
[[nodiscard]] std::span<const Control> controls();
[[nodiscard]] const Control* find_control(std::string_view id);

// Findings stop here: one is enough to refuse, and the pod's author must not choose how much memory
// an answer takes. A list of this length may hide more.
inline constexpr std::size_t kMaxFindings = 1000;

// Every control on a pod. `pod` is a Pod (or anything with metadata and spec of a pod template);
// `prefix` goes before each path (e.g. "spec.template." for a Deployment's template). A pod whose
// fields have the wrong JSON type gets findings, not a pass.
[[nodiscard]] std::vector<Finding> evaluate(simdjson::dom::element pod, const Settings& settings,
                                            std::string_view prefix = "");

// Whether this is an Aider pod and which rule said so ("" where it is none): the label, an
// AgentWorkspace owner, an image path, a command or argument, `-m aider`, an AIDER_* variable. Case
// does not matter.
[[nodiscard]] std::string agent_reason(simdjson::dom::element pod);

// The findings as one message for a person, grouped by control, each with field, value, why and
// fix.
[[nodiscard]] std::string explain(std::span<const Finding> findings);

}  // namespace palisade::policy
