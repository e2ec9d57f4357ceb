#include "gzip.h"

#include <array>

#include <zlib.h>

namespace kube {

namespace {

constexpr int kGzipAlone = 16 + MAX_WBITS;

}  // namespace

bool is_gzip(const Headers& headers) {
  return header(headers, "Content-Encoding") == "gzip";
}

Gunzip::Gunzip() : stream_(std::make_unique<z_stream_s>()) {
  ready_ = inflateInit2(stream_.get(), kGzipAlone) == Z_OK;
}

Gunzip::~Gunzip() {
  if (ready_) inflateEnd(stream_.get());
}

Gunzip::State Gunzip::append(std::string_view piece, std::size_t limit, std::string& out) {
  std::array<char, 32UL * 1024> decoded{};
  if (!ready_ || ended_) return State::kBroken;
  stream_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
  stream_->avail_in = static_cast<uInt>(piece.size());
  // A full buffer may leave more within zlib than there is input left.
  do {
    stream_->next_out = reinterpret_cast<Bytef*>(decoded.data());
    stream_->avail_out = static_cast<uInt>(decoded.size());
    const int result = inflate(stream_.get(), Z_NO_FLUSH);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) return State::kBroken;
    const std::size_t got = decoded.size() - stream_->avail_out;
    if (got > limit - out.size()) return State::kTooLarge;
    out.append(decoded.data(), got);
    ended_ = result == Z_STREAM_END;
  } while (!ended_ && stream_->avail_out == 0);
  return stream_->avail_in == 0 ? State::kMore : State::kBroken;
}

}  // namespace kube
