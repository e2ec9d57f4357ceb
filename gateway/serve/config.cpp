#include <algorithm>
#include <set>
#include <vector>

#include <gateway/serve/config.h>

#include <policy/agent_policy.h>

namespace palisade::gateway {

namespace {

using Json = nlohmann::json;

struct Wrong {
  std::string what;  // FIELD: why
};

// Of two members with one name JSON readers take either: neither is what the administrator meant
// for sure.
class NoDuplicates {
 public:
  bool operator()(int /*depth*/, Json::parse_event_t event, Json& value) {
    switch (event) {
      case Json::parse_event_t::object_start:
        seen_.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        seen_.pop_back();
        break;
      case Json::parse_event_t::key:
        if (!seen_.back().insert(value.get<std::string>()).second && twice.empty())
          twice = value.get<std::string>();
        break;
      default:
        break;
    }
    return true;
  }
  std::string twice;

 private:
  std::vector<std::set<std::string>> seen_;
};

void only(const Json& object, const std::string& path, const std::set<std::string_view>& known) {
  if (!object.is_object()) throw Wrong{path + ": is not an object"};
  for (const auto& [key, value] : object.items()) {
    if (!known.contains(key))
      throw Wrong{(path.empty() ? "" : path + ".") + key + ": is not known"};
  }
}

std::optional<std::int64_t> amount(const Json& object, const std::string& path, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return std::nullopt;
  const bool good = found->is_number_integer() &&
                    (!found->is_number_unsigned() || found->get<std::uint64_t>() <= INT64_MAX) &&
                    found->get<std::int64_t>() >= 0;
  if (!good) throw Wrong{path + "." + key + ": must be a whole number, 0 or above"};
  return found->get<std::int64_t>();
}

std::optional<std::int64_t> money(const Json& object, const std::string& path, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) return std::nullopt;
  const std::string where = path + "." + key;
  if (!found->is_string())
    throw Wrong{where + ": must be an amount of US dollars as a text, such as \"5.00\""};
  const auto micros = policy::parse_money(found->get_ref<const std::string&>());
  if (!micros) throw Wrong{where + ": " + micros.error()};
  return *micros;
}

policy::LlmBudget budget(const Json& budgets, const char* key, const char* tokens,
                         const char* cost) {
  const auto found = budgets.find(key);
  if (found == budgets.end()) return {};
  const std::string path = std::string("budgets.") + key;
  only(*found, path, {tokens, "requestsPerMinute", cost});
  return {amount(*found, path, tokens), amount(*found, path, "requestsPerMinute"),
          money(*found, path, cost)};
}

// What another's reader says, with the field's whole path.
Wrong below(const std::string& path, const std::string& error) {
  return Wrong{error.starts_with(path + ".") || error.starts_with(path + ":") ||
                       error.starts_with(path + "[")
                   ? error
                   : path + "." + error};
}

GatewayConfig read(const Json& root) {
  only(root, "", {"audience", "llm", "git", "archive", "budgets"});
  GatewayConfig out;
  if (const auto audience = root.find("audience"); audience != root.end()) {
    if (!audience->is_string() || audience->get_ref<const std::string&>().empty())
      throw Wrong{"audience: must be a text that is not empty"};
    out.audience = audience->get<std::string>();
  }
  const auto llm = root.find("llm");
  if (llm == root.end()) throw Wrong{"llm: is missing"};
  auto models = llm::parse_llm_config(*llm);
  if (!models) throw below("llm", models.error());
  out.llm = std::move(*models);
  if (const auto git = root.find("git"); git != root.end()) {
    auto parsed = git::parse_git_config(*git);
    if (!parsed) throw below("git", parsed.error());
    out.git = std::move(*parsed);
  }
  if (const auto archive = root.find("archive"); archive != root.end()) {
    auto parsed = archive::parse_archive_config(*archive);
    if (!parsed) throw below("archive", parsed.error());
    out.archive = std::move(*parsed);
  }
  if (const auto budgets = root.find("budgets"); budgets != root.end()) {
    only(*budgets, "budgets", {"perWorkspace", "perNamespace"});
    out.per_workspace = budget(*budgets, "perWorkspace", "tokens", "cost");
    out.per_namespace = budget(*budgets, "perNamespace", "tokensPerDay", "costPerDay");
  }
  return out;
}

}  // namespace

std::expected<GatewayConfig, std::string> parse_gateway_config(std::string_view text) {
  NoDuplicates duplicates;
  const Json root = Json::parse(
      text,
      [&](int depth, Json::parse_event_t event, Json& value) {
        return duplicates(depth, event, value);
      },
      false);
  if (root.is_discarded()) return std::unexpected("gateway.json: is not JSON");
  if (!duplicates.twice.empty())
    return std::unexpected(duplicates.twice.substr(0, 100) + ": is there twice");
  try {
    return read(root);
  } catch (const Wrong& wrong) {
    return std::unexpected(wrong.what);
  }
}

}  // namespace palisade::gateway
