// Where an image may come from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <policy/policy.h>

namespace palisade::policy {

// What is wrong with the image's name by allowed_registries and require_digests; each one sentence.
[[nodiscard]] std::vector<std::string> image_problems(std::string_view image,
                                                      const Settings& settings);

}  // namespace palisade::policy
