// Small text work that the providers share.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <operator/tokens/provider.h>

namespace palisade::op::tokens {

[[nodiscard]] std::string base64_url(std::string_view bytes);  // RFC 7515: no padding
// nullopt for what is not padded base64, or more than 64 KiB.
[[nodiscard]] std::optional<std::string> decode_base64(std::string_view text);

// One segment of a path or a query's value, RFC 3986.
[[nodiscard]] std::string segment(std::string_view text);

// Fit for a message: one line of printable ASCII, at most `most` bytes.
[[nodiscard]] std::string printable(std::string_view text, std::size_t most);

// RFC 3339, or a date alone (its first second, UTC), from 1970 to 2200: what is beyond becomes
// that. nullopt for anything else.
[[nodiscard]] std::optional<Time> parse_time(const std::string& text);
[[nodiscard]] std::string format_time(Time at);  // RFC 3339 in UTC, whole seconds
[[nodiscard]] std::string format_date(Time at);  // 2026-01-31
// The Date header of HTTP.
[[nodiscard]] std::optional<Time> parse_http_date(const std::string& text);

// What can be a token or a password's user: printable, no blanks, 1 to `most` bytes.
[[nodiscard]] bool is_word(std::string_view text, std::size_t most);

}  // namespace palisade::op::tokens
