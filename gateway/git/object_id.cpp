#include "object_id.h"

namespace palisade::gateway::git {

std::optional<ObjectId> parse_id(std::string_view hex, ObjectFormat format) {
  if (hex.size() != 2 * id_bytes(format)) return std::nullopt;
  ObjectId out;
  for (std::size_t i = 0; i < hex.size(); ++i) {
    const char c = hex[i];
    unsigned digit = 0;
    if (c >= '0' && c <= '9')
      digit = static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = static_cast<unsigned>(c - 'a') + 10;
    else
      return std::nullopt;
    unsigned char& byte = out.bytes.at(i / 2);
    byte = static_cast<unsigned char>(static_cast<unsigned>(byte) << 4U | digit);
  }
  return out;
}

std::string hex(const ObjectId& id, ObjectFormat format) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < id_bytes(format); ++i) {
    out += kDigits[id.bytes.at(i) >> 4U];
    out += kDigits[id.bytes.at(i) & 0xFU];
  }
  return out;
}

}  // namespace palisade::gateway::git
