#include "connection.h"

#include <cstdio>
#include <exception>
#include <optional>
#include <tuple>

#include "text.h"

namespace palisade::gateway {

namespace {

using namespace std::chrono_literals;

// What is left of a request's body after its answer is read away up to here, so that the
// connection can be kept; and what is thrown away behind a last answer, so that it arrives.
constexpr std::uint64_t kReadAway = 64 * 1024;
constexpr auto kReadAwayTime = 5s;
constexpr std::size_t kLingerBytes = 1024 * 1024;
constexpr auto kLinger = 2s;

}  // namespace

void log_line(const ServerOptions& options, const std::string& line) {
  if (options.log)
    options.log(line);
  else
    std::fprintf(stderr, "%s\n", line.c_str());
}

class Connection::OneExchange final : public Exchange {
 public:
  OneExchange(Connection& connection, const RequestHead& head, const RequestMeta& meta)
      : connection_(connection),
        options_(connection.thread_.options),
        head_(head),
        body_(meta.framing),
        to_head_(head.method == "HEAD"),
        old_version_(meta.old_version),
        waits_for_continue_(meta.expects_continue) {
    shape_.keep_alive = meta.keep_alive;
    shape_.old_version = meta.old_version;
    if (meta.framing.kind != Framing::Kind::kChunked) length_ = meta.framing.length;
  }
  ~OneExchange() override { stream().when_hung_up({}); }

  [[nodiscard]] const RequestHead& request() const override { return head_; }
  [[nodiscard]] std::string_view client() const override { return connection_.client_; }
  [[nodiscard]] std::optional<std::uint64_t> content_length() const override { return length_; }

  [[nodiscard]] Task<NetResult<std::string_view>> read() override {
    if (stopped_reading_) co_return std::unexpected(NetError{Fault::kStopped, "reading was ended"});
    if (waits_for_continue_) {
      waits_for_continue_ = false;
      static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      if (!begun_) {
        auto said = co_await stream().write(kContinue, {}, {}, options_.write_idle);
        if (!said) co_return std::unexpected(std::move(said.error()));
      }
    }
    auto piece = co_await connection_.channel_.read_piece(body_, options_.read_idle);
    if (!piece) body_broken_ = true;
    co_return piece;
  }

  [[nodiscard]] Task<NetResult<std::string>> read_all(std::size_t limit) override {
    NetError too_large{Fault::kTooLarge,
                       "the request is larger than " + std::to_string(limit) + " bytes"};
    std::string out;
    if (length_.value_or(0) > limit) co_return std::unexpected(std::move(too_large));
    for (;;) {
      auto piece = co_await read();
      if (!piece) co_return std::unexpected(std::move(piece.error()));
      if (piece->empty()) co_return out;
      if (out.size() + piece->size() > limit) co_return std::unexpected(std::move(too_large));
      out.append(*piece);
    }
  }

  [[nodiscard]] Task<NetResult<void>> reply(int status, Fields fields,
                                            std::string_view body) override {
    if (begun_) co_return std::unexpected(wrong_use("the answer has begun already"));
    set_shape(status, body.size());
    std::string head;
    if (!append_response(head, status, fields, shape_)) co_return std::unexpected(bad_fields());
    begun_ = ended_ = true;
    const std::string_view sent = bodyless_ ? std::string_view() : body;
    // Most are small: no coroutine for those.
    if (stream().put(head, sent)) co_return NetResult<void>();
    co_return co_await stream().write(head, sent, {}, options_.write_idle);
  }

  [[nodiscard]] Task<NetResult<void>> begin(int status, Fields fields,
                                            std::optional<std::uint64_t> length) override {
    if (begun_) co_return std::unexpected(wrong_use("the answer has begun already"));
    set_shape(status, length);
    std::string head;
    if (!append_response(head, status, fields, shape_)) co_return std::unexpected(bad_fields());
    begun_ = true;
    if (stream().put(head)) co_return NetResult<void>();
    co_return co_await stream().write(head, {}, {}, options_.write_idle);
  }

