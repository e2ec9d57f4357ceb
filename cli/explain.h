// `palisade explain`: what a control asks, why, and how to keep it.
#pragma once

#include <string>
#include <string_view>

#include <policy/policy.h>

namespace palisade::cli {

// "" for a known control or guard, else the sentence that names the nearest ones.
[[nodiscard]] std::string known_control(const std::string& id);
// The same for what pods are judged by: a guard is none.
[[nodiscard]] std::string known_control_of_pods(const std::string& id);

[[nodiscard]] std::string explain_text(const policy::Control& control);
[[nodiscard]] std::string explain_json(const policy::Control& control);

}  // namespace palisade::cli
