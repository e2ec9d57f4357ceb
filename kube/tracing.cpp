#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <mutex>
#include <random>
#include <stdexcept>
#include <thread>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <kube/tracing.h>

#include "pause.h"
#include "status_error.h"
#include "url.h"

namespace kube {

namespace {

constexpr std::size_t kMostText = 256;
constexpr std::size_t kMostAttributes = 32;
constexpr int kExportTries = 4;
constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kLongestPause{30};
constexpr std::chrono::seconds kCallDeadline{10};
constexpr std::chrono::seconds kFarewell{2};  // for what still waits at the end
constexpr std::chrono::minutes kSilence{1};   // between two warnings

template <std::size_t N>
void append_hex(const std::array<std::uint8_t, N>& bytes, std::string& out) {
  for (const std::uint8_t byte : bytes)
    fmt::format_to(std::back_inserter(out), "{:02x}", byte);
}

template <std::size_t N>
std::string hex(const std::array<std::uint8_t, N>& bytes) {
  std::string out;
  append_hex(bytes, out);
  return out;
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Lower case alone, as the specification has it; false for anything else and for all zeros.
template <std::size_t N>
bool read_hex(std::string_view text, std::array<std::uint8_t, N>& out) {
  if (text.size() != 2 * N) return false;
  for (std::size_t i = 0; i < N; ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return std::ranges::any_of(out, [](std::uint8_t byte) { return byte != 0; });
}

std::mt19937_64& generator() {
  thread_local std::mt19937_64 made = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return made;
}

template <std::size_t N>
void fill(std::array<std::uint8_t, N>& out) {
  static_assert(N % sizeof(std::uint64_t) == 0);
  do {
    for (std::size_t at = 0; at < N; at += sizeof(std::uint64_t)) {
      const std::uint64_t value = generator()();
      for (std::size_t i = 0; i < sizeof(value); ++i)
        out[at + i] = static_cast<std::uint8_t>(value >> (8U * i));
    }
  } while (std::ranges::all_of(out, [](std::uint8_t byte) { return byte == 0; }));
}

std::string clipped(std::string_view text) {
  return std::string(text.substr(0, kMostText));
}

Json attribute(std::string_view key, const Json& value) {
  Json out{{"key", key}};
  if (value.is_boolean()) {
    out["value"] = {{"boolValue", value}};
  } else if (value.is_number_integer()) {
    // 64-bit integers are texts in protobuf's JSON.
    out["value"] = {{"intValue", std::to_string(value.get<std::int64_t>())}};
  } else {
    out["value"] = {{"stringValue", value}};
  }
  return out;
}

std::string nanoseconds(std::chrono::system_clock::time_point at) {
  return std::to_string(
      std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count());
}

}  // namespace

std::optional<TraceContext> parse_traceparent(std::string_view text) {
  // 00-32 digits-16 digits-2 digits; a later version may go on after another '-'.
  constexpr std::size_t kSize = 55;
  if (text.size() < kSize || text[2] != '-' || text[35] != '-' || text[52] != '-')
    return std::nullopt;
  const int major = digit(text[0]);
  const int minor = digit(text[1]);
  if (major < 0 || minor < 0 || (major == 15 && minor == 15)) return std::nullopt;
  const bool first_version = major == 0 && minor == 0;
  if (text.size() > kSize && (first_version || text[kSize] != '-')) return std::nullopt;
  TraceContext out;
  const int high = digit(text[53]);
  const int low = digit(text[54]);
  if (high < 0 || low < 0 || !read_hex(text.substr(3, 32), out.trace) ||
      !read_hex(text.substr(36, 16), out.span))
    return std::nullopt;
  out.sampled = (static_cast<unsigned>(low) & 1U) != 0;
  return out;
}

std::string to_traceparent(const TraceContext& context) {
  std::string out = "00-";
  append_hex(context.trace, out);
  out += '-';
  append_hex(context.span, out);
  out += context.sampled ? "-01" : "-00";
  return out;
}

struct Span::Data {
  std::string name;
  SpanKind kind = SpanKind::kInternal;
  std::optional<std::array<std::uint8_t, 8>> parent;
  std::chrono::system_clock::time_point begun;
  std::chrono::steady_clock::time_point begun_steady;
  std::vector<std::pair<std::string, Json>> attributes;
  std::optional<std::string> error;
  TraceContext context;
  std::chrono::steady_clock::duration took{};

  void set(std::string_view key, Json value) {
    const auto found = std::ranges::find(
        attributes, key, [](const auto& one) { return std::string_view(one.first); });
    if (found != attributes.end()) {
      found->second = std::move(value);
    } else if (attributes.size() < kMostAttributes) {
      attributes.emplace_back(key, std::move(value));
    }
  }

  [[nodiscard]] Json json() const {
    Json out{{"traceId", hex(context.trace)},
             {"spanId", hex(context.span)},
             {"name", name},
             {"kind", static_cast<int>(kind)},
             {"startTimeUnixNano", nanoseconds(begun)},
             // The wall clock may be set meanwhile; a span never ends before it began.
             {"endTimeUnixNano",
              nanoseconds(begun +
                          std::chrono::duration_cast<std::chrono::system_clock::duration>(took))}};
    if (parent) out["parentSpanId"] = hex(*parent);
    for (const auto& [key, value] : attributes)
      out["attributes"].push_back(attribute(key, value));
    constexpr int kError = 2;
    if (error) out["status"] = {{"code", kError}, {"message", *error}};
    return out;
  }
};

class Tracer::Exporter {
 public:
  explicit Exporter(TracingOptions options) : options_(std::move(options)) {
    const auto url = parse_url(options_.endpoint);
    if (!url) throw std::invalid_argument("trace endpoint: " + url.error().message);
    target_ = url->path + "/v1/traces";
    resource_ = Json::array({attribute("service.name", options_.service),
                             attribute("service.version", PALISADE_VERSION)});
    for (const auto& [key, value] : options_.resource)
      resource_.push_back(attribute(key, value));
    TransportOptions transport;
    transport.base_url = fmt::format("{}://{}", url->tls ? "https" : "http", url->authority());
    transport.plain_http_anywhere = true;
    transport.max_response_bytes = std::size_t{64} * 1024;
    transport.tls_material = [ca = options_.ca] { return TlsMaterial{ca, {}, {}}; };
    transport_ = make_beast_transport(std::move(transport));
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

  void take(std::shared_ptr<Span::Data> span) {
    {
      const std::scoped_lock lock(mutex_);
      if (ended_ || waiting_.size() >= options_.most_waiting) {
        ++counts_.dropped;
        return;
      }
      waiting_.push_back(std::move(span));
      if (waiting_.size() < options_.batch) return;
    }
    news_.notify_one();
  }

  void stop() {
    {
      const std::scoped_lock lock(mutex_);
      ended_ = true;
    }
    if (!thread_.joinable()) return;
    thread_.request_stop();
    {
      std::unique_lock lock(mutex_);
      finished_.wait_for(lock, kFarewell, [this] { return done_; });
    }
    give_up_.request_stop();
    thread_.join();
  }

  [[nodiscard]] TracingCounts counts() const {
    const std::scoped_lock lock(mutex_);
    return counts_;
  }

 private:
  using Batch = std::vector<std::shared_ptr<Span::Data>>;

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      {
        std::unique_lock lock(mutex_);
        news_.wait_for(lock, stop, options_.interval,
                       [this] { return waiting_.size() >= options_.batch; });
      }
      deliver_all(stop);
    }
    deliver_all(stop);
    const std::scoped_lock lock(mutex_);
    done_ = true;
    finished_.notify_all();
  }

  void deliver_all(const std::stop_token& stop) {
    for (Batch batch = next(); !batch.empty(); batch = next())
      deliver(batch, stop);
  }

  Batch next() {
    const std::scoped_lock lock(mutex_);
    const auto size = std::min(waiting_.size(), options_.batch);
    Batch out(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(size));
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(size));
    return out;
  }

