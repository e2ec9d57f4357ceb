// What a server refuses, or says that it should not, as an Error, bounded: it ends in logs and
// conditions.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include <kube/error.h>
#include <kube/transport.h>

#include "json_access.h"

namespace kube {

// A metav1.Status, which need not be sound.
[[nodiscard]] Error error_of_status(int code, const nlohmann::json& status);

// An answer that is no success: the Status in its body, or the beginning of what stands there.
[[nodiscard]] Error error_of(const Response& response);

// An answer that is not what the API says.
[[nodiscard]] Error malformed(std::string what);

// A Retry-After header in seconds, at most an hour; nothing for a date and for no number.
[[nodiscard]] std::optional<std::chrono::seconds> retry_after(const Headers& headers);

}  // namespace kube
