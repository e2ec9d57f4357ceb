// YAML and JSON manifests to JSON documents, as kubectl reads them: the semantics of
// sigs.k8s.io/yaml on YAML 1.1 (a plain `yes`, `on` or `y` is true, 0o17 and 017 are 15, quoted
// scalars are texts).
//
// Where readers of YAML differ, or where a reader of the manifest would be misled, this one
// refuses: keys given twice, a key that is written and then merged over by `<<`, tags that are not
// YAML's own. Hostile input is bounded: 10 MB, 100 levels, half a million values after aliases are
// expanded.
#pragma once

#include <cstddef>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "places.h"

namespace palisade::cli {

inline constexpr std::size_t kMaxInput = 10U << 20U;  // bytes
inline constexpr int kMaxDepth = 100;
inline constexpr std::size_t kMaxValues = 500'000;   // in a document, aliases expanded
inline constexpr std::size_t kMaxJson = 64U << 20U;  // bytes of a document, aliases expanded

// Where a document begins, what it says as one JSON value, and where in the text each value is.
// Members stand where their key does; what an alias or `<<` brings in, where it is written.
struct Document {
  std::size_t line = 1;
  std::string json;
  Places places;
};

// Lines and columns count from 1.
struct ReadError {
  std::size_t line = 1;
  std::size_t column = 1;
  std::string message;
};

// All documents of a text; empty ones are left out. Text that begins with { or [ is read as JSON
// first, several values after each other included, and as YAML where that fails.
[[nodiscard]] std::expected<std::vector<Document>, ReadError> read_documents(std::string_view text);

// The two readers by themselves.
[[nodiscard]] std::expected<std::vector<Document>, ReadError> read_yaml(std::string_view text);
[[nodiscard]] std::expected<std::vector<Document>, ReadError> read_json(std::string_view text);

}  // namespace palisade::cli