  struct Refusal {
    std::string why;
    bool again = false;  // whether another try may do
    std::chrono::seconds after{0};
    std::uint64_t rejected = 0;  // of a batch that was taken otherwise
  };

  [[nodiscard]] std::string body(const Batch& batch) const {
    Json spans = Json::array();
    for (const auto& span : batch)
      spans.push_back(span->json());
    const Json scope{{"name", "palisade.dev"}, {"version", PALISADE_VERSION}};
    const Json out{{"resourceSpans",
                    {{{"resource", {{"attributes", resource_}}},
                      {"scopeSpans", {{{"scope", scope}, {"spans", std::move(spans)}}}}}}}};
    return out.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  // nullopt: all of it was taken.
  std::optional<Refusal> post(std::string body) {
    Request request{"POST", target_, options_.headers, std::move(body), kCallDeadline};
    request.headers.emplace_back("Content-Type", "application/json");
    const auto answer = transport_->send(request, give_up_.get_token());
    if (!answer) return Refusal{answer.error().text(), true};
    if (answer->status / 100 == 2) {
      const Json told = Json::parse(answer->body, nullptr, false);
      const Json::json_pointer at("/partialSuccess/rejectedSpans");
      if (!told.is_object() || !told.contains(at)) return std::nullopt;
      const Json& count = told[at];
      std::uint64_t rejected = 0;
      if (count.is_number_unsigned()) rejected = count.get<std::uint64_t>();
      if (count.is_string())
        rejected = std::strtoull(count.get<std::string>().c_str(), nullptr, 10);
      if (rejected == 0) return std::nullopt;
      return Refusal{"it rejected some of a batch", false, {}, rejected};
    }
    constexpr std::array kAgain{429, 502, 503, 504};
    Refusal out{fmt::format("it answers {}", answer->status)};
    out.again = std::ranges::find(kAgain, answer->status) != kAgain.end();
    out.after = retry_after(answer->headers).value_or(std::chrono::seconds(0));
    return out;
  }

  // Once `stop` is requested nothing is tried again.
  void deliver(const Batch& batch, const std::stop_token& stop) {
    const std::string text = body(batch);
    std::chrono::seconds wait = kFirstPause;
    for (int tried = 1;; ++tried) {
      const auto refused = post(text);
      if (!refused || !refused->again || tried == kExportTries || stop.stop_requested()) {
        settle(batch.size(), refused);
        return;
      }
      static_cast<void>(kube::pause(stop, std::clamp(refused->after, wait, kLongestPause)));
      wait = std::min(wait * 2, kLongestPause);
    }
  }

  void settle(std::size_t size, const std::optional<Refusal>& refused) {
    const std::uint64_t lost = !refused ? 0
                               : refused->rejected != 0
                                   ? std::min<std::uint64_t>(refused->rejected, size)
                                   : size;
    if (lost != 0) drop(lost, refused->why);
    const std::scoped_lock lock(mutex_);
    counts_.sent += size - lost;
  }

  void drop(std::uint64_t count, const std::string& why) {
    std::uint64_t all = 0;
    {
      const std::scoped_lock lock(mutex_);
      counts_.dropped += count;
      all = counts_.dropped;
    }
    const auto now = std::chrono::steady_clock::now();
    if (warned_ && now - *warned_ < kSilence) return;
    warned_ = now;
    spdlog::warn("traces: {} takes no spans: {} ({} dropped so far)", options_.endpoint, why, all);
  }

  const TracingOptions options_;
  std::string target_;
  Json resource_;
  std::unique_ptr<Transport> transport_;
  mutable std::mutex mutex_;
  std::condition_variable_any news_;
  std::deque<std::shared_ptr<Span::Data>> waiting_;
  TracingCounts counts_;
  bool ended_ = false;
  bool done_ = false;
  std::condition_variable finished_;
  std::stop_source give_up_;
  std::optional<std::chrono::steady_clock::time_point> warned_;  // the exporter's thread alone
  std::jthread thread_;
};

Span::Span(Span&& other) noexcept
    : tracer_(std::exchange(other.tracer_, nullptr)),
      context_(std::exchange(other.context_, std::nullopt)),
      data_(std::move(other.data_)) {}

Span& Span::operator=(Span&& other) noexcept {
  if (this == &other) return *this;
  end();
  tracer_ = std::exchange(other.tracer_, nullptr);
  context_ = std::exchange(other.context_, std::nullopt);
  data_ = std::move(other.data_);
  return *this;
}

void Span::set(std::string_view key, std::string_view value) {
  if (data_) data_->set(key, clipped(value));
}

void Span::set(std::string_view key, std::int64_t value) {
  if (data_) data_->set(key, value);
}

void Span::set(std::string_view key, bool value) {
  if (data_) data_->set(key, value);
}

void Span::fail(std::string_view message) {
  if (data_) data_->error = clipped(message);
}

void Span::end() {
  if (!data_) return;
  data_->took = std::chrono::steady_clock::now() - data_->begun_steady;
  tracer_->exporter_->take(std::move(data_));
  data_.reset();
}

namespace {

double checked_ratio(double ratio) {
  if (!(ratio >= 0.0 && ratio <= 1.0))
    throw std::invalid_argument(fmt::format("trace ratio {}: must be from 0 to 1", ratio));
  return ratio;
}

}  // namespace

Tracer::Tracer(TracingOptions options)
    : ratio_(checked_ratio(options.ratio)),
      exporter_(std::make_unique<Exporter>(std::move(options))) {}

Tracer::~Tracer() {
  stop();
}

void Tracer::stop() {
  exporter_->stop();
}

TracingCounts Tracer::counts() const {
  return exporter_->counts();
}

Span Tracer::begin(std::string_view name, SpanKind kind,
                   const std::optional<TraceContext>& parent) {
  Span out;
  TraceContext context;
  if (parent) {
    context.trace = parent->trace;
    context.sampled = parent->sampled;
  } else {
    fill(context.trace);
    context.sampled = std::uniform_real_distribution<double>(0.0, 1.0)(generator()) < ratio_;
  }
  fill(context.span);
  out.tracer_ = this;
  out.context_ = context;
  if (!context.sampled) return out;
  out.data_ = std::make_shared<Span::Data>();
  out.data_->name = clipped(name);
  out.data_->kind = kind;
  if (parent) out.data_->parent = parent->span;
  out.data_->context = context;
  out.data_->begun = std::chrono::system_clock::now();
  out.data_->begun_steady = std::chrono::steady_clock::now();
  return out;
}

}  // namespace kube
