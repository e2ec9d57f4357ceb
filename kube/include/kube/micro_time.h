// metav1.MicroTime: RFC 3339 in UTC with exactly six digits after the second.
#pragma once

#include <chrono>
#include <string>

#include <fmt/chrono.h>

namespace kube {

inline std::string micro_time(std::chrono::system_clock::time_point at) {
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(at.time_since_epoch()).count() %
      1'000'000;
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06d}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(at)), micros);
}

}  // namespace kube
