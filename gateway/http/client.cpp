#include <algorithm>
#include <cstdint>
#include <list>
#include <utility>
#include <vector>

#include "channel.h"
#include "connect.h"
#include "pool.h"

namespace palisade::gateway {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kMaxHead = 64 * 1024;
constexpr int kMaxInterim = 8;        // 1xx answers before the real one
constexpr std::size_t kMaxKept = 64;  // of an origin
constexpr auto kKeptFor = 50s;        // servers close at 60 s and above
constexpr auto kSameTurn = 8ms;
constexpr auto kWriteIdle = 60s;
constexpr auto kTrustedFor = 10min;  // TLS settings that nobody used

std::string host_field(const Origin& origin) {
  std::string out =
      origin.host.find(':') == std::string::npos ? origin.host : "[" + origin.host + "]";
  if (origin.port != (origin.tls ? 443 : 80)) out += ":" + std::to_string(origin.port);
  return out;
}

// An origin and what is kept for it.
struct Pool {
  struct Kept {
    std::unique_ptr<Channel> channel;
    Clock::time_point since;
  };
  explicit Pool(Origin its_origin) : origin(std::move(its_origin)), host(host_field(origin)) {}

  const Origin origin;
  const std::string host;
  TlsContext tls;
  std::list<Kept> kept;  // the longest idle first
  Clock::time_point used;
};

// Calls may outlive the pool's place in the list.
using PoolPtr = std::shared_ptr<Pool>;

void keep(const PoolPtr& pool, std::unique_ptr<Channel> channel) {
  channel->rest();
  pool->kept.push_back({std::move(channel), Loop::now()});
  const auto place = std::prev(pool->kept.end());
  if (pool->kept.size() > kMaxKept) pool->kept.pop_front();
  Pool* raw = pool.get();  // which owns the connection, and its callback with it
  // Again and again where what came was TLS's own, as session tickets are.
  struct Watch {
    Pool* pool;
    std::list<Pool::Kept>::iterator place;
    void operator()(Wake woken) const {
      Stream& stream = place->channel->stream();
      if (woken == Wake::kReady && stream.is_quiet())
        stream.call_when_readable(place->since + kKeptFor, *this);
      else
        pool->kept.erase(place);
    }
  };
  place->channel->stream().call_when_readable(place->since + kKeptFor, Watch{raw, place});
}

class OneCall final : public Call {
 public:
  OneCall(PoolPtr pool, std::unique_ptr<Channel> channel, bool reused)
      : pool_(std::move(pool)), channel_(std::move(channel)), reused_(reused) {}

  ~OneCall() override {
    Stream& stream = channel_->stream();
    if (sent_ && answered_ && body_.done() && keep_alive_ && channel_->empty() &&
        !stream.hung_up() && !stream.broken() && !stream.aborted() && !stream.loop().aborted() &&
        (stream.drained() || stream.is_quiet()))
      keep(pool_, std::move(channel_));
  }

  [[nodiscard]] Task<NetResult<void>> send(RequestHead head,
                                           std::optional<std::uint64_t> length) override {
    if (!method_.empty()) co_return std::unexpected(wrong_use("a call sends one request"));
    std::string text;
    if (!append_request(text, head, pool_->host, length))
      co_return std::unexpected(
          wrong_use("a method, target or header field that cannot be written"));
    method_ = std::move(head.method);
    length_ = length;
    sent_ = length && *length == 0;
    if (channel_->stream().put(text)) co_return NetResult<void>();
    co_return co_await channel_->stream().write(text, {}, {}, kWriteIdle);
  }

  [[nodiscard]] Task<NetResult<void>> write(std::string_view piece) override {
    if (method_.empty() || sent_) co_return std::unexpected(wrong_use("no body is to come"));
    written_ += piece.size();
    if (length_ && written_ > *length_)
      co_return std::unexpected(wrong_use("more than the request's length"));
    if (piece.empty()) co_return NetResult<void>();
    std::string chunk;
    std::string_view end;
    if (!length_) {
      append_chunk_head(chunk, piece.size());
      end = "\r\n";
    }
    if (channel_->stream().put(chunk, piece, end)) co_return NetResult<void>();
    co_return co_await channel_->stream().write(chunk, piece, end, kWriteIdle);
  }

  [[nodiscard]] Task<NetResult<void>> finish() override {
    if (sent_) co_return NetResult<void>();
    if (method_.empty() || (length_ && written_ != *length_))
      co_return std::unexpected(wrong_use("not the request's length"));
    sent_ = true;
    if (length_ || channel_->stream().put(kLastChunk)) co_return NetResult<void>();
    co_return co_await channel_->stream().write(kLastChunk, {}, {}, kWriteIdle);
  }

