// What a program asks of the API server, and how its watches fare, as Prometheus metrics.
// Header-only: who uses it links prometheus-cpp-core.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <kube/client.h>
#include <kube/reflector.h>
#include <kube/transport.h>

namespace kube {

// PREFIX_api_requests_total{verb,code} and PREFIX_api_request_duration_seconds{verb}. The verb is
// HTTP's, or WATCH for what goes on; the code is the answer's, or `none` where none came. The
// registry outlives all clients. Thread-safe.
class ApiMetrics : public std::enable_shared_from_this<ApiMetrics> {
 public:
  ApiMetrics(prometheus::Registry& registry, const std::string& prefix)
      : requests_(prometheus::BuildCounter()
                      .Name(prefix + "_api_requests_total")
                      .Help("Requests to the API server, by verb and the code of its answer.")
                      .Register(registry)),
        durations_(prometheus::BuildHistogram()
                       .Name(prefix + "_api_request_duration_seconds")
                       .Help("From a request to the API server to the end of its answer, by verb; "
                             "without watches.")
                       .Register(registry)) {}

  // For Client::connect.
  [[nodiscard]] TransportWrap wrap() {
    return [self = shared_from_this()](std::shared_ptr<Transport> inner) {
      return std::make_shared<Metered>(std::move(inner), self);
    };
  }

 private:
  class Metered : public Transport {
   public:
    Metered(std::shared_ptr<Transport> inner, std::shared_ptr<ApiMetrics> metrics)
        : inner_(std::move(inner)), metrics_(std::move(metrics)) {}

    Result<Response> send(const Request& request, std::stop_token stop) override {
      const auto begun = std::chrono::steady_clock::now();
      auto answer = inner_->send(request, std::move(stop));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
      metrics_->count(request.method, answer);
      metrics_->durations_
          .Add({{"verb", request.method}},
               prometheus::Histogram::BucketBoundaries{0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                       0.5, 1, 5, 30})
          .Observe(took.count());
      return answer;
    }

    Result<Response> stream(const Request& request, const ChunkSink& sink,
                            std::chrono::milliseconds idle, std::stop_token stop) override {
      auto answer = inner_->stream(request, sink, idle, std::move(stop));
      metrics_->count("WATCH", answer);
      return answer;
    }

   private:
    const std::shared_ptr<Transport> inner_;
    const std::shared_ptr<ApiMetrics> metrics_;
  };

  void count(const std::string& verb, const Result<Response>& answer) {
    requests_.Add({{"verb", verb}, {"code", answer ? std::to_string(answer->status) : "none"}})
        .Increment();
  }

  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Family<prometheus::Histogram>& durations_;
};

// PREFIX_watch_silence_seconds{resource} and PREFIX_watch_objects{resource}. Not thread-safe.
class WatchMetrics {
 public:
  WatchMetrics(prometheus::Registry& registry, const std::string& prefix)
      : silence_(prometheus::BuildGauge()
                     .Name(prefix + "_watch_silence_seconds")
                     .Help("Since the API server last said anything on a watch, be it its end.")
                     .Register(registry)),
        objects_(prometheus::BuildGauge()
                     .Name(prefix + "_watch_objects")
                     .Help("Objects that a watch has in its cache.")
                     .Register(registry)) {}

  void show(std::span<const Reflector* const> watches) {
    for (const Reflector* watch : watches) {
      const prometheus::Labels labels{{"resource", watch->resource().plural}};
      silence_.Add(labels).Set(std::chrono::duration<double>(watch->silence()).count());
      objects_.Add(labels).Set(static_cast<double>(watch->cache().size()));
    }
  }

 private:
  prometheus::Family<prometheus::Gauge>& silence_;
  prometheus::Family<prometheus::Gauge>& objects_;
};

// PREFIX_build_info{component,version}: 1 as long as the program runs.
inline void show_build(prometheus::Registry& registry, const std::string& prefix,
                       const std::string& component) {
  prometheus::BuildGauge()
      .Name(prefix + "_build_info")
      .Help("1 as long as the program runs.")
      .Register(registry)
      .Add({{"component", component}, {"version", PALISADE_VERSION}})
      .Set(1);
}

}  // namespace kube
