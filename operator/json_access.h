// Reading objects of which nothing is certain.
#pragma once

#include <string>

#include <operator/workspace.h>

namespace palisade::op {

inline const Json kNothing = Json::object();

// A member that is there and not null; else an empty object. Valid as long as `object` is.
[[nodiscard]] inline const Json& child(const Json& object, const char* key) {
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? kNothing : *found;
}

// A member that is a string; else "".
[[nodiscard]] inline std::string text_at(const Json& object, const char* key) {
  const Json& value = child(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// status.conditions: the one of that type; else an empty object.
[[nodiscard]] inline const Json& condition_of(const Json& status, const char* type) {
  const Json& conditions = child(status, "conditions");
  if (conditions.is_array()) {
    for (const Json& entry : conditions) {
      if (text_at(entry, "type") == type) return entry;
    }
  }
  return kNothing;
}

}  // namespace palisade::op
