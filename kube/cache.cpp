#include <mutex>
#include <utility>

#include <kube/cache.h>

namespace kube {

namespace {

std::string text_at(const nlohmann::json& metadata, const char* key) {
  const auto found = metadata.find(key);
  return found != metadata.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

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

ObjectPtr Cache::put(ObjectPtr object) {
  std::string key = object_key(*object);
  const std::scoped_lock lock(mutex_);
  return std::exchange(objects_[std::move(key)], std::move(object));
}

ObjectPtr Cache::remove(std::string_view key) {
  const std::scoped_lock lock(mutex_);
  const auto found = objects_.find(std::string(key));
  if (found == objects_.end()) return nullptr;
  ObjectPtr last = std::move(found->second);
  objects_.erase(found);
  return last;
}

}  // namespace kube
