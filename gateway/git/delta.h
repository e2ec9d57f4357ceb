// Deltas in packs: copies of ranges of a base, and literal bytes.
// Source: git's gitformat-pack(5), "Deltified representation".
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace palisade::gateway::git {

// Checks a delta as it comes in pieces, without its base: every copy lies within the base's size
// that it claims, and what it makes is exactly as long as it says.
class DeltaCheck {
 public:
  // `limit`: what the base and the result may be at most.
  explicit DeltaCheck(std::uint64_t limit) : limit_(limit) {}

  [[nodiscard]] std::expected<void, std::string> take(std::string_view piece);
  [[nodiscard]] std::expected<void, std::string> finish() const;
  [[nodiscard]] std::uint64_t base_size() const { return base_size_; }
  [[nodiscard]] std::uint64_t result_size() const { return result_size_; }

 private:
  enum class State : std::uint8_t { kBaseSize, kResultSize, kOperation, kCopy, kLiteral };
  [[nodiscard]] bool size_byte(std::uint64_t& size, unsigned char byte);
  [[nodiscard]] bool copied();

  std::uint64_t limit_;
  State state_ = State::kBaseSize;
  unsigned shift_ = 0;
  std::uint64_t base_size_ = 0;
  std::uint64_t result_size_ = 0;
  std::uint64_t produced_ = 0;
  unsigned operation_ = 0;  // of a copy: the bits whose bytes are still to come
  std::uint64_t offset_ = 0;
  std::uint64_t size_ = 0;
  std::uint64_t literal_ = 0;
};

// What `delta`, which DeltaCheck passed, makes of `base`.
[[nodiscard]] std::expected<std::string, std::string> apply_delta(std::string_view base,
                                                                  std::string_view delta,
                                                                  std::uint64_t limit);

}  // namespace palisade::gateway::git
