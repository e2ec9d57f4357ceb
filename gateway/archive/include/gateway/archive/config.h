// gateway.json's `archive`: where sessions' records and outputs are kept.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace palisade::gateway::archive {

struct ArchiveConfig {
  std::filesystem::path directory;                     // a volume's; absolute
  std::uint64_t session_bytes = 128ULL * 1024 * 1024;  // of one session's pod, at most
  std::int64_t retention_days = 0;                     // 0: kept until somebody removes it
  bool operator==(const ArchiveConfig&) const = default;
};

// {"directory", "sessionBytes", "retentionDays"}; the first is required. Errors are
// "FIELD: what is wrong".
[[nodiscard]] std::expected<ArchiveConfig, std::string> parse_archive_config(
    const nlohmann::json& json);

}  // namespace palisade::gateway::archive
