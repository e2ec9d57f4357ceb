// What an actor of a session is given.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include <policy/permissions.h>

namespace palisade::policy {

inline void give(Actor& actor, std::string_view name, Grant grant) {
  auto found = std::ranges::find(actor.capabilities, name, &Capability::name);
  if (found == actor.capabilities.end())
    found = actor.capabilities.insert(actor.capabilities.end(), {std::string(name), {}});
  if (std::ranges::find(found->grants, grant) == found->grants.end())
    found->grants.push_back(std::move(grant));
}

}  // namespace palisade::policy
