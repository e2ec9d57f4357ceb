// What a YAML scalar means, as go-yaml v2 resolves it for kubectl.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace palisade::cli {

enum class ScalarType { null, boolean, integer, number, text };

struct Scalar {
  ScalarType type = ScalarType::text;
  std::string json;  // as JSON; empty for a number that JSON does not have (.inf, .nan)
};

// A plain scalar without a tag.
[[nodiscard]] Scalar resolve_plain(std::string_view text);

// A scalar with one of YAML's own tags (tag:yaml.org,2002:int); nullopt where the text is not of
// that type or the tag is not one of null, bool, int, float and str.
[[nodiscard]] std::optional<Scalar> resolve_tagged(std::string_view tag, std::string_view text);

[[nodiscard]] Scalar text_scalar(std::string_view text);

}  // namespace palisade::cli
