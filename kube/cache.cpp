#include <algorithm>
#include <mutex>
#include <utility>

#include <kube/cache.h>

#include "json_access.h"
#include "packer.h"

namespace kube {

std::string object_key(std::string_view ns, std::string_view name) {
  std::string key(ns);
  if (!key.empty()) key += '/';
  key += name;
  return key;
}

std::string object_key(const nlohmann::json& object) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return {};
  return object_key(text_at(*metadata, "namespace"), text_at(*metadata, "name"));
}

std::pair<std::string, std::string> split_key(std::string_view key) {
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return {"", std::string(key)};
  return {std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))};
}

Cache::Cache(std::size_t whole)
    : whole_(whole), packer_(whole == kAll ? nullptr : std::make_unique<Packer>()) {}

Cache::~Cache() = default;

ObjectPtr Cache::lent(const Entry& entry) const {
  if (entry.whole) return entry.whole;
  return std::make_shared<const nlohmann::json>(packer_->unpack(entry.packed));
}

// Makes room by packing what was not asked for since its last turn.
void Cache::keep_whole(const std::string& key, Entry& entry) const {
  if (!packer_) return;
  entry.asked_for = true;
  if (entry.recent) return;
  entry.recent = true;
  recent_.push_back(&key);
  while (recent_.size() > std::max<std::size_t>(whole_, 1)) {
    const std::string* const oldest = recent_.front();
    recent_.pop_front();
    Entry& leaves = objects_.find(*oldest)->second;
    if (std::exchange(leaves.asked_for, false)) {
      recent_.push_back(oldest);
      continue;
    }
    leaves.recent = false;
    if (leaves.packed.empty()) leaves.packed = packer_->pack(*leaves.whole);
    if (!leaves.packed.empty()) leaves.whole.reset();
  }
}

ObjectPtr Cache::get(std::string_view key) const {
  const std::string name(key);
  if (!packer_) {
    const std::shared_lock lock(mutex_);
    const auto found = objects_.find(name);
    return found == objects_.end() ? nullptr : found->second.whole;
  }
  const std::scoped_lock lock(mutex_);
  const auto found = objects_.find(name);
  if (found == objects_.end()) return nullptr;
  Entry& entry = found->second;
  ObjectPtr out = lent(entry);
  entry.whole = out;
  keep_whole(found->first, entry);
  return out;
}

std::vector<ObjectPtr> Cache::all() const {
  const std::shared_lock lock(mutex_);
  std::vector<ObjectPtr> out;
  out.reserve(objects_.size());
  for (const auto& [key, entry] : objects_)
    out.push_back(lent(entry));
  return out;
}

void Cache::visit(const std::function<void(const ObjectPtr& object)>& see) const {
  for (const std::string& key : keys()) {
    ObjectPtr object;
    {
      const std::shared_lock lock(mutex_);
      if (const auto found = objects_.find(key); found != objects_.end())
        object = lent(found->second);
    }
    if (object) see(object);
  }
}

std::vector<std::string> Cache::keys() const {
  const std::shared_lock lock(mutex_);
  std::vector<std::string> out;
  out.reserve(objects_.size());
  for (const auto& [key, entry] : objects_)
    out.push_back(key);
  return out;
}

std::size_t Cache::size() const {
  const std::shared_lock lock(mutex_);
  return objects_.size();
}

void Cache::enter(Index& index, const std::string& key, const nlohmann::json& object) {
  for (const std::string& value : index.function(object))
    index.found[value].insert(&key);
}

void Cache::leave(Index& index, const std::string& key, const nlohmann::json& object) {
  for (const std::string& value : index.function(object)) {
    const auto found = index.found.find(value);
    if (found == index.found.end()) continue;
    found->second.erase(&key);
    if (found->second.empty()) index.found.erase(found);
  }
}

void Cache::add_index(const std::string& index, IndexFunction function) {
  const std::scoped_lock lock(mutex_);
  Index& made = indexes_[index];
  made = {std::move(function), {}};
  for (const auto& [key, entry] : objects_)
    enter(made, key, *lent(entry));
}

const Cache::Keys* Cache::found_locked(const std::string& index, const std::string& value) const {
  const auto& found = indexes_.at(index).found;
  const auto entry = found.find(value);
  return entry == found.end() ? nullptr : &entry->second;
}

std::vector<ObjectPtr> Cache::by_index(const std::string& index, const std::string& value) const {
  const std::shared_lock lock(mutex_);
  std::vector<ObjectPtr> out;
  if (const Keys* const found = found_locked(index, value)) {
    for (const std::string* key : *found)
      out.push_back(lent(objects_.find(*key)->second));
  }
  return out;
}

std::vector<std::string> Cache::keys_by_index(const std::string& index,
                                              const std::string& value) const {
  const std::shared_lock lock(mutex_);
  std::vector<std::string> out;
  if (const Keys* const found = found_locked(index, value)) {
    for (const std::string* key : *found)
      out.push_back(*key);
  }
  return out;
}

ObjectPtr Cache::put(ObjectPtr object) {
  std::string key = object_key(*object);
  const std::scoped_lock lock(mutex_);
  const auto [held, is_new] = objects_.try_emplace(std::move(key));
  Entry& entry = held->second;
  ObjectPtr before = is_new ? nullptr : lent(entry);
  for (auto& [name, index] : indexes_) {
    if (before) leave(index, held->first, *before);
    enter(index, held->first, *object);
  }
  entry.whole = std::move(object);
  entry.packed = {};
  keep_whole(held->first, entry);
  return before;
}

ObjectPtr Cache::remove(std::string_view key) {
  const std::scoped_lock lock(mutex_);
  const auto found = objects_.find(std::string(key));
  if (found == objects_.end()) return nullptr;
  ObjectPtr last = lent(found->second);
  for (auto& [name, index] : indexes_)
    leave(index, found->first, *last);
  if (found->second.recent) std::erase(recent_, &found->first);
  objects_.erase(found);
  return last;
}

std::vector<std::string> owner_uids(const nlohmann::json& object) {
  std::vector<std::string> out;
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return out;
  const auto owners = metadata->find("ownerReferences");
  if (owners == metadata->end() || !owners->is_array()) return out;
  for (const auto& owner : *owners) {
    if (!owner.is_object()) continue;
    if (std::string uid = text_at(owner, "uid"); !uid.empty()) out.push_back(std::move(uid));
  }
  return out;
}

std::vector<std::string> label_pairs(const nlohmann::json& object) {
  std::vector<std::string> out;
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return out;
  const auto labels = metadata->find("labels");
  if (labels == metadata->end() || !labels->is_object()) return out;
  for (const auto& [key, value] : labels->items()) {
    if (value.is_string()) out.push_back(key + "=" + value.get<std::string>());
  }
  return out;
}

}  // namespace kube
