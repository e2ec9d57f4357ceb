#include "body.h"

#include "refusal.h"
#include "upstream.h"

namespace palisade::gateway::git {

namespace {

constexpr char kGzipMagic = '\x1f';  // no packet begins with it

}  // namespace

Body::Body(Exchange& exchange, std::uint64_t limit, std::chrono::milliseconds longest)
    : exchange_(exchange), limit_(limit), until_(std::chrono::steady_clock::now() + longest) {}

std::expected<void, Refusal> Body::check(std::string_view type) const {
  const Fields& fields = exchange_.request().fields;
  if (fields.count("Content-Type") != 1 || fields.get("Content-Type") != type)
    return refused(415, "content_type", "the Content-Type must be " + std::string(type));
  const std::string_view encoding = fields.get("Content-Encoding");
  if (fields.count("Content-Encoding") > 1 ||
      (!encoding.empty() && encoding != "gzip" && encoding != "x-gzip" && encoding != "identity")) {
    return refused(415, "content_encoding", "the Content-Encoding may be gzip alone");
  }
  return {};
}

Task<std::expected<void, Refusal>> Body::receive() {
  auto read = co_await exchange_.read();
  if (!read) {
    broken_ = true;
    co_return std::unexpected(client_refusal(read.error()));
  }
  if (std::chrono::steady_clock::now() > until_) {
    broken_ = true;
    co_return refused(408, "client_slow", "the request's body did not come in time");
  }
  raw_ = *read;
  ended_ = raw_.empty();
  if (received_ == 0 && raw_.starts_with(kGzipMagic)) {
    inflater_.emplace(Inflater::Wrapping::kGzip);
    inflater_->reset(limit_);
  }
  received_ += raw_.size();
  co_return std::expected<void, Refusal>();
}

// What is at hand; "" where more must come.
std::expected<std::string_view, Refusal> Body::piece() {
  std::string_view out;
  if (!inflater_) {
    out = std::exchange(raw_, {});
  } else {
    const auto made = inflater_->next(raw_);
    if (!made) return refused(400, "bad_gzip", "the request's body: " + made.error());
    out = *made;
    if (out.empty() && inflater_->ended() && !raw_.empty())
      return refused(400, "bad_gzip", "something follows the compressed body");
  }
  used_ += out.size();
  if (used_ > limit_) {
    return refused(413, "request_too_large",
                   "the request is larger than " + std::to_string(limit_) + " bytes");
  }
  return out;
}

Task<std::expected<std::string_view, Refusal>> Body::next() {
  while (true) {
    auto out = piece();
    if (!out || !out->empty()) co_return out;
    if (ended_) {
      if (inflater_ && !inflater_->ended())
        co_return refused(400, "bad_gzip", "the request's compressed body is cut");
      co_return std::string_view();
    }
    auto received = co_await receive();
    if (!received) co_return std::unexpected(std::move(received.error()));
  }
}

Task<void> Body::drain(std::uint64_t most) {
  const std::uint64_t until = received_ + most;
  while (!ended_ && !broken_ && received_ < until) {
    auto received = co_await receive();
    if (!received) break;
  }
}

}  // namespace palisade::gateway::git
