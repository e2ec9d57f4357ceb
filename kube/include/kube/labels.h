// An object's labels.
#pragma once

#include <functional>
#include <map>
#include <string>

#include <nlohmann/json.hpp>

namespace kube {

using Labels = std::map<std::string, std::string, std::less<>>;

// Empty where it has none; a value that is no text counts as "".
[[nodiscard]] inline Labels labels_of(const nlohmann::json& object) {
  Labels out;
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return out;
  const auto labels = metadata->find("labels");
  if (labels == metadata->end() || !labels->is_object()) return out;
  for (const auto& [key, value] : labels->items())
    out.insert_or_assign(key, value.is_string() ? value.get<std::string>() : std::string());
  return out;
}

}  // namespace kube
