// Every way to break one control at one place of a pod that the operator built.
#pragma once

#include <string>
#include <vector>

#include "operator/fixture.h"
#include "policy/fixture.h"

namespace palisade::op::testing {

struct Weakening {
  std::string control;
  std::string name;  // what is broken, and where
  std::vector<policy::testing::Change> changes;
};

// With a hardened ephemeral container beside the others, so that one more place can be weakened.
[[nodiscard]] Json with_ephemeral_container(Json pod);

// For this pod: each control at each place in it where it can be broken.
[[nodiscard]] std::vector<Weakening> weakenings_of(const Json& pod);

[[nodiscard]] Json weakened(Json pod, const Weakening& weakening);

// Whether both can be applied to one pod without one undoing the other.
[[nodiscard]] bool apart(const Weakening& a, const Weakening& b);

}  // namespace palisade::op::testing
