// How registries ask who is there, and what Docker's configuration has to answer. Pure.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include <policy/signatures.h>

namespace palisade::webhook {

inline constexpr std::string_view kDockerHub = "docker.io";

// ASCII letters alike in either case.
[[nodiscard]] bool same_letters(std::string_view a, std::string_view b);

// A challenge of HTTP authentication (RFC 9110, 11.6.1), the first that is understood.
struct Challenge {
  bool is_bearer = false;  // else Basic
  std::string realm;       // of Bearer: where tokens are
  std::string service;
};
[[nodiscard]] std::optional<Challenge> read_challenge(std::string_view www_authenticate);

// "USER:PASSWORD" that a Docker configuration has for a repository, "" where it has none: of the
// entries that name its registry, or a beginning of its path there, the longest. The error names
// the entry.
[[nodiscard]] std::expected<std::string, std::string> credential_for(
    std::string_view docker_config, const policy::ImageName& image);

}  // namespace palisade::webhook
