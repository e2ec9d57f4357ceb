#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <kube/log.h>
#include <policy/guards.h>
#include <webhook/server.h>

#include "verdict.h"

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

// Names of objects alone: what they hold is nobody's business here.
void describe(const Outcome& outcome, kube::Span& span) {
  span.set("palisade.review.uid", outcome.request);
  span.set("palisade.review.resource", outcome.resource);
  span.set("palisade.review.operation", outcome.operation);
  span.set("palisade.review.dry_run", outcome.dry_run);
  span.set("palisade.review.agent", outcome.is_agent);
  const bool malformed = outcome.status != 200;
  span.set("palisade.review.verdict", malformed         ? "malformed"
                                      : outcome.allowed ? "allowed"
                                                        : "denied");
  if (!outcome.ns.empty()) span.set("k8s.namespace.name", outcome.ns);
  for (const auto& [key, ids] :
       {std::pair{"palisade.controls.denied", &outcome.denied_controls},
        std::pair{"palisade.controls.warned", &outcome.warned_controls},
        std::pair{"palisade.controls.audited", &outcome.audited_controls}}) {
    if (!ids->empty()) span.set(key, joined(*ids));
  }
  if (malformed) span.fail("not a review");
}

}  // namespace

struct Reviewer::Impl {
  WithView with_view;
  OnException on_exception;
  prometheus::Gauge* in_flight = nullptr;
  prometheus::Histogram* duration = nullptr;
  // Made once: a look-up by labels takes a lock.
  std::map<std::pair<std::string_view, bool>, prometheus::Counter*> reviews;
  std::map<std::pair<std::string_view, Action>, prometheus::Counter*> controls;
  prometheus::Counter* malformed = nullptr;
  prometheus::Counter* excepted = nullptr;
  std::shared_ptr<kube::Tracer> tracer;

  void count(const Outcome& outcome) {
    reviews.at({outcome.operation, outcome.allowed})->Increment();
    for (const auto& [ids, action] : {std::pair{&outcome.denied_controls, Action::kEnforce},
                                      std::pair{&outcome.warned_controls, Action::kWarn},
                                      std::pair{&outcome.audited_controls, Action::kAudit}}) {
      for (const std::string_view id : *ids) {
        if (const auto counter = controls.find({id, action}); counter != controls.end())
          counter->second->Increment();
      }
    }
    // Used is what let something in.
    if (outcome.exceptions.empty() || outcome.dry_run || !outcome.allowed) return;
    excepted->Increment(static_cast<double>(outcome.exceptions.size()));
    if (!on_exception) return;
    for (const ExceptionUse& use : outcome.exceptions)
      on_exception(use, outcome.subject);
  }

  // nullopt: to be asked again where waiting holds nobody up.
  std::optional<Outcome> judge(const kube::HttpRequest& request, bool mutating) {
    const auto begun = Clock::now();
    const std::int64_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    in_flight->Increment();
    Outcome outcome;
    kube::Span span;
    if (tracer) {
      span = tracer->begin(mutating ? "mutate" : "review", kube::SpanKind::kServer,
                           kube::parse_traceparent(request.traceparent));
    }
    const kube::CurrentSpan current(span);
    const bool must_wait = with_view(request, [&](const ClusterView& view) {
      outcome = mutating ? mutate(request.body, view, now) : review(request.body, view, now);
    });
    in_flight->Decrement();
    if (must_wait) {
      span.forget();
      return std::nullopt;
    }
    if (span.recording()) describe(outcome, span);
    duration->Observe(std::chrono::duration<double>(Clock::now() - begun).count());
    if (outcome.status != 200) {
      malformed->Increment();
    } else {
      count(outcome);
    }
    return outcome;
  }
};

Reviewer::Reviewer(WithView with_view, prometheus::Registry& registry, OnException on_exception,
                   std::shared_ptr<kube::Tracer> tracer)
    : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  impl.tracer = std::move(tracer);
  impl.with_view = std::move(with_view);
  impl.on_exception = std::move(on_exception);
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
  auto& controls = prometheus::BuildCounter()
                       .Name("palisade_webhook_controls_total")
                       .Help("Reviews in which a control was broken, by what became of it.")
                       .Register(registry);
  for (const auto table : {policy::controls(), policy::guards()}) {
    for (const policy::Control& control : table) {
      for (const Action action : {Action::kEnforce, Action::kWarn, Action::kAudit}) {
        impl.controls[{control.id, action}] =
            &controls.Add({{"control", std::string(control.id)},
                           {"action", std::string(policy::action_name(action))}});
      }
    }
  }
  impl.excepted = &prometheus::BuildCounter()
                       .Name("palisade_webhook_exceptions_total")
                       .Help("Uses of a HardeningException.")
                       .Register(registry)
                       .Add({});
}

Reviewer::~Reviewer() = default;

kube::HttpResponse Reviewer::answer(const kube::HttpRequest& request) {
  static constexpr const char* kText = "text/plain; charset=utf-8";
  const std::string_view path = request.target.substr(0, request.target.find('?'));
  const bool mutating = path == kMutatePath;
  if (path != kValidatePath && !mutating)
    return {404, kText, "reviews go to /validate and /mutate\n"};
  if (request.method != "POST") return {405, kText, "reviews are sent by POST\n"};
  if (!is_json(request.content_type)) return {415, kText, "reviews are application/json\n"};
  std::optional<Outcome> outcome = impl_->judge(request, mutating);
  if (!outcome) return kube::HttpResponse::must_wait();
  if (outcome->status == 200 && !outcome->allowed) {
    const kube::LogFields fields{
        {"request", outcome->request}, {"namespace", outcome->ns}, {"name", outcome->name}};
    spdlog::info("denied {}: {}", outcome->subject, outcome->body.substr(0, 2000));
  }
  return {outcome->status, outcome->status == 200 ? "application/json" : kText,
          std::move(outcome->body)};
}

}  // namespace palisade::webhook
