// The API server's answers as JSON values. Internal to kube/.
#pragma once

#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

namespace kube {

// Where objects stand in a text, and with them `metadata.managedFields`, which is left out: who
// last wrote which field is often half of an object, and an update without it changes nothing of it
// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields).
enum class Shape {
  kObject,  // the object itself
  kList,    // `items`
  kEvent,   // `object`, of a watch
};

// The value that nlohmann::json::parse() makes of `text` but for that, in about a third of its time
// (simdjson reads, one pass builds). Nothing where it is no JSON in UTF-8, or nested deeper than
// 1,024. Thread-safe.
[[nodiscard]] std::optional<nlohmann::json> decode(std::string_view text, Shape shape);

}  // namespace kube
