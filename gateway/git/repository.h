// Where a workspace's repository is.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include <gateway/http/client.h>

namespace palisade::gateway::git {

struct Repository {
  Origin origin;
  std::string path;  // "/team/app.git", no trailing slash
};

// https://HOST[:PORT]/PATH alone: a token goes there. The error says what is wrong.
[[nodiscard]] std::expected<Repository, std::string> parse_repository(std::string_view url);

// The value of an Authorization field.
[[nodiscard]] std::string basic_authorization(std::string_view username, std::string_view token);

// The host that a Location field names, for a message; "" where it names none, or none that could
// be shown.
[[nodiscard]] std::string host_of_location(std::string_view location);

}  // namespace palisade::gateway::git
