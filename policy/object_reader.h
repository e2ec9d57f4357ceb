// Reads the spec of Palisade's own cluster-scoped objects strictly: every member is known, has its
// type, and an error names its path.
#pragma once

#include <expected>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <simdjson.h>

namespace palisade::policy {

// A reader stores the value or says what it must be ("" where all is well).
using FieldReader = std::function<std::string(simdjson::dom::element)>;

// Each member of `object` (named `at` in errors) by its reader. Null counts as absent.
[[nodiscard]] std::expected<void, std::string> read_members(
    simdjson::dom::element object, std::string_view at,
    std::initializer_list<std::pair<std::string_view, FieldReader>> fields);

[[nodiscard]] std::string read_text(simdjson::dom::element value, std::string& target);
// At most 256 texts; empty ones only where `allow_empty`.
[[nodiscard]] std::string read_texts(simdjson::dom::element value, std::vector<std::string>& target,
                                     bool allow_empty = false);

}  // namespace palisade::policy
