// Every field that a pod's spec may have, as the API's types nest them, and who answers for it.
// What is not in this table is refused (the control known-fields): a new Kubernetes version cannot
// open a hole before somebody has thought about its fields. Source:
// https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
//
// tests/policy/fields_integration_test.cpp compares the table with the OpenAPI document of a
// running API server, both ways.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace palisade::policy {

// One of the API's object types, by its place in pod_types().
using TypeIndex = std::uint8_t;

struct PodField {
  enum class Kind : std::uint8_t {
    harmless,  // any value may stand here; the table says why where that is not plain
    judged,    // `control` reads it
    refused,   // `control` refuses it whole, so what is inside does not matter
    object,    // an object of type `type`, whose fields answer for themselves
    list,      // a list of such objects
  };
  std::string_view name;
  Kind kind = Kind::harmless;
  std::string_view control;
  TypeIndex type = 0;
};

struct PodType {
  std::string_view name;  // the API's, e.g. PodSpec
  std::span<const PodField> fields;
  // The control that refuses members that are not in the table; "" is known-fields.
  std::string_view others;
};

// The first is PodSpec.
[[nodiscard]] std::span<const PodType> pod_types();

// nullptr where the type has no such field. Does not allocate; one comparison as a rule.
[[nodiscard]] const PodField* find_field(TypeIndex type, std::string_view name);

}  // namespace palisade::policy
