// The webhook's HTTP face: which requests reach review() and mutate(), and what is counted.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include <kube/http_server.h>
#include <kube/tracing.h>
#include <webhook/review.h>

namespace prometheus {
class Registry;
}

namespace palisade::webhook {

inline constexpr const char* kValidatePath = "/validate";
inline constexpr const char* kMutatePath = "/mutate";

// Hands a view of the cluster for one request to `use`, and says whether that view lacked something
// that only waiting could bring.
using WithView =
    std::function<bool(const kube::HttpRequest&, const std::function<void(const ClusterView&)>&)>;

// Called once for each exception that let something pass, never of a dry run. Must not block.
using OnException = std::function<void(const ExceptionUse&, const std::string& subject)>;

// Thread-safe.
class Reviewer {
 public:
  // With a tracer each review is a span, a child of the API server's where that traces, too.
  Reviewer(WithView with_view, prometheus::Registry& registry, OnException on_exception = {},
           std::shared_ptr<kube::Tracer> tracer = nullptr);
  ~Reviewer();
  Reviewer(const Reviewer&) = delete;
  Reviewer& operator=(const Reviewer&) = delete;

  // 404, 405 and 415 for what is no POST of JSON to one of the two paths.
  [[nodiscard]] kube::HttpResponse answer(const kube::HttpRequest& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::webhook
