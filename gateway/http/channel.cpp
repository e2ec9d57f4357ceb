#include "channel.h"

#include <algorithm>
#include <cstring>

#include <boost/asio/post.hpp>

namespace palisade::gateway {

namespace {

// What one connection may read without a wait before others have their turn.
constexpr std::size_t kFairShare = 256 * 1024;

NetError closed_early() {
  return {Fault::kClosed, "the connection was closed within a message"};
}

NetError of(Wake woken) {
  return woken == Wake::kTimeout ? NetError{Fault::kTimeout, "nothing came for too long"}
                                 : NetError{Fault::kStopped, "ended here"};
}

}  // namespace

Task<void> yield(Loop& loop) {
  return boost::asio::post(loop.io(), boost::asio::use_awaitable);
}

Channel::~Channel() {
  begin_ = end_ = 0;
  rest();
}

void Channel::rest() {
  if (begin_ != end_ || !block_) return;
  begin_ = end_ = 0;
  if (capacity_ == kBlockBytes)
    stream_->loop().give_back(std::move(block_));
  else
    block_.reset();
  capacity_ = 0;
}

void Channel::grow(std::size_t capacity) {
  Block larger = std::make_unique_for_overwrite<char[]>(capacity);
  std::memcpy(larger.get(), block_.get() + begin_, end_ - begin_);
  if (capacity_ == kBlockBytes) stream_->loop().give_back(std::move(block_));
  block_ = std::move(larger);
  capacity_ = capacity;
  end_ -= begin_;
  begin_ = 0;
}

Stream::Got Channel::fill(std::size_t limit) {
  if (!block_) {
    block_ = stream_->loop().take_block();
    capacity_ = kBlockBytes;
    begin_ = end_ = 0;
  }
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == capacity_ && begin_ > 0) {
    std::memmove(block_.get(), block_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == capacity_) grow(std::min(capacity_ * 2, std::max(limit, capacity_) + kBlockBytes));
  const auto got = stream_->try_read(block_.get() + end_, capacity_ - end_);
  if (got.kind == Stream::Got::kSome) end_ += got.bytes;
  return got;
}

Task<NetResult<std::string_view>> Channel::read_head(std::size_t limit, Clock::time_point first,
                                                     std::chrono::milliseconds within) {
  HeadScanner scanner;
  Clock::time_point deadline = first;
  bool begun = false;
  for (;;) {
    if (!empty()) {
      if (!begun) deadline = Loop::now() + within;
      begun = true;
      const std::string_view bytes(block_.get() + begin_, end_ - begin_);
      const auto found = scanner.scan(bytes);
      if (!found) {
        fault_ = found.error();
        co_return std::unexpected(NetError{Fault::kProtocol, fault_.what});
      }
      if (found->value_or(bytes.size()) > limit) {
        fault_ = {431, "the head is too large"};
        co_return std::unexpected(NetError{Fault::kTooLarge, fault_.what});
      }
      if (*found) {
        begin_ += **found;
        co_return bytes.substr(0, **found);
      }
    }
    const auto got = fill(limit);
    if (got.kind == Stream::Got::kSome) continue;
    if (got.kind != Stream::Got::kNone) {
      if (stream_->aborted()) co_return std::unexpected(of(Wake::kStopped));
      co_return std::unexpected(closed_early());
    }
    rest();
    const Wake woken = co_await stream_->readable(deadline);
    if (woken != Wake::kReady) co_return std::unexpected(of(woken));
  }
}

Task<NetResult<std::string_view>> Channel::read_piece(BodyReader& body,
                                                      std::chrono::milliseconds idle) {
  for (;;) {
    const auto step = body.next(block_.get() + begin_, end_ - begin_);
    begin_ += step.taken;
    switch (step.state) {
      case BodyReader::State::kPiece:
        unyielded_ += step.piece.size();
        if (unyielded_ > kFairShare) {
          unyielded_ = 0;
          co_await yield(stream_->loop());
        }
        co_return step.piece;
      case BodyReader::State::kDone:
        rest();
        co_return std::string_view();
      case BodyReader::State::kBad:
        fault_ = {400, "a chunked body that is none"};
        co_return std::unexpected(NetError{Fault::kProtocol, fault_.what});
      case BodyReader::State::kMore:
        break;
    }
    const auto got = fill(kBlockBytes);
    if (got.kind == Stream::Got::kSome) continue;
    if (got.kind != Stream::Got::kNone) {
      if (stream_->aborted()) co_return std::unexpected(of(Wake::kStopped));
      if (got.kind == Stream::Got::kEnd && body.at_end()) continue;
      co_return std::unexpected(closed_early());
    }
    rest();
    unyielded_ = 0;
    const Wake woken = co_await stream_->readable(Loop::now() + idle);
    if (woken != Wake::kReady) co_return std::unexpected(of(woken));
  }
}

}  // namespace palisade::gateway
