// HardeningException: a named, approved and dated permission to break single controls.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>
#include <policy/selector.h>

namespace palisade::policy {

struct HardeningException {
  std::string name;
  std::string uid;
  std::vector<std::string> namespaces;
  Selector pods;  // spec.podSelector; absent: every pod of these namespaces
  std::vector<std::string> controls;
  std::string reason;
  std::string ticket;
  std::string approver;
  std::int64_t expires = 0;  // seconds since 1970

  [[nodiscard]] bool covers(std::string_view control, std::string_view ns, const Labels& pod,
                            std::int64_t now) const;
};

// From the object; the error names the field. Unknown controls, guards and empty texts are errors.
// That it has expired is none.
[[nodiscard]] std::expected<HardeningException, std::string> parse_exception(
    simdjson::dom::element object);

// RFC 3339 with any offset, to seconds since 1970; fractions are cut off.
[[nodiscard]] std::expected<std::int64_t, std::string> parse_rfc3339(std::string_view text);

}  // namespace palisade::policy
