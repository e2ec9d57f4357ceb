// The webhook's HTTP face: which requests reach review(), and what is counted.
#pragma once

#include <memory>

#include <kube/http_server.h>
#include <webhook/review.h>

namespace prometheus {
class Registry;
}

namespace palisade::webhook {

inline constexpr const char* kValidatePath = "/validate";

// Thread-safe.
class Reviewer {
 public:
  Reviewer(policy::Settings settings, ModeLookup mode_of, prometheus::Registry& registry);
  ~Reviewer();
  Reviewer(const Reviewer&) = delete;
  Reviewer& operator=(const Reviewer&) = delete;

  // 404, 405 and 415 for what is no POST of JSON to /validate.
  [[nodiscard]] kube::HttpResponse answer(const kube::HttpRequest& request);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::webhook
