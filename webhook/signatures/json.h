// JSON of somebody who is no friend.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace palisade::webhook {

// Discarded where it is no JSON.
[[nodiscard]] inline nlohmann::json parse_json(std::string_view text) {
  // Nothing that is read here is deep, and what walks a document has a stack that ends.
  constexpr int kMaxDepth = 32;
  const auto shallow = [](int depth, nlohmann::json::parse_event_t /*event*/,
                          nlohmann::json& /*value*/) { return depth < kMaxDepth; };
  return nlohmann::json::parse(text, shallow, false);
}

// The text of a member; "" where there is none.
[[nodiscard]] inline std::string text_of(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return {};
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace palisade::webhook
