#include "unicode.h"

#include <algorithm>
#include <array>

namespace palisade::gateway::llm {
namespace {

bool in(std::uint32_t code, std::uint32_t first, std::uint32_t last) {
  return code >= first && code <= last;
}

// Sorted. Source: Unicode Technical Standard 39, confusables of the Latin letters. Small Greek
// letters that formulas use beside Latin ones are left out.
constexpr std::array<std::uint32_t, 55> kDoubles{
    0x0391, 0x0392, 0x0395, 0x0396, 0x0397, 0x0399, 0x039A, 0x039C, 0x039D, 0x039F, 0x03A1,
    0x03A4, 0x03A5, 0x03A7, 0x03BF, 0x03F2, 0x03F3, 0x0405, 0x0406, 0x0408, 0x0410, 0x0412,
    0x0415, 0x041A, 0x041C, 0x041D, 0x041E, 0x0420, 0x0421, 0x0422, 0x0423, 0x0425, 0x0430,
    0x0433, 0x0435, 0x043A, 0x043E, 0x0440, 0x0441, 0x0443, 0x0445, 0x0455, 0x0456, 0x0458,
    0x0474, 0x0475, 0x04AE, 0x04AF, 0x04BB, 0x04C0, 0x04CF, 0x0501, 0x050C, 0x051B, 0x051D};
static_assert(std::ranges::is_sorted(kDoubles));

}  // namespace

CodePoint code_point(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return {first, 1};
  const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || at + length > text.size()) return {};
  std::uint32_t code = first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return {};
    code = (code << 6U) | (byte(i) & 0x3FU);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || code > 0x10FFFF || in(code, 0xD800, 0xDFFF)) return {};
  return {code, length};
}

bool is_control(std::uint32_t code) {
  if (code == '\t' || code == '\n' || code == '\r') return false;
  return code < 0x20 || in(code, 0x7F, 0x9F) || code > 0x10FFFF || (code & 0xFFFEU) == 0xFFFE ||
         in(code, 0xFDD0, 0xFDEF);
}

bool is_directional(std::uint32_t code) {
  return code == 0x61C || in(code, 0x200E, 0x200F) || in(code, 0x2028, 0x202E) ||
         in(code, 0x2066, 0x2069);
}

bool is_invisible(std::uint32_t code) {
  return code == 0xAD || code == 0x34F || in(code, 0x115F, 0x1160) || in(code, 0x17B4, 0x17B5) ||
         in(code, 0x180B, 0x180F) || in(code, 0x200B, 0x200D) || in(code, 0x2060, 0x2065) ||
         in(code, 0x206A, 0x206F) || code == 0x2800 || code == 0x3164 || code == 0xFEFF ||
         code == 0xFFA0 || in(code, 0xFFF0, 0xFFFB) || in(code, 0x1BCA0, 0x1BCA3) ||
         in(code, 0x1D173, 0x1D17A) || in(code, 0xE0000, 0xE0FFF);
}

bool is_double(std::uint32_t code) {
  return std::ranges::binary_search(kDoubles, code);
}

bool is_styled(std::uint32_t code) {
  return in(code, 0xFF10, 0xFF19) || in(code, 0xFF21, 0xFF3A) || in(code, 0xFF41, 0xFF5A) ||
         in(code, 0x1D400, 0x1D7FF);
}

std::string_view cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0U) == 0x80U)
    --limit;
  return text.substr(0, limit);
}

}  // namespace palisade::gateway::llm
