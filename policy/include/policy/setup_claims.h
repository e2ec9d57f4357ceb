// The PersistentVolumeClaims that hold what the setups of workspaces (spec.setup) have made.
#pragma once

#include <string_view>

namespace palisade::policy {

// palisade-setup-HASH; the same as a pattern (RE2).
[[nodiscard]] constexpr bool is_setup_claim(std::string_view name) {
  constexpr std::string_view kPrefix = "palisade-setup-";
  constexpr std::size_t kDigits = 32;
  return name.size() == kPrefix.size() + kDigits && name.starts_with(kPrefix) &&
         name.substr(kPrefix.size()).find_first_not_of("0123456789abcdef") ==
             std::string_view::npos;
}
inline constexpr std::string_view kSetupClaims = "^palisade-setup-[0-9a-f]{32}$";

}  // namespace palisade::policy
