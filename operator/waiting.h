// Why a pod's containers do not start.
#pragma once

#include <optional>
#include <string>

#include "json_access.h"

namespace palisade::op {

// What the kubelet says of a container that waits for more than its turn. None of it is cleaned.
struct Waiting {
  std::string container;
  std::string image;
  std::string reason;
  std::string message;
};

// The first such container of a pod's status; nullopt where all go their way.
[[nodiscard]] inline std::optional<Waiting> waiting_container(const Json& status) {
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    const Json& statuses = child(status, list);
    if (!statuses.is_array()) continue;
    for (const Json& entry : statuses) {
      const Json& waiting = child(child(entry, "state"), "waiting");
      std::string why = text_at(waiting, "reason");
      if (why.empty() || why == "PodInitializing" || why == "ContainerCreating") continue;
      return Waiting{text_at(entry, "name"), text_at(entry, "image"), std::move(why),
                     text_at(waiting, "message")};
    }
  }
  return std::nullopt;
}

}  // namespace palisade::op