  [[nodiscard]] Task<NetResult<void>> write(std::string_view piece) override {
    if (!begun_ || ended_) co_return std::unexpected(wrong_use("no answer has begun"));
    written_ += piece.size();
    if (length_out_ && written_ > *length_out_) {
      broken_ = true;
      co_return std::unexpected(wrong_use("more than the answer's length"));
    }
    if (piece.empty() || bodyless_) co_return NetResult<void>();
    std::string chunk;
    std::string_view end;
    if (shape_.framing.kind == Framing::Kind::kChunked) {
      append_chunk_head(chunk, piece.size());
      end = "\r\n";
    }
    if (stream().put(chunk, piece, end)) co_return NetResult<void>();
    auto sent = co_await stream().write(chunk, piece, end, options_.write_idle);
    if (!sent) broken_ = true;
    co_return sent;
  }

  [[nodiscard]] Task<NetResult<void>> end() override {
    if (!begun_ || ended_) co_return std::unexpected(wrong_use("no answer has begun"));
    if (length_out_ && written_ < *length_out_) {
      broken_ = true;
      co_return std::unexpected(wrong_use("less than the answer's length"));
    }
    ended_ = true;
    if (shape_.framing.kind != Framing::Kind::kChunked || bodyless_ || stream().put(kLastChunk))
      co_return NetResult<void>();
    co_return co_await stream().write(kLastChunk, {}, {}, options_.write_idle);
  }

  [[nodiscard]] bool begun() const override { return begun_; }

  void when_gone(std::function<void()> callback) override {
    if (!callback || !stream().hung_up())
      stream().when_hung_up(std::move(callback));
    else
      callback();
  }

  void stop_reading() override {
    stopped_reading_ = body_broken_ = true;
    stream().stop_reader();
  }

  [[nodiscard]] Clients& clients() override { return *connection_.thread_.clients; }

  [[nodiscard]] bool whole() const { return ended_ && !broken_; }
  [[nodiscard]] bool ends_with_connection() const {
    return shape_.framing.kind == Framing::Kind::kUntilClose;
  }
  // Whether the connection is fit for another request, once what is left of the body is read away.
  [[nodiscard]] bool keeps() const {
    return shape_.keep_alive && !body_broken_ && (!waits_for_continue_ || body_.done());
  }
  // False where it is too much.
  [[nodiscard]] Task<bool> read_away() {
    if (keeps() && !body_.done() && (body_.chunked() || body_.left() <= kReadAway)) {
      std::uint64_t total = 0;
      const auto deadline = Loop::now() + kReadAwayTime;
      while (total <= kReadAway && Loop::now() < deadline) {
        const auto piece = co_await connection_.channel_.read_piece(body_, kReadAwayTime);
        if (!piece) co_return false;
        if (piece->empty()) co_return true;
        total += piece->size();
      }
    }
    co_return keeps() && body_.done();
  }

 private:
  [[nodiscard]] Stream& stream() { return connection_.channel_.stream(); }

  static NetError bad_fields() {
    return {Fault::kProtocol, "a status or a header field that cannot be written"};
  }

  void set_shape(int status, std::optional<std::uint64_t> length) {
    using Kind = Framing::Kind;
    bodyless_ = bodiless(status) || to_head_;
    if (connection_.thread_.draining) shape_.keep_alive = false;
    // What a client waits to send may come or not: no request is to be made out of it.
    if (waits_for_continue_ && !body_.done()) shape_.keep_alive = false;
    if (bodiless(status)) {
      shape_.framing = {Kind::kNone, 0};
    } else if (length) {
      shape_.framing = {Kind::kLength, *length};
      if (!to_head_) length_out_ = length;
    } else if (old_version_) {
      shape_.framing = {Kind::kUntilClose, 0};
      shape_.keep_alive = false;
    } else {
      shape_.framing = {Kind::kChunked, 0};
    }
  }

