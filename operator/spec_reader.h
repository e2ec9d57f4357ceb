// Reading a workspace's spec strictly: what is of another type than the schema says is an error
// that names the field.
#pragma once

#include <algorithm>
#include <cctype>
#include <chrono>
#include <string>
#include <vector>

#include <fmt/format.h>

#include <operator/workspace.h>
#include <policy/quantity.h>

namespace palisade::op::spec {

// A field that is of another type than the schema says.
struct WrongType {
  std::string field;
};

inline const Json& member(const Json& object, const std::string& path, const char* key) {
  static const Json kNull;
  if (object.is_null()) return kNull;
  if (!object.is_object()) throw WrongType{path};
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

inline std::string text(const Json& object, const std::string& path, const char* key,
                        std::string fallback = {}) {
  const Json& value = member(object, path, key);
  if (value.is_null()) return fallback;
  if (!value.is_string()) throw WrongType{path + "." + key};
  return value.get<std::string>();
}

inline bool flag(const Json& object, const std::string& path, const char* key, bool fallback) {
  const Json& value = member(object, path, key);
  if (value.is_null()) return fallback;
  if (!value.is_boolean()) throw WrongType{path + "." + key};
  return value.get<bool>();
}

inline std::vector<std::string> texts(const Json& object, const std::string& path,
                                      const char* key) {
  const Json& value = member(object, path, key);
  std::vector<std::string> out;
  if (value.is_null()) return out;
  if (!value.is_array()) throw WrongType{path + "." + key};
  for (const Json& item : value) {
    if (!item.is_string()) throw WrongType{path + "." + key};
    out.push_back(item.get<std::string>());
  }
  return out;
}

inline Json quantities(const Json& object, const std::string& path, const char* key,
                       const Json& defaults) {
  const Json& given = member(object, path, key);
  Json out = defaults;
  if (given.is_null()) return out;
  if (!given.is_object()) throw WrongType{path + "." + key};
  for (const auto& [name, value] : given.items()) {
    if (!value.is_string() && !value.is_number_integer())
      throw WrongType{fmt::format("{}.{}.{}", path, key, name)};
    out[name] = value.is_string() ? value : Json(std::to_string(value.get<std::int64_t>()));
  }
  return out;
}

inline std::chrono::seconds duration_field(const Json& object, const std::string& path,
                                           const char* key, const char* fallback,
                                           std::chrono::seconds least, std::chrono::seconds most) {
  const std::string value = text(object, path, key, fallback);
  const auto parsed = parse_duration(value);
  if (!parsed || *parsed < least || *parsed > most)
    throw WrongType{path + "." + key + " (\"" + value + "\")"};
  return *parsed;
}

// A quantity above 0, such as 5Gi: what the schema promises.
inline bool is_quantity_above_zero(const std::string& value) {
  constexpr std::size_t kMostQuantity = 32;
  return value.size() <= kMostQuantity &&
         policy::parse_quantity(value, policy::Unit::one).value_or(0) > 0;
}

// A DNS subdomain, or "": a volume that was made by hand.
inline bool is_storage_class(const std::string& name) {
  const auto allowed = [](unsigned char c) {
    return std::islower(c) != 0 || std::isdigit(c) != 0 || c == '-' || c == '.';
  };
  return name.size() <= 253 && std::ranges::all_of(name, allowed);
}

// size and storageClassName.
inline Storage storage_of(const Json& given, const std::string& path, Storage out) {
  const Json& size = member(given, path, "size");
  if (size.is_number_integer()) {
    out.size = std::to_string(size.get<std::int64_t>());
  } else {
    out.size = text(given, path, "size", out.size);
  }
  if (!is_quantity_above_zero(out.size)) throw WrongType{path + ".size"};
  if (!member(given, path, "storageClassName").is_null()) {
    out.storage_class = text(given, path, "storageClassName");
    if (!is_storage_class(*out.storage_class)) throw WrongType{path + ".storageClassName"};
  }
  return out;
}

// spec.setup; nullopt: there is none.
[[nodiscard]] std::optional<Setup> read_setup(const Json& given);

}  // namespace palisade::op::spec
