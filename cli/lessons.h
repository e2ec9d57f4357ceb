// What `palisade explain` tells beside the control table: an attack in plain words, and the same
// pod written wrong and right.
#pragma once

#include <span>
#include <string_view>

namespace palisade::cli {

struct Lesson {
  std::string_view control;
  std::string_view attack;
  // YAML; parts of a Pod, but for controls that take the cluster to tell (Control::needs_cluster),
  // and for guards: these have requests. Each bad one breaks its control and the good one keeps it,
  // which a test makes sure of.
  std::string_view bad;
  std::string_view good;
  std::string_view settings = "";  // YAML: those that the examples are judged by
};

// nullptr where there is none.
[[nodiscard]] const Lesson* find_lesson(std::string_view control);

// The parts of the whole; each file holds some.
[[nodiscard]] std::span<const Lesson> container_lessons();
[[nodiscard]] std::span<const Lesson> pod_lessons();
[[nodiscard]] std::span<const Lesson> cluster_lessons();
[[nodiscard]] std::span<const Lesson> guard_lessons();

}  // namespace palisade::cli
