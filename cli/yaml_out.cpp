#include "yaml_out.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace palisade::cli {

namespace {

// A name that every YAML reader takes for a string.
bool is_plain_key(const std::string& key) {
  constexpr std::array<std::string_view, 9> kOther{"y",   "n",    "yes",   "no",  "on",
                                                   "off", "true", "false", "null"};
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  std::string lower = key;
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return !key.empty() && letter(key.front()) && std::ranges::all_of(key, [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') ||
           std::string_view("./_-").find(c) != std::string_view::npos;
  }) && std::ranges::find(kOther, lower) == kOther.end();
}

}  // namespace

void emit_yaml(YAML::Emitter& out, const nlohmann::json& value) {  // NOLINT(misc-no-recursion)
  if (value.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, member] : value.items()) {
      out << YAML::Key;
      if (!is_plain_key(key)) out << YAML::DoubleQuoted;
      out << key << YAML::Value;
      emit_yaml(out, member);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    out << YAML::BeginSeq;
    for (const nlohmann::json& item : value)
      emit_yaml(out, item);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    out << YAML::DoubleQuoted << value.get<std::string>();
  } else {
    out << value.dump();
  }
}

}  // namespace palisade::cli
