#include "create.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <random>

#include <operator/workspace.h>

#include "text.h"

namespace palisade::cli {
namespace {

using nlohmann::json;

constexpr std::size_t kLongestName = 40;
constexpr std::size_t kLongestMessage = 32768;
constexpr std::size_t kMostLeft = 50;  // of a name, by the CRD

struct WrongOption {
  std::string what;
};

bool is_utf8(std::string_view text) {
  return json::parse(json(std::string(text)).dump(-1, ' ', false, json::error_handler_t::replace))
             .get<std::string>() == text;
}

// "NAME" or "NAME/KEY".
json secret_key(const std::string& option, const std::string& given) {
  const std::size_t slash = given.find('/');
  json out{{"name", given.substr(0, slash)}};
  if (slash != std::string::npos) out["key"] = given.substr(slash + 1);
  if (out["name"].get<std::string>().empty() ||
      (slash != std::string::npos && out["key"].get<std::string>().empty()))
    throw WrongOption{option + " " + given + ": name a Secret as NAME or NAME/KEY"};
  return out;
}

json credentials_of(const CreateOptions& options) {
  json out = json::object();
  if (!options.git_secret.empty())
    out["secretRef"] = secret_key("--git-secret", options.git_secret);
  if (!options.github_app.empty()) {
    const std::string& given = options.github_app;
    const std::size_t colon = given.find(':');
    std::int64_t id = 0;
    const char* end = given.data() + std::min(colon, given.size());
    const auto [stopped, ec] = std::from_chars(given.data(), end, id);
    if (colon == std::string::npos || ec != std::errc() || stopped != end || id < 1)
      throw WrongOption{"--github-app " + given + ": write ID:SECRET or ID:SECRET/KEY"};
    out["githubApp"] = {
        {"appId", id},
        {"privateKeySecretRef", secret_key("--github-app", given.substr(colon + 1))}};
  }
  if (!options.gitlab_secret.empty())
    out["gitlab"] = {{"secretRef", secret_key("--gitlab-secret", options.gitlab_secret)}};
  if (!options.gitea_secret.empty()) {
    if (options.gitea_secret.find('/') != std::string::npos)
      throw WrongOption{"--gitea-secret " + options.gitea_secret +
                        ": its keys are username and password; name the Secret alone"};
    out["gitea"] = {{"secretRef", {{"name", options.gitea_secret}}}};
  }
  if (out.size() > 1)
    throw WrongOption{
        "--git-secret, --github-app, --gitlab-secret and --gitea-secret: give one of them"};
  return out;
}

// "KEY=VALUE" each.
json pairs_of(const std::string& option, const std::vector<std::string>& given) {
  json out = json::object();
  for (const std::string& one : given) {
    const std::size_t equals = one.find('=');
    if (equals == 0 || equals == std::string::npos)
      throw WrongOption{std::string(option).append(" ").append(one).append(": write KEY=VALUE")};
    if (!out.emplace(one.substr(0, equals), one.substr(equals + 1)).second)
      throw WrongOption{
          std::string(option).append(" ").append(one).append(": the key is given twice")};
  }
  return out;
}

json command_of(const std::string& option, const std::string& line) {
  auto words = words_of(line);
  if (!words) throw WrongOption{option + ": " + words.error()};
  return *words;
}

void set(json& object, const char* key, const std::string& value) {
  if (!value.empty()) object[key] = value;
}

json repository_of(const CreateOptions& options) {
  if (options.url.empty()) throw WrongOption{"--repo URL is missing: which repository to work on"};
  json out{{"url", options.url}};
  set(out, "ref", options.ref);
  set(out, "branch", options.branch);
  set(out, "mount", options.mount);
  set(out, "outputDir", options.output_dir);
  set(out, "via", options.via);
  if (options.read_only) out["access"] = "ReadOnly";
  if (json credentials = credentials_of(options); !credentials.empty())
    out["credentials"] = std::move(credentials);
  if (!options.merge_request.empty()) {
    out["mergeRequest"] = json::object();
    if (options.merge_request == "draft") out["mergeRequest"]["draft"] = true;
    set(out["mergeRequest"], "title", options.title);
  } else if (!options.title.empty()) {
    throw WrongOption{"--title is the merge request's: add --merge-request"};
  }
  return out;
}

json task_of(const CreateOptions& options) {
  if (options.message.empty()) {
    if (!options.files.empty() || !options.lint_command.empty() || !options.test_command.empty() ||
        options.rounds != 0)
      throw WrongOption{
          "--file, --lint, --test and --rounds belong to a task: give a --message too"};
    return nullptr;
  }
  json out{{"message", options.message}};
  if (!options.files.empty()) out["files"] = options.files;
  if (!options.lint_command.empty())
    out["lintCommand"] = command_of("--lint", options.lint_command);
  if (!options.test_command.empty())
    out["testCommand"] = command_of("--test", options.test_command);
  if (options.rounds != 0) out["rounds"] = options.rounds;
  return out;
}

json storage_of(const CreateOptions& options) {
  if (options.storage.empty()) {
    if (options.storage_class || options.retain)
      throw WrongOption{"--storage-class and --retain are a volume's: give a --storage SIZE too"};
    return nullptr;
  }
  json out{{"size", options.storage}};
  if (options.storage_class) out["storageClassName"] = *options.storage_class;
  return out;
}

json spec_of(const CreateOptions& options) {
  json spec{{"repository", repository_of(options)}};
  if (!options.from_template.empty()) spec["templateRef"] = {{"name", options.from_template}};
  if (json storage = storage_of(options); !storage.is_null()) spec["storage"] = std::move(storage);
  if (json task = task_of(options); !task.is_null()) spec["task"] = std::move(task);
  json agent = json::object();
  set(agent, "image", options.image);
  set(agent, "model", options.model);
  if (!options.limits.empty()) agent["resources"]["limits"] = pairs_of("--limit", options.limits);
  if (!agent.empty()) spec["agent"] = std::move(agent);
  json llm = json::object();
  set(llm, "gateway", options.gateway);
  if (!options.models.empty()) llm["models"] = options.models;
  if (options.tokens != 0) llm["budget"]["tokens"] = options.tokens;
  if (!options.cost.empty()) llm["budget"]["cost"] = options.cost;
  if (!options.llm_secret.empty())
    llm["keySecretRef"] = secret_key("--llm-secret", options.llm_secret);
  if (!llm.empty()) spec["llm"] = std::move(llm);
  json lifecycle = json::object();
  set(lifecycle, "deadline", options.deadline);
  set(lifecycle, "idleTimeout", options.idle_timeout);
  set(lifecycle, "commandTimeout", options.command_timeout);
  set(lifecycle, "ttlAfterFinished", options.ttl);
  if (options.retain) lifecycle["retain"] = "Retain";
  if (!lifecycle.empty()) spec["lifecycle"] = std::move(lifecycle);
  json isolation = json::object();
  set(isolation, "runtimeClassName", options.runtime_class);
  if (!options.allow.empty()) isolation["exec"]["allow"] = options.allow;
  if (!isolation.empty()) spec["isolation"] = std::move(isolation);
  return spec;
}

// What the API server says less kindly, and after a round trip.
bool is_dns_label(std::string_view name) {
  const auto inner = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  return !name.empty() && name.size() <= kMostLeft && std::ranges::all_of(name, inner) &&
         name.front() != '-' && name.back() != '-';
}

}  // namespace

std::expected<json, std::string> workspace_of(const CreateOptions& options) {
  try {
    const std::string name = options.name.empty() ? name_of(options.message) : options.name;
    if (!is_dns_label(name))
      throw WrongOption{"the name " + name +
                        " cannot be: at most 50 of a-z, 0-9 and -, without - at either end"};
    json out{{"apiVersion", op::kApiVersion},
             {"kind", op::kKind},
             {"metadata", {{"name", name}}},
             {"spec", spec_of(options)}};
    if (!options.ns.empty()) out["metadata"]["namespace"] = options.ns;
    if (!options.labels.empty()) out["metadata"]["labels"] = pairs_of("--label", options.labels);
    for (const auto& [path, list] :
         {std::pair("--file", &options.files), std::pair("--allow", &options.allow)}) {
      if (std::ranges::any_of(*list, [](const std::string& one) { return !is_utf8(one); }))
        throw WrongOption{std::string(path) + " has a name that is not UTF-8"};
    }
    // The operator's own reading of it. The template is the webhook's to fill in.
    json own = out;
    own["spec"].erase("templateRef");
    const auto read = op::parse_workspace(own);
    if (!read) throw WrongOption{read.error()};
    return out;
  } catch (const WrongOption& wrong) {
    return std::unexpected(printable(wrong.what));
  }
}

std::expected<std::string, std::string> message_of(std::string text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r') {
      if (i + 1 < text.size() && text[i + 1] == '\n') continue;
      out += '\n';
    } else {
      out += text[i];
    }
  }
  const auto first = out.find_first_not_of(" \t\n");
  if (first == std::string::npos) return std::unexpected("there is no text in it");
  out = out.substr(first, out.find_last_not_of(" \t\n") - first + 1);
  if (!is_utf8(out)) return std::unexpected("it is not UTF-8 text");
  if (std::ranges::any_of(
          out, [](unsigned char c) { return (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F; }))
    return std::unexpected("it has control characters; is it a text?");
  if (out.size() > kLongestMessage)
    return std::unexpected("it has " + std::to_string(out.size()) +
                           " bytes, and a task's message may have 32768; say it shorter");
  return out;
}

