// A cluster made of maps: what the judges are told in tests.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <policy/network.h>
#include <webhook/cluster_view.h>

namespace palisade::webhook::testing {

inline std::shared_ptr<const policy::NetworkPolicy> network_policy(const nlohmann::json& object) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(object.dump());
  auto parsed = policy::NetworkPolicy::parse(parser.parse(text));
  if (!parsed) throw std::runtime_error(parsed.error());
  return std::make_shared<const policy::NetworkPolicy>(std::move(*parsed));
}

// Selects every pod of the namespace, allows nothing.
inline nlohmann::json deny_all(const std::string& ns = "team-a") {
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"name", "deny-all"}, {"namespace", ns}}},
          {"spec",
           {{"podSelector", nlohmann::json::object()}, {"policyTypes", {"Ingress", "Egress"}}}}};
}

// Every look-up answers from its member, or fails with `failure`. By default every namespace is
// guarded in mode agents, and closed by a deny-all policy.
class FakeView : public ClusterView {
 public:
  Principals named{.operator_user = "system:serviceaccount:palisade-system:palisade-operator",
                   .webhook_user = "system:serviceaccount:palisade-system:palisade-webhook",
                   .administrator_users = {"admin"}};
  NamespaceRules guarded;  // of namespaces that are not in `by_ns`
  std::map<std::string, NamespaceRules, std::less<>> by_ns;  // of single namespaces
  std::vector<WorkspaceFacts> workspaces_held;
  std::vector<AgentPod> pods;  // of any kind; agents are those with a reason
  std::vector<std::shared_ptr<const policy::NetworkPolicy>> policies{network_policy(deny_all())};
  // What only a live read brings; the same as `policies` unless set.
  std::optional<std::vector<std::shared_ptr<const policy::NetworkPolicy>>> live_policies;
  std::string failure;        // of every look-up, unless empty
  std::string rules_failure;  // of rules() alone
  mutable std::mutex mutex;   // a server asks on several threads
  mutable std::vector<std::string> asked_rules;
  mutable std::atomic<int> live_reads = 0;
  // By the image as the pod has it: why it is not signed, "" where it is. Those that are not here
  // are not known.
  std::map<std::string, std::string> signatures;

  [[nodiscard]] const Principals& principals() const override { return named; }
  [[nodiscard]] Lookup<std::shared_ptr<const NamespaceRules>> rules(
      std::string_view ns) const override {
    {
      const std::scoped_lock lock(mutex);
      asked_rules.emplace_back(ns);
    }
    if (!rules_failure.empty()) return std::unexpected(rules_failure);
    if (!failure.empty()) return std::unexpected(failure);
    const auto own = by_ns.find(ns);
    return std::make_shared<const NamespaceRules>(own == by_ns.end() ? guarded : own->second);
  }
  [[nodiscard]] Lookup<std::vector<WorkspaceFacts>> workspaces(std::string_view ns) const override {
    if (!failure.empty()) return std::unexpected(failure);
    std::vector<WorkspaceFacts> out;
    for (const WorkspaceFacts& workspace : workspaces_held) {
      if (workspace.ns == ns) out.push_back(workspace);
    }
    return out;
  }
  [[nodiscard]] Lookup<std::optional<WorkspaceFacts>> workspace(
      std::string_view ns, std::string_view name) const override {
    if (!failure.empty()) return std::unexpected(failure);
    for (const WorkspaceFacts& workspace : workspaces_held) {
      if (workspace.ns == ns && workspace.name == name) return workspace;
    }
    return std::nullopt;
  }
  [[nodiscard]] Lookup<std::shared_ptr<const policy::WorkspaceTemplate>> workspace_template(
      std::string_view /*ns*/, std::string_view /*name*/) const override {
    if (!failure.empty()) return std::unexpected(failure);
    return nullptr;
  }
  [[nodiscard]] Lookup<std::vector<AgentPod>> agent_pods(std::string_view ns) const override {
    if (!failure.empty()) return std::unexpected(failure);
    std::vector<AgentPod> out;
    for (const AgentPod& pod : pods) {
      if (pod.ns == ns && !pod.reason.empty()) out.push_back(pod);
    }
    return out;
  }
  [[nodiscard]] Lookup<std::optional<AgentPod>> pod(std::string_view ns,
                                                    std::string_view name) const override {
    if (!failure.empty()) return std::unexpected(failure);
    ++live_reads;
    for (const AgentPod& held : pods) {
      if (held.ns == ns && held.name == name) return held;
    }
    return std::nullopt;
  }
  [[nodiscard]] Lookup<std::vector<std::shared_ptr<const policy::NetworkPolicy>>> network_policies(
      std::string_view /*ns*/, bool live) const override {
    if (!failure.empty()) return std::unexpected(failure);
    if (live) ++live_reads;
    return live && live_policies ? *live_policies : policies;
  }
  [[nodiscard]] Lookup<std::string> signature_problem(
      const policy::ImageToVerify& image, const policy::SignatureRule& /*rule*/) const override {
    if (!failure.empty()) return std::unexpected(failure);
    const auto known = signatures.find(image.text);
    if (known == signatures.end()) return std::unexpected("the registry does not answer");
    return known->second;
  }
};

}  // namespace palisade::webhook::testing
