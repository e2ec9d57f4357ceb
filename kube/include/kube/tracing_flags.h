// The command line options of programs that can be traced. Needs CLI11 and prometheus-cpp-core.
#pragma once

#include <string>

#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <CLI/CLI.hpp>
#include <kube/tracing.h>

namespace kube {

// `flags` outlives the parsing of `app`.
inline void add_tracing_flags(CLI::App& app, TracingFlags& flags) {
  app.add_option("--otlp-endpoint", flags.endpoint,
                 "OpenTelemetry collector that takes traces by OTLP/HTTP, such as "
                 "http://otel-collector.observability.svc:4318; without it nothing is traced")
      ->envname("OTEL_EXPORTER_OTLP_ENDPOINT");
  app.add_option("--otlp-ca-file", flags.ca_file,
                 "PEM of the only authorities that may vouch for the collector; else the system's");
  app.add_option("--otlp-headers-file", flags.headers_file,
                 "file of headers for the collector, a line each: NAME: VALUE");
  app.add_option("--trace-ratio", flags.ratio,
                 "share of the traces that begin here; those of a caller follow its choice")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
}

// PREFIX_trace_spans_total{result}. Not thread-safe.
class TraceMetrics {
 public:
  TraceMetrics(prometheus::Registry& registry, const std::string& prefix)
      : spans_(prometheus::BuildCounter()
                   .Name(prefix + "_trace_spans_total")
                   .Help("Spans of traces, by whether the collector took them.")
                   .Register(registry)),
        sent_(spans_.Add({{"result", "sent"}})),
        dropped_(spans_.Add({{"result", "dropped"}})) {}
  void show(const Tracer* tracer) {
    if (tracer == nullptr) return;
    const TracingCounts now = tracer->counts();
    sent_.Increment(static_cast<double>(now.sent - shown_.sent));
    dropped_.Increment(static_cast<double>(now.dropped - shown_.dropped));
    shown_ = now;
  }

 private:
  prometheus::Family<prometheus::Counter>& spans_;
  prometheus::Counter& sent_;
  prometheus::Counter& dropped_;
  TracingCounts shown_;
};

}  // namespace kube
