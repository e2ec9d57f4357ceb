#include "pkt_line.h"

#include <algorithm>
#include <array>

namespace palisade::gateway::git {

namespace {

constexpr std::size_t kPktHeader = 4;

std::optional<std::size_t> length_of(std::string_view header) {
  std::size_t length = 0;
  for (const char c : header) {
    std::size_t digit = 0;
    if (c >= '0' && c <= '9')
      digit = static_cast<std::size_t>(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = static_cast<std::size_t>(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F')
      digit = static_cast<std::size_t>(c - 'A') + 10;
    else
      return std::nullopt;
    length = length << 4U | digit;
  }
  return length;
}

}  // namespace

std::expected<std::optional<Pkt>, std::string> PktReader::next(std::string_view& input) {
  if (given_) {
    held_.clear();
    given_ = false;
  }
  const auto hold = [&](std::size_t most) {
    const std::size_t count = std::min(most - held_.size(), input.size());
    held_.append(input.substr(0, count));
    input.remove_prefix(count);
    return held_.size() == most;
  };
  std::string_view header;
  if (held_.empty() && input.size() >= kPktHeader) {
    header = input.substr(0, kPktHeader);
  } else {
    if (held_.size() < kPktHeader && !hold(kPktHeader)) return std::nullopt;
    header = std::string_view(held_).substr(0, kPktHeader);
  }
  const auto length = length_of(header);
  if (!length) return std::unexpected("a packet's length is not four hex digits");
  if (*length == 3 || *length > kMaxPkt)
    return std::unexpected("a packet's length is " + std::to_string(*length));
  const std::size_t whole = std::max(*length, kPktHeader);
  Pkt out;
  if (*length < kPktHeader) {
    constexpr std::array kKinds = {PktKind::kFlush, PktKind::kDelimiter, PktKind::kResponseEnd};
    out.kind = kKinds.at(*length);
  }
  if (held_.empty()) {
    if (input.size() < whole) {
      hold(whole);
      return std::nullopt;
    }
    out.payload = input.substr(kPktHeader, whole - kPktHeader);
    input.remove_prefix(whole);
    return out;
  }
  if (held_.size() < whole && !hold(whole)) return std::nullopt;
  out.payload = std::string_view(held_).substr(kPktHeader);
  given_ = true;
  return out;
}

std::string pkt(std::string_view payload) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const std::size_t length = payload.size() + kPktHeader;
  std::string out;
  out.reserve(length);
  for (const unsigned shift : {12U, 8U, 4U, 0U})
    out += kDigits[length >> shift & 0xFU];
  out += payload;
  return out;
}

std::string side_band(char band, std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, kMaxPayload - 1);
    out += pkt(std::string(1, band) + std::string(piece));
    text.remove_prefix(piece.size());
  }
  return out;
}

}  // namespace palisade::gateway::git
