// Why a piece is not taken.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include <gateway/core/caller.h>

namespace palisade::gateway::archive {

[[nodiscard]] inline std::unexpected<Refusal> refused(int status, const char* code,
                                                      std::string message) {
  return std::unexpected(Refusal{status, code, std::move(message)});
}

}  // namespace palisade::gateway::archive
