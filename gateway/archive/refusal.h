// Why a piece is not taken.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include <gateway/core/caller.h>

namespace palisade::gateway::archive {

template <class T>
using Outcome = std::expected<T, Refusal>;

[[nodiscard]] inline std::unexpected<Refusal> refused(int status, const char* code,
                                                      std::string message) {
  return std::unexpected(Refusal{status, code, std::move(message)});
}

// What both stores say in the same words.
[[nodiscard]] inline std::unexpected<Refusal> gap_at(std::uint64_t end) {
  return refused(
      409, "gap",
      "the stream ends at " + std::to_string(end) + ": what is before this piece is missing");
}
[[nodiscard]] inline std::unexpected<Refusal> rewritten() {
  return refused(409, "rewrite",
                 "what the archive has of the stream is not what is sent now: it was changed "
                 "after it was archived");
}
[[nodiscard]] inline std::unexpected<Refusal> already_closed() {
  return refused(409, "closed", "the session has ended: nothing is added to it any more");
}
[[nodiscard]] inline std::unexpected<Refusal> over_quota(std::uint64_t bytes) {
  return refused(413, "quota",
                 "the session has used up the " + std::to_string(bytes) +
                     " bytes that the archive has for one (archive.sessionBytes)");
}
// At a session's end.
[[nodiscard]] inline std::unexpected<Refusal> ends_elsewhere(const char* file, std::uint64_t held,
                                                             std::uint64_t end) {
  return refused(409, held < end ? "gap" : "rewrite",
                 std::string(file) + " ends at " + std::to_string(held) + " here, and not at " +
                     std::to_string(end));
}
[[nodiscard]] inline std::unexpected<Refusal> too_busy() {
  return refused(503, "archive_busy", "the archive has too much to write: try again");
}

}  // namespace palisade::gateway::archive
