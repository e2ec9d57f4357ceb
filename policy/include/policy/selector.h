// Label selectors as Kubernetes reads them.
// Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

namespace palisade::policy {

using Labels = std::map<std::string, std::string, std::less<>>;

// The labels of an object (metadata.labels); null values are empty ones. Whatever has another shape
// is left out: the API server stores no such thing.
[[nodiscard]] Labels labels_of(simdjson::dom::element object);

// A parsed LabelSelector. The default one (`{}`) selects everything.
class Selector {
 public:
  Selector() = default;

  [[nodiscard]] bool matches(const Labels& labels) const;
  [[nodiscard]] bool everything() const { return requirements_.empty(); }

  // `at` names the selector in errors, e.g. "spec.namespaceSelector". Unknown operators and fields,
  // wrong types and values that do not go with their operator are errors.
  [[nodiscard]] static std::expected<Selector, std::string> parse(simdjson::dom::element selector,
                                                                  std::string_view at);

 private:
  enum class Operator : std::uint8_t { in, not_in, exists, does_not_exist };
  struct Requirement {
    std::string key;
    Operator op = Operator::exists;
    std::vector<std::string> values;
  };
  std::vector<Requirement> requirements_;
};

}  // namespace palisade::policy
