// Objects of a cluster as commands print them.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace palisade::cli {

// One YAML document, ASCII only: it is safe on a terminal too.
[[nodiscard]] std::string yaml_text(const nlohmann::json& value);

// Without what only servers read.
[[nodiscard]] nlohmann::json without_managed_fields(nlohmann::json object);

// "json" or "yaml"; else "agentworkspace/NAME" and the like, as kubectl names it with -o name.
[[nodiscard]] std::string object_text(const nlohmann::json& object, const std::string& format);

}  // namespace palisade::cli
