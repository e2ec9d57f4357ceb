#include "images.h"

#include <algorithm>

namespace palisade::policy {

namespace {

bool in_registry(std::string_view image, std::string_view registry) {
  while (registry.ends_with('/'))
    registry.remove_suffix(1);
  return !registry.empty() && image.size() > registry.size() + 1 && image.starts_with(registry) &&
         image[registry.size()] == '/';
}

bool has_digest(std::string_view image) {
  const auto at = image.find('@');
  if (at == std::string_view::npos) return false;
  std::string_view digest = image.substr(at + 1);
  const std::size_t length = digest.starts_with("sha256:") ? 64 : 128;
  if (length == 128 && !digest.starts_with("sha512:")) return false;
  digest.remove_prefix(7);
  return digest.size() == length && std::ranges::all_of(digest, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

std::vector<std::string> image_problems(std::string_view image, const Settings& settings) {
  std::vector<std::string> out;
  if (settings.allowed_registries &&
      std::ranges::none_of(*settings.allowed_registries, [&](const std::string& registry) {
        return in_registry(image, registry);
      })) {
    out.emplace_back(
        "is not, in full, from a registry that the settings allow (allowedRegistries)");
  }
  if (settings.require_digests && !has_digest(image)) {
    out.emplace_back("must be named by digest (@sha256:...): a tag can be moved to another image");
  }
  return out;
}

}  // namespace palisade::policy
