#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <limits>

#include <fmt/format.h>

#include <operator/workspace.h>

#include "spec_reader.h"

namespace palisade::op {

using namespace spec;

namespace {

using Seconds = std::chrono::seconds;

constexpr int kMostRestarts = 10;
// On a workspace whose spec.templateRef names a template: the webhook filled it in.
constexpr const char* kTemplateAnnotation = "palisade.dev/template";

constexpr std::size_t kMostWords = 32;
constexpr int kMostRounds = 20;

SecretKey secret_key(const Json& reference, const std::string& path, const char* key) {
  SecretKey out{text(reference, path, "name"), text(reference, path, "key", key)};
  if (out.name.empty()) throw WrongType{path + ".name"};
  if (out.key.empty()) throw WrongType{path + ".key"};
  return out;
}

std::int64_t id(const Json& object, const std::string& path, const char* key) {
  const Json& value = member(object, path, key);
  if (!value.is_number_integer() || value.get<std::int64_t>() <= 0)
    throw WrongType{path + "." + key};
  return value.get<std::int64_t>();
}

void read_storage(const Json& given, Workspace& w) {
  static const std::string kPath = "spec.storage";
  if (given.is_null()) return;
  w.storage = storage_of(given, kPath, {});
}

void read_credentials(const Json& credentials, Workspace& w) {
  static const std::string kPath = "spec.repository.credentials";
  if (credentials.is_null()) return;
  int kinds = 0;
  const auto of = [&](const char* kind, const std::function<void(const Json&, std::string)>& read) {
    const Json& given = member(credentials, kPath, kind);
    if (given.is_null()) return;
    ++kinds;
    read(given, kPath + "." + kind);
  };
  of("secretRef", [&](const Json& given, const std::string& path) {
    SecretRef secret;
    secret.name = text(given, path, "name");
    secret.key = text(given, path, "key", secret.key);
    secret.username = text(given, path, "username", secret.username);
    if (secret.name.empty()) throw WrongType{path + ".name"};
    w.username = secret.username;
    w.secret = std::move(secret);
  });
  of("githubApp", [&](const Json& given, const std::string& path) {
    GithubApp app;
    app.app_id = id(given, path, "appId");
    if (!member(given, path, "installationId").is_null())
      app.installation_id = id(given, path, "installationId");
    app.private_key = secret_key(member(given, path, "privateKeySecretRef"),
                                 path + ".privateKeySecretRef", "private-key.pem");
    app.api_url = text(given, path, "apiUrl");
    w.username = "x-access-token";
    w.github_app = std::move(app);
  });
  of("gitlab", [&](const Json& given, const std::string& path) {
    w.gitlab = {secret_key(member(given, path, "secretRef"), path + ".secretRef", "token"),
                text(given, path, "apiUrl"), text(given, path, "role", "Developer")};
    if (w.gitlab->role != "Developer" && w.gitlab->role != "Maintainer")
      throw WrongType{path + ".role"};
    w.username = "oauth2";
  });
  of("gitea", [&](const Json& given, const std::string& path) {
    const Json& secret = member(given, path, "secretRef");
    const std::string at = path + ".secretRef";
    w.gitea = {text(secret, at, "name"), text(secret, at, "usernameKey", "username"),
               text(secret, at, "passwordKey", "password"), text(given, path, "apiUrl")};
    if (w.gitea->secret.empty()) throw WrongType{at + ".name"};
    // The user's name is in the Secret; a host that takes a token takes this word too.
    w.username = "x-access-token";
  });
  if (kinds != 1) throw WrongType{kPath};
}

bool has_control_character(const std::string& value) {
  return std::ranges::any_of(value,
                             [](unsigned char c) { return c < 0x20 || c == 0x7f || c == ' '; });
}

// Why a path cannot be a program that an agent may run, or "".
std::string program_problem(const std::string& path) {
  if (path.size() < 2 || path.size() > 512 || path.front() != '/' || path.ends_with('/') ||
      path.find("//") != std::string::npos || (path + "/").find("/./") != std::string::npos ||
      (path + "/").find("/../") != std::string::npos) {
    return "is not the absolute path of a program";
  }
  if (std::ranges::any_of(path, [](unsigned char c) { return c < 0x20 || c == 0x7f; }))
    return "has a control character";
  for (const char* below : {"/workspace/", "/tmp/", "/palisade/", "/proc/", "/dev/", "/sys/"}) {
    if (path.starts_with(below))
      return std::string("lies below ") + below + ", where nothing is ever executable";
  }
  return {};
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
  if (w.setup && w.setup->ref == w.branch)
    return "spec.setup.ref must differ from spec.repository.branch: what an agent has written is "
           "set "
           "up by nobody";
  if (w.output_dir.empty() == (w.mount == Mount::kReadOnly)) {
    return "spec.repository.outputDir goes with spec.repository.mount ReadOnly, which needs it: "
           "the "
           "one directory that the agent may write, such as docs/reports";
  }
  if (!w.output_dir.empty() && !is_output_dir(w.output_dir)) {
    return "spec.repository.outputDir must be a path below the repository's root of letters, "
           "digits, _, . and -, no part of it beginning with . or -, such as docs/reports";
  }
  if (w.storage && w.mount != Mount::kReadWrite) {
    return "spec.storage: with spec.repository.mount other than ReadWrite nothing that the agent "
           "writes outlives its pod but what is pushed; leave one of them out";
  }
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
  for (const std::string& program : w.exec.allow) {
    if (std::string broken = program_problem(program); !broken.empty())
      return "spec.isolation.exec.allow: \"" + program + "\" " + broken;
  }
  return {};
}

}  // namespace

const kube::Resource& workspaces() {
  static const kube::Resource kResource{"palisade.dev", "v1alpha1", "agentworkspaces", kKind, true};
  return kResource;
}

const kube::Resource& volume_claims() {
  static const kube::Resource kResource{"", "v1", "persistentvolumeclaims", "PersistentVolumeClaim",
                                        true};
  return kResource;
}

bool is_final_phase(std::string_view phase) {
  return phase == "Succeeded" || phase == "Failed" || phase == "Expired";
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

bool is_output_dir(const std::string& path) {
  if (path.empty() || path.size() > 200) return false;
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-' || c == '/';
  };
  // Each part begins with a letter, a digit or _.
  for (std::size_t i = 0; i < path.size(); ++i) {
    const bool first = i == 0 || path[i - 1] == '/';
    if (first && (path[i] == '/' || path[i] == '.' || path[i] == '-')) return false;
  }
  return std::ranges::all_of(path, plain) && !path.ends_with('/');
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

std::optional<WarmPod> warm_pod_of(const Json& workspace) {
  const Json status = workspace.is_object() ? workspace.value("status", Json::object()) : Json();
  const Json given = status.is_object() ? status.value("warmPod", Json()) : Json();
  if (!given.is_object()) return std::nullopt;
  WarmPod out;
  for (const auto& [key, into] : {std::pair("name", &out.name), std::pair("uid", &out.uid),
                                  std::pair("pool", &out.pool), std::pair("since", &out.since)}) {
    const Json value = given.value(key, Json());
    if (!value.is_string() || value == "") return std::nullopt;
    *into = value.get<std::string>();
  }
  const Json lifetime = given.value("lifetimeSeconds", Json());
  if (!lifetime.is_number_integer() || lifetime <= 0) return std::nullopt;
  out.lifetime = Seconds(lifetime.get<std::int64_t>());
  return out;
}

std::string pod_name_of(const Json& workspace) {
  if (const auto warm = warm_pod_of(workspace)) return warm->name;
  const Json metadata = workspace.value("metadata", Json::object());
  return agent_object(metadata.value("name", ""));
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
    if (!member(spec, "spec", "templateRef").is_null() &&
        text(member(metadata, "metadata", "annotations"), "metadata.annotations",
             kTemplateAnnotation)
            .empty()) {
      // Without it the session would run as if there were no template.
      return std::unexpected(
          "spec.templateRef: the template was not filled in; have an administrator see that "
          "Palisade's webhook is in place, and make the workspace anew");
    }
    w.template_name =
        text(member(spec, "spec", "templateRef"), "spec.templateRef", "name", w.template_name);
    w.warm_pod = warm_pod_of(object);
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
    const std::string mount = text(repository, "spec.repository", "mount", "ReadWrite");
    if (mount != "ReadWrite" && mount != "GitDirOnly" && mount != "ReadOnly")
      throw WrongType{"spec.repository.mount"};
    if (mount == "GitDirOnly") w.mount = Mount::kGitDirOnly;
    if (mount == "ReadOnly") w.mount = Mount::kReadOnly;
    w.output_dir = text(repository, "spec.repository", "outputDir");
    const std::string via = text(repository, "spec.repository", "via");
    if (!via.empty() && via != "Gateway" && via != "Direct") throw WrongType{"spec.repository.via"};
    w.via = via.empty() ? Via::kUnsaid : via == "Gateway" ? Via::kGateway : Via::kDirect;
    read_credentials(member(repository, "spec.repository", "credentials"), w);
    const Json& request = member(repository, "spec.repository", "mergeRequest");
    if (!request.is_null())
      w.merge_request = {text(request, "spec.repository.mergeRequest", "title"),
                         flag(request, "spec.repository.mergeRequest", "draft", false)};

    const Json& task = member(spec, "spec", "task");
    if (!task.is_null()) {
      Task parsed;
      parsed.message = text(task, "spec.task", "message");
      parsed.files = texts(task, "spec.task", "files");
      for (const auto& [key, into] : {std::pair("lintCommand", &parsed.lint_command),
                                      std::pair("testCommand", &parsed.test_command)}) {
        *into = texts(task, "spec.task", key);
        const auto bad = [](const std::string& word) {
          return word.empty() || word.find('\0') != std::string::npos;
        };
        if (into->size() > kMostWords || std::ranges::any_of(*into, bad))
          throw WrongType{std::string("spec.task.") + key};
      }
      if (const Json& rounds = member(task, "spec.task", "rounds"); !rounds.is_null()) {
        if (!rounds.is_number_integer() || rounds < 1 || rounds > kMostRounds)
          throw WrongType{"spec.task.rounds"};
        parsed.rounds = rounds.get<int>();
      }
      if (parsed.message.empty()) throw WrongType{"spec.task.message"};
      w.task = std::move(parsed);
    }

    const Json& llm = member(spec, "spec", "llm");
    w.gateway = text(llm, "spec.llm", "gateway", w.gateway);
    const Json& own_key = member(llm, "spec.llm", "keySecretRef");
    if (!own_key.is_null()) w.llm_key = secret_key(own_key, "spec.llm.keySecretRef", "api-key");
    const Json& isolation = member(spec, "spec", "isolation");
    w.user_namespace = flag(isolation, "spec.isolation", "userNamespace", true);
    w.runtime_class = text(isolation, "spec.isolation", "runtimeClassName");
    const Json& egress = member(isolation, "spec.isolation", "egress");
    if (!egress.is_null()) {
      if (!egress.is_array()) throw WrongType{"spec.isolation.egress"};
      w.egress = egress;
    }

    const Json& exec = member(isolation, "spec.isolation", "exec");
    const std::string mode = text(exec, "spec.isolation.exec", "mode", "Enforce");
    if (mode != "Enforce" && mode != "Audit") throw WrongType{"spec.isolation.exec.mode"};
    w.exec.audit = mode == "Audit";
    w.exec.allow = texts(exec, "spec.isolation.exec", "allow");

    const Json& lifecycle = member(spec, "spec", "lifecycle");
    w.deadline = duration_field(lifecycle, "spec.lifecycle", "deadline", "2h", Seconds(60),
                                Seconds(24 * 3600));
    w.ttl_after_finished = duration_field(lifecycle, "spec.lifecycle", "ttlAfterFinished", "1h",
                                          Seconds(0), Seconds(168 * 3600));
    for (const auto& [key, into] : {std::pair("idleTimeout", &w.idle_timeout),
                                    std::pair("commandTimeout", &w.command_timeout)}) {
      if (!member(lifecycle, "spec.lifecycle", key).is_null())
        *into =
            duration_field(lifecycle, "spec.lifecycle", key, "", Seconds(10), Seconds(24 * 3600));
    }
    w.suspend = flag(lifecycle, "spec.lifecycle", "suspend", false);
    if (const Json& most = member(lifecycle, "spec.lifecycle", "maxRestarts"); !most.is_null()) {
      if (!most.is_number_integer() || most < 0 || most > kMostRestarts)
        throw WrongType{"spec.lifecycle.maxRestarts"};
      w.max_restarts = most.get<int>();
    }
    const std::string retain = text(lifecycle, "spec.lifecycle", "retain", "Delete");
    if (retain != "Delete" && retain != "Retain") throw WrongType{"spec.lifecycle.retain"};
    w.retain = retain == "Retain";
    read_storage(member(spec, "spec", "storage"), w);
    w.setup = read_setup(member(spec, "spec", "setup"));
  } catch (const WrongType& wrong) {
    return std::unexpected(wrong.field + " is missing or not what the schema asks for");
  }
  if (std::string broken = check(w); !broken.empty()) return std::unexpected(std::move(broken));
  return w;
}

}  // namespace palisade::op
