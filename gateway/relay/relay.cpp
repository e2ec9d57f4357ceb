#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <gateway/http/client.h>
#include <gateway/http/server.h>
#include <gateway/http/together.h>
#include <gateway/relay/relay.h>

#include "passage.h"
#include "rotated.h"

namespace palisade::gateway::relay {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kConnect = 10s;
// The gateway has deadlines of its own, of 15 minutes at most; this is for one that is wedged.
constexpr auto kAnswer = 16min;
constexpr std::size_t kMaxConnections = 128;  // what one agent may make the relay hold
// A body of up to this is held until its answer begins, to be sent again; all of them together.
constexpr std::uint64_t kMostHeld = 512 * 1024;
constexpr std::uint64_t kMostHeldOfAll = 2 * 1024 * 1024;
// A kept connection that was closed just as it was used again says so at once. What ends later may
// have been at work, and is not asked for twice.
constexpr auto kClosedMeanwhile = 10s;

// Of all routes.
struct Meter {
  std::atomic<std::uint64_t> requests{0};
  std::atomic<std::uint64_t> failures{0};
  std::atomic<std::uint64_t> up{0};
  std::atomic<std::uint64_t> down{0};
  std::atomic<std::uint64_t> budget_refusals{0};
  std::atomic<std::uint64_t> held{0};  // of bodies, now
  std::atomic<Clock::rep> moved{Clock::now().time_since_epoch().count()};

  void move() { moved = Clock::now().time_since_epoch().count(); }
  [[nodiscard]] Counts counts() const {
    Counts out{requests, failures, up, down, 0, budget_refusals};
    const Clock::time_point last{Clock::duration(moved)};
    out.idle_seconds =
        std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - last).count();
    return out;
  }
};

// Room for one body, given back with it.
class Room {
 public:
  // None for a body of unknown length, for a large one, and where others hold it all.
  Room(Meter& meter, std::optional<std::uint64_t> length) : meter_(meter) {
    if (!length || *length > kMostHeld) return;
    if ((meter_.held += *length) > kMostHeldOfAll)
      meter_.held -= *length;
    else
      taken_ = *length;
  }
  ~Room() { meter_.held -= taken_; }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;

  [[nodiscard]] explicit operator bool() const { return taken_ > 0; }

 private:
  Meter& meter_;
  std::uint64_t taken_ = 0;
};

// One request on its way, and its answer.
class Passage {
 public:
  // `held`: its body; null where it has none or it is still to be read.
  Passage(Exchange& exchange, Call& call, Meter& meter, const std::string* held)
      : exchange_(exchange), call_(call), meter_(meter), held_(held) {}

  // False where the gateway did not answer, or not in full; error() then says why.
  [[nodiscard]] Task<bool> pass(bool has_body) {
    if (has_body)
      co_await together(download(), upload());
    else
      co_await download();
    co_return whole_;
  }
  [[nodiscard]] const NetError& error() const { return error_; }
  // The caller's fault: it went, or sent what is none.
  [[nodiscard]] bool callers_fault() const { return callers_fault_; }
  void caller_went() {
    callers_fault_ = true;
    call_.abort();
  }

 private:
  Task<void> upload() {
    if (held_ != nullptr) {
      auto taken = co_await call_.write(*held_);
      if (taken) taken = co_await call_.finish();
      if (taken) uploaded_ = true;
      co_return;
    }
    for (;;) {
      const auto piece = co_await exchange_.read();
      if (!piece) {
        // Unless the answer is here already, and nobody reads any more.
        if (!answered_) {
          callers_fault_ = true;
          call_.abort();
        }
        break;
      }
      const bool last = piece->empty();
      meter_.up += piece->size();
      meter_.move();
      // Where it is not taken the answer says why: it may have come early.
      if (last) {
        const auto finished = co_await call_.finish();
        if (finished) uploaded_ = true;
        break;
      }
      const auto written = co_await call_.write(*piece);
      if (!written) break;
    }
  }

  Task<void> download() {
    whole_ = co_await answer();
    answered_ = true;
    if (uploaded_) co_return;
    // Nobody waits for the rest.
    if (held_ == nullptr) exchange_.stop_reading();
    call_.abort();
  }

