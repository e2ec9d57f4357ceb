#include "inflate.h"

#include <algorithm>
#include <new>

#include <zlib.h>

namespace palisade::gateway::git {

namespace {
constexpr std::size_t kBuffer = 64 * 1024;
constexpr std::size_t kMostInput = 1U << 30;
}  // namespace

struct Inflater::Stream {
  z_stream z{};
};

Inflater::Inflater(Wrapping wrapping) : stream_(std::make_unique<Stream>()), buffer_(kBuffer) {
  constexpr int kGzipOnly = 16;
  if (inflateInit2(&stream_->z, MAX_WBITS + (wrapping == Wrapping::kGzip ? kGzipOnly : 0)) != Z_OK)
    throw std::bad_alloc();
}

Inflater::~Inflater() {
  inflateEnd(&stream_->z);
}

void Inflater::reset(std::uint64_t limit) {
  inflateReset(&stream_->z);
  limit_ = limit;
  produced_ = 0;
  ended_ = false;
}

std::expected<std::string_view, std::string> Inflater::next(std::string_view& input) {
  z_stream& z = stream_->z;
  if (ended_) return std::string_view();
  // zlib does not write through next_in.
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
  z.avail_in = static_cast<uInt>(std::min(input.size(), kMostInput));
  const std::size_t given = z.avail_in;
  z.next_out = reinterpret_cast<Bytef*>(buffer_.data());
  z.avail_out = static_cast<uInt>(buffer_.size());
  const int result = inflate(&z, Z_NO_FLUSH);
  input.remove_prefix(given - z.avail_in);
  const std::size_t count = buffer_.size() - z.avail_out;
  ended_ = result == Z_STREAM_END;
  if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
    return std::unexpected("compressed data that zlib does not read");
  produced_ += count;
  if (produced_ > limit_)
    return std::unexpected("it inflates to more than " + std::to_string(limit_) + " bytes");
  return std::string_view(buffer_.data(), count);
}

}  // namespace palisade::gateway::git
