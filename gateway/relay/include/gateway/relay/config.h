// What the relay is told: one JSON file from the session's ConfigMap.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::gateway::relay {

struct Url {
  bool tls = true;
  std::string host;
  std::uint16_t port = 443;
  std::string path;  // without a slash at its end; may be ""
};

struct Route {
  std::string name;     // "git" is answered in plain text, any other as OpenAI's API does
  std::string address;  // the loopback address to listen on
  std::uint16_t port = 0;
  std::string path;                  // requests below it are passed on; as "/v1"
  Url url;                           // to here, with the rest of their path
  std::string connect_to;            // an IP address or a name; "": the URL's host
  std::filesystem::path token_file;  // empty: no Authorization
  std::filesystem::path ca_file;     // the only authorities; empty: the system's
};

// Where what guard writes is sent, while the session runs: no route, and nothing that the agent can
// ask for.
struct ArchiveRoute {
  Url url;                           // https://GATEWAY/archive
  std::string connect_to;            // as a route's
  std::filesystem::path token_file;  // as a route's
  std::filesystem::path ca_file;     // as a route's
  std::filesystem::path record;      // guard's record
  std::filesystem::path output;      // what the agent printed
};

struct Config {
  std::vector<Route> routes;
  std::optional<ArchiveRoute> archive;
  std::filesystem::path termination_log;  // empty: none
};

// Unknown fields are ignored (an older relay beside a newer operator); a missing or wrong one is an
// error that names it.
[[nodiscard]] std::expected<Config, std::string> load_config(const std::filesystem::path& file);
[[nodiscard]] std::expected<Config, std::string> parse_config(std::string_view json);

}  // namespace palisade::gateway::relay