  [[nodiscard]] Task<NetResult<ResponseHead>> response(
      std::chrono::milliseconds deadline) override {
    if (method_.empty() || answered_) co_return std::unexpected(wrong_use("no answer is to come"));
    const auto until = Loop::now() + deadline;
    for (int i = 0; i <= kMaxInterim; ++i) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Loop::now());
      auto text = co_await channel_->read_head(kMaxHead, until, std::max(left, 1ms));
      if (!text) co_return std::unexpected(answer_fault(text.error()));
      ResponseHead head;
      const auto meta = parse_response(*text, method_, head);
      if (!meta) co_return std::unexpected(NetError{Fault::kProtocol, where() + meta.error().what});
      if (head.status == 101)
        co_return std::unexpected(
            NetError{Fault::kProtocol, where() + "another protocol, which nobody asked for"});
      if (head.status < 200) continue;
      answered_ = true;
      keep_alive_ = meta->keep_alive;
      body_ = BodyReader(meta->framing);
      co_return std::move(head);
    }
    co_return std::unexpected(NetError{Fault::kProtocol, where() + "too many interim answers"});
  }

  [[nodiscard]] Task<NetResult<std::string_view>> read(std::chrono::milliseconds idle) override {
    if (!answered_) co_return std::unexpected(wrong_use("the answer's head was not read"));
    auto piece = co_await channel_->read_piece(body_, idle);
    if (!piece) co_return std::unexpected(answer_fault(piece.error()));
    co_return piece;
  }

  void abort() override { channel_->stream().abort(); }
  [[nodiscard]] bool reused() const override { return reused_; }

 private:
  [[nodiscard]] std::string where() const { return pool_->host + ": "; }
  [[nodiscard]] NetError answer_fault(const NetError& error) const {
    return {error.fault, where() + error.message};
  }

  PoolPtr pool_;
  std::unique_ptr<Channel> channel_;
  const bool reused_;
  std::string method_;
  std::optional<std::uint64_t> length_;
  std::uint64_t written_ = 0;
  bool sent_ = false;
  bool answered_ = false;
  bool keep_alive_ = false;
  BodyReader body_;
};

class LoopClients final : public Clients {
 public:
  LoopClients(Loop& loop, std::shared_ptr<Workers> lookups)
      : loop_(loop), resolver_(loop, std::move(lookups)) {}

  [[nodiscard]] Task<NetResult<std::unique_ptr<Call>>> open(
      const Origin& origin, std::chrono::milliseconds deadline) override {
    if (loop_.aborted()) co_return std::unexpected(NetError{Fault::kStopped, "ended here"});
    const PoolPtr pool = pool_of(origin);
    while (!pool->kept.empty()) {
      auto [channel, since] = std::move(pool->kept.back());
      pool->kept.pop_back();
      channel->stream().forget_call();
      // It was quiet when it was put here. What has come in this turn is an event still to come;
      // the kernel is asked only where there was time for more than that.
      if (channel->stream().hung_up()) continue;
      if (Loop::now() - since > kSameTurn && !channel->stream().is_quiet()) continue;
      std::unique_ptr<Call> call = std::make_unique<OneCall>(pool, std::move(channel), true);
      co_return std::move(call);
    }
    const auto until = Loop::now() + deadline;
    auto stream = co_await connect(pool, until);
    if (!stream) {
      NetError error{stream.error().fault, pool->host + ": " + stream.error().message};
      co_return std::unexpected(std::move(error));
    }
    auto channel = std::make_unique<Channel>(std::move(*stream));
    std::unique_ptr<Call> call = std::make_unique<OneCall>(pool, std::move(channel), false);
    co_return std::move(call);
  }

 private:
  PoolPtr pool_of(const Origin& origin) {
    const auto now = Loop::now();
    for (const PoolPtr& pool : pools_) {
      if (pool->origin == origin) {
        pool->used = now;
        return pool;
      }
    }
    std::erase_if(pools_, [now](const PoolPtr& pool) {
      return pool->kept.empty() && now - pool->used > kTrustedFor;
    });
    pools_.push_back(std::make_shared<Pool>(origin));
    pools_.back()->used = now;
    return pools_.back();
  }

  Task<NetResult<StreamPtr>> connect(PoolPtr pool, Clock::time_point until) {
    const Origin& origin = pool->origin;
    if (origin.tls && !pool->tls) {
      auto context = make_client_tls(origin.authorities, origin.system_too);
      if (!context) co_return std::unexpected(std::move(context.error()));
      pool->tls = std::move(*context);
    }
    auto endpoints =
        co_await resolver_.find(origin.address.empty() ? origin.host : origin.address, until);
    if (!endpoints) co_return std::unexpected(std::move(endpoints.error()));
    auto stream = co_await connect_to(loop_, std::move(*endpoints), origin.port, until);
    if (!stream || !origin.tls) co_return std::move(stream);
    const TlsContext tls = pool->tls;
    const auto secured = co_await (*stream)->secure(tls.get(), &origin.host, until);
    if (!secured) co_return std::unexpected(secured.error());
    co_return std::move(stream);
  }

  Loop& loop_;
  Resolver resolver_;
  std::vector<PoolPtr> pools_;
};

}  // namespace

std::unique_ptr<Clients> make_clients(Loop& loop, std::shared_ptr<Workers> lookups) {
  return std::make_unique<LoopClients>(loop, std::move(lookups));
}

}  // namespace palisade::gateway
