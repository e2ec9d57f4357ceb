// Reading objects of which nothing is certain.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace kube {

// "" where there is no such text.
[[nodiscard]] inline std::string text_at(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace kube
