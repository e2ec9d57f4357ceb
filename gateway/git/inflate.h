// zlib, in pieces and with a bound on all that comes out.
// Source: RFC 1950, RFC 1952.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::gateway::git {

class Inflater {
 public:
  enum class Wrapping : std::uint8_t { kZlib, kGzip };
  explicit Inflater(Wrapping wrapping);
  ~Inflater();
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // For another stream, of at most `limit` bytes inflated.
  void reset(std::uint64_t limit);
  // Takes bytes from the front of `input` and gives what they inflate to, at most 64 KiB at a time;
  // valid until the next call. "" where either all input is taken or the stream is at its end:
  // bytes behind it are left in `input`.
  [[nodiscard]] std::expected<std::string_view, std::string> next(std::string_view& input);
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] std::uint64_t produced() const { return produced_; }

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  std::vector<char> buffer_;
  std::uint64_t limit_ = 0;
  std::uint64_t produced_ = 0;
  bool ended_ = false;
};

}  // namespace palisade::gateway::git
