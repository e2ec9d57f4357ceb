// Texts for terminals and XML. Names come from files and clusters: nothing in them may move a
// cursor, reorder a line or end an element.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::cli {

// Control characters, line and paragraph separators, directional marks, invisible characters and
// bytes that are not UTF-8 become '?'. No newline passes either.
[[nodiscard]] std::string printable(std::string_view text);

// "a, b", printable.
[[nodiscard]] std::string listed(const std::vector<std::string>& names);

// For XML 1.0 text and attribute values: escaped, and what XML cannot hold replaced by '?'.
[[nodiscard]] std::string xml(std::string_view text);

// "1 pod", "2 pods".
[[nodiscard]] std::string counted(std::size_t count, std::string_view noun);

// A relative or absolute path as a URI reference: percent-encoded, slashes kept.
[[nodiscard]] std::string uri_path(std::string_view path);

// Lower-case hexadecimal SHA-256.
[[nodiscard]] std::string sha256(std::string_view bytes);

// Edit distance where a swap of neighbours is one edit; for "did you mean".
[[nodiscard]] std::size_t distance(std::string_view a, std::string_view b);

}  // namespace palisade::cli
