// Small helpers for Prometheus metrics that have no labels. Header-only: who uses it links
// prometheus-cpp-core.
#pragma once

#include <algorithm>
#include <cstdint>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

namespace kube {

[[nodiscard]] inline prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name,
                                              const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

// A count that another keeps, shown as one of the registry's, which outlives it. Not thread-safe.
class Shown {
 public:
  Shown(prometheus::Registry& registry, const char* name, const char* help)
      : counter_(prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({})) {}
  void show(std::uint64_t count) {
    if (count > shown_) counter_.Increment(static_cast<double>(count - shown_));
    shown_ = std::max(shown_, count);
  }

 private:
  prometheus::Counter& counter_;
  std::uint64_t shown_ = 0;
};

}  // namespace kube
