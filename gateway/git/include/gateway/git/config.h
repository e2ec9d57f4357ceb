// How git goes through the gateway: member `git` of gateway.json.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>

#include <nlohmann/json.hpp>

namespace palisade::gateway::git {

struct GitConfig {
  std::uint64_t max_pack_bytes = 512ULL << 20;    // of one push
  std::uint64_t max_fetch_bytes = 8ULL << 30;     // of one answer to a fetch
  std::uint64_t max_spool_bytes = 2048ULL << 20;  // of all pushes that are being checked
  std::string spool = "/spool";                   // a folder for packs until they are checked
  std::string authorities;                        // PEM; beside the system's
  std::chrono::milliseconds idle_timeout{60'000};
  bool operator==(const GitConfig&) const = default;
};

// {"maxPackBytes", "maxFetchBytes", "maxSpoolBytes", "spool", "authorities", "idleTimeout"}, each
// optional; maxSpoolBytes is four times maxPackBytes where it is not given. An unknown member, a
// wrong type or a value out of its range is an error of the form "FIELD: what is wrong".
[[nodiscard]] std::expected<GitConfig, std::string> parse_git_config(const nlohmann::json& json);

}  // namespace palisade::gateway::git
