// The volume sources that the Pod Security Standards' restricted level takes. Settings choose among
// them; no setting goes beyond.
#pragma once

#include <array>
#include <string_view>

namespace palisade::policy {

inline constexpr std::array<std::string_view, 9> kRestrictedVolumeSources{
    "configMap", "csi",    "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
    "projected", "secret",
};

}  // namespace palisade::policy
