// gateway.json's `archive`: where sessions' records and outputs are kept.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace palisade::gateway::archive {

// A bucket of a server that speaks S3, by path-style addresses.
struct S3Config {
  std::string endpoint;  // https://HOST[:PORT]; http:// on loopback alone
  std::string region;
  std::string bucket;
  std::string prefix;                 // of all keys, without a slash around it; "": none
  std::filesystem::path credentials;  // a folder with the files accessKeyID and secretAccessKey
  std::string authorities;            // PEM; the only ones trusted; "": the system's
  bool operator==(const S3Config&) const = default;

  [[nodiscard]] std::string key(const std::string& below) const {
    return prefix.empty() ? below : prefix + "/" + below;
  }
};

struct ArchiveConfig {
  std::filesystem::path directory;  // a volume's; absolute; "" where s3 is
  std::optional<S3Config> s3;
  std::uint64_t session_bytes = 128ULL * 1024 * 1024;  // of one session's pod, at most
  std::int64_t retention_days = 0;  // of a directory; 0: kept until somebody removes it
  bool operator==(const ArchiveConfig&) const = default;
};

// {"directory" or "s3", "sessionBytes", "retentionDays"}; "s3": {"endpoint", "region", "bucket",
// "prefix", "credentials", "authorities"}, of which prefix and authorities may be left out. Errors
// are "FIELD: what is wrong".
[[nodiscard]] std::expected<ArchiveConfig, std::string> parse_archive_config(
    const nlohmann::json& json);

}  // namespace palisade::gateway::archive
