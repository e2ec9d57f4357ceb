#include <algorithm>
#include <random>

#include <kube/patience.h>

#include "pause.h"
#include "status_error.h"
#include "url.h"

namespace kube {

namespace {

using Clock = std::chrono::steady_clock;

class PatientTransport final : public Transport {
 public:
  PatientTransport(std::shared_ptr<Transport> inner, PatienceOptions options)
      : inner_(std::move(inner)), options_(options) {}

  Result<Response> send(const Request& request, std::stop_token stop) override {
    return patiently(request, stop, [&](const Request& now) { return inner_->send(now, stop); });
  }
  Result<Response> stream(const Request& request, const ChunkSink& sink,
                          std::chrono::milliseconds idle, std::stop_token stop) override {
    return patiently(request, stop,
                     [&](const Request& now) { return inner_->stream(now, sink, idle, stop); });
  }

 private:
  template <class Exchange>
  Result<Response> patiently(const Request& request, const std::stop_token& stop,
                             Exchange&& exchange) const {
    const auto deadline = Clock::now() + request.deadline;
    Request now = request;
    for (int tries = 1;; ++tries) {
      auto answer = exchange(now);
      if (!answer || tries >= options_.most_tries) return answer;
      const bool busy =
          answer->status == 429 || (answer->status == 503 && may_repeat(request.method));
      const auto wait = busy ? retry_after(answer->headers) : std::nullopt;
      const auto left = deadline - Clock::now();
      if (!wait || *wait > options_.longest_wait || *wait >= left) return answer;
      if (!pause(stop, *wait))
        return transport_error(kTransportReasonCancelled, brief(request) + ": cancelled");
      now.deadline = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    }
  }

  const std::shared_ptr<Transport> inner_;
  const PatienceOptions options_;
};

}  // namespace

TransportWrap patient(PatienceOptions options) {
  return [options](std::shared_ptr<Transport> inner) -> std::shared_ptr<Transport> {
    return std::make_shared<PatientTransport>(std::move(inner), options);
  };
}

Result<Json> read_change_write(const Client& client, const Resource& resource, std::string_view ns,
                               std::string_view name, const Change& change,
                               const UpdateOptions& options, const std::stop_token& stop) {
  std::minstd_rand random{std::random_device{}()};
  std::uniform_int_distribution<int> jitter(0, 10);
  for (int tries = 1;; ++tries) {
    auto object = client.get(resource, ns, name, stop);
    if (!object) return object;
    auto changed = change(*object);
    if (!changed) return std::unexpected(std::move(changed.error()));
    if (!*changed) return object;
    auto written = client.update(resource, ns, name, *object, options.subresource, stop);
    if (written || !written.error().is_conflict() || tries >= options.most_tries) return written;
    if (!pause(stop, std::chrono::milliseconds(10 * tries + jitter(random)))) return written;
  }
}

}  // namespace kube
