#include "status_error.h"

#include <algorithm>
#include <charconv>

namespace kube {

namespace {

using Json = nlohmann::json;

// What a server may put into an Error: it ends in logs and conditions.
constexpr std::size_t kMaxMessage = 8 * 1024;
constexpr std::size_t kMaxCauses = 64;
constexpr int kMaxRetryAfter = 3600;  // seconds

}  // namespace

std::optional<std::chrono::seconds> retry_after(const Headers& headers) {
  const std::string_view value = header(headers, "Retry-After");
  int seconds = 0;
  const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (ec != std::errc() || end != value.data() + value.size() || seconds < 0) return std::nullopt;
  return std::chrono::seconds(std::min(seconds, kMaxRetryAfter));
}

Error error_of_status(int code, const Json& status) {
  Error error;
  error.code = code;
  error.reason = text_at(status, "reason");
  error.message = text_at(status, "message").substr(0, kMaxMessage);
  const auto details = status.find("details");
  if (details != status.end() && details->is_object()) {
    const auto causes = details->find("causes");
    if (causes != details->end() && causes->is_array()) {
      for (const Json& cause : *causes) {
        if (cause.is_object() && error.causes.size() < kMaxCauses)
          error.causes.push_back({text_at(cause, "reason"),
                                  text_at(cause, "message").substr(0, kMaxMessage),
                                  text_at(cause, "field").substr(0, kMaxMessage)});
      }
    }
    const auto wait = details->find("retryAfterSeconds");
    if (wait != details->end() && wait->is_number_integer() && wait->get<std::int64_t>() > 0) {
      error.retry_after =
          std::chrono::seconds(std::min<std::int64_t>(wait->get<std::int64_t>(), kMaxRetryAfter));
    }
  }
  return error;
}

Error malformed(std::string what) {
  return {0, kTransportReasonProtocol, std::move(what), {}, {}};
}

Error error_of(const Response& response) {
  const Json status = Json::parse(response.body, nullptr, false);
  Error error;
  if (status.is_object() && text_at(status, "kind") == "Status") {
    error = error_of_status(response.status, status);
  } else {
    error.code = response.status;
    error.message = response.body.substr(0, 512);
  }
  if (const auto wait = retry_after(response.headers)) error.retry_after = wait;
  return error;
}

}  // namespace kube
