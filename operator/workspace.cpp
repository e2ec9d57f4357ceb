#include <algorithm>
#include <cctype>
#include <limits>

#include <fmt/format.h>

#include <operator/workspace.h>

namespace palisade::op {

namespace {

using Seconds = std::chrono::seconds;

// A field that is of another type than the schema says.
struct WrongType {
  std::string field;
};

const Json& member(const Json& object, const std::string& path, const char* key) {
  static const Json kNull;
  if (object.is_null()) return kNull;
  if (!object.is_object()) throw WrongType{path};
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string text(const Json& object, const std::string& path, const char* key,
                 std::string fallback = {}) {
  const Json& value = member(object, path, key);
  if (value.is_null()) return fallback;
  if (!value.is_string()) throw WrongType{path + "." + key};
  return value.get<std::string>();
}

bool flag(const Json& object, const std::string& path, const char* key, bool fallback) {
  const Json& value = member(object, path, key);
  if (value.is_null()) return fallback;
  if (!value.is_boolean()) throw WrongType{path + "." + key};
  return value.get<bool>();
}

std::vector<std::string> texts(const Json& object, const std::string& path, const char* key) {
  const Json& value = member(object, path, key);
  std::vector<std::string> out;
  if (value.is_null()) return out;
  if (!value.is_array()) throw WrongType{path + "." + key};
  for (const Json& item : value) {
    if (!item.is_string()) throw WrongType{path + "." + key};
    out.push_back(item.get<std::string>());
  }
  return out;
}

Json quantities(const Json& object, const std::string& path, const char* key,
                const Json& defaults) {
  const Json& given = member(object, path, key);
  Json out = defaults;
  if (given.is_null()) return out;
  if (!given.is_object()) throw WrongType{path + "." + key};
  for (const auto& [name, value] : given.items()) {
    if (!value.is_string() && !value.is_number_integer())
      throw WrongType{fmt::format("{}.{}.{}", path, key, name)};
    out[name] = value.is_string() ? value : Json(std::to_string(value.get<std::int64_t>()));
  }
  return out;
}

Seconds duration_field(const Json& object, const std::string& path, const char* key,
                       const char* fallback, Seconds least, Seconds most) {
  const std::string value = text(object, path, key, fallback);
  const auto parsed = parse_duration(value);
  if (!parsed || *parsed < least || *parsed > most)
    throw WrongType{path + "." + key + " (\"" + value + "\")"};
  return *parsed;
}

bool has_control_character(const std::string& value) {
  return std::ranges::any_of(value,
                             [](unsigned char c) { return c < 0x20 || c == 0x7f || c == ' '; });
}

std::string check(const Workspace& w) {
  if (w.name.empty() || w.name.size() > 50 || w.name.find('.') != std::string::npos) {
    return "metadata.name must be a DNS label of at most 50 characters";
  }
  if (!w.url.starts_with("https://") || w.url.find('@') != std::string::npos ||
      has_control_character(w.url)) {
    return "spec.repository.url must be an https URL without credentials";
  }
  if (!is_safe_ref_name(w.ref))
    return "spec.repository.ref is not the short name of a branch or tag";
  if (!is_safe_ref_name(w.branch))
    return "spec.repository.branch is not the short name of a branch";
  if (w.branch == w.ref) return "spec.repository.branch must differ from spec.repository.ref";
  if (w.task) {
    for (const std::string& file : w.task->files) {
      const bool climbs = file == ".." || file.starts_with("../") || file.ends_with("/..") ||
                          file.find("/../") != std::string::npos;
      if (file.empty() || file.front() == '/' || file.front() == '-' || climbs ||
          file.find('\0') != std::string::npos) {
        return "spec.task.files: \"" + file + "\" is not a path inside the repository";
      }
    }
  }
  return {};
}

}  // namespace

const kube::Resource& workspaces() {
  static const kube::Resource kResource{"palisade.dev", "v1alpha1", "agentworkspaces", kKind, true};
  return kResource;
}

std::optional<Seconds> parse_duration(const std::string& text_value) {
  static constexpr std::pair<char, std::int64_t> kUnits[] = {{'h', 3600}, {'m', 60}, {'s', 1}};
  std::int64_t total = 0;
  std::size_t at = 0;
  std::size_t unit = 0;
  while (at < text_value.size()) {
    std::int64_t number = 0;
    const std::size_t first = at;
    while (at < text_value.size() &&
           std::isdigit(static_cast<unsigned char>(text_value[at])) != 0 && at - first < 9) {
      number = number * 10 + (text_value[at++] - '0');
    }
    if (at == first || at == text_value.size()) return std::nullopt;
    while (unit < std::size(kUnits) && kUnits[unit].first != text_value[at])
      ++unit;
    if (unit == std::size(kUnits)) return std::nullopt;
    total += number * kUnits[unit++].second;
    ++at;
  }
  if (text_value.empty()) return std::nullopt;
  return Seconds(total);
}

bool is_safe_ref_name(const std::string& name) {
  if (name.empty() || name.size() > 200 || name == "HEAD" || name.starts_with("refs/"))
    return false;
  if (std::isalnum(static_cast<unsigned char>(name.front())) == 0 && name.front() != '_')
    return false;
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '/' || c == '+' || c == '-';
  };
  if (!std::ranges::all_of(name, allowed)) return false;
  for (const char* bad : {"..", "//", "/.", ".lock/"}) {
    if (name.find(bad) != std::string::npos) return false;
  }
  return !name.ends_with('/') && !name.ends_with('.') && !name.ends_with(".lock");
}

std::expected<Workspace, std::string> parse_workspace(const Json& object) {
  Workspace w;
  try {
    const Json& metadata = member(object, "", "metadata");
    w.name = text(metadata, "metadata", "name");
    w.ns = text(metadata, "metadata", "namespace");
    w.uid = text(metadata, "metadata", "uid");
    const Json& generation = member(metadata, "metadata", "generation");
    if (generation.is_number_integer()) w.generation = generation.get<std::int64_t>();
    w.deleting = !member(metadata, "metadata", "deletionTimestamp").is_null();
    const auto finalizers = texts(metadata, "metadata", "finalizers");
    w.has_finalizer = std::ranges::find(finalizers, kFinalizer) != finalizers.end();

    const Json& spec = member(object, "", "spec");
    const Json& agent = member(spec, "spec", "agent");
    w.image = text(agent, "spec.agent", "image");
    w.model = text(agent, "spec.agent", "model", w.model);
    const Json& resources = member(agent, "spec.agent", "resources");
    w.limits = quantities(resources, "spec.agent.resources", "limits",
                          {{"cpu", "2"}, {"memory", "2Gi"}, {"ephemeral-storage", "4Gi"}});
    w.requests = quantities(resources, "spec.agent.resources", "requests",
                            {{"cpu", "250m"}, {"memory", "512Mi"}});

    const Json& repository = member(spec, "spec", "repository");
    w.url = text(repository, "spec.repository", "url");
    w.ref = text(repository, "spec.repository", "ref", w.ref);
    w.branch = text(repository, "spec.repository", "branch", "palisade/" + w.name);
    const std::string access = text(repository, "spec.repository", "access", "ReadWrite");
    if (access != "ReadWrite" && access != "ReadOnly") throw WrongType{"spec.repository.access"};
    w.read_only = access == "ReadOnly";
    const Json& reference = member(member(repository, "spec.repository", "credentials"),
                                   "spec.repository.credentials", "secretRef");
    if (!reference.is_null()) {
      const std::string path = "spec.repository.credentials.secretRef";
      SecretRef secret;
      secret.name = text(reference, path, "name");
      secret.key = text(reference, path, "key", secret.key);
      secret.username = text(reference, path, "username", secret.username);
      if (secret.name.empty()) throw WrongType{path + ".name"};
      w.secret = std::move(secret);
    }

    const Json& task = member(spec, "spec", "task");
    if (!task.is_null()) {
      Task parsed;
      parsed.message = text(task, "spec.task", "message");
      parsed.files = texts(task, "spec.task", "files");
      parsed.test_command = texts(task, "spec.task", "testCommand");
      if (parsed.message.empty()) throw WrongType{"spec.task.message"};
      w.task = std::move(parsed);
    }

    w.gateway = text(member(spec, "spec", "llm"), "spec.llm", "gateway", w.gateway);
    const Json& isolation = member(spec, "spec", "isolation");
    w.user_namespace = flag(isolation, "spec.isolation", "userNamespace", true);
    w.runtime_class = text(isolation, "spec.isolation", "runtimeClassName");
    const Json& egress = member(isolation, "spec.isolation", "egress");
    if (!egress.is_null()) {
      if (!egress.is_array()) throw WrongType{"spec.isolation.egress"};
      w.egress = egress;
    }

    const Json& lifecycle = member(spec, "spec", "lifecycle");
    w.deadline = duration_field(lifecycle, "spec.lifecycle", "deadline", "2h", Seconds(60),
                                Seconds(24 * 3600));
    w.ttl_after_finished = duration_field(lifecycle, "spec.lifecycle", "ttlAfterFinished", "1h",
                                          Seconds(0), Seconds(168 * 3600));
    w.suspend = flag(lifecycle, "spec.lifecycle", "suspend", false);
  } catch (const WrongType& wrong) {
    return std::unexpected(wrong.field + " is missing or not what the schema asks for");
  }
  if (std::string broken = check(w); !broken.empty()) return std::unexpected(std::move(broken));
  return w;
}

}  // namespace palisade::op