std::string name_of(std::string_view message) {
  message.remove_prefix(std::min(message.find_first_not_of("# \t\n"), message.size()));
  const std::string_view line = message.substr(0, message.find('\n'));
  std::string out;
  for (const char c : line) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    if ((lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9')) {
      out += lower;
    } else if (!out.empty() && out.back() != '-' && c != '\'') {
      out += '-';
    }
    if (out.size() > kLongestName) break;
  }
  if (out.size() > kLongestName) {
    // At the end of a word, where that leaves something.
    const std::size_t word = out.rfind('-');
    out.resize(word != std::string::npos && word >= kLongestName / 2 ? word : kLongestName);
  }
  while (out.ends_with('-'))
    out.pop_back();
  return out.empty() ? "task" : out;
}

std::string another_name(std::string_view name) {
  constexpr std::string_view kLetters = "bcdfghjkmnpqrstvwxz23456789";  // no words, nothing alike
  std::random_device random;
  std::string out(name.substr(0, kMostLeft - 6));
  while (out.ends_with('-'))
    out.pop_back();
  out += '-';
  for (int i = 0; i < 5; ++i)
    out += kLetters[random() % kLetters.size()];
  return out;
}

std::expected<std::vector<std::string>, std::string> words_of(std::string_view line) {
  std::vector<std::string> out;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    const bool escaped = c == '\\' && quote != '\'';
    if (escaped && i + 1 == line.size()) return std::unexpected("it ends in a backslash");
    if (escaped && (quote == 0 || line[i + 1] == '"' || line[i + 1] == '\\')) {
      word += line[++i];
      in_word = true;
    } else if (quote != 0 && c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
      in_word = true;
    } else if (quote == 0 && (c == ' ' || c == '\t' || c == '\n')) {
      if (in_word) out.push_back(std::move(word));
      word.clear();
      in_word = false;
    } else if (quote != '\'' &&
               (c == '$' || c == '`' || (quote == 0 && std::string_view("|&;<>()").contains(c)))) {
      return std::unexpected(std::string("no shell reads the command, so ") + c +
                             " means nothing in it; quote it '" + c +
                             "', or have a program of the image do it");
    } else {
      word += c;
      in_word = true;
    }
  }
  if (quote != 0) return std::unexpected("a quote is not closed");
  if (in_word) out.push_back(std::move(word));
  if (out.empty()) return std::unexpected("there is no command in it");
  return out;
}

}  // namespace palisade::cli
