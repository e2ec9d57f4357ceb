// The bodies of messages: where they end, and the chunked coding.
// Source: RFC 9112, 6 and 7.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "head.h"

namespace palisade::gateway {

// Takes a body out of the bytes of a connection.
class BodyReader {
 public:
  enum class State : std::uint8_t {
    kMore,   // more bytes are needed
    kPiece,  // `piece` is some of the body
    kDone,   // it is over
    kBad,    // it is none
  };
  struct Step {
    State state = State::kMore;
    std::string_view piece;
    std::size_t taken = 0;  // bytes from the front that are used up
  };

  BodyReader() = default;
  explicit BodyReader(const Framing& framing);

  // All data that the bytes hold comes as one piece, for which that of several chunks is moved
  // together in place. What is not taken comes again, with more behind it.
  [[nodiscard]] Step next(char* bytes, std::size_t size);
  // The connection has ended, in order. False: within the body.
  [[nodiscard]] bool at_end();
  [[nodiscard]] bool done() const { return phase_ == Phase::kDone; }
  // What is surely still to come.
  [[nodiscard]] std::uint64_t left() const { return left_; }
  [[nodiscard]] bool chunked() const { return chunked_; }

 private:
  enum class Phase : std::uint8_t {
    kData,
    kUntilClose,
    kSize,
    kChunkData,
    kDataEnd,
    kTrailer,
    kDone
  };
  Step next_chunks(char* bytes, std::size_t size);
  // False: it is bad. `at` moves behind the line if it is whole.
  bool read_line(std::string_view bytes, std::size_t& at, bool& whole);

  Phase phase_ = Phase::kDone;
  bool chunked_ = false;
  std::uint64_t left_ = 0;
  std::size_t trailer_ = 0;
};

// The line before a chunk's data; the data is followed by CR LF.
void append_chunk_head(std::string& out, std::size_t size);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace palisade::gateway
