#include "yaml_scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <system_error>

#include <policy/json_text.h>

namespace palisade::cli {
namespace {

constexpr std::array kTrue{
    std::string_view("y"),    std::string_view("Y"),    std::string_view("yes"),
    std::string_view("Yes"),  std::string_view("YES"),  std::string_view("true"),
    std::string_view("True"), std::string_view("TRUE"), std::string_view("on"),
    std::string_view("On"),   std::string_view("ON"),
};
constexpr std::array kFalse{
    std::string_view("n"),     std::string_view("N"),     std::string_view("no"),
    std::string_view("No"),    std::string_view("NO"),    std::string_view("false"),
    std::string_view("False"), std::string_view("FALSE"), std::string_view("off"),
    std::string_view("Off"),   std::string_view("OFF"),
};
constexpr std::array kNull{
    std::string_view(""),     std::string_view("~"),    std::string_view("null"),
    std::string_view("Null"), std::string_view("NULL"),
};
constexpr std::array kNotFinite{
    std::string_view(".nan"),  std::string_view(".NaN"),  std::string_view(".NAN"),
    std::string_view(".inf"),  std::string_view(".Inf"),  std::string_view(".INF"),
    std::string_view("+.inf"), std::string_view("+.Inf"), std::string_view("+.INF"),
    std::string_view("-.inf"), std::string_view("-.Inf"), std::string_view("-.INF"),
};

template <class List>
bool is_one_of(const List& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

bool digit(char c) {
  return c >= '0' && c <= '9';
}

// 12, -0x1f, 0o17, 017, 0b101: the base by its prefix, within int64 or uint64.
std::optional<std::string> integer(std::string_view text) {
  const bool negative = text.starts_with('-');
  const bool sign = negative || text.starts_with('+');
  if (sign) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 1 && text[0] == '0') {
    const char mark = text[1];
    if (mark == 'x' || mark == 'X') {
      base = 16;
    } else if (mark == 'o' || mark == 'O') {
      base = 8;
    } else if (mark == 'b' || mark == 'B') {
      base = 2;
    }
    text.remove_prefix(base == 10 ? 1 : 2);
    if (base == 10) base = 8;  // 017
  }
  std::uint64_t value = 0;
  const char* const last = text.data() + text.size();
  // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): its length is in `last`.
  const auto [end, error] = std::from_chars(text.data(), last, value, base);
  if (text.empty() || error != std::errc() || end != last) return std::nullopt;
  if (!negative) {
    // What needs the 64th bit is an unsigned number, and those have no sign.
    if (sign && value > 0x7FFFFFFFFFFFFFFFULL) return std::nullopt;
    return std::to_string(value);
  }
  if (value > 0x8000000000000000ULL) return std::nullopt;
  return value == 0 ? "0" : "-" + std::to_string(value);
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
bool float_shape(std::string_view text) {
  std::size_t at = 0;
  const auto digits = [&] {
    const std::size_t from = at;
    while (at < text.size() && digit(text[at]))
      ++at;
    return at - from;
  };
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
  const std::size_t before = digits();
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (digits() == 0 && before == 0) return false;
  } else if (before == 0) {
    return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

// 3.0 is 3, as Go's encoding/json writes it.
std::optional<std::string> number(std::string_view text) {
  if (!float_shape(text)) return std::nullopt;
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
  std::array<char, 64> buffer{};
  // Above 2^53 a double is no exact integer, and JSON readers refuse integers above 2^64.
  const bool whole = std::trunc(value) == value && std::fabs(value) < 9007199254740992.0;
  char* const last = buffer.data() + buffer.size();
  const auto result =
      whole ? std::to_chars(buffer.data(), last, value, std::chars_format::fixed, 0)
            : std::to_chars(buffer.data(), last, value, std::chars_format::scientific);
  return std::string(buffer.data(), result.ptr);
}

}  // namespace

Scalar text_scalar(std::string_view text) {
  Scalar scalar;
  policy::append_json(scalar.json, text);
  return scalar;
}

Scalar resolve_plain(std::string_view text) {
  if (is_one_of(kNull, text)) return {ScalarType::null, "null"};
  if (is_one_of(kTrue, text)) return {ScalarType::boolean, "true"};
  if (is_one_of(kFalse, text)) return {ScalarType::boolean, "false"};
  if (is_one_of(kNotFinite, text)) return {ScalarType::number, ""};
  const char first = text.front();
  if (digit(first) || first == '-' || first == '+') {
    std::string plain(text);
    std::erase(plain, '_');
    if (auto value = integer(plain)) return {ScalarType::integer, std::move(*value)};
    if (auto value = number(plain)) return {ScalarType::number, std::move(*value)};
  } else if (first == '.') {
    if (auto value = number(text)) return {ScalarType::number, std::move(*value)};
  }
  return text_scalar(text);
}

std::optional<Scalar> resolve_tagged(std::string_view tag, std::string_view text) {
  constexpr std::string_view kYaml = "tag:yaml.org,2002:";
  if (!tag.starts_with(kYaml)) return std::nullopt;
  tag.remove_prefix(kYaml.size());
  if (tag == "str") return text_scalar(text);
  Scalar scalar = resolve_plain(text);
  const bool fits =
      (tag == "null" && scalar.type == ScalarType::null) ||
      (tag == "bool" && scalar.type == ScalarType::boolean) ||
      (tag == "int" && scalar.type == ScalarType::integer) ||
      (tag == "float" && (scalar.type == ScalarType::number || scalar.type == ScalarType::integer));
  if (!fits) return std::nullopt;
  return scalar;
}

}  // namespace palisade::cli
