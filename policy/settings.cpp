#include <algorithm>
#include <array>
#include <span>

#include <policy/policy.h>

#include "budgets.h"
#include "object_reader.h"
#include "quantity_field.h"
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

std::string read(element value, std::optional<std::vector<std::string>>& target) {
  return read(value, target.emplace());
}

// "" stands for a pod that names no class.
std::string read_classes(element value, std::optional<std::vector<std::string>>& target) {
  constexpr const char* kWanted = "a list of RuntimeClass names, or \"\" for none";
  simdjson::dom::array list;
  if (value.get(list) != simdjson::SUCCESS || list.size() > kMaxItems) return kWanted;
  target.emplace();
  for (const element item : list) {
    std::string_view text;
    if (item.get(text) != simdjson::SUCCESS) return kWanted;
    target->emplace_back(text);
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

// What is allowed of LLM calls; errors of a part name it.
std::string read_budgets(element value, Settings& settings) {
  const auto part = [](std::expected<void, std::string> read) {
    return read ? std::string() : read.error();
  };
  const auto read = read_members(
      value, "llmBudget",
      {{"perWorkspace",
        [&](element e) {
          return part(read_budget(e, "llmBudget.perWorkspace", "", settings.workspace_budget));
        }},
       {"perNamespace", [&](element e) {
          return part(
              read_budget(e, "llmBudget.perNamespace", "PerDay", settings.namespace_budget));
        }}});
  return read ? std::string() : "as this says: " + read.error();
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
    Field{"allowedRegistries",
          [](element v, Settings& s) { return read(v, s.allowed_registries); }},
    Field{"requireDigests", [](element v, Settings& s) { return read(v, s.require_digests); }},
    Field{"allowedRuntimeClasses",
          [](element v, Settings& s) { return read_classes(v, s.allowed_runtime_classes); }},
    Field{"allowedLLMGateways",
          [](element v, Settings& s) { return read(v, s.allowed_llm_gateways); }},
    Field{"allowedGitHosts", [](element v, Settings& s) { return read(v, s.allowed_git_hosts); }},
    Field{"allowedModels", [](element v, Settings& s) { return read(v, s.allowed_models); }},
    Field{"allowedRepositories",
          [](element v, Settings& s) {
            return read_repositories(v, s.allowed_repositories.emplace());
          }},
    Field{"llmBudget", read_budgets},
    Field{"sessionUsers", [](element v, Settings& s) { return read(v, s.session_users); }},
    Field{"sessionGroups", [](element v, Settings& s) { return read(v, s.session_groups); }},
};

std::string unknown_field(std::string_view name) {
  std::string out = "policy settings: unknown field \"" + shown(name, 100) + "\"; the fields are";
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
