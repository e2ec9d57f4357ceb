#include "metrics.h"

#include <initializer_list>
#include <mutex>
#include <set>
#include <string_view>
#include <unordered_map>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace palisade::gateway {

namespace {

using nlohmann::json;

std::string text(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t whole(const json& line, const char* key) {
  const auto found = line.find(key);
  return found != line.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

// Words of the program's own, and an end to them should it ever not be so.
class Words {
 public:
  std::string operator()(std::string_view word) {
    constexpr std::size_t kMost = 64;
    if (word.empty()) return "none";
    const std::scoped_lock lock(mutex_);
    if (known_.contains(word)) return std::string(word);
    if (known_.size() >= kMost || word.size() > kMost) return "other";
    return *known_.emplace(word).first;
  }

 private:
  std::mutex mutex_;
  std::set<std::string, std::less<>> known_;
};

// What a family made of labels, so that a line looks for it by one text and makes none. As many as
// the words of a few labels.
template <class Metric>
class Made {
 public:
  // `make` only where it is not known yet.
  template <class Make>
  Metric& get(std::initializer_list<std::string_view> words, Make make) {
    constexpr std::size_t kMost = 4096;
    std::string& key = key_of(words);
    const std::scoped_lock lock(mutex_);
    if (const auto found = known_.find(key); found != known_.end()) return *found->second;
    Metric& made = make();
    if (known_.size() < kMost) known_.emplace(key, &made);
    return made;
  }

 private:
  static std::string& key_of(std::initializer_list<std::string_view> words) {
    thread_local std::string key;
    key.clear();
    for (const std::string_view word : words) {
      key += word;
      key += '\n';
    }
    return key;
  }

  std::mutex mutex_;
  std::unordered_map<std::string, Metric*> known_;
};

const prometheus::Histogram::BucketBoundaries& seconds() {
  static const prometheus::Histogram::BucketBoundaries kSeconds{
      0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900};
  return kSeconds;
}

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name,
                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

}  // namespace

struct MeteredRecord::Impl {
  Impl(std::shared_ptr<Record> to, prometheus::Registry& registry)
      : next(std::move(to)),
        requests(counters(registry, "palisade_gateway_requests_total",
                          "Requests by kind, verdict and code.")),
        tokens(counters(registry, "palisade_gateway_tokens_total",
                        "Tokens of LLM calls, by direction.")),
        prompt(tokens.Add({{"direction", "prompt"}})),
        completion(tokens.Add({{"direction", "completion"}})),
        cost(counters(registry, "palisade_gateway_cost_micro_dollars_total",
                      "What LLM calls cost by the price table, in millionths of a US dollar.")
                 .Add({})),
        upstream_failures(counters(registry, "palisade_gateway_upstream_failures_total",
                                   "Calls that an upstream failed, by kind and upstream.")),
        budget_refusals(counters(registry, "palisade_gateway_budget_refusals_total",
                                 "Requests refused because of a budget, by code.")),
        durations(prometheus::BuildHistogram()
                      .Name("palisade_gateway_request_seconds")
                      .Help("From a request's head to the end of its answer, by kind.")
                      .Register(registry)),
        in_flight(prometheus::BuildGauge()
                      .Name("palisade_gateway_in_flight")
                      .Help("Requests that are being answered.")
                      .Register(registry)
                      .Add({})) {
    // A rise from nothing is none that an alert could see.
    for (const char* code : {"budget_exceeded", "rate_limited", "budget_unknown"})
      budget_refusals.Add({{"code", codes(code)}});
  }

  const std::shared_ptr<Record> next;
  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Family<prometheus::Counter>& tokens;
  prometheus::Counter& prompt;
  prometheus::Counter& completion;
  prometheus::Counter& cost;
  prometheus::Family<prometheus::Counter>& upstream_failures;
  prometheus::Family<prometheus::Counter>& budget_refusals;
  prometheus::Family<prometheus::Histogram>& durations;
  prometheus::Gauge& in_flight;
  Words kinds, verdicts, codes, upstreams;
  Made<prometheus::Counter> requests_made;
  Made<prometheus::Histogram> durations_made;

  void count(const Counted& line, bool to_upstream) {
    requests_made
        .get({line.kind, line.verdict, line.code},
             [&]() -> prometheus::Counter& {
               return requests.Add({{"kind", kinds(line.kind)},
                                    {"verdict", verdicts(line.verdict)},
                                    {"code", codes(line.code)}});
             })
        .Increment();
    durations_made
        .get({line.kind},
             [&]() -> prometheus::Histogram& {
               return durations.Add({{"kind", kinds(line.kind)}}, seconds());
             })
        .Observe(static_cast<double>(line.duration_ms) / 1000);
    if (line.prompt_tokens > 0) prompt.Increment(static_cast<double>(line.prompt_tokens));
    if (line.completion_tokens > 0)
      completion.Increment(static_cast<double>(line.completion_tokens));
    if (line.cost > 0) cost.Increment(static_cast<double>(line.cost));
    if (line.verdict == "failed" && to_upstream)
      upstream_failures.Add({{"kind", kinds(line.kind)}, {"upstream", upstreams(line.upstream)}})
          .Increment();
    if (line.code == "budget_exceeded" || line.code == "rate_limited" ||
        line.code == "budget_unknown")
      budget_refusals.Add({{"code", codes(line.code)}}).Increment();
  }
};

MeteredRecord::MeteredRecord(std::shared_ptr<Record> next, prometheus::Registry& registry)
    : impl_(std::make_unique<Impl>(std::move(next), registry)) {}

MeteredRecord::~MeteredRecord() = default;

void MeteredRecord::write(json line) {
  const std::string kind = text(line, "kind");
  const std::string verdict = text(line, "verdict");
  const std::string code = text(line, "code");
  const std::string upstream = text(line, "upstream");
  // One that was not proven, or found no budget, never came to an upstream.
  impl_->count(
      {kind, verdict, code, upstream, whole(line, "durationMs"), whole(line, "promptTokens"),
       whole(line, "completionTokens"), whole(line, "costMicros")},
      !upstream.empty() || line.contains("repository"));
  impl_->next->write(std::move(line));
}

void MeteredRecord::write_text(const Counted& counted, std::string line) {
  impl_->count(counted, !counted.upstream.empty());
  impl_->next->write_text(counted, std::move(line));
}

void MeteredRecord::begin() {
  impl_->in_flight.Increment();
}

void MeteredRecord::end() {
  impl_->in_flight.Decrement();
}

}  // namespace palisade::gateway
