#pragma once

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

namespace palisade::cli {

// JSON as block-style YAML: strings quoted, so that no reader takes one for something else; keys
// quoted where one could be.
void emit_yaml(YAML::Emitter& out, const nlohmann::json& value);

}  // namespace palisade::cli
