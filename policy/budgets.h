// LLM budgets and repositories, as settings, AgentPolicies and workspaces write them.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>

namespace palisade::policy {

// {"tokensX", "requestsPerMinute", "costX"}, where X is `suffix`: "" or "PerDay". The error names
// the field below `at`.
[[nodiscard]] std::expected<void, std::string> read_budget(simdjson::dom::element object,
                                                           std::string_view at,
                                                           std::string_view suffix,
                                                           LlmBudget& target);

// URLs, each exact or ending in "/*", as repository_url() writes them; "" or what they must be.
[[nodiscard]] std::string read_repositories(simdjson::dom::element value,
                                            std::vector<std::string>& target);

// One way to write it: host in lower case, no port 443, no slash at the end. "" where it is no
// https URL, or where its path may mean another one to the host (an escape, an empty, a dot part).
[[nodiscard]] std::string repository_url(std::string_view url);

}  // namespace palisade::policy
