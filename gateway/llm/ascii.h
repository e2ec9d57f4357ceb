// Characters of ASCII, whatever the locale.
#pragma once

namespace palisade::gateway::llm {

[[nodiscard]] constexpr bool digit(char c) {
  return c >= '0' && c <= '9';
}

[[nodiscard]] constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace palisade::gateway::llm
