// Code points of UTF-8, and which of them may be shown. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace palisade::guard::unicode {

inline constexpr std::uint32_t kInvalid = 0xFFFFFFFF;
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// How many bytes a sequence has that begins with this one; 0 where none does.
[[nodiscard]] constexpr std::size_t length_of(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first < 0xE0) return 2;
  if (first >= 0xE0 && first < 0xF0) return 3;
  return first >= 0xF0 && first <= 0xF4 ? 4 : 0;
}

// Whether `second` can follow `first`: no overlong form, no surrogate, nothing past U+10FFFF.
[[nodiscard]] constexpr bool may_follow(unsigned char first, unsigned char second) {
  if ((second & 0xC0U) != 0x80U) return false;
  if (first == 0xE0) return second >= 0xA0;
  if (first == 0xED) return second < 0xA0;
  if (first == 0xF0) return second >= 0x90;
  return first != 0xF4 || second < 0x90;
}

struct Point {
  std::uint32_t code = kInvalid;
  std::size_t length = 1;  // bytes that were read
};
// The code point at `at`, which is inside the text; kInvalid and one byte where none begins there.
[[nodiscard]] Point decode(std::string_view text, std::size_t at);
void append(std::string& out, std::uint32_t code);

enum class Kind {
  kShown,
  kControl,  // C0, DEL, C1, bytes that are no UTF-8, bidirectional controls, line separators
  kHidden,   // takes no room: joiners, fillers, tags, variation selectors beyond U+FE0F
};
[[nodiscard]] Kind kind_of(std::uint32_t code);

}  // namespace palisade::guard::unicode
