// What the administrator allows, held against what is about to be written.
#include <fmt/format.h>

#include <policy/permissions.h>

#include "decide/decision.h"
#include "judge.h"

namespace palisade::op {

namespace {

constexpr std::size_t kMaxExcess = 20;  // grants beyond the bound that a condition lists

}  // namespace

policy::Settings bounds_of(const Config& config, const std::vector<policy::AgentPolicy>& policies) {
  std::vector<const policy::AgentPolicy*> selecting;
  for (const policy::AgentPolicy& policy : policies)
    selecting.push_back(&policy);
  return policy::tightened(config.policy, selecting);
}

std::string judge_pod(const Json& pod, const policy::Settings& bounds) {
  simdjson::dom::parser parser;
  simdjson::dom::element parsed;
  const simdjson::padded_string text(pod.dump());
  if (parser.parse(text).get(parsed) != simdjson::SUCCESS)
    return "the pod cannot be written as JSON";
  const auto findings = policy::evaluate(parsed, bounds);
  return findings.empty() ? std::string() : policy::explain(findings);
}

std::string Decision::excess_of(const Json& pod, const Json& network, const Json& config_map,
                                const policy::Settings& bounds) const {
  if (!bounds.agent_permissions) return {};
  const Json objects{{"pod", pod},
                     {"networkPolicies", Json::array({network})},
                     {"configMaps", Json::array({config_map})},
                     {"serviceAccount", desired_service_account(w_)}};
  simdjson::dom::parser parser;
  const simdjson::padded_string text(objects.dump());
  simdjson::dom::element parsed;
  if (parser.parse(text).get(parsed) != simdjson::SUCCESS)
    return "the session's objects cannot be written as JSON";
  const auto permissions = policy::permissions_of(parsed);
  if (!permissions) return "what the session may do cannot be told: " + permissions.error();
  const auto beyond = policy::beyond(*permissions, *bounds.agent_permissions);
  if (beyond.empty()) return {};
  std::string allowed;
  for (const std::string& name : *bounds.agent_permissions)
    allowed += (allowed.empty() ? "" : ", ") + name;
  std::string out = fmt::format(
      "AgentPolicies allow the agents of this namespace {}, but they "
      "would have",
      allowed.empty() ? "nothing" : allowed);
  for (std::size_t i = 0; i < beyond.size() && i < kMaxExcess; ++i)
    out += (i == 0 ? " " : "; ") + beyond[i];
  if (beyond.size() > kMaxExcess) out += fmt::format("; and {} more", beyond.size() - kMaxExcess);
  return out;
}

}  // namespace palisade::op
