// Errors of the Kubernetes API as values: what went wrong, where, and whether to try again.
#pragma once

#include <chrono>
#include <expected>
#include <optional>
#include <string>
#include <vector>

namespace kube {

// One entry of metav1.Status.details.causes.
struct StatusCause {
  std::string reason;   // e.g. FieldValueInvalid
  std::string message;  // human-readable
  std::string field;    // e.g. spec.repository.url
};

// A failed API call. `code` is the HTTP status, or 0 where no answer came (transport failure,
// deadline, cancel); then `reason` is one of kTransportReason* below. Otherwise `reason` is
// metav1.Status.reason, or "" where the body was no Status.
struct Error {
  int code = 0;
  std::string reason;
  std::string message;
  std::vector<StatusCause> causes;
  std::optional<std::chrono::seconds> retry_after;

  [[nodiscard]] bool is_not_found() const { return code == 404; }
  [[nodiscard]] bool is_already_exists() const { return code == 409 && reason == "AlreadyExists"; }
  [[nodiscard]] bool is_conflict() const { return code == 409 && reason != "AlreadyExists"; }
  [[nodiscard]] bool is_gone() const {
    return code == 410;
  }  // also "Expired": the resource version is too old
  [[nodiscard]] bool is_forbidden() const { return code == 403; }
  [[nodiscard]] bool is_invalid() const { return code == 422; }
  [[nodiscard]] bool is_transport() const { return code == 0; }
  [[nodiscard]] bool is_cancelled() const;
  // Worth trying again unchanged after a pause: no answer, 429, 500, 502, 503, 504.
  [[nodiscard]] bool is_retriable() const;
  // One line for logs and conditions: "403 Forbidden: pods is forbidden: ... (spec.x: ...)".
  [[nodiscard]] std::string text() const;
};

inline constexpr const char* kTransportReasonConnect = "ConnectFailed";
inline constexpr const char* kTransportReasonTls = "TlsFailed";
inline constexpr const char* kTransportReasonTimeout = "DeadlineExceeded";
inline constexpr const char* kTransportReasonCancelled = "Cancelled";
inline constexpr const char* kTransportReasonClosed = "ConnectionClosed";
inline constexpr const char* kTransportReasonProtocol = "MalformedResponse";
inline constexpr const char* kTransportReasonTooLarge = "ResponseTooLarge";

template <class T>
using Result = std::expected<T, Error>;

}  // namespace kube
