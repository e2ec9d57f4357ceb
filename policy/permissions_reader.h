// Reading objects that the API server has accepted, or is about to: what is absent or has another
// type is empty.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <simdjson.h>

namespace palisade::policy {

inline std::string text_of(simdjson::dom::element value) {
  std::string_view text;
  return value.get(text) == simdjson::SUCCESS ? std::string(text) : std::string();
}

inline bool is_text(simdjson::dom::element value, std::string_view wanted) {
  std::string_view text;
  return value.get(text) == simdjson::SUCCESS && text == wanted;
}

// `pointer` is a JSON pointer.
inline std::string text_at(simdjson::dom::element object, std::string_view pointer) {
  simdjson::dom::element value;
  return object.at_pointer(pointer).get(value) == simdjson::SUCCESS ? text_of(value)
                                                                    : std::string();
}

inline std::optional<bool> bool_at(simdjson::dom::element object, std::string_view pointer) {
  bool value = false;
  if (object.at_pointer(pointer).get(value) != simdjson::SUCCESS) return std::nullopt;
  return value;
}

inline std::optional<std::int64_t> int_at(simdjson::dom::element object, std::string_view pointer) {
  std::int64_t value = 0;
  if (object.at_pointer(pointer).get(value) != simdjson::SUCCESS) return std::nullopt;
  return value;
}

// Calls visit(item, "POINTER/INDEX") for each item of a list.
template <class Visit>
void each_at(simdjson::dom::element object, const std::string& pointer, Visit visit) {
  simdjson::dom::array list;
  if (object.at_pointer(pointer).get(list) != simdjson::SUCCESS) return;
  std::size_t index = 0;
  for (const simdjson::dom::element item : list)
    visit(item, pointer + "/" + std::to_string(index++));
}

// A URL may name a user and a password; neither is shown.
inline std::string without_user(std::string url) {
  const auto scheme = url.find("://");
  if (scheme == std::string::npos) return url;
  const auto end = url.find('/', scheme + 3);
  const auto user = url.substr(0, end).rfind('@');
  if (user != std::string::npos && user > scheme) url.erase(scheme + 3, user - scheme - 2);
  return url;
}

}  // namespace palisade::policy
