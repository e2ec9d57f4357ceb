#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include <gateway/serve/keys.h>

#include <kube/base64.h>
#include <kube/reflector.h>

namespace palisade::gateway {

namespace {

using kube::Json;

constexpr const char* kGitLabel = "palisade.dev/git-token";
constexpr const char* kWorkspaceAnnotation = "palisade.dev/workspace";

// "" where there is none.
std::string_view text_in(const Json& secret, const char* map, const char* key) {
  const auto metadata = secret.find("metadata");
  if (metadata == secret.end() || !metadata->is_object()) return {};
  const auto values = metadata->find(map);
  if (values == metadata->end() || !values->is_object()) return {};
  const auto found = values->find(key);
  return found != values->end() && found->is_string()
             ? std::string_view(found->get_ref<const std::string&>())
             : std::string_view();
}

std::string_view label_of(const Json& secret) {
  return text_in(secret, "labels", kGitLabel);
}

// Its value, if it is one that can stand in a header field.
std::optional<std::string> value_of(const Json& secret, std::string_view key) {
  const auto data = secret.find("data");
  if (data == secret.end() || !data->is_object()) return std::nullopt;
  const auto found = data->find(std::string(key));
  if (found == data->end() || !found->is_string()) return std::nullopt;
  auto value = kube::decode_base64(found->get_ref<const std::string&>());
  if (!value) return std::nullopt;
  const auto blank = [](unsigned char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
  };
  const auto begin = std::ranges::find_if_not(*value, blank);
  const auto end = std::find_if_not(value->rbegin(), std::make_reverse_iterator(begin), blank);
  std::string out(begin, end.base());
  const bool good = !out.empty() &&
                    std::ranges::all_of(out, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!good) return std::nullopt;
  return out;
}

kube::ReflectorOptions only_in(const std::string& ns) {
  kube::ReflectorOptions out;
  out.namespaces = {ns};
  out.transform = [](Json object) {
    if (object.contains("metadata") && object["metadata"].is_object())
      object["metadata"].erase("managedFields");
    return object;
  };
  return out;
}

}  // namespace

struct SecretKeys::Impl {
  Impl(std::shared_ptr<const kube::Client> client, std::string own)
      : ns(std::move(own)),
        secrets(std::move(client), kube::resources::kSecrets, only_in(ns), {}) {}

  [[nodiscard]] kube::ObjectPtr git_secret(const Caller& caller) const {
    if (caller.workspace_uid.empty()) return nullptr;
    auto secret = secrets.cache().get(ns, "git-" + caller.workspace_uid);
    if (!secret || label_of(*secret) != "true") return nullptr;
    const std::string_view whose = text_in(*secret, "annotations", kWorkspaceAnnotation);
    return whose == caller.ns + "/" + caller.workspace ? secret : nullptr;
  }

  // What key `key` of that object says, read once of each.
  std::optional<std::string> value(const kube::ObjectPtr& secret, const std::string& name,
                                   std::string_view key) const {
    constexpr std::size_t kMost = 4096;
    const std::string place = name + "/" + std::string(key);
    {
      const std::scoped_lock lock(mutex);
      const auto known = read.find(place);
      if (known != read.end() && known->second.first == secret) return known->second.second;
    }
    auto out = value_of(*secret, key);
    const std::scoped_lock lock(mutex);
    if (read.size() >= kMost) read.clear();
    read.insert_or_assign(place, std::pair{secret, out});
    return out;
  }

  const std::string ns;
  mutable std::mutex mutex;
  mutable std::unordered_map<std::string, std::pair<kube::ObjectPtr, std::optional<std::string>>>
      read;
  kube::Reflector secrets;
};

SecretKeys::SecretKeys(std::shared_ptr<const kube::Client> client, std::string ns)
    : impl_(std::make_unique<Impl>(std::move(client), std::move(ns))) {}

SecretKeys::~SecretKeys() = default;

void SecretKeys::start() {
  impl_->secrets.start();
}

const kube::Reflector& SecretKeys::watch() const {
  return impl_->secrets;
}

std::string SecretKeys::not_synced() const {
  if (impl_->secrets.has_synced()) return {};
  const std::string error = impl_->secrets.last_error();
  return "the watch of Secrets has not synced" + (error.empty() ? "" : ": " + error);
}

std::optional<std::string> SecretKeys::key(std::string_view secret, std::string_view key) const {
  const auto object = impl_->secrets.cache().get(impl_->ns, secret);
  // A workspace's token is no LLM key, whatever the configuration says.
  if (!object || !label_of(*object).empty()) return std::nullopt;
  return impl_->value(object, std::string(secret), key);
}

std::optional<std::string> SecretKeys::git_token(const Caller& caller) const {
  const auto secret = impl_->git_secret(caller);
  return secret ? impl_->value(secret, "git-" + caller.workspace_uid, "token") : std::nullopt;
}

std::optional<std::string> SecretKeys::git_username(const Caller& caller) const {
  const auto secret = impl_->git_secret(caller);
  return secret ? impl_->value(secret, "git-" + caller.workspace_uid, "username") : std::nullopt;
}

}  // namespace palisade::gateway
