// What a container's own fields give it: variables, the kernel, the node. `where` is how grants
// name the container.
#pragma once

#include <string>

#include <simdjson.h>

#include <policy/permissions.h>

namespace palisade::policy {

void environment_grants(simdjson::dom::element container, const std::string& where, Actor& actor);
void kernel_grants(simdjson::dom::element pod, simdjson::dom::element container,
                   const std::string& where, Actor& actor);
// `pod_name` is how grants name the pod.
void host_grants(simdjson::dom::element pod, simdjson::dom::element container,
                 const std::string& pod_name, const std::string& where, Actor& actor);

}  // namespace palisade::policy
