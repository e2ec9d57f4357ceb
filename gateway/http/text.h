// Characters and words of header fields.
// Source: RFC 9110, 5.5 and 5.6.
#pragma once

#include <string_view>

namespace palisade::gateway {

[[nodiscard]] constexpr char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

[[nodiscard]] constexpr bool same_word(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

[[nodiscard]] constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// A character of a token, as a field's name is one.
[[nodiscard]] constexpr bool is_token_char(char c) {
  if (is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

[[nodiscard]] constexpr bool is_token(std::string_view text) {
  for (const char c : text) {
    if (!is_token_char(c)) return false;
  }
  return !text.empty();
}

// A field's value, or a reason: no control character but the tab, so no end of a line.
[[nodiscard]] constexpr bool is_field_text(std::string_view text) {
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7F) return false;
  }
  return true;
}

// A request's target in origin-form: visible ASCII, no fragment.
[[nodiscard]] constexpr bool is_target(std::string_view text) {
  for (const char c : text) {
    if (c <= 0x20 || c >= 0x7F || c == '#') return false;
  }
  return text.starts_with('/');
}

[[nodiscard]] constexpr std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
    text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t'))
    text.remove_suffix(1);
  return text;
}

// Each non-empty member of a comma-separated list, until `visit` says false.
template <class Visit>
constexpr void for_each_word(std::string_view list, Visit visit) {
  while (!list.empty()) {
    const std::size_t end = list.find(',') == std::string_view::npos ? list.size() : list.find(',');
    const std::string_view word = trimmed(list.substr(0, end));
    list.remove_prefix(end == list.size() ? end : end + 1);
    if (!word.empty() && !visit(word)) return;
  }
}

}  // namespace palisade::gateway
