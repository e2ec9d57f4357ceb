#include <mutex>
#include <utility>

#include <kube/cache.h>

#include "json_access.h"

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

ObjectPtr Cache::get(std::string_view key) const {
  const std::shared_lock lock(mutex_);
  const auto found = objects_.find(std::string(key));
  return found == objects_.end() ? nullptr : found->second;
}

std::vector<ObjectPtr> Cache::all() const {
  const std::shared_lock lock(mutex_);
  std::vector<ObjectPtr> out;
  out.reserve(objects_.size());
  for (const auto& [key, object] : objects_)
    out.push_back(object);
  return out;
}

std::size_t Cache::size() const {
  const std::shared_lock lock(mutex_);
  return objects_.size();
}

void Cache::enter(Index& index, const std::string& key, const ObjectPtr& object) {
  for (const std::string& value : index.function(*object))
    index.found[value][key] = object;
}

void Cache::leave(Index& index, const std::string& key, const nlohmann::json& object) {
  for (const std::string& value : index.function(object)) {
    const auto found = index.found.find(value);
    if (found == index.found.end()) continue;
    found->second.erase(key);
    if (found->second.empty()) index.found.erase(found);
  }
}

void Cache::add_index(const std::string& index, IndexFunction function) {
  const std::scoped_lock lock(mutex_);
  Index& made = indexes_[index];
  made = {std::move(function), {}};
  for (const auto& [key, object] : objects_)
    enter(made, key, object);
}

std::vector<ObjectPtr> Cache::by_index(const std::string& index, const std::string& value) const {
  const std::shared_lock lock(mutex_);
  std::vector<ObjectPtr> out;
  const auto& found = indexes_.at(index).found;
  if (const auto entry = found.find(value); entry != found.end()) {
    for (const auto& [key, object] : entry->second)
      out.push_back(object);
  }
  return out;
}

ObjectPtr Cache::put(ObjectPtr object) {
  const std::string key = object_key(*object);
  const std::scoped_lock lock(mutex_);
  ObjectPtr& held = objects_[key];
  for (auto& [name, index] : indexes_) {
    if (held) leave(index, key, *held);
    enter(index, key, object);
  }
  return std::exchange(held, std::move(object));
}

ObjectPtr Cache::remove(std::string_view key) {
  const std::scoped_lock lock(mutex_);
  const auto found = objects_.find(std::string(key));
  if (found == objects_.end()) return nullptr;
  ObjectPtr last = std::move(found->second);
  for (auto& [name, index] : indexes_)
    leave(index, found->first, *last);
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