  Connection& connection_;
  const ServerOptions& options_;
  const RequestHead& head_;
  BodyReader body_;
  std::optional<std::uint64_t> length_;
  AnswerShape shape_;
  std::optional<std::uint64_t> length_out_;
  std::uint64_t written_ = 0;
  const bool to_head_;
  const bool old_version_;
  bool waits_for_continue_;
  bool stopped_reading_ = false;
  bool body_broken_ = false;
  bool begun_ = false;
  bool ended_ = false;
  bool bodyless_ = false;
  bool broken_ = false;
};

Connection::Connection(ServerThread& thread, StreamPtr stream, std::string client)
    : thread_(thread), client_(std::move(client)), channel_(std::move(stream)) {}

Connection::~Connection() = default;

Task<void> Connection::serve(TlsContext tls) {
  Stream& stream = channel_.stream();
  if (tls) {
    const auto deadline = Loop::now() + thread_.options.handshake_deadline;
    const auto secured = co_await stream.secure(tls.get(), nullptr, deadline);
    if (!secured) co_return;
    tls.reset();
  }
  co_await requests();
}

Task<void> Connection::requests() {
  for (;;) {
    RequestHead head;
    RequestMeta meta;
    if (!co_await next_head(head, meta)) co_return;
    if (!co_await one(head, meta)) co_return;
  }
}

Task<bool> Connection::next_head(RequestHead& head, RequestMeta& meta) {
  const ServerOptions& options = thread_.options;
  if (thread_.draining && channel_.empty()) {
    channel_.stream().finish();
    co_return false;
  }
  const auto place = thread_.idle.insert(thread_.idle.end(), this);
  auto text = co_await channel_.read_head(options.max_head_bytes, Loop::now() + options.idle,
                                          options.head_deadline);
  thread_.idle.erase(place);
  if (!text) {
    switch (text.error().fault) {
      case Fault::kTooLarge:
      case Fault::kProtocol:
        co_await refuse(channel_.fault().status, channel_.fault().what);
        break;
      case Fault::kTimeout:
        if (!channel_.empty())
          co_await refuse(408, "the head did not come in time");
        else
          channel_.stream().finish();
        break;
      case Fault::kStopped:
        channel_.stream().finish();
        break;
      default:
        break;
    }
    co_return false;
  }
  const auto parsed = parse_request(*text, head);
  if (!parsed) {
    co_await refuse(parsed.error().status, parsed.error().what);
    co_return false;
  }
  meta = *parsed;
  co_return true;
}

Task<bool> Connection::one(const RequestHead& head, const RequestMeta& meta) {
  OneExchange exchange(*this, head, meta);
  try {
    co_await thread_.handler(exchange);
  } catch (const std::exception& error) {
    log_line(thread_.options, std::string("a request's handler failed: ") + error.what());
  }
  exchange.when_gone({});
  if (!exchange.begun()) {
    static constexpr std::string_view kFailed = "the request could not be served\n";
    Fields fields;
    fields.add("Content-Type", "text/plain; charset=utf-8");
    const auto said = co_await exchange.reply(500, std::move(fields), kFailed);
    if (!said) co_return false;
  }
  if (!exchange.whole()) {
    // Cut: what was promised did not come, and the client must see that.
    std::ignore = co_await channel_.stream().flush(thread_.options.write_idle);
    if (exchange.ends_with_connection()) channel_.stream().reset();
    co_return false;
  }
  const bool keep = co_await exchange.read_away();
  if (keep && !thread_.draining) co_return true;
  const auto flushed = co_await channel_.stream().flush(thread_.options.write_idle);
  if (flushed) co_await linger();
  co_return false;
}

Task<void> Connection::refuse(int status, const char* what) {
  Fields fields;
  fields.add("Content-Type", "text/plain; charset=utf-8");
  const std::string body = std::string(what) + "\n";
  AnswerShape shape;
  shape.framing = {Framing::Kind::kLength, body.size()};
  shape.keep_alive = false;
  std::string text;
  if (!append_response(text, status, fields, shape)) co_return;
  const auto sent = co_await channel_.stream().write(text, body, {}, thread_.options.write_idle);
  if (!sent) co_return;
  const auto flushed = co_await channel_.stream().flush(thread_.options.write_idle);
  if (flushed) co_await linger();
}

// Closing a socket with unread bytes resets the connection, and an answer on its way with it.
Task<void> Connection::linger() {
  Stream& stream = channel_.stream();
  stream.finish();
  const auto deadline = Loop::now() + kLinger;
  std::size_t total = 0;
  Block block = stream.loop().take_block();
  while (total < kLingerBytes) {
    const auto got = stream.try_read(block.get(), kBlockBytes);
    total += got.bytes;
    if (got.kind == Stream::Got::kSome) continue;
    if (got.kind != Stream::Got::kNone) break;
    const Wake woken = co_await stream.readable(deadline);
    if (woken != Wake::kReady) break;
  }
  stream.loop().give_back(std::move(block));
}

}  // namespace palisade::gateway
