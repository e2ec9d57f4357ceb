#include "cached.h"

#include <kube/cache.h>

#include "json_access.h"

namespace palisade::op {

Json lean_pod(Json pod) {
  const auto spec = pod.find("spec");
  if (spec == pod.end() || !spec->is_object()) return pod;
  for (const char* field : {"volumes", "tolerations", "affinity", "securityContext"})
    spec->erase(field);
  for (const char* list : {"initContainers", "containers"}) {
    const auto containers = spec->find(list);
    if (containers == spec->end() || !containers->is_array()) continue;
    for (Json& container : *containers) {
      for (const char* field :
           {"command", "args", "env", "volumeMounts", "securityContext", "resources",
            "startupProbe", "livenessProbe", "readinessProbe", "lifecycle"})
        container.erase(field);
    }
  }
  return pod;
}

Json lean(const kube::Resource& resource, Json object) {
  return resource == kube::resources::kPods ? lean_pod(std::move(object)) : object;
}

std::string owner_key(const Json& object) {
  const Json& metadata = child(object, "metadata");
  for (const Json& owner : child(metadata, "ownerReferences")) {
    if (text_at(owner, "kind") == kKind &&
        text_at(owner, "apiVersion").starts_with("palisade.dev/"))
      return kube::object_key(text_at(metadata, "namespace"), text_at(owner, "name"));
  }
  // A volume that is to outlive its workspace has none.
  if (const std::string name = text_at(child(metadata, "labels"), kWorkspaceLabel); !name.empty())
    return kube::object_key(text_at(metadata, "namespace"), name);
  return {};
}

std::vector<std::string> namespace_index(const Json& object) {
  return {text_at(child(object, "metadata"), "namespace")};
}

std::vector<std::string> workspace_index(const Json& object) {
  std::string key = owner_key(object);
  if (key.empty()) return {};
  return {std::move(key)};
}

}  // namespace palisade::op
