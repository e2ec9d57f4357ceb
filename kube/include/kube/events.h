// Events (events.k8s.io/v1) that tell people what happened to an object.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <kube/client.h>

namespace kube {

enum class EventType { kNormal, kWarning };

// Thread-safe and never blocks the caller: a bounded queue (1,000; the oldest is dropped and
// counted) and one owned thread. The same (object UID, type, reason, note) within ten minutes
// becomes a series on one Event instead of a new one.
class EventRecorder {
 public:
  // `controller` e.g. palisade.dev/operator; `instance` e.g. the pod's name.
  EventRecorder(std::shared_ptr<const Client> client, std::string controller, std::string instance);
  ~EventRecorder();  // gives what is queued up to two seconds, then stops
  EventRecorder(const EventRecorder&) = delete;
  EventRecorder& operator=(const EventRecorder&) = delete;

  // `regarding` is the whole object or at least apiVersion, kind, metadata.{namespace,name,uid}.
  // `reason` CamelCase (<=128), `action` what was being done (<=128), `note` one sentence (cut at 1
  // kB).
  void record(const Json& regarding, EventType type, std::string_view reason,
              std::string_view action, std::string_view note);

  [[nodiscard]] std::uint64_t dropped() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kube
