// JSON as text: one pass that checks it and says where its parts lie, so that what is not changed
// is passed on byte by byte. No tree is built: a prompt of 10 MB takes no more than its own room.
// Source: RFC 8259. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace palisade::gateway::llm {

inline constexpr std::size_t kMostDepth = 64;

// Bytes [begin, end) of a text.
struct Span {
  std::size_t begin = 0;
  std::size_t end = 0;
  bool operator==(const Span&) const = default;
  [[nodiscard]] std::string_view of(std::string_view text) const {
    return text.substr(begin, end - begin);
  }
};

enum class JsonType : std::uint8_t { kObject, kArray, kString, kNumber, kBool, kNull };

struct Member {
  std::string key;  // decoded
  JsonType type = JsonType::kNull;
  Span value;  // as written, a string with its quotes
};

struct JsonFault {
  std::size_t at = 0;  // byte
  std::string what;    // "a member's name is there twice"; nothing of the text
};

// All of `text` must be one JSON object: UTF-8, strict syntax, no name twice in any object (readers
// differ in which they take), at most kMostDepth deep. Its own members, in their order.
[[nodiscard]] std::expected<std::vector<Member>, JsonFault> read_object(std::string_view text);
// The same for any value; its type.
[[nodiscard]] std::expected<JsonType, JsonFault> check_json(std::string_view text);

[[nodiscard]] const Member* find_member(const std::vector<Member>& members, std::string_view key);

// Below: of text that was checked.

// The next string at or after `from`, with its quotes.
[[nodiscard]] std::optional<Span> next_string(std::string_view text, std::size_t from);
// What a string (with its quotes) says. A lone surrogate becomes U+FFFD.
[[nodiscard]] std::string decoded(std::string_view string);
// Where a byte lies, as messages[2].content; names that are not plain words are shown as "?".
[[nodiscard]] std::string path_at(std::string_view text, std::size_t at);
// Whether the string at `string` names a member.
[[nodiscard]] bool is_name(std::string_view text, Span string);

// Replacements, in ascending order and apart from each other.
struct Edit {
  Span span;
  std::string text;
};
[[nodiscard]] std::string edited(std::string_view text, const std::vector<Edit>& edits);

}  // namespace palisade::gateway::llm
