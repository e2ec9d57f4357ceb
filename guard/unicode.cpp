#include "unicode.h"

namespace palisade::guard::unicode {

Point decode(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const std::size_t length = length_of(byte(0));
  if (length == 1) return {byte(0), 1};
  if (length == 0 || at + length > text.size() || !may_follow(byte(0), byte(1))) return {};
  std::uint32_t code = byte(0) & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    code = (code << 6U) | (byte(i) & 0x3FU);
  }
  return {code, length};
}

void append(std::string& out, std::uint32_t code) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  const auto more = [&](unsigned shift) { put(0x80U | ((code >> shift) & 0x3FU)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0U | (code >> 6U));
    more(0);
  } else if (code < 0x10000) {
    put(0xE0U | (code >> 12U));
    more(6);
    more(0);
  } else {
    put(0xF0U | (code >> 18U));
    more(12);
    more(6);
    more(0);
  }
}

Kind kind_of(std::uint32_t code) {
  if (code >= 0x20 && code < 0x7F) return Kind::kShown;
  if (code < 0xA0 || code > 0x10FFFF) return Kind::kControl;
  const auto in = [code](std::uint32_t first, std::uint32_t last) {
    return code >= first && code <= last;
  };
  // The bidirectional controls first: they stand among invisible ones.
  if (code == 0x61C || in(0x200E, 0x200F) || in(0x2028, 0x202E) || in(0x2066, 0x2069))
    return Kind::kControl;
  if (in(0xD800, 0xDFFF) || (code & 0xFFFEU) == 0xFFFE || in(0xFDD0, 0xFDEF)) return Kind::kControl;
  const bool hidden = code == 0xAD || code == 0x34F || in(0x115F, 0x1160) || in(0x17B4, 0x17B5) ||
                      in(0x180B, 0x180F) || in(0x200B, 0x200D) || in(0x2060, 0x206F) ||
                      code == 0x2800 || code == 0x3164 || code == 0xFEFF || code == 0xFFA0 ||
                      in(0xFFF0, 0xFFFB) || in(0x1BCA0, 0x1BCA3) || in(0x1D173, 0x1D17A) ||
                      in(0xE0000, 0xE0FFF);
  return hidden ? Kind::kHidden : Kind::kShown;
}

}  // namespace palisade::guard::unicode
