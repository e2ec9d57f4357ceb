// What NetworkPolicies do to an agent pod. They add up and cannot subtract: one more policy that
// selects the pod can only open it, so what counts is that some policy isolates it in both
// directions and that none of them all lets too much through.
// Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
//
// Policies of other APIs can open what these close too: policy/foreign_network.h.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

#include <policy/policy.h>
#include <policy/selector.h>

namespace palisade::policy {

inline constexpr std::string_view kDenyAllNetwork = "deny-all-network";

enum class Direction : std::uint8_t { ingress, egress };

// One thing that a NetworkPolicy lets through.
struct Opening {
  Direction direction = Direction::egress;
  // More than an agent pod made by hand may have: every ingress rule, and egress that is not to
  // named ports of named peers. An opening that is not wide is too much for a workspace's pod only.
  bool wide = false;
  std::string field;    // in the NetworkPolicy, e.g. spec.egress[0].to[1].ipBlock.cidr
  std::string found;    // the value there
  std::string message;  // what is wrong with it, and the fix
};

// Egress blocks with more addresses than this, alone or together, are no named peers.
inline constexpr int kWidestV4Prefix = 16;
inline constexpr int kWidestV6Prefix = 48;

// A NetworkPolicy (networking.k8s.io/v1), read once. What cannot be read opens and closes nothing
// in a pod's favour: a selector that is not understood may select it and isolates it not, a rule
// that is not understood is wide. Immutable.
class NetworkPolicy {
 public:
  // An error where the object is no NetworkPolicy at all; it says why.
  [[nodiscard]] static std::expected<NetworkPolicy, std::string> parse(
      simdjson::dom::element object);

  [[nodiscard]] const std::string& ns() const { return ns_; }
  [[nodiscard]] const std::string& name() const { return name_; }  // "" where generateName makes it
  [[nodiscard]] const Labels& labels() const { return labels_; }
  // uid of the AgentWorkspace that its owner references name; "" where none does.
  [[nodiscard]] const std::string& workspace_uid() const { return workspace_uid_; }
  [[nodiscard]] bool terminating() const { return terminating_; }

  // For certain: what a pod's isolation may rest on.
  [[nodiscard]] bool selects(const Labels& pod) const;
  // Perhaps: what an opening is judged by.
  [[nodiscard]] bool may_select(const Labels& pod) const;
  [[nodiscard]] bool isolates(Direction direction) const;
  // At least one for each rule, in the object's order; after some dozens the rest is left out, but
  // wide ones never for the sake of others.
  [[nodiscard]] std::span<const Opening> openings() const { return openings_; }

 private:
  NetworkPolicy() = default;
  std::string ns_, name_, workspace_uid_;
  Labels labels_;
  std::optional<Selector> pods_;  // nullopt: not understood
  bool ingress_ = false, egress_ = false, terminating_ = false;
  std::vector<Opening> openings_;
};

// Whose network it is: an agent pod made by hand, or a workspace's, which has a NetworkPolicy of
// its own that its operator wrote. Both texts are "" for one made by hand; a policy that has the
// name but another owner is nobody's own.
struct NetworkOf {
  const Labels& labels;
  std::string_view own_policy;     // its name
  std::string_view workspace_uid;  // of the AgentWorkspace
};

// What `policy` lets through that the pod must not have; nothing where it does not select the pod.
// Fields are those of the NetworkPolicy, behind `prefix`.
[[nodiscard]] std::vector<Finding> widenings(const NetworkPolicy& policy, const NetworkOf& pod,
                                             std::string_view prefix = "");

// Whether the namespace's policies keep the pod's network closed: findings where none isolates it
// in a direction, and for every widening ("NetworkPolicy NS/NAME: spec.egress[0]"). No policy
// counts that is being deleted, but what it lets through does. Thread-safe; some microseconds for a
// handful of policies.
[[nodiscard]] std::vector<Finding> network_findings(
    const NetworkOf& pod, std::span<const std::shared_ptr<const NetworkPolicy>> policies);

}  // namespace palisade::policy
