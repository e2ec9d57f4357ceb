#include <charconv>

#include <operator/known.h>

namespace palisade::op {

namespace {

// Of a kind: those that the workers have to do with now.
constexpr std::size_t kWholeAnswers = 32;

std::string place(const kube::Resource& resource, const std::string& key) {
  return resource.plural + "/" + key;
}

// Comparable within a kind:
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
std::uint64_t version_of(const kube::Json& object) {
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return 0;
  const auto found = metadata->find("resourceVersion");
  if (found == metadata->end() || !found->is_string()) return 0;
  const auto& text = found->get_ref<const std::string&>();
  std::uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() ? out : 0;
}

}  // namespace

void Known::learn(const kube::Resource& resource, kube::ObjectPtr object) {
  const std::uint64_t version = version_of(*object);
  if (version == 0) return;
  const std::string key = kube::object_key(*object);
  remember(resource, key, std::move(object), version);
}

void Known::writing(const kube::Resource& resource, const std::string& ns,
                    const std::string& name) {
  const std::scoped_lock lock(mutex_);
  const auto found = answers_.find(place(resource, kube::object_key(ns, name)));
  if (found != answers_.end()) found->second.settled = false;
}

void Known::wrote(const kube::Resource& resource, kube::ObjectPtr object) {
  const std::uint64_t version = version_of(*object);
  const std::string at = place(resource, kube::object_key(*object));
  learn(resource, std::move(object));
  const std::scoped_lock lock(mutex_);
  const auto found = answers_.find(at);
  if (found != answers_.end() && found->second.version == version) found->second.settled = true;
}

bool Known::is_answer(const kube::Resource& resource, const Json& object) {
  const std::scoped_lock lock(mutex_);
  return answer_of(resource, object) != nullptr;
}

bool Known::is_settled(const kube::Resource& resource, const Json& object) {
  const std::scoped_lock lock(mutex_);
  const Answer* answer = answer_of(resource, object);
  return answer != nullptr && answer->settled;
}

const Known::Answer* Known::answer_of(const kube::Resource& resource, const Json& object) const {
  const auto found = answers_.find(place(resource, kube::object_key(object)));
  const bool holds = found != answers_.end() && found->second.there &&
                     found->second.version == version_of(object) &&
                     now_() - found->second.at <= kEchoWithin;
  return holds ? &found->second : nullptr;
}

void Known::gone(const kube::Resource& resource, const Json& last) {
  const std::string at = place(resource, kube::object_key(last));
  remember(resource, kube::object_key(last), nullptr, version_of(last));
  const std::scoped_lock lock(mutex_);
  // Whoever took it out of the cache a moment ago still asks.
  if (const auto found = ending_.find(at); found != ending_.end())
    found->second.second = now_() - kEndedFor + kEchoWithin;
}

void Known::remember(const kube::Resource& resource, const std::string& key, kube::ObjectPtr object,
                     std::uint64_t version) {
  const auto now = now_();
  const std::scoped_lock lock(mutex_);
  sweep(now);
  Answer& answer = answers_[place(resource, key)];
  if (answer.version >= version) return;
  answer = {resource.plural, key, object != nullptr, version, now};
  if (object) {
    objects_.try_emplace(resource.plural, kWholeAnswers).first->second.put(std::move(object));
  } else {
    drop_object(answer);
  }
}

void Known::drop_object(const Answer& answer) {
  const auto kind = objects_.find(answer.plural);
  if (kind != objects_.end()) kind->second.remove(answer.key);
}

kube::ObjectPtr Known::newest(const kube::Resource& resource, const std::string& ns,
                              const std::string& name, kube::ObjectPtr cached) {
  const std::scoped_lock lock(mutex_);
  sweep(now_());
  const std::string at = place(resource, kube::object_key(ns, name));
  const auto found = answers_.find(at);
  const bool newer = found != answers_.end() && found->second.there &&
                     now_() - found->second.at <= kEchoWithin &&
                     !(cached && version_of(*cached) >= found->second.version);
  return as_it_ends(
      at, newer ? objects_.at(resource.plural).get(found->second.key) : std::move(cached));
}

void Known::ending(const kube::Resource& resource, const std::string& ns, const std::string& name,
                   const std::string& uid) {
  const auto now = now_();
  const std::scoped_lock lock(mutex_);
  sweep(now);
  ending_[place(resource, kube::object_key(ns, name))] = {uid, now};
}

kube::ObjectPtr Known::as_it_ends(const std::string& at, kube::ObjectPtr object) const {
  const auto found = ending_.find(at);
  if (!object || found == ending_.end()) return object;
  const kube::Json& metadata = (*object)["metadata"];
  if (metadata.value("uid", "") != found->second.first || metadata.contains("deletionTimestamp"))
    return object;
  kube::Json out = *object;
  // When is asked by nobody.
  out["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z";
  return std::make_shared<const kube::Json>(std::move(out));
}

bool Known::is_news(const kube::Resource& resource, const Json& object) {
  const std::scoped_lock lock(mutex_);
  const auto found = answers_.find(place(resource, kube::object_key(object)));
  if (found == answers_.end()) return true;
  // It stays: whoever took an older state out of the cache a moment ago still needs it.
  return version_of(object) > found->second.version;
}

void Known::forget(const kube::Resource& resource, const std::string& ns, const std::string& name) {
  const std::scoped_lock lock(mutex_);
  const auto found = answers_.find(place(resource, kube::object_key(ns, name)));
  if (found == answers_.end() || !found->second.there) return;
  drop_object(found->second);
  answers_.erase(found);
}

void Known::learn_secret(const std::string& key, const std::string& name, kube::ObjectPtr secret) {
  const auto now = now_();
  const std::scoped_lock lock(mutex_);
  sweep(now);
  secrets_[key][name] = {std::move(secret), now};
}

std::optional<kube::ObjectPtr> Known::secret(const std::string& key, const std::string& name) {
  const std::scoped_lock lock(mutex_);
  const auto workspace = secrets_.find(key);
  if (workspace == secrets_.end()) return std::nullopt;
  const auto found = workspace->second.find(name);
  if (found == workspace->second.end() || !is_fresh(found->second, now_())) return std::nullopt;
  return found->second.secret;
}

bool Known::is_fresh(const Read& read, Clock::time_point now) {
  return now - read.at <= (read.secret ? kSecretFresh : kNoSecretFresh);
}

void Known::forget_secrets(const std::string& key) {
  const auto now = now_();
  const std::scoped_lock lock(mutex_);
  sweep(now);
  secrets_.erase(key);
  forgotten_[key] = now;
}

Known::Clock::time_point Known::secrets_forgotten(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  const auto found = forgotten_.find(key);
  return found == forgotten_.end() ? Clock::time_point::min() : found->second;
}

void Known::suspect(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  suspects_[key] = now_();
}

bool Known::is_suspect(const std::string& key) {
  const std::scoped_lock lock(mutex_);
  const auto found = suspects_.find(key);
  return found != suspects_.end() && now_() - found->second <= kForeignFor;
}

void Known::sweep(Clock::time_point now) {
  if (now - swept_ < kSecretFresh) return;
  swept_ = now;
  std::erase_if(answers_, [&](const auto& entry) {
    const bool old = now - entry.second.at > kEchoWithin;
    if (old) drop_object(entry.second);
    return old;
  });
  std::erase_if(ending_, [&](const auto& entry) { return now - entry.second.second > kEndedFor; });
  std::erase_if(forgotten_, [&](const auto& entry) { return now - entry.second > kSecretFresh; });
  std::erase_if(suspects_, [&](const auto& entry) { return now - entry.second > kForeignFor; });
  for (auto& [key, of] : secrets_)
    std::erase_if(of, [&](const auto& one) { return !is_fresh(one.second, now); });
  std::erase_if(secrets_, [](const auto& entry) { return entry.second.empty(); });
}

}  // namespace palisade::op
