// spec.setup, read strictly.
#include <algorithm>

#include <policy/setup_claims.h>

#include "spec_reader.h"

namespace palisade::op {

namespace {

constexpr std::size_t kMostCommandWords = 32;
constexpr std::size_t kMostInputs = 32;
constexpr std::size_t kLongestInput = 200;
constexpr std::size_t kCommit = 40;  // hexadecimal digits
constexpr std::string_view kHex = "0123456789abcdef";

// A file below the repository's root, by plain words: it becomes one below another directory.
bool is_input(const std::string& path) {
  if (path.empty() || path.size() > kLongestInput || path.ends_with('/')) return false;
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == ".." || part == ".git" || part.front() == '-')
      return false;
    at = end + 1;
  }
  return std::ranges::all_of(path, [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-' || c == '/' || c == '+' ||
           c == '@';
  });
}

}  // namespace

bool is_commit_id(std::string_view text) {
  return text.size() == kCommit && text.find_first_not_of(kHex) == std::string_view::npos;
}

bool is_setup_claim_name(std::string_view name) {
  return policy::is_setup_claim(name);
}

namespace spec {

std::optional<Setup> read_setup(const Json& given) {
  static const std::string kPath = "spec.setup";
  if (given.is_null()) return std::nullopt;
  Setup out;
  out.image = text(given, kPath, "image");
  out.command = texts(given, kPath, "command");
  const auto bad_word = [](const std::string& word) {
    return word.empty() || word.find('\0') != std::string::npos;
  };
  if (out.command.empty() || out.command.size() > kMostCommandWords ||
      std::ranges::any_of(out.command, bad_word))
    throw WrongType{kPath + ".command"};
  out.inputs = texts(given, kPath, "inputs");
  if (out.inputs.size() > kMostInputs || !std::ranges::all_of(out.inputs, is_input))
    throw WrongType{kPath + ".inputs"};
  std::ranges::sort(out.inputs);
  const auto repeated = std::ranges::unique(out.inputs);
  out.inputs.erase(repeated.begin(), repeated.end());
  out.ref = text(given, kPath, "ref");
  if (!out.ref.empty() && !is_safe_ref_name(out.ref)) throw WrongType{kPath + ".ref"};
  if (!member(given, kPath, "mirrors").is_null()) out.mirrors = texts(given, kPath, "mirrors");
  out.storage = storage_of(given, kPath, std::move(out.storage));
  const std::string mode = text(given, kPath, "accessMode", "ReadWriteOnce");
  if (mode != "ReadWriteOnce" && mode != "ReadWriteMany") throw WrongType{kPath + ".accessMode"};
  out.shared = mode == "ReadWriteMany";
  out.timeout = duration_field(given, kPath, "timeout", "10m", std::chrono::seconds(30),
                               std::chrono::hours(2));
  const Json& resources = member(given, kPath, "resources");
  out.limits = quantities(resources, kPath + ".resources", "limits",
                          {{"cpu", "2"}, {"memory", "2Gi"}, {"ephemeral-storage", "4Gi"}});
  out.requests = quantities(resources, kPath + ".resources", "requests",
                            {{"cpu", "250m"}, {"memory", "512Mi"}});
  return out;
}

}  // namespace spec

}  // namespace palisade::op
