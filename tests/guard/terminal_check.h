// An independent reader of what the terminal filter let out: it knows nothing but what may be
// there, and says at which byte something else is. Shared by the tests and the fuzz target.
#pragma once

#include <cstddef>
#include <optional>
#include <regex>
#include <string>
#include <string_view>

namespace palisade::guard::testing {

// nullopt where all is well; else the offset.
inline std::optional<std::size_t> forbidden_at(std::string_view text) {
  const auto at = [&](std::size_t i) -> unsigned {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  std::size_t i = 0;
  while (i < text.size()) {
    const unsigned c = at(i);
    if (c == 0x1B) {
      const unsigned next = at(i + 1);
      if (next != '[') {
        if (next == 0 ||
            std::string_view("78DEM=>").find(static_cast<char>(next)) == std::string_view::npos)
          return i;
        i += 2;
        continue;
      }
      std::size_t end = i + 2;
      while (end < text.size() && at(end) >= 0x20 && at(end) < 0x40)
        ++end;
      const std::string body(text.substr(i + 2, end - i - 2));
      const char final = end < text.size() ? text[end] : '\0';
      if (final == '\0' || body.size() > 64) return i;
      static const std::regex numbers("[0-9;]*");
      static const std::regex colours("[0-9;:]*");
      static const std::regex one("[0-9]*");
      static const std::regex modes_on(
          "\\?(0*(1|7|12|25|47|1047|1048|1049|2004);)*0*(1|7|12|25|47|1047|1048|1049|2004)");
      static const std::regex modes_off(
          "\\?(0*(1|7|9|12|25|47|100[0-6]|1015|1016|1047|1048|1049|2004);)*0*(1|7|9|12|25|47|100[0-"
          "6]|1015|"
          "1016|1047|1048|1049|2004)");
      static const std::regex insert("(0*4;)*0*4");
      bool good = false;
      if (final == 'm') good = std::regex_match(body, colours) && body != "8" && body != "0;8";
      if (final == 'h') good = std::regex_match(body, modes_on) || std::regex_match(body, insert);
      if (final == 'l') good = std::regex_match(body, modes_off) || std::regex_match(body, insert);
      if (final == 'J' || final == 'K')
        good = body.empty() || body.find_first_not_of("0") == std::string::npos ||
               std::regex_match(body, std::regex("0*[12]"));
      if (final == 'q') good = std::regex_match(body, std::regex("0*[0-6]? "));
      if (final == 'r' || final == 'H' || final == 'f') good = std::regex_match(body, numbers);
      if (final == 's' || final == 'u') good = body.empty();
      if (std::string_view("ABCDEFGIZabde`gLMP@XST").find(final) != std::string_view::npos)
        good = std::regex_match(body, one);
      if (!good) return i;
      i = end + 1;
      continue;
    }
    if (c == '\n' || c == '\r' || c == '\t' || c == '\b' || (c >= 0x20 && c < 0x7F)) {
      ++i;
      continue;
    }
    std::size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 0;
    if (length == 0 || c > 0xF4 || i + length > text.size()) return i;
    unsigned code = c & (0xFFU >> (length + 1));
    for (std::size_t k = 1; k < length; ++k) {
      if ((at(i + k) & 0xC0U) != 0x80U) return i;
      code = code * 64 + (at(i + k) & 0x3FU);
    }
    const unsigned least = length == 2 ? 0x80U : length == 3 ? 0x800U : 0x10000U;
    const bool hidden = (code >= 0x80 && code < 0xA0) || code == 0xAD || code == 0x61C ||
                        (code >= 0x200B && code <= 0x200F) || (code >= 0x2028 && code <= 0x202E) ||
                        (code >= 0x2060 && code <= 0x206F) || code == 0xFEFF ||
                        (code >= 0xD800 && code < 0xE000) || (code >= 0xE0000 && code < 0xE1000);
    if (code < least || code > 0x10FFFF || hidden) return i;
    i += length;
  }
  return std::nullopt;
}

}  // namespace palisade::guard::testing
