// What each container of a session may do, as one document, derived from the very objects that are
// applied: the pod, the NetworkPolicies that select it, its ConfigMaps and its ServiceAccount's
// rights. Pure.
//
// It says what is, not what is wished for: NetworkPolicies hold for a pod as a whole, so each of
// its containers has the egress that any of them needs.
#pragma once

#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <simdjson.h>

namespace palisade::policy {

// One thing that a capability gives.
struct Grant {
  std::string value;   // "/workspace", "192.0.2.10/32 TCP/443"
  std::string detail;  // for people: "emptyDir workspace, at most 4Gi"
  // Its cause: an object and the JSON pointer in it, "Pod team-a/fix-login-agent
  // /spec/containers/0/volumeMounts/1"
  std::string from;
  bool operator==(const Grant&) const = default;
};

// Names, by what is given:
//   filesystem.rw, filesystem.read     directories and files, by path; "/" where the root is
//                                      writable
//   exec                               programs: those that guard allows; of a container without
//                                      guard every one of the image, and whatever is written
//   exec.any                           an agent whose programs no guard bounds: every one of the
//                                      image, and whatever is written where writing is possible
//   network.egress.llm, .git, .extra   addresses and ports, by what the operator opened them for;
//   network.egress.gateway             for LLM and git alike;
//   network.egress.any                 the pod is not isolated
//   network.egress.api.llm             upstreams of models, which the gateway alone reaches
//   network.loopback                   what guard lets the agent connect to in its own pod: the
//                                      relay
//   network.ingress                    who may connect
//   git.api                            fetches and pushes, by branch; the agent's through the
//                                      courier
//   secret.read, config.read           Secrets and ConfigMaps, mounted or in the environment
//   kube.api                           ServiceAccount tokens, and the rights bound to them
//   identity.token                     ServiceAccount tokens for another audience than the API
//                                      server
//   process.others                     processes of the pod's other containers
//   host.*, kernel.*, devices          what the hardening takes away: empty for a session
struct Capability {
  std::string name;
  std::vector<Grant> grants;
  bool operator==(const Capability&) const = default;
};

struct Actor {
  std::string container;
  std::string role;                      // agent (a container), sidecar, init; gateway
  std::vector<Capability> capabilities;  // by name; none without a grant
  [[nodiscard]] const Capability* find(std::string_view name) const;
  bool operator==(const Actor&) const = default;
};

struct Permissions {
  std::string ns;
  std::string workspace;  // "" for a pod that is no workspace's
  std::string pod;
  // In the pod's order, containers first; then Palisade's gateway, where the session uses it.
  std::vector<Actor> actors;
  // Objects that would say more and that the reader may not read: "ConfigMap
  // palisade-gateway/palisade-gateway-config". Set by who reads; permissions_of() leaves it empty.
  std::vector<std::string> unread{};
  bool operator==(const Permissions&) const = default;
};

// `objects` is {"pod": Pod, "networkPolicies": [...], "configMaps": [...], "serviceAccount":
// ServiceAccount, "roleBindings": [RoleBindings and ClusterRoleBindings]}: all but the pod may be
// absent. With the gateway's ConfigMap (key gateway.json) among them its upstreams are named.
// NetworkPolicies are the namespace's: those that do not select the pod are left out. Errors name
// what cannot be read: then nothing is known.
[[nodiscard]] std::expected<Permissions, std::string> permissions_of(
    simdjson::dom::element objects);

// What the agents (role agent) may do beyond the capabilities that are `allowed`: a line for each
// grant; empty where there is nothing. "network.egress" allows "network.egress.git" too. What every
// container does need not be allowed: exec, filesystem.read, config.read, network.loopback.
[[nodiscard]] std::vector<std::string> beyond(const Permissions& permissions,
                                              std::span<const std::string> allowed);

[[nodiscard]] std::string permissions_text(const Permissions& permissions);
// {"namespace", "workspace", "pod", "unread": [...], "actors": {CONTAINER: {"role", "capabilities":
// {NAME: [{"value", "detail", "from"}]}}}}
[[nodiscard]] std::string permissions_json(const Permissions& permissions);
// The same as data of package palisade.permissions.
[[nodiscard]] std::string permissions_rego(const Permissions& permissions);

}  // namespace palisade::policy
