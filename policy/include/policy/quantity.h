// Kubernetes resource quantities ("500m", "2", "1.5Gi", "3e6"), as apimachinery's resource.Quantity
// reads them:
// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace palisade::policy {

enum class Unit : std::uint8_t { one, milli };  // 1 or 1/1000, as for bytes and for CPUs

// The quantity in `unit`, away from zero to a whole one, as Kubernetes rounds. What does not fit
// becomes the greatest (or least) int64; nullopt where the text is no quantity.
[[nodiscard]] std::optional<std::int64_t> parse_quantity(std::string_view text, Unit unit);

}  // namespace palisade::policy
