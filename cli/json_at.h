// Reading objects of a cluster: what is not there, or of another type, is nothing.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include <nlohmann/json.hpp>

#include "text.h"

namespace palisade::cli {

// A value by its way through objects; null where it is not there. It refers into `object`.
[[nodiscard]] inline const nlohmann::json& json_at(const nlohmann::json& object,
                                                   std::initializer_list<const char*> way) {
  static const nlohmann::json kNone;
  const nlohmann::json* here = &object;
  for (const char* name : way) {
    if (!here->is_object()) return kNone;
    const auto found = here->find(name);
    if (found == here->end()) return kNone;
    here = &*found;
  }
  return *here;
}

// A text as it is; "" where there is none.
[[nodiscard]] inline std::string raw_text_at(const nlohmann::json& object,
                                             std::initializer_list<const char*> way) {
  const nlohmann::json& value = json_at(object, way);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// The same, safe for a terminal.
[[nodiscard]] inline std::string text_at(const nlohmann::json& object,
                                         std::initializer_list<const char*> way) {
  return printable(raw_text_at(object, way));
}

[[nodiscard]] inline std::int64_t number_at(const nlohmann::json& object,
                                            std::initializer_list<const char*> way,
                                            std::int64_t fallback = 0) {
  const nlohmann::json& value = json_at(object, way);
  return value.is_number_integer() ? value.get<std::int64_t>() : fallback;
}

}  // namespace palisade::cli
