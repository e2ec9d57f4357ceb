// gateway.json: what the administrator tells the gateway.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include <gateway/archive/config.h>
#include <gateway/git/config.h>
#include <gateway/llm/config.h>

#include <policy/policy.h>

namespace palisade::gateway {

struct GatewayConfig {
  std::string audience = "palisade-gateway";
  llm::LlmConfig llm;
  git::GitConfig git;
  std::optional<archive::ArchiveConfig> archive;  // nullopt: nothing is kept
  policy::LlmBudget per_workspace;
  policy::LlmBudget per_namespace;
};

// {"audience", "llm": {...}, "git": {...}, "archive": {...}, "budgets": {"perWorkspace": {"tokens",
// "requestsPerMinute", "cost"}, "perNamespace": {"tokensPerDay", "requestsPerMinute",
// "costPerDay"}}}. All but llm are optional. What is not known, is there twice or has the wrong
// type is an error of the form "FIELD: what is wrong".
[[nodiscard]] std::expected<GatewayConfig, std::string> parse_gateway_config(std::string_view text);

}  // namespace palisade::gateway
