// What the caches keep of objects, and what these are found by.
#pragma once

#include <string>
#include <vector>

#include <operator/workspace.h>

namespace palisade::op {

// Of a pod nobody asks how its containers are set up once it has been made, but what they run and
// what became of it (compare.h, session.h).
[[nodiscard]] Json lean_pod(Json pod);

// As the cache of its kind would have it.
[[nodiscard]] Json lean(const kube::Resource& resource, Json object);

// The workspace that an object belongs to, as a key; "" where it belongs to none.
[[nodiscard]] std::string owner_key(const Json& object);

// The index kByNamespace.
[[nodiscard]] std::vector<std::string> namespace_index(const Json& object);
// The index kByWorkspace: owner_key().
[[nodiscard]] std::vector<std::string> workspace_index(const Json& object);

}  // namespace palisade::op
