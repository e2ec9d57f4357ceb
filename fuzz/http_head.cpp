// The gateway's readers of heads and bodies: however the bytes are cut, they are the same messages;
// what is taken as a head says one thing only, and can be written and read again.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "body.h"
#include "fuzz/check.h"
#include "head.h"
#include "text.h"

namespace {

using namespace palisade::gateway;
using palisade::fuzz::check;

constexpr std::size_t kMaxBody = 1 << 20;

// One after the other what a connection's bytes are: requests and their bodies, until one is none.
struct Message {
  RequestHead head;
  Framing framing;
  bool keep_alive = true;
  std::string body;
  bool whole = false;
  bool operator==(const Message& other) const {
    return head.method == other.head.method && head.target == other.head.target &&
           framing.kind == other.framing.kind && framing.length == other.framing.length &&
           keep_alive == other.keep_alive && body == other.body && whole == other.whole;
  }
};
struct Conversation {
  std::vector<Message> messages;
  int refused = 0;  // the status, or 1 for a body that is none
};

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), lower);
  return out;
}

std::size_t count(std::string_view text, std::string_view what) {
  std::size_t out = 0;
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string_view::npos; ++at)
    ++out;
  return out;
}

// What must hold of a head that was taken, as anybody else may read it.
void check_head(std::string_view text, const RequestHead& head, const RequestMeta& meta) {
  check(count(text, "\n") == count(text, "\r\n") && count(text, "\r") == count(text, "\r\n"),
        "every line of a head ends in CR LF", text);
  check(text.find('\0') == std::string_view::npos, "no head holds a NUL", text);
  const std::string plain = lower_case(text);
  const std::size_t lengths = count(plain, "\r\ncontent-length");
  const std::size_t codings = count(plain, "\r\ntransfer-encoding");
  check(head.fields.count("content-length") <= 1 && head.fields.count("transfer-encoding") <= 1,
        "a length is said once", text);
  check(lengths == 0 || codings == 0 || !head.fields.has("content-length") ||
            !head.fields.has("transfer-encoding"),
        "a length is said in one way", text);
  check(plain.find("\r\n ") == std::string::npos && plain.find("\r\n\t") == std::string::npos,
        "no field is folded", text);
  check(!head.fields.has("transfer-encoding") || meta.framing.kind == Framing::Kind::kChunked,
        "a coding that is taken is chunked", text);
  check(head.target.starts_with('/') && is_target(head.target), "a target is a path", text);
  check(is_token(head.method), "a method is a token", text);
  for (const Field& field : head.fields.all())
    check(is_token(field.name) && is_field_text(field.value), "a field is one", text);

  // Written anew it is the same request, with the framing that was understood.
  std::string again;
  std::optional<std::uint64_t> length = 0;
  if (meta.framing.kind == Framing::Kind::kChunked) length = std::nullopt;
  if (meta.framing.kind == Framing::Kind::kLength) length = meta.framing.length;
  check(append_request(again, head, "gateway:8443", length), "what was read can be written", text);
  HeadScanner scanner;
  const auto end = scanner.scan(again);
  check(end && *end && **end == again.size(), "what was written is one head", again);
  RequestHead read;
  const auto parsed = parse_request(again, read);
  check(parsed.has_value(), "what was written can be read", again);
  check(read.method == head.method && read.target == head.target &&
            parsed->framing.kind == meta.framing.kind &&
            parsed->framing.length == meta.framing.length,
        "what was written is what was read", again);
}

Conversation converse(std::string_view bytes, std::size_t piece) {
  Conversation out;
  std::string kept;
  const auto more = [&] {
    if (bytes.empty()) return false;
    kept.append(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    return true;
  };
  for (;;) {
    HeadScanner scanner;
    std::size_t size = 0;
    while (size == 0) {
      const auto found = scanner.scan(kept);
      if (!found) {
        out.refused = found.error().status;
        return out;
      }
      size = found->value_or(0);
      if (size == 0 && !more()) return out;
    }
    Message message;
    const auto meta = parse_request(std::string_view(kept).substr(0, size), message.head);
    if (!meta) {
      out.refused = meta.error().status;
      return out;
    }
    check_head(std::string_view(kept).substr(0, size), message.head, *meta);
    kept.erase(0, size);
    message.framing = meta->framing;
    message.keep_alive = meta->keep_alive;
    BodyReader body(meta->framing);
    for (;;) {
      const auto step = body.next(kept.data(), kept.size());
      message.body += step.piece;
      check(step.taken <= kept.size(), "no more is taken than there is");
      kept.erase(0, step.taken);
      if (step.state == BodyReader::State::kBad) {
        out.refused = 1;
        // How much of its data was seen depends on the cuts.
        message.body.clear();
        out.messages.push_back(std::move(message));
        return out;
      }
      message.whole = step.state == BodyReader::State::kDone;
      if (message.whole || (step.state == BodyReader::State::kMore && !more())) break;
    }
    check(message.body.size() <= kMaxBody, "a body is no larger than what came");
    const bool last = !message.whole;
    out.messages.push_back(std::move(message));
    if (last) return out;
  }
}

void read_response(std::string_view bytes) {
  HeadScanner scanner;
  const auto found = scanner.scan(bytes);
  if (!found || !*found) return;
  for (const char* method : {"GET", "HEAD"}) {
    ResponseHead head;
    const auto meta = parse_response(bytes.substr(0, **found), method, head);
    if (!meta) continue;
    check(head.status >= 100 && head.status <= 599, "a status is one");
    check(head.fields.count("content-length") + head.fields.count("transfer-encoding") <= 1,
          "an answer's length is said once");
    std::string again;
    head.fields.remove_hop_by_hop();
    check(append_response(again, head.status, head.fields, {meta->framing, true, false}),
          "an answer that was read can be written", again);
    check(again.find("\r\n\r\n") == again.size() - 4, "an answer's head is one", again);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = palisade::fuzz::view(data, size);
  const Conversation whole = converse(bytes, bytes.size() + 1);
  for (const std::size_t piece : {1UL, 2UL, 7UL, 64UL}) {
    const Conversation cut = converse(bytes, piece);
    check(cut.refused == whole.refused, "a refusal does not depend on the cuts");
    check(cut.messages == whole.messages, "what is read does not depend on the cuts");
  }
  read_response(bytes);
  return 0;
}
