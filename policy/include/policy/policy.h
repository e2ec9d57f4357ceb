// The hardening contract: a pod goes in, findings come out. Pure: no I/O, no clock, no state.
// The controls are one ordered table (controls()); the operator, the webhook, the CLI and the
// documentation all read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

namespace palisade::policy {

// Of LLM calls; nullopt: not bounded. Tokens and money are counted over a workspace's life, and
// over a day (UTC) for a namespace. Money in millionths of a US dollar.
struct LlmBudget {
  std::optional<std::int64_t> tokens;
  std::optional<std::int64_t> requests_per_minute;
  std::optional<std::int64_t> cost_micros;
  bool operator==(const LlmBudget&) const = default;
};

// A public key by which images are signed.
struct SigningKey {
  std::string name;
  std::string pem;  // of the form of one "PUBLIC KEY" block; whether it is a key, OpenSSL says
  bool operator==(const SigningKey&) const = default;
};
// Images of these repositories are signed by one of the keys.
struct SignatureRule {
  // Each a registry, or a registry with the beginning of a path that ends where a part ends.
  std::vector<std::string> repositories;
  std::vector<SigningKey> keys;
  bool operator==(const SignatureRule&) const = default;
};
// What one AgentPolicy demands: an image that no rule names is refused, and one that several name
// needs a signature for each.
struct SignaturePolicy {
  std::string name;  // the AgentPolicy's
  std::vector<SignatureRule> rules;
  bool operator==(const SignaturePolicy&) const = default;
};

// A package mirror that setups may reach (spec.setup of AgentWorkspaces): by its addresses and one
// TCP port; its name stands in the pod's hosts file.
struct SetupMirror {
  std::string name;
  std::vector<std::string> addresses;
  std::uint16_t port = 443;
  bool operator==(const SetupMirror&) const = default;
};

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
  // Where images may come from: each a prefix of the image that ends at a "/"
  // ("registry.example.com" or "registry.example.com/palisade"). nullopt: anywhere; an empty list:
  // nowhere.
  std::optional<std::vector<std::string>> allowed_registries;
  bool require_digests = false;  // images are named by digest
  // Of AgentPolicies alone; see signatures.h. Each must be met.
  std::vector<SignaturePolicy> signatures;
  // spec.runtimeClassName; nullopt: any or none. "" in the list: none may be named too.
  std::optional<std::vector<std::string>> allowed_runtime_classes;
  // Of AgentWorkspaces: spec.llm.gateway and the host of spec.repository.url; nullopt: any.
  std::optional<std::vector<std::string>> allowed_llm_gateways;
  std::optional<std::vector<std::string>> allowed_git_hosts;
  // Models of spec.agent.model and spec.llm.models, as the gateway names them; nullopt: any.
  std::optional<std::vector<std::string>> allowed_models;
  // URLs of repositories, or beginnings of them that end in "/*" (see repository_allowed() in
  // workspace.h); nullopt: any.
  std::optional<std::vector<std::string>> allowed_repositories;
  // The most that spec.llm.budget may ask for, and the budget of a workspace that asks for none.
  LlmBudget workspace_budget;
  LlmBudget namespace_budget;  // of a namespace's workspaces together
  // Who may exec, attach, port-forward and proxy into agent pods beside a workspace's creator.
  std::vector<std::string> session_users;
  std::vector<std::string> session_groups;
  // Of AgentPolicies alone: the mirrors that setups may reach; nullopt: none.
  std::optional<std::vector<SetupMirror>> setup_mirrors;
  // Names of the capabilities that an agent may have (see permissions.h); nullopt: any.
  std::optional<std::vector<std::string>> agent_permissions;
  bool operator==(const Settings&) const = default;
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
  // Whether it takes more than the pod to tell (other objects of the cluster). `check` then finds
  // nothing: whoever sees the cluster makes the findings, under this id.
  bool needs_cluster = false;
  // With needs_cluster: what it takes are the registries of the images. The webhook alone asks
  // them.
  bool needs_registry = false;
  // Its twin for ValidatingAdmissionPolicies: a CEL expression that is the list of the paths at
  // which a pod breaks it (see policy/cel.h). nullptr where it needs the cluster.
  std::string (*cel)(const Settings&) = nullptr;
  // Judges requests, not pods (see policy/guards.h): it has no check and no twin, and no
  // HardeningException covers it.
  bool is_guard = false;
};

// What pods are judged by, in the order in which it is reported. Guards are not among them.
[[nodiscard]] std::span<const Control> controls();
// Among the controls and the guards; nullptr where there is none of that id.
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

// Somebody else's text (UTF-8) on one line of a terminal or a log: what moves a cursor, ends a line
// or reorders text becomes '?'. Of more than `most` bytes the rest is cut off, never within a code
// point.
[[nodiscard]] std::string shown(std::string_view text, std::size_t most = std::string_view::npos);

}  // namespace palisade::policy
