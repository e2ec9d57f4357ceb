#include <algorithm>
#include <array>

#include <policy/policy.h>
#include <webhook/request.h>

namespace palisade::webhook {

using simdjson::dom::element;

namespace {

constexpr std::size_t kMaxUid = 128;
constexpr std::size_t kMaxGroups = 10'000;

constexpr std::array<std::string_view, 5> kOperations{"", "CREATE", "UPDATE", "DELETE", "CONNECT"};

// The members of an object that are looked for, by their place among `keys`, in one pass. None may
// be there twice: which of the two the API server means could only be guessed. Null is as absent.
template <std::size_t N>
class Members {
 public:
  explicit Members(const std::array<std::string_view, N>& keys) : keys_(keys) {}

  // "", or the key that is there twice. What is no object has no members.
  std::string_view read(const element& object) {
    simdjson::dom::object members;
    if (object.get(members) != simdjson::SUCCESS) return {};
    std::array<bool, N> seen{};
    for (const auto [key, value] : members) {
      const auto known = std::ranges::find(keys_, key);
      if (known == keys_.end()) continue;
      const auto place = static_cast<std::size_t>(known - keys_.begin());
      if (seen.at(place)) return *known;
      seen.at(place) = true;
      if (!value.is_null()) values_.at(place) = value;
    }
    return {};
  }

  template <class T>
  [[nodiscard]] T get(std::string_view key) const {
    T out{};
    const auto& value = values_.at(place_of(key));
    if (!value || value->get(out) != simdjson::SUCCESS) return T{};
    return out;
  }
  [[nodiscard]] const std::optional<element>& operator[](std::string_view key) const {
    return values_.at(place_of(key));
  }

 private:
  [[nodiscard]] std::size_t place_of(std::string_view key) const {
    return static_cast<std::size_t>(std::ranges::find(keys_, key) - keys_.begin());
  }

  const std::array<std::string_view, N>& keys_;
  std::array<std::optional<element>, N> values_{};
};

// Every member that a request has, read here or not.
constexpr std::array<std::string_view, 15> kRequestKeys{"uid",
                                                        "kind",
                                                        "resource",
                                                        "subResource",
                                                        "requestKind",
                                                        "requestResource",
                                                        "requestSubResource",
                                                        "name",
                                                        "namespace",
                                                        "operation",
                                                        "userInfo",
                                                        "object",
                                                        "oldObject",
                                                        "dryRun",
                                                        "options"};
constexpr std::array<std::string_view, 3> kResourceKeys{"group", "version", "resource"};
constexpr std::array<std::string_view, 4> kUserKeys{"username", "uid", "groups", "extra"};

std::unexpected<std::string> twice(std::string_view where, std::string_view key) {
  return std::unexpected(std::string(where) + std::string(key) + " is there twice");
}

}  // namespace

std::string_view operation_name(Operation operation) {
  return kOperations.at(static_cast<std::size_t>(operation));
}

bool User::in_group(std::string_view group) const {
  return std::ranges::find(groups, group) != groups.end();
}

std::string_view text_at(const element& object, std::string_view key) {
  std::string_view out;
  simdjson::dom::object members;
  if (object.get(members) == simdjson::SUCCESS && members.at_key(key).get(out) == simdjson::SUCCESS)
    return out;
  return {};
}

bool object_at(const element& object, std::string_view key, element& out) {
  simdjson::dom::object members;
  return object.get(members) == simdjson::SUCCESS &&
         members.at_key(key).get(out) == simdjson::SUCCESS && !out.is_null();
}

std::string clipped(std::string_view text) {
  constexpr std::size_t kMaxRepeated = 64;
  if (text.size() <= kMaxRepeated) return policy::shown(text);
  std::size_t end = kMaxRepeated;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;
  return policy::shown(text.substr(0, end)) + "...";
}

std::string_view Request::object_name() const {
  if (!name.empty()) return name;
  for (const auto& candidate : {object, old_object}) {
    element metadata;
    if (candidate && object_at(*candidate, "metadata", metadata)) {
      if (const auto found = text_at(metadata, "name"); !found.empty()) return found;
    }
  }
  return {};
}

std::string subject_of(const Request& request) {
  std::string name = policy::shown(request.object_name().substr(0, 253));
  element metadata;
  if (name.empty() && request.object && object_at(*request.object, "metadata", metadata))
    name = clipped(text_at(metadata, "generateName")) + "*";
  std::string out = clipped(request.operation_text);
  out += " " + clipped(request.resource);
  if (!request.subresource.empty()) out += "/" + clipped(request.subresource);
  out += " " + clipped(request.ns) + "/" + name;
  if (!request.user.name.empty()) out += " by " + clipped(request.user.name);
  return out;
}

std::expected<Request, std::string> decode_request(element request, std::int64_t now) {
  Members members(kRequestKeys);
  if (const auto key = members.read(request); !key.empty()) return twice("request.", key);
  Request out;
  out.now = now;
  out.uid = members.get<std::string_view>("uid");
  if (out.uid.empty() || out.uid.size() > kMaxUid)
    return std::unexpected("request.uid is missing or too long");
  out.operation_text = members.get<std::string_view>("operation");
  for (std::size_t i = 1; i < kOperations.size(); ++i) {
    if (out.operation_text == kOperations.at(i)) out.operation = static_cast<Operation>(i);
  }
  out.ns = members.get<std::string_view>("namespace");
  out.name = members.get<std::string_view>("name");
  out.subresource = members.get<std::string_view>("subResource");
  if (const auto& resource = members["resource"]) {
    Members parts(kResourceKeys);
    if (const auto key = parts.read(*resource); !key.empty())
      return twice("request.resource.", key);
    out.group = parts.get<std::string_view>("group");
    out.resource = parts.get<std::string_view>("resource");
  }
  out.dry_run = members.get<bool>("dryRun");
  if (const auto& user = members["userInfo"]) {
    Members parts(kUserKeys);
    if (const auto key = parts.read(*user); !key.empty()) return twice("request.userInfo.", key);
    out.user.name = parts.get<std::string_view>("username");
    if (const auto& groups = parts["groups"]; groups && groups->is_array()) {
      for (const element group : parts.get<simdjson::dom::array>("groups")) {
        std::string_view text;
        if (out.user.groups.size() < kMaxGroups && group.get(text) == simdjson::SUCCESS)
          out.user.groups.push_back(text);
      }
    }
  }
  // Not of a known shape is not understood, and that is for the verdict to say.
  const auto object_or_none = [&](std::string_view key) {
    const auto& value = members[key];
    return value && value->is_object() ? value : std::nullopt;
  };
  out.object = object_or_none("object");
  out.old_object = object_or_none("oldObject");
  return out;
}

}  // namespace palisade::webhook
