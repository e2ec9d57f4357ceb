#include "grant.h"

#include <algorithm>
#include <vector>

#include <policy/workspace.h>

namespace palisade::gateway {

namespace {

using Json = nlohmann::json;

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

std::optional<std::int64_t> amount(const Json& object, const std::string& path, const char* key) {
  const Json& value = member(object, path, key);
  if (value.is_null()) return std::nullopt;
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0)
    throw WrongType{path + "." + key};
  return value.get<std::int64_t>();
}

std::optional<std::int64_t> smaller(const std::optional<std::int64_t>& a,
                                    const std::optional<std::int64_t>& b) {
  if (!a) return b;
  if (!b) return a;
  return std::min(*a, *b);
}

Budget budget_of(const policy::LlmBudget& budget) {
  return {budget.tokens, budget.requests_per_minute, budget.cost_micros};
}

Budget asked(const Json& llm) {
  const std::string path = "spec.llm.budget";
  const Json& budget = member(llm, "spec.llm", "budget");
  Budget out{amount(budget, path, "tokens"), amount(budget, path, "requestsPerMinute"), {}};
  if (const std::string cost = text(budget, path, "cost"); !cost.empty()) {
    const auto micros = policy::parse_money(cost);
    if (!micros) throw WrongType{path + ".cost"};
    out.cost = *micros;
  }
  return out;
}

std::vector<std::string> models(const Json& spec, const Json& llm,
                                const policy::Settings& settings) {
  std::vector<std::string> out{
      text(member(spec, "spec", "agent"), "spec.agent", "model", "gpt-4o")};
  const Json& others = member(llm, "spec.llm", "models");
  if (!others.is_null() && !others.is_array()) throw WrongType{"spec.llm.models"};
  if (others.is_array()) {
    for (const Json& one : others) {
      if (!one.is_string()) throw WrongType{"spec.llm.models"};
      out.push_back(one.get<std::string>());
    }
  }
  std::erase_if(out, [&](const auto& one) { return !policy::model_allowed(one, settings); });
  return out;
}

// What the schema promises of a branch, where a push's safety rests on it.
bool is_branch(const std::string& name) {
  constexpr std::size_t kMax = 200;
  if (name.empty() || name.size() > kMax || name == "HEAD" || name.starts_with("refs/") ||
      name.front() == '-' || name.front() == '/' || name.ends_with('/') || name.ends_with(".lock"))
    return false;
  if (name.find("..") != std::string::npos || name.find("//") != std::string::npos) return false;
  return std::ranges::all_of(name, [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '_' || c == '/' || c == '+' || c == '-';
  });
}

std::optional<RepositoryGrant> repository(const Json& workspace, const Json& spec) {
  const std::string path = "spec.repository";
  const Json& given = member(spec, "spec", "repository");
  RepositoryGrant out;
  out.url = text(given, path, "url");
  if (!policy::git_through_gateway(out.url, text(given, path, "via"))) return std::nullopt;
  out.branch = text(given, path, "branch", "palisade/" + text_at(workspace, "/metadata/name"));
  if (!is_branch(out.branch) || out.branch == text(given, path, "ref", "main"))
    throw WrongType{path + ".branch"};
  const std::string access = text(given, path, "access", "ReadWrite");
  if (access != "ReadWrite" && access != "ReadOnly") throw WrongType{path + ".access"};
  const Json& credentials = member(given, path, "credentials");
  // Without credentials the repository is public, and nothing can be pushed.
  out.read_only = access == "ReadOnly" || !credentials.is_object() || credentials.empty();
  out.username = text(member(credentials, path + ".credentials", "secretRef"),
                      path + ".credentials.secretRef", "username", out.username);
  return out;
}

// Fields at which the settings refuse the workspace.
std::expected<std::vector<std::string>, std::string> refused_fields(
    const Json& workspace, const policy::Settings& settings) {
  return parsed(
      workspace,
      [&](simdjson::dom::element root) -> std::expected<std::vector<std::string>, std::string> {
        const auto findings = policy::evaluate_workspace(root, settings);
        std::vector<std::string> out;
        for (const auto& finding : findings)
          out.push_back(finding.field);
        return out;
      });
}

}  // namespace

std::string text_at(const Json& object, const char* pointer) {
  const Json::json_pointer at(pointer);
  return object.contains(at) && object[at].is_string() ? object[at].get<std::string>()
                                                       : std::string();
}

Budget stricter(const Budget& a, const Budget& b) {
  return {smaller(a.tokens, b.tokens), smaller(a.requests_per_minute, b.requests_per_minute),
          smaller(a.cost, b.cost)};
}

std::expected<Grant, std::string> grant_of(const Json& workspace,
                                           const policy::Settings& settings) {
  const auto refused = refused_fields(workspace, settings);
  if (!refused) return std::unexpected(refused.error());
  const auto is_refused = [&](const char* field) {
    return std::ranges::find(*refused, field) != refused->end();
  };
  try {
    const Json& spec = member(workspace, "", "spec");
    const Json& llm = member(spec, "spec", "llm");
    Grant out;
    if (!is_refused("spec.llm.gateway")) out.models = models(spec, llm, settings);
    out.workspace_budget = stricter(asked(llm), budget_of(settings.workspace_budget));
    out.namespace_budget = budget_of(settings.namespace_budget);
    out.repository = repository(workspace, spec);
    if (is_refused("spec.repository.url")) out.repository.reset();
    return out;
  } catch (const WrongType& wrong) {
    return std::unexpected(wrong.field + " is not what the schema of AgentWorkspace says");
  }
}

namespace {

Json slim_metadata(const Json& object) {
  Json out = Json::object();
  const auto metadata = object.find("metadata");
  if (metadata == object.end() || !metadata->is_object()) return out;
  for (const char* key :
       {"namespace", "name", "uid", "resourceVersion", "deletionTimestamp", "ownerReferences"}) {
    if (const auto found = metadata->find(key); found != metadata->end()) out[key] = *found;
  }
  return out;
}

}  // namespace

Json slim_workspace(Json object) {
  Json out = {{"apiVersion", object.value("apiVersion", Json())},
              {"kind", object.value("kind", Json())},
              {"metadata", slim_metadata(object)}};
  const auto spec = object.find("spec");
  if (spec == object.end() || !spec->is_object()) return out;
  for (const char* key : {"agent", "llm", "repository"}) {
    if (const auto found = spec->find(key); found != spec->end())
      out["spec"][key] = std::move(*found);
  }
  return out;
}

Json slim_pod(Json object) {
  Json out = {{"metadata", slim_metadata(object)}};
  out["spec"]["serviceAccountName"] = text_at(object, "/spec/serviceAccountName");
  out["status"]["phase"] = text_at(object, "/status/phase");
  return out;
}

}  // namespace palisade::gateway
