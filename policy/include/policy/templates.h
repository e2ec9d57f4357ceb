// The kinds that make pods, and where each keeps its pod template.
// Source: https://kubernetes.io/docs/concepts/workloads/pods/#pod-templates
#pragma once

#include <array>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include <simdjson.h>

namespace palisade::policy {

struct PodTemplate {
  std::string_view kind;
  std::string_view group;                    // of apiVersion; "" is the core group
  std::string_view resource;                 // plural
  std::array<std::string_view, 4> path;      // each member on the way to the template
  [[nodiscard]] std::string prefix() const;  // before each path of the pod: "spec.template."
};

// Pod itself first, whose path is empty.
[[nodiscard]] std::span<const PodTemplate> pod_templates();
// nullptr where such objects make no pods. Deployments and the like of the group `extensions`,
// which old manifests still name, are those of `apps`.
[[nodiscard]] const PodTemplate* template_of_kind(std::string_view group, std::string_view kind);
[[nodiscard]] const PodTemplate* template_of_resource(std::string_view group,
                                                      std::string_view resource);
// The pod or template in an object of that kind; the error is the path of what is missing.
[[nodiscard]] std::expected<simdjson::dom::element, std::string> pod_in(
    simdjson::dom::element object, const PodTemplate& where);

}  // namespace palisade::policy
