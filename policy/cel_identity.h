// agent_reason() in CEL, twice: as the ValidatingAdmissionPolicies judge by it, and as what the API
// server looks at before it asks the webhook about a pod.
#pragma once

#include <array>
#include <string>
#include <string_view>

namespace palisade::policy::cel {

inline constexpr std::array<std::string_view, 3> kContainerLists{"initContainers", "containers",
                                                                 "ephemeralContainers"};

// The containers of every kind of the pod that `root` names, as one list.
[[nodiscard]] std::string containers_of(std::string_view root);

// Why the pod `root` with these containers is an Aider pod; '' where it is none. Falls short of
// agent_reason() where that resolves variables and decodes Base64.
[[nodiscard]] std::string reason_of(std::string_view root, std::string_view containers);

// Whether the pod `root` could be an Aider pod: true wherever agent_reason() gives a reason, and
// for whatever is too large or too odd to be looked through. Never an error, and of a bounded cost.
[[nodiscard]] std::string could_be_agent(std::string_view root);

}  // namespace palisade::policy::cel
