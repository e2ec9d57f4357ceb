#include <algorithm>
#include <array>
#include <span>

#include <policy/policy.h>

#include "quantity.h"
#include "volume_sources.h"

namespace palisade::policy {
namespace {

using simdjson::dom::element;

constexpr std::size_t kMaxItems = 256;

// Each reader stores the value or says what it must be.
std::string read(element value, std::vector<std::string>& target) {
  constexpr const char* kWanted = "a list of texts that are not empty";
  simdjson::dom::array list;
  if (value.get(list) != simdjson::SUCCESS || list.size() > kMaxItems) return kWanted;
  target.clear();
  for (const element item : list) {
    std::string_view text;
    if (item.get(text) != simdjson::SUCCESS || text.empty()) return kWanted;
    target.emplace_back(text);
  }
  return {};
}

std::string read(element value, bool& target) {
  return value.get(target) == simdjson::SUCCESS ? std::string() : "true or false";
}

std::string read(element value, std::int64_t& target) {
  const bool good = value.get(target) == simdjson::SUCCESS && target > 0;
  return good ? std::string() : "a whole number above 0";
}

std::string read_bytes(element value, std::int64_t& target) {
  constexpr const char* kWanted = "a number of bytes above 0, or a quantity such as \"16Gi\"";
  std::string_view text;
  if (value.get(text) != simdjson::SUCCESS) return read(value, target).empty() ? "" : kWanted;
  const auto bytes = parse_quantity(text, Unit::one);
  if (!bytes || *bytes <= 0) return kWanted;
  target = *bytes;
  return {};
}

// Settings may narrow the Pod Security Standards' restricted level, never widen it.
std::string read_volume_types(element value, std::vector<std::string>& target) {
  if (std::string wanted = read(value, target); !wanted.empty()) return wanted;
  for (const std::string& type : target) {
    if (std::ranges::find(kRestrictedVolumeSources, type) != kRestrictedVolumeSources.end()) {
      continue;
    }
    std::string wanted = "made of these and no others:";
    for (const std::string_view known : kRestrictedVolumeSources) {
      wanted += ' ';
      wanted += known;
    }
    return wanted;
  }
  return {};
}

struct Field {
  std::string_view name;
  std::string (*read)(element, Settings&);
};
constexpr std::array kFields{
    Field{"allowedSeccompLocalhostProfiles",
          [](element v, Settings& s) { return read(v, s.allowed_seccomp_localhost_profiles); }},
    Field{"allowedVolumeTypes",
          [](element v, Settings& s) { return read_volume_types(v, s.allowed_volume_types); }},
    Field{"allowedTokenAudiences",
          [](element v, Settings& s) { return read(v, s.allowed_token_audiences); }},
    Field{"requireUserNamespace",
          [](element v, Settings& s) { return read(v, s.require_user_namespace); }},
    Field{"maxLifetimeSeconds",
          [](element v, Settings& s) { return read(v, s.max_lifetime_seconds); }},
    Field{"maxCpuMillis", [](element v, Settings& s) { return read(v, s.max_cpu_millis); }},
    Field{"maxMemoryBytes",
          [](element v, Settings& s) { return read_bytes(v, s.max_memory_bytes); }},
    Field{"maxEphemeralBytes",
          [](element v, Settings& s) { return read_bytes(v, s.max_ephemeral_bytes); }},
    Field{"maxEmptyDirBytes",
          [](element v, Settings& s) { return read_bytes(v, s.max_empty_dir_bytes); }},
};

std::string unknown_field(std::string_view name) {
  std::string out =
      "policy settings: unknown field \"" + std::string(name.substr(0, 100)) + "\"; the fields are";
  for (const Field& field : kFields) {
    out += ' ';
    out += field.name;
  }
  return out;
}

}  // namespace

std::expected<Settings, std::string> parse_settings(std::string_view json) {
  Settings settings;
  simdjson::dom::parser parser;
  const simdjson::padded_string text(json);
  element root;
  if (const auto error = parser.parse(text).get(root); error != simdjson::SUCCESS) {
    return std::unexpected(std::string("policy settings are not JSON: ") +
                           simdjson::error_message(error));
  }
  simdjson::dom::object document;
  if (root.get(document) != simdjson::SUCCESS) {
    return std::unexpected("policy settings: the document must be an object");
  }
  std::array<bool, kFields.size()> seen{};
  for (const auto [name, value] : document) {
    const auto field = std::ranges::find(kFields, name, &Field::name);
    if (field == kFields.end()) return std::unexpected(unknown_field(name));
    bool& before = seen.at(static_cast<std::size_t>(field - kFields.begin()));
    if (before) {
      return std::unexpected("policy settings: " + std::string(name) + " is given twice");
    }
    before = true;
    if (const std::string wanted = field->read(value, settings); !wanted.empty()) {
      return std::unexpected("policy settings: " + std::string(name) + " must be " + wanted);
    }
  }
  return settings;
}

}  // namespace palisade::policy
