// A thread-safe store of the newest known version of each object, by "namespace/name".
#pragma once

#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>

namespace kube {

using ObjectPtr = std::shared_ptr<const nlohmann::json>;  // immutable: copy before editing

// "namespace/name", or "name" where the object has no namespace.
[[nodiscard]] std::string object_key(const nlohmann::json& object);
[[nodiscard]] std::string object_key(std::string_view ns, std::string_view name);
// Inverse of object_key: {namespace, name}.
[[nodiscard]] std::pair<std::string, std::string> split_key(std::string_view key);

class Packer;

class Cache {
 public:
  static constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();

  // `whole`: how many objects are kept as they came, those that were put or asked for by name last.
  // The others are packed, which takes a small part of the memory, and unpacked for whoever asks:
  // about 20 us for each kB of text. What is packed loses its metadata.managedFields.
  explicit Cache(std::size_t whole = kAll);
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  [[nodiscard]] ObjectPtr get(std::string_view key) const;  // null where unknown
  [[nodiscard]] ObjectPtr get(std::string_view ns, std::string_view name) const {
    return get(object_key(ns, name));
  }
  [[nodiscard]] std::vector<ObjectPtr> all() const;
  // Each object, in no order and one at a time, so that not all are unpacked at once. `see` is
  // called without a lock; it may miss what comes meanwhile.
  void visit(const std::function<void(const ObjectPtr& object)>& see) const;
  [[nodiscard]] std::vector<std::string> keys() const;  // in no order
  [[nodiscard]] std::size_t size() const;

  // What an object is found by, e.g. its owner: maybe nothing, maybe much. Called with the cache
  // locked, for what is there and for whatever comes; must not throw.
  using IndexFunction = std::function<std::vector<std::string>(const nlohmann::json& object)>;
  void add_index(const std::string& index, IndexFunction function);
  // In no order. Throws std::out_of_range for an index that was not added.
  [[nodiscard]] std::vector<ObjectPtr> by_index(const std::string& index,
                                                const std::string& value) const;
  [[nodiscard]] std::vector<std::string> keys_by_index(const std::string& index,
                                                       const std::string& value) const;

  ObjectPtr put(ObjectPtr object);         // returns what it replaced
  ObjectPtr remove(std::string_view key);  // returns what was there

 private:
  struct Entry {
    ObjectPtr whole;      // null: packed
    std::string packed;   // empty: not packed yet, or it cannot be
    bool recent = false;  // its key is in recent_
    bool asked_for = false;
  };
  using Keys = std::unordered_set<const std::string*>;  // of objects_
  struct Index {
    IndexFunction function;
    std::unordered_map<std::string, Keys> found;
  };
  static void enter(Index& index, const std::string& key, const nlohmann::json& object);
  static void leave(Index& index, const std::string& key, const nlohmann::json& object);
  [[nodiscard]] ObjectPtr lent(const Entry& entry) const;
  void keep_whole(const std::string& key, Entry& entry) const;
  [[nodiscard]] const Keys* found_locked(const std::string& index, const std::string& value) const;

  const std::size_t whole_;
  const std::unique_ptr<Packer> packer_;  // null: nothing is packed
  mutable std::shared_mutex mutex_;
  mutable std::unordered_map<std::string, Entry> objects_;
  mutable std::deque<const std::string*> recent_;  // keys of what is whole, where others are packed
  std::unordered_map<std::string, Index> indexes_;
};

// Ready-made: the UIDs of an object's owners, and "key=value" of its labels.
[[nodiscard]] std::vector<std::string> owner_uids(const nlohmann::json& object);
[[nodiscard]] std::vector<std::string> label_pairs(const nlohmann::json& object);

}  // namespace kube
