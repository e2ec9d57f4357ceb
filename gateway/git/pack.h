// Reads a pack that somebody sent, without trusting a word of it: that it is whole and sound, that
// it refers to nothing outside itself, and which commits it holds.
// Source: git's gitformat-pack(5).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "object_id.h"

namespace palisade::gateway::git {

// Where the bytes are. Read by one thread at a time.
class PackSource {
 public:
  PackSource() = default;
  PackSource(const PackSource&) = delete;
  PackSource& operator=(const PackSource&) = delete;
  virtual ~PackSource() = default;
  [[nodiscard]] virtual std::uint64_t size() const = 0;
  // As many bytes as `out` has or as there are from `offset` on; the error is the system's.
  [[nodiscard]] virtual std::expected<std::size_t, std::string> read(std::uint64_t offset,
                                                                     std::span<char> out) const = 0;
};

// What an honest pack of the same size stays far below.
struct PackLimits {
  std::uint32_t objects = 500'000;
  std::uint64_t object_bytes = 512ULL << 20;  // of one object
  std::uint64_t commit_bytes = 1ULL << 20;    // of one commit: it is held in memory
  std::uint64_t built_bytes = 32ULL << 20;    // of one object that is built from deltas in memory
  std::uint32_t delta_depth = 250;
  // Of all that is inflated, and of all that the deltas make: so much, and so much more for each
  // byte of the pack.
  std::uint64_t inflated_bytes = 512ULL << 20;
  std::uint64_t inflated_ratio = 64;
  std::uint64_t made_bytes = 1ULL << 30;
  std::uint64_t made_ratio = 256;
  std::uint64_t work_bytes = 4ULL << 30;  // of building objects, again and again
};

enum class PackFault : std::uint8_t {
  kBroken,   // not a pack, or not a sound one
  kTooMuch,  // past a limit
  kThin,     // a delta's base is not in it
  kSource,   // its bytes could not be read
  kStopped,
};

struct PackError {
  PackFault fault = PackFault::kBroken;
  std::string message;
};

// The parents of each commit in a pack.
using Commits = std::unordered_map<ObjectId, std::vector<ObjectId>, ObjectIdHash>;

struct PackContents {
  std::uint32_t objects = 0;
  Commits commits;
};

// `stop` ends it from another thread.
[[nodiscard]] std::expected<PackContents, PackError> read_pack(const PackSource& source,
                                                               ObjectFormat format,
                                                               const PackLimits& limits,
                                                               const std::atomic<bool>& stop);

// Whether `old_tip` is `new_tip` or one of its ancestors, by the pack's commits alone: each of them
// is known by what it holds, so a chain of parents that is found is a proof.
[[nodiscard]] bool is_fast_forward(const Commits& commits, const ObjectId& old_tip,
                                   const ObjectId& new_tip);

}  // namespace palisade::gateway::git
