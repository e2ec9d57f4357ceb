// What an AgentWorkspace may use: its spec, as the AgentPolicies of its namespace bound it. Pure.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <gateway/core/caller.h>
#include <nlohmann/json.hpp>

#include <policy/agent_policy.h>
#include <policy/policy.h>
#include <policy/selector.h>

namespace palisade::gateway {

// The stricter of two.
[[nodiscard]] Budget stricter(const Budget& a, const Budget& b);

// The object as the API server hands it out. What the settings do not allow is not in the grant: a
// model, the repository. What cannot be read is an error that names the field.
[[nodiscard]] std::expected<Grant, std::string> grant_of(const nlohmann::json& workspace,
                                                         const policy::Settings& settings);

// Of an AgentWorkspace, what grant_of() and the directory read; of a pod, what the directory reads.
[[nodiscard]] nlohmann::json slim_workspace(nlohmann::json object);
[[nodiscard]] nlohmann::json slim_pod(nlohmann::json object);

// The text at a JSON pointer; "" where there is none.
[[nodiscard]] std::string text_at(const nlohmann::json& object, const char* pointer);

// policy/ reads simdjson's documents.
template <class Parse>
auto parsed(const nlohmann::json& object, Parse parse)
    -> decltype(parse(simdjson::dom::element{})) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(
      object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  simdjson::dom::element root;
  if (const auto error = parser.parse(text).get(root); error != simdjson::SUCCESS)
    return std::unexpected(std::string(simdjson::error_message(error)));
  return parse(root);
}

}  // namespace palisade::gateway
