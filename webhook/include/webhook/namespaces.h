// How each namespace is guarded: its label palisade.dev/enforce, from a watch, with a live read
// where the watch does not know it yet.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <string_view>

#include <kube/client.h>
#include <kube/reflector.h>
#include <webhook/review.h>

namespace palisade::webhook {

inline constexpr std::chrono::milliseconds kLiveDeadline{1000};
inline constexpr const char* kEnforceLabel = "palisade.dev/enforce";

// The mode that a namespace's labels ask for; a value that is not known enforces all.
[[nodiscard]] Mode mode_of_labels(const kube::Json& ns);

// Thread-safe.
class Namespaces {
 public:
  // The watch runs on `client`. `live` makes the reads that hold a review up, so its call deadline
  // must be short: kLiveDeadline.
  Namespaces(std::shared_ptr<const kube::Client> client, std::shared_ptr<const kube::Client> live);
  void start() { reflector_.start(); }
  [[nodiscard]] bool has_synced() const { return reflector_.has_synced(); }
  // An error where the watch has not synced, the API server does not answer a live read, or too
  // many of those are under way. "" is an error too: a pod has a namespace.
  [[nodiscard]] std::expected<Mode, std::string> mode(std::string_view ns);

 private:
  const std::shared_ptr<const kube::Client> live_;
  kube::Reflector reflector_;
  std::atomic<int> live_reads_{0};
};

}  // namespace palisade::webhook
