// Quantities as fields of objects.
#pragma once

#include <cstdint>

#include <policy/quantity.h>

#include "pod_view.h"

namespace palisade::policy {

// A field that holds a quantity: text or, as the API server accepts it too, a number.
[[nodiscard]] Read<std::int64_t> read_quantity(const Node& node, Unit unit);

}  // namespace palisade::policy
