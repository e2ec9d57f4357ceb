// Names of git objects: SHA-1 or SHA-256.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

namespace palisade::gateway::git {

enum class ObjectFormat : std::uint8_t { kSha1, kSha256 };

[[nodiscard]] constexpr std::size_t id_bytes(ObjectFormat format) {
  return format == ObjectFormat::kSha1 ? 20 : 32;
}
[[nodiscard]] constexpr std::string_view name_of(ObjectFormat format) {
  return format == ObjectFormat::kSha1 ? "sha1" : "sha256";
}
[[nodiscard]] inline std::optional<ObjectFormat> object_format(std::string_view name) {
  if (name == "sha1") return ObjectFormat::kSha1;
  if (name == "sha256") return ObjectFormat::kSha256;
  return std::nullopt;
}

// Those of one format are compared with each other alone.
struct ObjectId {
  std::array<unsigned char, 32> bytes{};
  auto operator<=>(const ObjectId&) const = default;

  [[nodiscard]] bool zero() const {
    return std::all_of(bytes.begin(), bytes.end(), [](unsigned char b) { return b == 0; });
  }
};

struct ObjectIdHash {
  std::size_t operator()(const ObjectId& id) const {
    std::size_t out = 0;
    std::memcpy(&out, id.bytes.data(), sizeof out);
    return out;
  }
};

// Exactly as many lower-case hex digits as the format has.
[[nodiscard]] std::optional<ObjectId> parse_id(std::string_view hex, ObjectFormat format);
[[nodiscard]] std::string hex(const ObjectId& id, ObjectFormat format);

}  // namespace palisade::gateway::git
