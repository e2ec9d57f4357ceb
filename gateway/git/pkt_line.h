// pkt-line framing: four hex digits of length, themselves included, then that many bytes less four.
// Source: git's gitprotocol-common(5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

namespace palisade::gateway::git {

inline constexpr std::size_t kMaxPkt = 65520;  // header included
inline constexpr std::size_t kMaxPayload = kMaxPkt - 4;

enum class PktKind : std::uint8_t { kData, kFlush, kDelimiter, kResponseEnd };

struct Pkt {
  PktKind kind = PktKind::kData;
  std::string_view payload;  // of kData alone

  // Without the line feed that most lines end with.
  [[nodiscard]] std::string_view line() const {
    return payload.ends_with('\n') ? payload.substr(0, payload.size() - 1) : payload;
  }
};

// Reads packets out of a stream that comes in pieces. Holds at most one packet.
class PktReader {
 public:
  // Takes bytes from the front of `input`. A packet where one is whole (its payload is valid until
  // the next call or until what `input` points to goes), nullopt where all of `input` was taken
  // without making one whole. After an error the stream cannot be read any further.
  [[nodiscard]] std::expected<std::optional<Pkt>, std::string> next(std::string_view& input);
  // Within a packet: a stream that ends here was cut.
  [[nodiscard]] bool within() const { return !held_.empty(); }

 private:
  std::string held_;  // the beginning of a packet that is not whole yet
  bool given_ = false;
};

// A data packet. `payload` is at most kMaxPayload long.
[[nodiscard]] std::string pkt(std::string_view payload);
inline constexpr std::string_view kFlushPkt = "0000";

// `text` as packets of side band `band` (1: data, 2: messages, 3: fatal), as many as it takes.
[[nodiscard]] std::string side_band(char band, std::string_view text);

}  // namespace palisade::gateway::git
