// A server's refusal as an Error, bounded: it ends in logs and conditions.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include <kube/error.h>
#include <kube/transport.h>

namespace kube {

// "" where there is no such text.
[[nodiscard]] std::string text_at(const nlohmann::json& object, const char* key);

// A metav1.Status, which need not be sound.
[[nodiscard]] Error error_of_status(int code, const nlohmann::json& status);

// An answer that is no success: the Status in its body, or the beginning of what stands there.
[[nodiscard]] Error error_of(const Response& response);

// A Retry-After header in seconds, at most an hour; nothing for a date and for no number.
[[nodiscard]] std::optional<std::chrono::seconds> retry_after(const Headers& headers);

}  // namespace kube
