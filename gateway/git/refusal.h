// What the gateway refuses, in a few words.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

#include <gateway/core/caller.h>

namespace palisade::gateway::git {

[[nodiscard]] inline Refusal refusal(int status, std::string_view code, std::string message) {
  return {status, std::string(code), std::move(message)};
}

[[nodiscard]] inline std::unexpected<Refusal> refused(int status, std::string_view code,
                                                      std::string message) {
  return std::unexpected(refusal(status, code, std::move(message)));
}

}  // namespace palisade::gateway::git
