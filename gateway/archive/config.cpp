#include <gateway/archive/config.h>

namespace palisade::gateway::archive {

namespace {

using nlohmann::json;

constexpr std::uint64_t kLeastBytes = 1024ULL * 1024;
constexpr std::uint64_t kMostBytes = 1ULL << 40;
constexpr std::int64_t kMostDays = 36500;

std::unexpected<std::string> wrong(const std::string& field, const char* what) {
  return std::unexpected(field + ": " + what);
}

}  // namespace

std::expected<ArchiveConfig, std::string> parse_archive_config(const json& value) {
  if (!value.is_object()) return std::unexpected("must be an object");
  ArchiveConfig out;
  for (const auto& [field, given] : value.items()) {
    if (field == "directory") {
      if (!given.is_string() || !given.get_ref<const std::string&>().starts_with('/') ||
          given.get_ref<const std::string&>().find('\0') != std::string::npos)
        return wrong(field, "must be an absolute path");
      out.directory = given.get<std::string>();
    } else if (field == "sessionBytes") {
      if (!given.is_number_integer() || given < kLeastBytes || given > kMostBytes)
        return wrong(field, "must be a number of bytes from 1048576 to 1099511627776");
      out.session_bytes = given.get<std::uint64_t>();
    } else if (field == "retentionDays") {
      if (!given.is_number_integer() || given < 0 || given > kMostDays)
        return wrong(field, "must be a number of days from 0 (kept) to 36500");
      out.retention_days = given.get<std::int64_t>();
    } else {
      return wrong(field, "no such field");
    }
  }
  if (out.directory.empty()) return wrong("directory", "is missing: name the volume's folder");
  return out;
}

}  // namespace palisade::gateway::archive
