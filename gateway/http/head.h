// A message's head: bytes to parts and back, without a socket. What one reader could take another
// way than the next is refused, so that no request hides in another.
// Source: RFC 9112, 2 to 6 and 11.2.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include <gateway/http/message.h>

namespace palisade::gateway {

// Why bytes are no head: the status to answer with (a response's reader ignores it), and what is
// wrong, without the peer's bytes.
struct HeadFault {
  int status = 400;
  const char* what = "";
};
template <class T>
using HeadResult = std::expected<T, HeadFault>;

// How a body ends.
struct Framing {
  enum class Kind : std::uint8_t { kNone, kLength, kChunked, kUntilClose };
  Kind kind = Kind::kNone;
  std::uint64_t length = 0;  // of kLength
};

// Finds where a head ends as its bytes come. Every line must end in CR LF.
class HeadScanner {
 public:
  // `bytes`: all that came since the head's first, more each time. The head's size with the empty
  // line; nullopt: more is needed.
  [[nodiscard]] HeadResult<std::optional<std::size_t>> scan(std::string_view bytes);

 private:
  std::size_t seen_ = 0;
  std::size_t line_ = 0;  // where the current one begins
};

struct RequestMeta {
  Framing framing;
  bool keep_alive = true;
  bool old_version = false;       // HTTP/1.0
  bool expects_continue = false;  // of a client that can be told so
};

// `text`: as HeadScanner found it.
[[nodiscard]] HeadResult<RequestMeta> parse_request(std::string_view text, RequestHead& head);

struct ResponseMeta {
  Framing framing;
  bool keep_alive = true;
};

// `method`: of the request, as answers to HEAD have no body.
[[nodiscard]] HeadResult<ResponseMeta> parse_response(std::string_view text,
                                                      std::string_view method, ResponseHead& head);

// Writes `head` in full. Framing and connection are told by the arguments: fields that say
// something of these (and Host) are left out. False, and nothing written, where a part is none that
// can be written: a name, value, method or target with what does not belong there.
[[nodiscard]] bool append_request(std::string& out, const RequestHead& head, std::string_view host,
                                  std::optional<std::uint64_t> length);

struct AnswerShape {
  Framing framing;
  bool keep_alive = true;
  bool old_version = false;
};
[[nodiscard]] bool append_response(std::string& out, int status, const Fields& fields,
                                   const AnswerShape& shape);

// 1xx, 204 and 304 have no body, whatever their fields say.
[[nodiscard]] constexpr bool bodiless(int status) {
  return status < 200 || status == 204 || status == 304;
}

}  // namespace palisade::gateway
