#include <fmt/format.h>

#include <kube/tracing.h>

namespace kube {

namespace {

const Span*& current() {
  thread_local const Span* span = nullptr;
  return span;
}

}  // namespace

CurrentSpan::CurrentSpan(const Span& span) : before_(std::exchange(current(), &span)) {}

CurrentSpan::~CurrentSpan() {
  current() = before_;
}

namespace {

class Traced : public Transport {
 public:
  Traced(std::shared_ptr<Tracer> tracer, std::shared_ptr<Transport> inner)
      : tracer_(std::move(tracer)), inner_(std::move(inner)) {}

  Result<Response> send(const Request& request, std::stop_token stop) override {
    const Span* const parent = current();
    if (parent == nullptr || !parent->context()) return inner_->send(request, std::move(stop));
    Span span = tracer_->begin(request.method, SpanKind::kClient, parent->context());
    Request marked = request;
    marked.headers.emplace_back("traceparent", to_traceparent(*span.context()));
    if (span.recording()) {
      span.set("http.request.method", request.method);
      span.set("url.path", std::string_view(request.target).substr(0, request.target.find('?')));
    }
    auto answer = inner_->send(marked, std::move(stop));
    if (!answer) {
      span.fail(answer.error().text());
    } else {
      constexpr int kRefused = 400;
      span.set("http.response.status_code", std::int64_t{answer->status});
      if (answer->status >= kRefused) span.fail(fmt::format("it answers {}", answer->status));
    }
    return answer;
  }

  Result<Response> stream(const Request& request, const ChunkSink& sink,
                          std::chrono::milliseconds idle, std::stop_token stop) override {
    return inner_->stream(request, sink, idle, std::move(stop));
  }

 private:
  const std::shared_ptr<Tracer> tracer_;
  const std::shared_ptr<Transport> inner_;
};

}  // namespace

TransportWrap traced(std::shared_ptr<Tracer> tracer, TransportWrap inner) {
  if (!tracer) return inner;
  return
      [tracer = std::move(tracer), inner = std::move(inner)](std::shared_ptr<Transport> transport) {
        std::shared_ptr<Transport> out = std::make_shared<Traced>(tracer, std::move(transport));
        return inner ? inner(std::move(out)) : out;
      };
}

}  // namespace kube
