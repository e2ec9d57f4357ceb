// The connections of one thread to others, kept between calls.
#pragma once

#include <memory>

#include <gateway/http/client.h>
#include <gateway/http/workers.h>

#include "loop.h"

namespace palisade::gateway {

// `lookups`: where names are looked up. Both outlive all calls.
[[nodiscard]] std::unique_ptr<Clients> make_clients(Loop& loop, std::shared_ptr<Workers> lookups);

}  // namespace palisade::gateway
