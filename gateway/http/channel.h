// A stream and what was read of it beyond the message at hand.
#pragma once

#include <chrono>
#include <cstddef>
#include <string_view>
#include <utility>

#include "body.h"
#include "head.h"
#include "stream.h"

namespace palisade::gateway {

// Of calls that their order does not allow.
[[nodiscard]] inline NetError wrong_use(const char* what) {
  return {Fault::kProtocol, what};
}

class Channel {
 public:
  explicit Channel(StreamPtr stream) : stream_(std::move(stream)) {}
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  [[nodiscard]] Stream& stream() { return *stream_; }
  [[nodiscard]] bool empty() const { return begin_ == end_; }  // nothing read ahead

  // A head in full, as HeadScanner means it, valid until the next read. Waits until `first` for its
  // first byte, then for at most `within` for the rest. Faults: kClosed, kTimeout and kStopped with
  // empty() where not even a byte had come; kTooLarge; kProtocol, see fault().
  [[nodiscard]] Task<NetResult<std::string_view>> read_head(std::size_t limit,
                                                            Clock::time_point first,
                                                            std::chrono::milliseconds within);
  [[nodiscard]] const HeadFault& fault() const { return fault_; }

  // The next piece of a body, valid until the next read; "" at its end.
  [[nodiscard]] Task<NetResult<std::string_view>> read_piece(BodyReader& body,
                                                             std::chrono::milliseconds idle);
  // Without waiting, what has come already: false where that is nothing.
  // Gives memory back where nothing is held in it.
  void rest();

 private:
  // Reads once; kNone where it must wait.
  Stream::Got fill(std::size_t limit);
  void grow(std::size_t capacity);

  StreamPtr stream_;
  Block block_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t unyielded_ = 0;
  HeadFault fault_;
};

// Lets others on the loop have their turn.
[[nodiscard]] Task<void> yield(Loop& loop);

}  // namespace palisade::gateway
