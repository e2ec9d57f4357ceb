// metav1.Time: RFC 3339 in UTC, in whole seconds. metav1.MicroTime is in micro_time.h.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace kube {

[[nodiscard]] std::string rfc3339(std::chrono::system_clock::time_point at);
// Of a time that the API server wrote: in UTC ("Z"), with a fraction or without, which is left out.
// nullopt for anything else, days that are in no calendar included.
[[nodiscard]] std::optional<std::chrono::system_clock::time_point> parse_rfc3339(
    std::string_view text);

}  // namespace kube
