// Code points of UTF-8, and which of them mislead a reader. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace palisade::gateway::llm {

struct CodePoint {
  std::uint32_t code = 0xFFFFFFFF;  // where no sequence begins
  std::size_t length = 1;
};
// At a place inside the text.
[[nodiscard]] CodePoint code_point(std::string_view text, std::size_t at);

// C0 but tab, line feed and carriage return; DEL, C1; what is no character.
[[nodiscard]] bool is_control(std::uint32_t code);
// Changes the direction or the lines of what is read.
[[nodiscard]] bool is_directional(std::uint32_t code);
// Takes no room: joiners, fillers, tags.
[[nodiscard]] bool is_invisible(std::uint32_t code);
// Looks like an ASCII letter and is Greek or Cyrillic; stands for an ASCII character in another
// width or style.
[[nodiscard]] bool is_double(std::uint32_t code);
[[nodiscard]] bool is_styled(std::uint32_t code);

// `text` cut to at most `limit` bytes, at a character's border.
[[nodiscard]] std::string_view cut(std::string_view text, std::size_t limit);

}  // namespace palisade::gateway::llm
