// AgentPolicy: what a platform team allows the agents of the namespaces it selects.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <policy/policy.h>
#include <policy/selector.h>

namespace palisade::policy {

// nullopt: not bounded by this policy.
struct AgentPolicy {
  std::string name;
  Selector namespaces;  // spec.namespaceSelector; absent: every namespace
  std::optional<std::vector<std::string>> allowed_registries;
  bool require_digests = false;
  std::vector<SignatureRule> signatures;  // spec.requireSignatures; empty: none are demanded
  std::optional<std::vector<std::string>> allowed_runtime_classes;
  std::optional<std::int64_t> max_cpu_millis;
  std::optional<std::int64_t> max_memory_bytes;
  std::optional<std::int64_t> max_ephemeral_bytes;
  std::optional<std::int64_t> max_lifetime_seconds;
  std::optional<std::int64_t> max_running;  // spec.limits.maxRunning
  bool archive_required = false;            // spec.archive.required
  std::optional<std::vector<std::string>> allowed_llm_gateways;
  std::optional<std::vector<std::string>> allowed_git_hosts;
  std::optional<std::vector<std::string>> allowed_models;
  std::optional<std::vector<std::string>> allowed_repositories;
  LlmBudget workspace_budget;  // spec.llmBudget.perWorkspace
  LlmBudget namespace_budget;  // spec.llmBudget.perNamespace
  std::optional<std::vector<std::string>> allowed_token_audiences;
  std::optional<std::vector<SetupMirror>> setup_mirrors;      // spec.setup.mirrors
  std::optional<std::vector<std::string>> session_users;      // spec.sessions.users
  std::optional<std::vector<std::string>> session_groups;     // spec.sessions.groups
  std::optional<std::vector<std::string>> agent_permissions;  // spec.permissions.agent
};

// From the object; the error names the field.
[[nodiscard]] std::expected<AgentPolicy, std::string> parse_agent_policy(
    simdjson::dom::element object);

// The settings with every policy's bounds: lists intersect, maxima take the smaller, demands add
// up. Sessions: whoever all policies that speak of it name, beside the settings' own.
[[nodiscard]] Settings tightened(Settings settings, std::span<const AgentPolicy* const> policies);

// "5", "0.25", "1200.000001": millionths of a US dollar, above 0; an error for anything else.
[[nodiscard]] std::expected<std::int64_t, std::string> parse_money(std::string_view text);

// "2h", "1h30m", "90s": seconds; an error for anything else.
[[nodiscard]] std::expected<std::int64_t, std::string> parse_duration(std::string_view text);

}  // namespace palisade::policy
