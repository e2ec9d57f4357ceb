// What the guard of a container (docs/guard.md) leaves to the agent that it runs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <simdjson.h>

#include "cidr.h"

namespace palisade::policy {

struct GuardPeer {
  Cidr range;
  std::int64_t first = 0;  // 0: every port
  std::int64_t last = 0;
  std::string text;  // the range as it stands there
};

struct GuardView {
  bool enforces = false;
  std::string profile;
  std::vector<std::string> allow;
  std::vector<std::string> write;  // where files may be written
  std::vector<std::string> read;
  std::vector<GuardPeer> connect;
  std::string from;  // "ConfigMap NAMESPACE/NAME /data/guard.json"

  [[nodiscard]] bool may_write(const std::string& path) const;
  [[nodiscard]] bool may_read(const std::string& path) const;
  [[nodiscard]] bool may_connect(const Cidr& address) const;  // to any port of it
};

// The program of a container that guard is the first process of. nullopt where it is not, or where
// its policy is not among the objects or cannot be read: then the container is as if it had none.
[[nodiscard]] std::optional<GuardView> guard_of(simdjson::dom::element objects,
                                                simdjson::dom::element pod,
                                                simdjson::dom::element container);

}  // namespace palisade::policy