  Task<bool> answer() {
    auto head = co_await call_.response(kAnswer);
    if (!head) {
      error_ = std::move(head.error());
      co_return false;
    }
    meter_.move();
    status_ = head->status;
    // So the gateway says that a budget is spent: then asking again is of no use.
    if (status_ == 429 && head->fields.get("x-should-retry") == "false") ++meter_.budget_refusals;
    const auto length = content_length(head->fields);
    strip_answer(head->fields);
    const auto begun = co_await exchange_.begin(head->status, std::move(head->fields), length);
    if (!begun) co_return fail_at_caller(begun.error());
    for (;;) {
      const auto piece = co_await call_.read(kAnswer);
      if (!piece) {
        error_ = piece.error();
        co_return false;
      }
      if (piece->empty()) break;
      meter_.down += piece->size();
      meter_.move();
      const auto written = co_await exchange_.write(*piece);
      if (!written) co_return fail_at_caller(written.error());
    }
    if (status_ >= 500) ++meter_.failures;
    const auto ended = co_await exchange_.end();
    if (!ended) co_return fail_at_caller(ended.error());
    co_return true;
  }

  bool fail_at_caller(const NetError& error) {
    error_ = error;
    callers_fault_ = true;
    return false;
  }

  Exchange& exchange_;
  Call& call_;
  Meter& meter_;
  const std::string* const held_;
  NetError error_;
  int status_ = 0;
  bool whole_ = false;
  bool answered_ = false;
  bool uploaded_ = false;
  bool callers_fault_ = false;
};

class Port {
 public:
  Port(Route route, Meter& meter)
      : route_(std::move(route)),
        meter_(meter),
        token_(route_.token_file),
        authorities_(route_.ca_file),
        server_(options(route_), [this](Exchange& exchange) { return handle(exchange); }) {
    origin_.tls = route_.url.tls;
    origin_.host = route_.url.host;
    origin_.port = route_.url.port;
    origin_.address = route_.connect_to;
  }

  [[nodiscard]] const Route& route() const { return route_; }
  [[nodiscard]] Server& server() { return server_; }

 private:
  static ServerOptions options(const Route& route) {
    ServerOptions out;
    out.address = route.address;
    out.port = route.port;
    out.max_connections = kMaxConnections;
    return out;
  }

  Task<void> handle(Exchange& exchange) {
    if (exchange.request().target == kStatusPath) {
      Fields fields;
      fields.add("Content-Type", "application/json");
      const std::string body = to_json(meter_.counts()) + "\n";
      std::ignore = co_await exchange.reply(200, std::move(fields), body);
      co_return;
    }
    ++meter_.requests;
    meter_.move();
    auto head = outgoing(route_, exchange.request());
    if (!head) {
      co_await refuse(exchange, head.error());
      co_return;
    }
    if (auto refused = identify(*head)) {
      ++meter_.failures;
      co_await refuse(exchange, std::move(*refused));
      co_return;
    }
    co_await pass_on(exchange, std::move(*head));
    meter_.move();
  }

  // Adds the token, and takes over the authorities as they are now.
  std::optional<Refused> identify(RequestHead& head) {
    if (!route_.ca_file.empty()) {
      const auto& authorities = authorities_.text();
      // Without them the system's would be trusted.
      if (!authorities)
        return Refused{502, "no_authorities", "the gateway's authorities cannot be read yet"};
      if (*authorities != origin_.authorities) origin_.authorities = *authorities;
    }
    if (!route_.token_file.empty()) {
      const auto& token = token_.text();
      auto value = token ? bearer(*token) : std::nullopt;
      if (!value) return Refused{502, "no_token", "the session's token cannot be read yet"};
      head.fields.add("Authorization", std::move(*value));
    }
    return std::nullopt;
  }

