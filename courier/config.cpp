#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>

#include <courier/config.h>

namespace palisade::courier {

namespace {

struct Wrong {
  std::string field;
};

std::string text(const nlohmann::json& json, const char* name, bool may_be_empty = false) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_string()) throw Wrong{name};
  auto value = found->get<std::string>();
  if ((value.empty() && !may_be_empty) || value.find('\0') != std::string::npos) throw Wrong{name};
  return value;
}

std::int64_t number(const nlohmann::json& json, const char* name, std::int64_t least,
                    std::int64_t most) {
  const auto found = json.find(name);
  if (found == json.end() || !found->is_number_integer()) throw Wrong{name};
  const auto value = found->get<std::int64_t>();
  if (value < least || value > most) throw Wrong{name};
  return value;
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
    config.url = text(json, "url");
    if (!config.url.starts_with("https://") || config.url.find('@') != std::string::npos)
      throw Wrong{"url"};
    config.ref = text(json, "ref");
    config.branch = text(json, "branch");
    if (config.ref.starts_with('-') || config.branch.starts_with('-') ||
        config.branch.find("..") != std::string::npos)
      throw Wrong{"branch"};
    const std::string access = text(json, "access");
    if (access != "ReadOnly" && access != "ReadWrite") throw Wrong{"access"};
    config.read_only = access == "ReadOnly";
    config.username = text(json, "username", true);
    config.token_file = text(json, "tokenFile", true);
    config.ca_file = text(json, "caFile", true);
    config.repository = text(json, "repository");
    config.bundle = text(json, "bundle");
    config.workspace = text(json, "workspace");
    config.home = text(json, "home");
    config.termination_log = text(json, "terminationLog");
    config.poll_seconds = static_cast<int>(number(json, "pollSeconds", 1, 3600));
    config.max_pack_bytes = number(json, "maxPackBytes", 1, 1LL << 40);
  } catch (const Wrong& wrong) {
    return std::unexpected(file.string() + ": " + wrong.field +
                           " is missing or not what it must be");
  }
  return config;
}

}  // namespace palisade::courier
