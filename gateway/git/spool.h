// Packs on disk while they are checked. Nothing has a name there: what is spooled is gone with its
// descriptor, however the program ends.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>

#include "pack.h"

namespace palisade::gateway::git {

// The bytes that all spools together may take.
class SpoolRoom {
 public:
  explicit SpoolRoom(std::uint64_t most) : most_(most) {}
  [[nodiscard]] bool take(std::uint64_t bytes);
  void give_back(std::uint64_t bytes) { used_ -= bytes; }
  [[nodiscard]] std::uint64_t used() const { return used_; }

 private:
  std::uint64_t most_;
  std::atomic<std::uint64_t> used_{0};
};

enum class SpoolFault : std::uint8_t { kNoRoom, kDisk };
struct SpoolError {
  SpoolFault fault = SpoolFault::kDisk;
  std::string message;  // the system's
};

// One pack. Used by one thread at a time.
class Spool final : public PackSource {
 public:
  // Blocks. `room` outlives it.
  [[nodiscard]] static std::expected<std::shared_ptr<Spool>, SpoolError> open(
      const std::string& folder, std::shared_ptr<SpoolRoom> room);
  ~Spool() override;

  [[nodiscard]] std::expected<void, SpoolError> append(std::string_view bytes);  // blocks
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  [[nodiscard]] std::expected<std::size_t, std::string> read(std::uint64_t offset,
                                                             std::span<char> out) const override;

 private:
  Spool(int descriptor, std::shared_ptr<SpoolRoom> room)
      : descriptor_(descriptor), room_(std::move(room)) {}
  int descriptor_;
  std::shared_ptr<SpoolRoom> room_;
  std::uint64_t size_ = 0;
  std::uint64_t taken_ = 0;
};

}  // namespace palisade::gateway::git
