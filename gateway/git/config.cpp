#include <charconv>
#include <optional>
#include <string_view>

#include <gateway/git/config.h>

namespace palisade::gateway::git {

namespace {

using nlohmann::json;
using Text = std::expected<void, std::string>;

constexpr std::uint64_t kLeastPack = 64ULL << 10;
constexpr std::uint64_t kMostBytes = 1ULL << 40;

std::unexpected<std::string> wrong_field(std::string_view field, std::string_view what) {
  return std::unexpected(std::string(field) + ": " + std::string(what));
}

Text read_bytes(const json& value, const std::string& field, std::uint64_t& out) {
  if (!value.is_number_integer() || value < kLeastPack || value > kMostBytes) {
    return wrong_field(field, "must be a number of bytes from 65536 to 1099511627776");
  }
  out = value.get<std::uint64_t>();
  return {};
}

// 500ms, 45s, 2m, 1h.
std::optional<std::chrono::milliseconds> read_duration(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0 || number > 1'000'000'000) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  if (unit == "ms") return std::chrono::milliseconds(number);
  if (unit == "s") return std::chrono::seconds(number);
  if (unit == "m") return std::chrono::minutes(number);
  if (unit == "h") return std::chrono::hours(number);
  return std::nullopt;
}

Text read_field(const std::string& field, const json& value, GitConfig& config) {
  if (field == "maxPackBytes") return read_bytes(value, field, config.max_pack_bytes);
  if (field == "maxFetchBytes") return read_bytes(value, field, config.max_fetch_bytes);
  if (field == "maxSpoolBytes") return read_bytes(value, field, config.max_spool_bytes);
  if (field != "spool" && field != "authorities" && field != "idleTimeout")
    return wrong_field(field, "no such field");
  if (!value.is_string()) return wrong_field(field, "must be a string");
  const auto& text = value.get_ref<const std::string&>();
  if (field == "spool") {
    if (!text.starts_with('/') || text.find('\0') != std::string::npos)
      return wrong_field(field, "must be an absolute path");
    config.spool = text;
  } else if (field == "authorities") {
    if (!text.empty() && text.find("-----BEGIN CERTIFICATE-----") == std::string::npos)
      return wrong_field(
          field, "must be certificates in PEM, to be trusted beside the system's, or empty");
    config.authorities = text;
  } else {
    const auto duration = read_duration(text);
    if (!duration || *duration < std::chrono::seconds(1) || *duration > std::chrono::hours(1))
      return wrong_field(field, "must be a duration from 1s to 1h, such as 60s");
    config.idle_timeout = *duration;
  }
  return {};
}

}  // namespace

std::expected<GitConfig, std::string> parse_git_config(const json& json) {
  if (!json.is_object()) return std::unexpected("must be an object");
  GitConfig config;
  for (const auto& [field, value] : json.items()) {
    if (auto read = read_field(field, value, config); !read)
      return std::unexpected(std::move(read.error()));
  }
  if (!json.contains("maxSpoolBytes")) config.max_spool_bytes = 4 * config.max_pack_bytes;
  if (config.max_spool_bytes < config.max_pack_bytes)
    return wrong_field("maxSpoolBytes", "must be at least maxPackBytes");
  return config;
}

}  // namespace palisade::gateway::git
