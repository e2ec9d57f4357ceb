// Distributed traces: spans that are exported by OTLP/HTTP in its JSON encoding, with their context
// taken from and given to others by the W3C header `traceparent`. A collector that is slow, full or
// away never holds up what is traced: spans wait in a bounded queue, and beyond it they are counted
// and dropped. Sources: https://opentelemetry.io/docs/specs/otlp/,
// https://www.w3.org/TR/trace-context/.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <kube/client.h>
#include <kube/transport.h>

namespace kube {

struct TraceContext {
  std::array<std::uint8_t, 16> trace{};
  std::array<std::uint8_t, 8> span{};
  bool sampled = false;
};

// The header's value; nullopt where it is not of the form 00-TRACE-SPAN-FLAGS (of a later version:
// what begins so), or an id is all zeros.
[[nodiscard]] std::optional<TraceContext> parse_traceparent(std::string_view text);
[[nodiscard]] std::string to_traceparent(const TraceContext& context);

using TraceAttributes = std::vector<std::pair<std::string, Json>>;  // text, integer or boolean

struct TracingOptions {
  std::string endpoint;  // http(s)://HOST[:PORT][/PATH]; spans are posted to /v1/traces below it
  std::string ca;        // PEM: the only authorities that are trusted; "": the system's
  Headers headers;       // of each request, such as Authorization
  double ratio = 1.0;    // of traces that begin here; one that comes from a caller follows its flag
  std::string service;   // service.name
  TraceAttributes resource;  // further attributes of the resource
  std::size_t most_waiting = 4096;
  std::size_t batch = 512;
  std::chrono::milliseconds interval{2'000};  // a smaller batch leaves after so long
};

// What a program is told on its command line (kube/tracing_flags.h).
struct TracingFlags {
  std::string endpoint;
  std::string ca_file;
  std::string headers_file;  // NAME: VALUE, a line each
  double ratio = 0.1;
};

struct TracingCounts {
  std::uint64_t sent = 0;
  std::uint64_t dropped = 0;  // no room, or the collector did not take them
};

enum class SpanKind { kInternal = 1, kServer = 2, kClient = 3 };

class Tracer;

// What one piece of work did and how long it took. Ends with end() or its destructor, and is then
// the exporter's. An empty one, or one that is not sampled, costs next to nothing. One thread at a
// time; the Tracer outlives it.
class Span {
 public:
  Span() = default;
  Span(Span&& other) noexcept;
  Span& operator=(Span&& other) noexcept;
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() { end(); }

  // Whether attributes are kept: what is dear to compute is computed only then.
  [[nodiscard]] bool recording() const { return data_ != nullptr; }
  // For those who are called; nullopt where there is no trace at all.
  [[nodiscard]] const std::optional<TraceContext>& context() const { return context_; }
  // Texts are cut to 256 bytes.
  void set(std::string_view key, std::string_view value);
  void set(std::string_view key, const char* value) { set(key, std::string_view(value)); }
  void set(std::string_view key, std::int64_t value);
  void set(std::string_view key, bool value);
  // Sets the status to Error.
  void fail(std::string_view message);
  void end();
  // Nothing is exported of it.
  void forget() { data_.reset(); }

 private:
  friend class Tracer;
  struct Data;

  Tracer* tracer_ = nullptr;
  std::optional<TraceContext> context_;
  std::shared_ptr<Data> data_;
};

// Thread-safe.
class Tracer {
 public:
  // Throws std::invalid_argument for an endpoint or ratio that cannot be, naming it.
  explicit Tracer(TracingOptions options);
  ~Tracer();  // stop()
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  // A child of `parent`, or the first of a new trace.
  [[nodiscard]] Span begin(std::string_view name, SpanKind kind,
                           const std::optional<TraceContext>& parent = std::nullopt);
  // Sends what waits, for two seconds at most, and ends the exporter. Spans that end later are
  // dropped.
  void stop();
  [[nodiscard]] TracingCounts counts() const;

 private:
  friend class Span;
  class Exporter;
  const double ratio_;
  const std::unique_ptr<Exporter> exporter_;
};

// Null without an endpoint. `instance` is service.instance.id. Throws std::runtime_error that names
// the flag and what is wrong with it.
[[nodiscard]] std::shared_ptr<Tracer> make_tracer(const TracingFlags& flags,
                                                  const std::string& service,
                                                  const std::string& instance);

// The span that is this thread's current one while this lives: calls to the API server become its
// children.
class CurrentSpan {
 public:
  explicit CurrentSpan(const Span& span);
  ~CurrentSpan();
  CurrentSpan(const CurrentSpan&) = delete;
  CurrentSpan& operator=(const CurrentSpan&) = delete;

 private:
  const Span* const before_;
};

// Each request that is sent under a current span is a child of it and carries `traceparent`;
// streams are not traced. `inner` is put around it; without a tracer it is all there is.
[[nodiscard]] TransportWrap traced(std::shared_ptr<Tracer> tracer, TransportWrap inner);

}  // namespace kube
