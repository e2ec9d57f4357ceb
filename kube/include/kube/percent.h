// Percent-encoding (RFC 3986, 2.1).
#pragma once

#include <string>
#include <string_view>

namespace kube {

// For a query's value or one segment of a path: unreserved characters stay as they are.
[[nodiscard]] std::string percent_encoded(std::string_view text);

}  // namespace kube
