// What every fuzz target shares: a check that ends the program, and what must hold of a text that a
// person or the API server reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <simdjson.h>

namespace palisade::fuzz {

// libFuzzer keeps the input of a run that aborts.
inline void check(bool holds, std::string_view what, std::string_view detail = {}) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\n%.*s\n", static_cast<int>(what.size()), what.data(),
               static_cast<int>(detail.size()), detail.data());
  std::abort();
}

inline std::string_view view(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A text made of somebody's input may be shown: UTF-8, bounded, and with nothing in it that moves a
// cursor or reorders what is read. Line feeds only where `lines`.
inline void check_shown(std::string_view text, std::size_t limit, bool lines = false) {
  check(text.size() <= limit, "a text for people is bounded", text.substr(0, 200));
  check(simdjson::validate_utf8(text), "a text for people is UTF-8", text);
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](std::size_t at) {
      return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U;
    };
    const unsigned first = byte(i);
    const bool control = (first < 0x20 && !(lines && first == '\n')) || first == 0x7F ||
                         (first == 0xC2 && byte(i + 1) < 0xA0);
    const bool direction =
        (first == 0xD8 && byte(i + 1) == 0x9C) ||
        (first == 0xE2 && byte(i + 1) == 0x80 && byte(i + 2) >= 0x8E && byte(i + 2) <= 0xAE &&
         (byte(i + 2) <= 0x8F || byte(i + 2) >= 0xA8)) ||
        (first == 0xE2 && byte(i + 1) == 0x81 && byte(i + 2) >= 0xA6 && byte(i + 2) <= 0xA9);
    check(!control && !direction, "a text for people moves no cursor and reorders nothing", text);
  }
}

}  // namespace palisade::fuzz