  Task<void> pass_on(Exchange& exchange, RequestHead head) {
    const auto length = exchange.content_length();
    const bool has_body = length.value_or(1) > 0;
    // A kept connection may have been closed by the gateway just now. What is held, or has no body,
    // is sent again then; what cannot be is not sent on a kept one.
    const Room room(meter_, has_body ? length : std::nullopt);
    std::string body;
    if (room) {
      auto all = co_await exchange.read_all(kMostHeld);
      if (!all) {
        co_await bad_request(exchange);
        co_return;
      }
      body = std::move(*all);
      meter_.up += body.size();
      meter_.move();
    }
    const bool repeatable = room || !has_body;
    for (bool again = repeatable;; again = false) {
      auto call = co_await open(exchange, !again);
      if (!call) {
        co_await failed(exchange, call.error());
        co_return;
      }
      const auto begun = Clock::now();
      RequestHead copy = head;
      auto sent = co_await (*call)->send(std::move(copy), length);
      Passage passage(exchange, **call, meter_, room ? &body : nullptr);
      exchange.when_gone([&passage] { passage.caller_went(); });
      bool whole = false;
      if (sent) whole = co_await passage.pass(has_body);
      exchange.when_gone({});
      if (whole) co_return;
      const NetError error = sent ? passage.error() : sent.error();
      const bool retry = again && (*call)->reused() && !exchange.begun() &&
                         !passage.callers_fault() && error.fault == Fault::kClosed &&
                         (!has_body || Clock::now() - begun < kClosedMeanwhile);
      if (retry) continue;
      if (passage.callers_fault())
        co_await bad_request(exchange);
      else
        co_await failed(exchange, error);
      co_return;
    }
  }

  // `fresh`: no kept connection will do; those that are there are let go of.
  Task<NetResult<std::unique_ptr<Call>>> open(Exchange& exchange, bool fresh) {
    for (;;) {
      auto call = co_await exchange.clients().open(origin_, kConnect);
      if (!fresh || !call || !(*call)->reused()) co_return call;
    }
  }

  Task<void> bad_request(Exchange& exchange) {
    if (exchange.begun()) co_return;
    Refused refused{400, "bad_request", "the request's body is cut or is none"};
    co_await refuse(exchange, std::move(refused));
  }

  Task<void> failed(Exchange& exchange, NetError error) {
    ++meter_.failures;
    if (exchange.begun()) co_return;  // cut
    Refused refused{502, "gateway_unreachable", "the gateway cannot be reached: " + error.message};
    if (error.fault == Fault::kTls) {
      refused.code = "gateway_not_trusted";
      refused.message = "the gateway is not who it should be: " + error.message;
    } else if (error.fault == Fault::kTimeout) {
      refused.status = 504;
      refused.code = "gateway_timeout";
      refused.message = "the gateway does not answer: " + error.message;
    } else if (error.fault == Fault::kProtocol || error.fault == Fault::kTooLarge) {
      refused.code = "gateway_answer";
      refused.message = "the gateway's answer is none: " + error.message;
    }
    co_await refuse(exchange, std::move(refused));
  }

  Task<void> refuse(Exchange& exchange, Refused refused) {
    const Said said = in_words(route_, refused);
    Fields fields;
    fields.add("Content-Type", said.content_type);
    std::ignore = co_await exchange.reply(refused.status, std::move(fields), said.body);
  }

  const Route route_;
  Meter& meter_;
  Origin origin_;
  RotatedFile token_;
  RotatedFile authorities_;
  Server server_;
};

}  // namespace

struct Relay::Impl {
  Meter meter;
  std::vector<std::unique_ptr<Port>> ports;
};

std::string to_json(const Counts& counts) {
  return "{\"requests\":" + std::to_string(counts.requests) +
         ",\"failures\":" + std::to_string(counts.failures) +
         ",\"bytesUp\":" + std::to_string(counts.bytes_up) +
         ",\"bytesDown\":" + std::to_string(counts.bytes_down) +
         ",\"idleSeconds\":" + std::to_string(counts.idle_seconds) +
         ",\"budgetRefusals\":" + std::to_string(counts.budget_refusals) + "}";
}

Relay::Relay(const Config& config) : impl_(std::make_unique<Impl>()) {
  for (const Route& route : config.routes)
    impl_->ports.push_back(std::make_unique<Port>(route, impl_->meter));
}

Relay::~Relay() {
  stop(0ms);
}

std::expected<void, std::string> Relay::start() {
  for (const auto& port : impl_->ports) {
    if (auto started = port->server().start(); !started)
      return std::unexpected("route " + port->route().name + ": " + started.error().message);
  }
  return {};
}

std::vector<std::uint16_t> Relay::ports() const {
  std::vector<std::uint16_t> out;
  for (const auto& port : impl_->ports)
    out.push_back(port->server().port());
  return out;
}

Counts Relay::counts() const {
  return impl_->meter.counts();
}

void Relay::stop(std::chrono::milliseconds grace) {
  std::vector<std::thread> stopping;
  for (const auto& port : impl_->ports)
    stopping.emplace_back([&port, grace] { port->server().stop(grace); });
  for (auto& thread : stopping)
    thread.join();
}

}  // namespace palisade::gateway::relay
