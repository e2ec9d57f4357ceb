#include "object_reader.h"

#include <algorithm>

#include <policy/policy.h>

namespace palisade::policy {

using simdjson::dom::element;

std::expected<void, std::string> read_members(
    element object, std::string_view at,
    std::initializer_list<std::pair<std::string_view, FieldReader>> fields) {
  simdjson::dom::object members;
  if (object.get(members) != simdjson::SUCCESS)
    return std::unexpected(std::string(at) + " must be an object");
  std::vector<std::string_view> seen;
  for (const auto [name, value] : members) {
    const auto field =
        std::ranges::find(fields, name, &std::pair<std::string_view, FieldReader>::first);
    if (field == fields.end()) {
      return std::unexpected(std::string(at) + " has no field \"" + shown(name, 64) + "\"");
    }
    const std::string path = std::string(at) + "." + std::string(name);
    if (std::ranges::find(seen, name) != seen.end())
      return std::unexpected(path + " is given twice");
    seen.push_back(name);
    if (value.is_null()) continue;
    if (const std::string wanted = field->second(value); !wanted.empty()) {
      // A reader of a whole part says its own path.
      return std::unexpected(wanted.starts_with(path) ? wanted : path + " must be " + wanted);
    }
  }
  return {};
}

std::string read_text(element value, std::string& target) {
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS || text.empty()) return "a text that is not empty";
  target = text;
  return {};
}

std::string read_texts(element value, std::vector<std::string>& target, bool allow_empty) {
  constexpr std::size_t kMaxItems = 256;
  const char* const wanted = allow_empty ? "a list of at most 256 texts"
                                         : "a list of at most 256 texts that are not empty";
  simdjson::dom::array list;
  if (value.get(list) != simdjson::SUCCESS || list.size() > kMaxItems) return wanted;
  target.clear();
  for (const element item : list) {
    std::string_view text;
    if (item.get(text) != simdjson::SUCCESS || (text.empty() && !allow_empty)) return wanted;
    target.emplace_back(text);
  }
  return {};
}

}  // namespace palisade::policy
