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

  // What an object is found by, e.g. its owner: maybe nothing, maybe much. Called with the cache
  // locked, for what is there and for whatever comes; must not throw.
  using IndexFunction = std::function<std::vector<std::string>(const nlohmann::json& object)>;
  void add_index(const std::string& index, IndexFunction function);
  // In no order. Throws std::out_of_range for an index that was not added.
  [[nodiscard]] std::vector<ObjectPtr> by_index(const std::string& index,
                                                const std::string& value) const;

  ObjectPtr put(ObjectPtr object);         // returns what it replaced
  ObjectPtr remove(std::string_view key);  // returns what was there

 private:
  mutable std::shared_mutex mutex_;
  struct Index {
    IndexFunction function;
    std::unordered_map<std::string, std::unordered_map<std::string, ObjectPtr>> found;
  };
  static void enter(Index& index, const std::string& key, const ObjectPtr& object);
  static void leave(Index& index, const std::string& key, const nlohmann::json& object);

  std::unordered_map<std::string, ObjectPtr> objects_;
  std::unordered_map<std::string, Index> indexes_;
};

// Ready-made: the UIDs of an object's owners, and "key=value" of its labels.
[[nodiscard]] std::vector<std::string> owner_uids(const nlohmann::json& object);
[[nodiscard]] std::vector<std::string> label_pairs(const nlohmann::json& object);

}  // namespace kube
