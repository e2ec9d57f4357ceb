#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "quantity_field.h"

namespace palisade::policy {
namespace {

__extension__ using Wide = unsigned __int128;

struct Suffix {
  std::string_view text;
  int decimal;  // power of ten
  int binary;   // power of two
};
constexpr std::array kSuffixes{
    Suffix{"", 0, 0},    Suffix{"n", -9, 0},  Suffix{"u", -6, 0},  Suffix{"m", -3, 0},
    Suffix{"k", 3, 0},   Suffix{"M", 6, 0},   Suffix{"G", 9, 0},   Suffix{"T", 12, 0},
    Suffix{"P", 15, 0},  Suffix{"E", 18, 0},  Suffix{"Ki", 0, 10}, Suffix{"Mi", 0, 20},
    Suffix{"Gi", 0, 30}, Suffix{"Ti", 0, 40}, Suffix{"Pi", 0, 50}, Suffix{"Ei", 0, 60},
};
constexpr std::size_t kMaxQuantity = 128;
// Digits that are kept exactly; times 2^60 they still fit 128 bits. Further ones only scale and
// round.
constexpr int kMaxDigits = 20;
constexpr int kMaxExponent = 1000;
constexpr Wide kMax = std::numeric_limits<std::int64_t>::max();

// The power of ten and of two that a suffix stands for; false where it is none.
bool read_suffix(std::string_view suffix, int& decimal, int& binary) {
  const auto known = std::ranges::find(kSuffixes, suffix, &Suffix::text);
  if (known != kSuffixes.end()) {
    decimal += known->decimal;
    binary = known->binary;
    return true;
  }
  if (!suffix.starts_with('e') && !suffix.starts_with('E')) return false;
  std::string_view number = suffix.substr(1);
  if (number.starts_with('+')) {
    number.remove_prefix(1);
    if (number.starts_with('-')) return false;
  }
  int exponent = 0;
  const char* const last = number.data() + number.size();
  // NOLINTNEXTLINE(bugprone-suspicious-stringview-data-usage): its length is in `last`.
  const auto [end, error] = std::from_chars(number.data(), last, exponent);
  if (number.empty() || end != last || error == std::errc::invalid_argument) return false;
  if (error == std::errc::result_out_of_range) {
    exponent = number.starts_with('-') ? -kMaxExponent : kMaxExponent;
  }
  decimal += std::clamp(exponent, -kMaxExponent, kMaxExponent);
  return true;
}

}  // namespace

std::optional<std::int64_t> parse_quantity(std::string_view text, Unit unit) {
  if (text.size() > kMaxQuantity) return std::nullopt;
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);

  Wide digits = 0;
  bool rest = false;  // something below the last kept digit is not zero
  bool point = false;
  bool any = false;
  int kept = 0;
  int decimal = unit == Unit::milli ? 3 : 0;
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '.') {
      if (point) return std::nullopt;
      point = true;
      continue;
    }
    if (c < '0' || c > '9') break;
    any = true;
    const auto digit = static_cast<unsigned>(c - '0');
    if (kept == kMaxDigits) {
      rest = rest || digit != 0;
      if (!point) ++decimal;
      continue;
    }
    digits = digits * 10 + digit;
    if (digits != 0) ++kept;
    if (point) --decimal;
  }
  int binary = 0;
  if (!any || !read_suffix(text.substr(at), decimal, binary)) return std::nullopt;

  digits <<= static_cast<unsigned>(binary);  // below 10^20 * 2^60 < 2^127
  for (; decimal > 0 && digits != 0 && digits <= kMax; --decimal)
    digits *= 10;
  for (; decimal < 0 && digits != 0; ++decimal) {
    rest = rest || digits % 10 != 0;
    digits /= 10;
  }
  if (rest) ++digits;
  const auto value = static_cast<std::int64_t>(std::min(digits, kMax));
  return negative ? -value : value;
}

Read<std::int64_t> read_quantity(const Node& node, Unit unit) {
  if (!node.present()) return {node.state()};
  std::optional<std::int64_t> value;
  switch (node.value().type()) {
    case simdjson::dom::element_type::STRING:
      value = parse_quantity(std::string_view(node.value().get_string()), unit);
      break;
    case simdjson::dom::element_type::INT64:
    case simdjson::dom::element_type::UINT64:
    case simdjson::dom::element_type::DOUBLE:
      value = parse_quantity(simdjson::minify(node.value()), unit);
      break;
    default:
      break;
  }
  if (!value) return {State::broken};
  return {State::present, *value};
}

}  // namespace palisade::policy
