#include "body.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include "text.h"

namespace palisade::gateway {

namespace {

constexpr std::size_t kMaxChunkLine = 256;  // extensions mean nothing to anybody
constexpr std::size_t kMaxTrailer = 4096;
constexpr std::size_t kMaxSizeDigits = 15;

// A line that ends in CR LF, without it.
enum class Line : std::uint8_t { kMore, kWhole, kBad };
Line find_line(std::string_view bytes, std::size_t limit, std::string_view& line) {
  const std::size_t end = bytes.find('\n');
  if (end == std::string_view::npos)
    return bytes.size() > limit || !is_field_text(bytes.substr(0, bytes.find_last_not_of('\r') + 1))
               ? Line::kBad
               : Line::kMore;
  if (end == 0 || end > limit || bytes[end - 1] != '\r') return Line::kBad;
  line = bytes.substr(0, end - 1);
  return is_field_text(line) ? Line::kWhole : Line::kBad;
}

bool parse_size(std::string_view line, std::uint64_t& size) {
  const std::string_view digits = line.substr(0, line.find(';'));
  if (digits.empty() || digits.size() > kMaxSizeDigits || digits.front() == '-') return false;
  const char* const last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(digits.data(), last, size, 16);
  return error == std::errc() && end == last;
}

bool is_trailer(std::string_view line) {
  const std::size_t colon = line.find(':');
  return colon != std::string_view::npos && is_token(line.substr(0, colon));
}

}  // namespace

BodyReader::BodyReader(const Framing& framing) {
  switch (framing.kind) {
    case Framing::Kind::kNone:
      break;
    case Framing::Kind::kLength:
      left_ = framing.length;
      phase_ = left_ > 0 ? Phase::kData : Phase::kDone;
      break;
    case Framing::Kind::kChunked:
      chunked_ = true;
      phase_ = Phase::kSize;
      break;
    case Framing::Kind::kUntilClose:
      phase_ = Phase::kUntilClose;
      break;
  }
}

bool BodyReader::at_end() {
  if (phase_ == Phase::kUntilClose) phase_ = Phase::kDone;
  return phase_ == Phase::kDone;
}

BodyReader::Step BodyReader::next(char* bytes, std::size_t size) {
  if (phase_ == Phase::kDone) return {State::kDone, {}, 0};
  if (chunked_) return next_chunks(bytes, size);
  if (size == 0) return {State::kMore, {}, 0};
  if (phase_ == Phase::kUntilClose) return {State::kPiece, {bytes, size}, size};
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(size, left_));
  left_ -= taken;
  if (left_ == 0) phase_ = Phase::kDone;
  return {State::kPiece, {bytes, taken}, taken};
}

bool BodyReader::read_line(std::string_view bytes, std::size_t& at, bool& whole) {
  std::string_view line;
  const bool trailer = phase_ == Phase::kTrailer;
  const Line found =
      find_line(bytes.substr(at), trailer ? kMaxTrailer - trailer_ : kMaxChunkLine, line);
  whole = found == Line::kWhole;
  if (!whole) return found == Line::kMore;
  at += line.size() + 2;
  switch (phase_) {
    case Phase::kSize:
      if (!parse_size(line, left_)) return false;
      phase_ = left_ == 0 ? Phase::kTrailer : Phase::kChunkData;
      return true;
    case Phase::kDataEnd:
      phase_ = Phase::kSize;
      return line.empty();
    default:
      trailer_ += line.size() + 2;
      if (line.empty()) phase_ = Phase::kDone;
      return line.empty() || (trailer_ < kMaxTrailer && is_trailer(line));
  }
}

BodyReader::Step BodyReader::next_chunks(char* bytes, std::size_t size) {
  std::size_t at = 0;
  std::size_t begin = 0;  // of the piece
  std::size_t out = 0;    // its end
  while (phase_ != Phase::kDone) {
    if (phase_ == Phase::kChunkData) {
      const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(size - at, left_));
      if (taken == 0) break;
      if (out == begin)
        begin = out = at;
      else
        std::memmove(bytes + out, bytes + at, taken);
      out += taken;
      at += taken;
      left_ -= taken;
      if (left_ > 0) break;
      phase_ = Phase::kDataEnd;
      continue;
    }
    bool whole = false;
    if (!read_line({bytes, size}, at, whole)) return {State::kBad, {}, at};
    if (!whole) break;
  }
  if (out > begin) return {State::kPiece, {bytes + begin, out - begin}, at};
  return {phase_ == Phase::kDone ? State::kDone : State::kMore, {}, at};
}

void append_chunk_head(std::string& out, std::size_t size) {
  std::array<char, 20> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), size, 16);
  out.append(text.data(), end);
  out += "\r\n";
}

}  // namespace palisade::gateway
