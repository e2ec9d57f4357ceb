// What Palisade's gateway may do for a session.
#pragma once

#include <optional>

#include <simdjson.h>

#include <policy/permissions.h>

namespace palisade::policy {

// An actor of role gateway, where a container of the pod holds a token for it and a route of the
// session's relay.json uses that. `objects` as permissions_of() takes them.
[[nodiscard]] std::optional<Actor> gateway_actor(simdjson::dom::element objects,
                                                 simdjson::dom::element pod);

}  // namespace palisade::policy
