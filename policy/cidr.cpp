#include "cidr.h"

#include <algorithm>
#include <charconv>
#include <cstddef>

namespace palisade::policy {
namespace {

using Bytes = std::array<std::uint8_t, 16>;

constexpr Bytes kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

void clear_host_bits(Cidr& range) {
  for (int i = 0; i < 16; ++i) {
    const int kept = std::clamp(range.bits - i * 8, 0, 8);
    range.bytes[static_cast<std::size_t>(i)] &=
        static_cast<std::uint8_t>(0xffU << static_cast<unsigned>(8 - kept));
  }
}

// All of `text` as a number of this base, at most `max`.
std::optional<unsigned> number(std::string_view text, int base, unsigned max) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || value > max) return std::nullopt;
  return value;
}

bool parse_v4(std::string_view text, std::uint8_t* out) {
  for (int i = 0; i < 4; ++i) {
    const auto dot = text.find('.');
    if ((dot == std::string_view::npos) != (i == 3)) return false;
    const auto part = number(text.substr(0, dot), 10, 255);
    if (!part) return false;
    *out++ = static_cast<std::uint8_t>(*part);
    text.remove_prefix(i == 3 ? text.size() : dot + 1);
  }
  return true;
}

// Groups from the front into `out`; how many bytes, or nullopt.
std::optional<std::size_t> parse_groups(std::string_view text, Bytes& out) {
  std::size_t used = 0;
  if (text.empty()) return used;
  while (true) {
    const auto colon = text.find(':');
    const std::string_view part = text.substr(0, colon);
    if (colon == std::string_view::npos && part.find('.') != std::string_view::npos) {
      if (used > 12 || !parse_v4(part, out.data() + used)) return std::nullopt;
      return used + 4;
    }
    const auto group = part.size() <= 4 ? number(part, 16, 0xffff) : std::nullopt;
    if (!group || used > 14) return std::nullopt;
    out[used++] = static_cast<std::uint8_t>(*group >> 8U);
    out[used++] = static_cast<std::uint8_t>(*group & 0xffU);
    if (colon == std::string_view::npos) return used;
    text.remove_prefix(colon + 1);
  }
}

bool parse_v6(std::string_view text, Bytes& out) {
  const auto gap = text.find("::");
  if (gap == std::string_view::npos) return parse_groups(text, out) == 16;
  Bytes tail{};
  const auto before = parse_groups(text.substr(0, gap), out);
  const auto after = parse_groups(text.substr(gap + 2), tail);
  if (!before || !after || *before + *after > 14) return false;
  std::copy_n(tail.begin(), *after, out.end() - static_cast<std::ptrdiff_t>(*after));
  return true;
}

}  // namespace

bool Cidr::contains(const Cidr& other) const {
  if (other.bits < bits) return false;
  for (int i = 0; i * 8 < bits; ++i) {
    const auto mask =
        static_cast<std::uint8_t>(0xffU << static_cast<unsigned>(8 - std::min(8, bits - i * 8)));
    const auto index = static_cast<std::size_t>(i);
    if ((bytes[index] & mask) != (other.bytes[index] & mask)) return false;
  }
  return true;
}

bool Cidr::is_v4() const {
  return Cidr{kMapped, 96}.contains(*this);
}

std::optional<Cidr> parse_cidr(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view address = text.substr(0, slash);
  const bool v4 = address.find(':') == std::string_view::npos;
  Cidr out;
  if (v4) {
    out.bytes = kMapped;
    if (!parse_v4(address, out.bytes.data() + 12)) return std::nullopt;
  } else if (!parse_v6(address, out.bytes)) {
    return std::nullopt;
  }
  const auto bits = number(text.substr(slash + 1), 10, v4 ? 32 : 128);
  if (!bits) return std::nullopt;
  out.bits = static_cast<int>(*bits) + (v4 ? 96 : 0);
  clear_host_bits(out);
  return out;
}

std::optional<Cidr> translated(const Cidr& range) {
  struct Embedding {
    Cidr prefix;
    std::size_t at;  // the byte where the IPv4 address begins
  };
  static const std::array<Embedding, 3> kEmbeddings{{
      {{{0x00, 0x64, 0xff, 0x9b}, 96}, 12},
      {{{0x20, 0x02}, 16}, 2},
      {{{}, 96}, 12},
  }};
  for (const auto& [prefix, at] : kEmbeddings) {
    if (!prefix.contains(range)) continue;
    Cidr out{kMapped, 96 + std::min(32, range.bits - prefix.bits)};
    std::copy_n(range.bytes.begin() + static_cast<std::ptrdiff_t>(at), 4, out.bytes.begin() + 12);
    clear_host_bits(out);
    return out;
  }
  return std::nullopt;
}

}  // namespace palisade::policy
