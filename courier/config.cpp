#include <algorithm>
#include <fstream>
#include <iterator>
#include <string_view>

#include <nlohmann/json.hpp>

#include <courier/config.h>

namespace palisade::courier {

namespace {

struct Wrong {
  std::string field;
};

std::string text_of(const nlohmann::json& json, const char* name, bool may_be_empty = false) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_string()) throw Wrong{name};
  auto value = found->get<std::string>();
  if ((value.empty() && !may_be_empty) || value.find('\0') != std::string::npos) throw Wrong{name};
  return value;
}

std::int64_t number_of(const nlohmann::json& json, const char* name, std::int64_t least,
                       std::int64_t most) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_number_integer()) throw Wrong{name};
  const auto value = found->get<std::int64_t>();
  if (value < least || value > most) throw Wrong{name};
  return value;
}

// An absolute path.
fs::path path_of(const nlohmann::json& json, const char* name, bool may_be_empty = false) {
  fs::path value = text_of(json, name, may_be_empty);
  if (!value.empty() && !value.is_absolute()) throw Wrong{name};
  return value;
}

constexpr std::string_view kRelay = "http://127.0.0.1:";

bool is_relay(std::string_view url) {
  return url.starts_with(kRelay);
}

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

// https://HOST[:PORT]/PATH without credentials; without TLS only the pod's own relay.
bool is_url(std::string_view url) {
  constexpr std::string_view kScheme = "https://";
  if (std::ranges::any_of(url, is_control)) return false;
  if (url.find_first_of("@ \\") != std::string_view::npos) return false;
  if (is_relay(url)) {
    url.remove_prefix(kRelay.size());
    const auto slash = url.find('/');
    return slash != std::string_view::npos && slash > 0 && slash <= 5 && slash + 1 < url.size() &&
           std::ranges::all_of(url.substr(0, slash), [](char c) { return c >= '0' && c <= '9'; });
  }
  if (!url.starts_with(kScheme)) return false;
  const auto slash = url.find('/', kScheme.size());
  return slash != std::string_view::npos && slash > kScheme.size() && slash + 1 < url.size();
}

// The short name of a branch or tag. Source: https://git-scm.com/docs/git-check-ref-format;
// besides, nothing that an option or a refspec could be made of.
bool is_ref_name(std::string_view name) {
  if (name.empty() || name.size() > 244 || name == "@" || name == "HEAD") return false;
  if (name.front() == '-' || name.front() == '+' || name.back() == '.') return false;
  if (std::ranges::any_of(name, is_control)) return false;
  if (name.find_first_of(" ~^:?*[\\") != std::string_view::npos) return false;
  if (name.find("..") != std::string_view::npos || name.find("@{") != std::string_view::npos)
    return false;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('/', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (part.empty() || part.front() == '.' || part.ends_with(".lock")) return false;
    at = end + 1;
  }
  return true;
}

// A path below the repository's root, of plain words that begin with neither a dot nor a dash.
bool is_output_dir(std::string_view path) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  };
  if (path.empty() || path.size() > 200) return false;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty() || part.front() == '.' || part.front() == '-' ||
        !std::ranges::all_of(part, plain))
      return false;
    at = end + 1;
  }
  return true;
}

}  // namespace

std::expected<Config, std::string> load_config(const fs::path& file) {
  std::ifstream in(file);
  if (!in) return std::unexpected(file.string() + ": cannot be read");
  const auto json = nlohmann::json::parse(in, nullptr, false);
  if (!json.is_object()) return std::unexpected(file.string() + ": is not a JSON object");
  Config config;
  config.file = fs::absolute(file);
  try {
    config.url = text_of(json, "url");
    if (!is_url(config.url)) throw Wrong{"url"};
    config.ref = text_of(json, "ref");
    config.branch = text_of(json, "branch");
    if (!is_ref_name(config.ref)) throw Wrong{"ref"};
    if (!is_ref_name(config.branch) || config.branch == config.ref) throw Wrong{"branch"};
    const std::string access = text_of(json, "access");
    if (access != "ReadOnly" && access != "ReadWrite") throw Wrong{"access"};
    config.read_only = access == "ReadOnly";
    if (json.contains("mount")) {
      const std::string mount = text_of(json, "mount");
      if (mount != "ReadWrite" && mount != "GitDirOnly" && mount != "ReadOnly")
        throw Wrong{"mount"};
      if (mount == "GitDirOnly") config.mount = Mount::kGitDirOnly;
      if (mount == "ReadOnly") config.mount = Mount::kReadOnly;
    }
    if (config.mount == Mount::kReadOnly) {
      config.git_dir = path_of(json, "gitDir");
      config.output = path_of(json, "output");
      config.output_dir = text_of(json, "outputDir");
      if (!is_output_dir(config.output_dir)) throw Wrong{"outputDir"};
    }
    config.username = text_of(json, "username", true);
    if (std::ranges::any_of(config.username, is_control)) throw Wrong{"username"};
    config.token_file = path_of(json, "tokenFile", true);
    config.ca_file = path_of(json, "caFile", true);
    // The relay adds what identifies the session; a token would go to it in clear text.
    config.through_relay = is_relay(config.url);
    if (config.through_relay && !config.token_file.empty()) throw Wrong{"tokenFile"};
    config.repository = path_of(json, "repository");
    config.bundle = path_of(json, "bundle");
    config.workspace = path_of(json, "workspace");
    config.home = path_of(json, "home");
    config.termination_log = path_of(json, "terminationLog");
    config.poll_seconds = static_cast<int>(number_of(json, "pollSeconds", 1, 3600));
    if (json.contains("settleSeconds"))
      config.settle_seconds = static_cast<int>(number_of(json, "settleSeconds", 0, 3600));
    if (json.contains("finalSeconds"))
      config.final_seconds = static_cast<int>(number_of(json, "finalSeconds", 1, 3600));
    config.max_pack_bytes = number_of(json, "maxPackBytes", 1, 1LL << 40);
  } catch (const Wrong& wrong) {
    return std::unexpected(file.string() + ": " + wrong.field +
                           " is missing or not what it must be");
  }
  return config;
}

}  // namespace palisade::courier
