// The controls' twins in CEL, the language of ValidatingAdmissionPolicies: each gives a list of the
// paths at which a pod breaks it. They read these variables, which policy/vap.cpp defines:
//
//   variables.pod          the pod or template, as a map
//   variables.spec         its spec
//   variables.sec          its spec.securityContext
//   variables.annotations  its metadata.annotations
//   variables.containers   of every kind, as {at: path, c: container, s: its securityContext,
//                          e: whether it is ephemeral}
//   variables.volumes      as {at: path, v: volume}
//
// Maps are empty where the pod has none. The API server has decoded the pod: types are right, and
// what is written as null is absent.
// Source: https://kubernetes.io/docs/reference/using-api/cel/
#pragma once

#include <ranges>
#include <string>
#include <string_view>

namespace palisade::policy::cel {

// A literal; whatever the text is, it stays one.
[[nodiscard]] std::string text(std::string_view value);

// A list of literals.
template <std::ranges::input_range Texts>
[[nodiscard]] std::string list(const Texts& texts) {
  std::string out = "[";
  for (const auto& item : texts) {
    if (out.size() > 1) out += ", ";
    out += text(item);
  }
  return out + "]";
}

// Texts of a regular expression (RE2), each meaning itself, as alternatives.
template <std::ranges::input_range Texts>
[[nodiscard]] std::string alternatives(const Texts& texts);

// The path where the condition holds.
[[nodiscard]] std::string where(std::string_view condition, std::string_view path);
// The containers `k` for which it holds, each as its path and `path`; k.c, k.s and k.e are theirs.
[[nodiscard]] std::string containers(std::string_view condition, std::string_view path);
// The same for volumes, v.v.
[[nodiscard]] std::string volumes(std::string_view condition, std::string_view path);
// The annotations of the name `a` for which it holds.
[[nodiscard]] std::string annotations(std::string_view condition);
// A field of securityContext that containers inherit, as each_inherited() of report.h: `bad` says
// of VALUE that it is; a container for which nobody wrote one is bad too.
[[nodiscard]] std::string inherited(std::string_view field, std::string_view bad);
// The securityContexts of the pod and of each container for which `bad` holds of SEC.
[[nodiscard]] std::string securities(std::string_view bad, std::string_view path);
// Whether the quantity that the optional expression gives is absent, not above 0 or above `most`.
[[nodiscard]] std::string bad_quantity(std::string_view optional, std::string_view most);
// `pattern` with each `name` replaced.
[[nodiscard]] std::string replaced(std::string_view pattern, std::string_view name,
                                   std::string_view by);
// The text with what means something to RE2 escaped.
[[nodiscard]] std::string escaped(std::string_view value);

template <std::ranges::input_range Texts>
std::string alternatives(const Texts& texts) {
  std::string out;
  for (const auto& item : texts) {
    if (!out.empty()) out += '|';
    out += escaped(item);
  }
  return out;
}

}  // namespace palisade::policy::cel
