#include "delta.h"

#include <algorithm>
#include <bit>

namespace palisade::gateway::git {

namespace {
constexpr unsigned kCopyBit = 0x80;
constexpr unsigned kOffsetBits = 4;  // of the seven that say which bytes of offset and size follow
constexpr std::uint64_t kSizeOfNone = 0x10000;

std::unexpected<std::string> bad_delta(std::string what) {
  return std::unexpected(std::move(what));
}
}  // namespace

// True at the number's last byte. One that is too large becomes larger than any limit.
bool DeltaCheck::size_byte(std::uint64_t& size, unsigned char byte) {
  if (shift_ > 56) {
    size = limit_ + 1;
  } else {
    size |= static_cast<std::uint64_t>(byte & 0x7FU) << shift_;
  }
  shift_ += 7;
  if ((byte & 0x80U) != 0) return false;
  shift_ = 0;
  return true;
}

bool DeltaCheck::copied() {
  if (size_ == 0) size_ = kSizeOfNone;
  if (offset_ > base_size_ || size_ > base_size_ - offset_) return false;
  produced_ += size_;
  state_ = State::kOperation;
  return produced_ <= result_size_;
}

std::expected<void, std::string> DeltaCheck::take(std::string_view piece) {
  for (std::size_t i = 0; i < piece.size(); ++i) {
    const auto byte = static_cast<unsigned char>(piece[i]);
    switch (state_) {
      case State::kBaseSize:
      case State::kResultSize: {
        const bool base = state_ == State::kBaseSize;
        std::uint64_t& size = base ? base_size_ : result_size_;
        if (size > limit_ || shift_ > 63)
          return bad_delta("a delta of an object that is too large");
        if (size_byte(size, byte)) state_ = base ? State::kResultSize : State::kOperation;
        if (size > limit_) return bad_delta("a delta of an object that is too large");
        break;
      }
      case State::kOperation:
        if (byte == 0) return bad_delta("a delta with an unknown operation");
        offset_ = size_ = 0;
        if ((byte & kCopyBit) != 0) {
          operation_ = byte & ~kCopyBit;
          state_ = State::kCopy;
          if (operation_ == 0 && !copied())
            return bad_delta("a delta that copies from outside its base");
        } else {
          literal_ = byte;
          produced_ += byte;
          if (produced_ > result_size_) return bad_delta("a delta that makes more than it says");
          state_ = State::kLiteral;
        }
        break;
      case State::kCopy: {
        const auto bit = static_cast<unsigned>(std::countr_zero(operation_));
        operation_ &= operation_ - 1;
        if (bit < kOffsetBits)
          offset_ |= static_cast<std::uint64_t>(byte) << (8 * bit);
        else
          size_ |= static_cast<std::uint64_t>(byte) << (8 * (bit - kOffsetBits));
        if (operation_ == 0 && !copied())
          return bad_delta("a delta that copies from outside its base or makes more than it says");
        break;
      }
      case State::kLiteral: {
        const std::size_t count = std::min<std::size_t>(literal_, piece.size() - i);
        literal_ -= count;
        i += count - 1;
        if (literal_ == 0) state_ = State::kOperation;
        break;
      }
    }
  }
  return {};
}

std::expected<void, std::string> DeltaCheck::finish() const {
  if (state_ != State::kOperation) return bad_delta("a delta that is cut");
  if (produced_ != result_size_) return bad_delta("a delta that makes less than it says");
  return {};
}

std::expected<std::string, std::string> apply_delta(std::string_view base, std::string_view delta,
                                                    std::uint64_t limit) {
  DeltaCheck check(limit);
  if (auto good = check.take(delta); !good) return std::unexpected(good.error());
  if (auto whole = check.finish(); !whole) return std::unexpected(whole.error());
  if (check.base_size() != base.size()) return bad_delta("a delta of a base of another size");
  std::size_t at = 0;
  const auto byte = [&] { return static_cast<unsigned char>(delta[at++]); };
  for (int sizes = 0; sizes < 2;) {
    if ((byte() & 0x80U) == 0) ++sizes;
  }
  std::string out;
  out.reserve(check.result_size());
  while (at < delta.size()) {
    const unsigned operation = byte();
    if ((operation & kCopyBit) == 0) {
      out += delta.substr(at, operation);
      at += operation;
      continue;
    }
    std::size_t offset = 0;
    std::size_t size = 0;
    for (unsigned bit = 0; bit < 7; ++bit) {
      if ((operation >> bit & 1U) == 0) continue;
      const std::size_t value = byte();
      if (bit < kOffsetBits)
        offset |= value << (8 * bit);
      else
        size |= value << (8 * (bit - kOffsetBits));
    }
    out += base.substr(offset, size == 0 ? kSizeOfNone : size);
  }
  return out;
}

}  // namespace palisade::gateway::git
