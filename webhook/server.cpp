#include <algorithm>
#include <chrono>
#include <map>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <webhook/server.h>

namespace palisade::webhook {

using Clock = std::chrono::steady_clock;

namespace {

// The media type alone, whatever its case and parameters (RFC 9110, 8.3.1).
bool is_json(std::string_view content_type) {
  constexpr std::string_view kJson = "application/json";
  std::string_view type = content_type.substr(0, content_type.find(';'));
  while (!type.empty() && (type.back() == ' ' || type.back() == '\t'))
    type.remove_suffix(1);
  return std::ranges::equal(type, kJson, [](char a, char b) {
    return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
  });
}

}  // namespace

struct Reviewer::Impl {
  policy::Settings settings;
  ModeLookup mode_of;
  prometheus::Gauge* in_flight = nullptr;
  prometheus::Histogram* duration = nullptr;
  // Made once: a look-up by labels takes a lock.
  std::map<std::pair<std::string_view, bool>, prometheus::Counter*> reviews;
  std::map<std::string_view, prometheus::Counter*> denied;
  prometheus::Counter* malformed = nullptr;

  Outcome judge(std::string_view body) {
    const auto begun = Clock::now();
    in_flight->Increment();
    Outcome outcome = review(body, settings, mode_of);
    in_flight->Decrement();
    duration->Observe(std::chrono::duration<double>(Clock::now() - begun).count());
    if (outcome.status != 200) {
      malformed->Increment();
      return outcome;
    }
    reviews.at({outcome.operation, outcome.allowed})->Increment();
    for (const std::string_view control : outcome.denied_controls) {
      if (const auto counter = denied.find(control); counter != denied.end())
        counter->second->Increment();
    }
    return outcome;
  }
};

Reviewer::Reviewer(policy::Settings settings, ModeLookup mode_of, prometheus::Registry& registry)
    : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  impl.settings = std::move(settings);
  impl.mode_of = std::move(mode_of);
  impl.in_flight = &prometheus::BuildGauge()
                        .Name("palisade_webhook_in_flight")
                        .Help("Reviews being answered.")
                        .Register(registry)
                        .Add({});
  impl.duration =
      &prometheus::BuildHistogram()
           .Name("palisade_webhook_review_duration_seconds")
           .Help("Time from a review's body to its answer.")
           .Register(registry)
           .Add({}, prometheus::Histogram::BucketBoundaries{0.00005, 0.0001, 0.0002, 0.0005, 0.001,
                                                            0.005, 0.01, 0.05, 0.1, 1});
  auto& reviews = prometheus::BuildCounter()
                      .Name("palisade_webhook_reviews_total")
                      .Help("Reviews by operation and verdict.")
                      .Register(registry);
  for (const std::string_view operation :
       {std::string_view("CREATE"), std::string_view("UPDATE"), std::string_view("DELETE"),
        std::string_view("CONNECT"), std::string_view()}) {
    for (const bool allowed : {true, false}) {
      impl.reviews[{operation, allowed}] =
          &reviews.Add({{"operation", operation.empty() ? "unknown" : std::string(operation)},
                        {"verdict", allowed ? "allowed" : "denied"}});
    }
  }
  impl.malformed = &reviews.Add({{"operation", "unknown"}, {"verdict", "malformed"}});
  auto& denied = prometheus::BuildCounter()
                     .Name("palisade_webhook_denied_controls_total")
                     .Help("Denials by the control that was broken.")
                     .Register(registry);
  for (const policy::Control& control : policy::controls())
    impl.denied[control.id] = &denied.Add({{"control", std::string(control.id)}});
}

Reviewer::~Reviewer() = default;

kube::HttpResponse Reviewer::answer(const kube::HttpRequest& request) {
  static constexpr const char* kText = "text/plain; charset=utf-8";
  const std::string_view path = request.target.substr(0, request.target.find('?'));
  if (path != kValidatePath) return {404, kText, "reviews go to /validate\n"};
  if (request.method != "POST") return {405, kText, "reviews are sent by POST\n"};
  if (!is_json(request.content_type)) return {415, kText, "reviews are application/json\n"};
  Outcome outcome = impl_->judge(request.body);
  if (outcome.status == 200 && !outcome.allowed)
    spdlog::info("denied {}: {}", outcome.subject, outcome.body.substr(0, 2000));
  return {outcome.status, outcome.status == 200 ? "application/json" : kText,
          std::move(outcome.body)};
}

}  // namespace palisade::webhook
