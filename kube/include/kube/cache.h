// A thread-safe store of the newest known version of each object, by "namespace/name".
#pragma once

#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <nlohmann/json.hpp>

namespace kube {

using ObjectPtr = std::shared_ptr<const nlohmann::json>;  // immutable: copy before editing

// "namespace/name", or "name" where the object has no namespace.
[[nodiscard]] std::string object_key(const nlohmann::json& object);
[[nodiscard]] std::string object_key(std::string_view ns, std::string_view name);
// Inverse of object_key: {namespace, name}.
[[nodiscard]] std::pair<std::string, std::string> split_key(std::string_view key);

class Cache {
 public:
  [[nodiscard]] ObjectPtr get(std::string_view key) const;  // null where unknown
  [[nodiscard]] ObjectPtr get(std::string_view ns, std::string_view name) const {
    return get(object_key(ns, name));
  }
  [[nodiscard]] std::vector<ObjectPtr> all() const;
  [[nodiscard]] std::size_t size() const;

  ObjectPtr put(ObjectPtr object);         // returns what it replaced
  ObjectPtr remove(std::string_view key);  // returns what was there

 private:
  mutable std::shared_mutex mutex_;
  std::unordered_map<std::string, ObjectPtr> objects_;
};

}  // namespace kube
