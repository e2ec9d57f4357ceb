// An AgentWorkspace as the operator understands it: the object's JSON, read strictly, with every
// default filled in.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kube/client.h>

namespace palisade::op {

using Json = nlohmann::json;

inline constexpr const char* kApiVersion = "palisade.dev/v1alpha1";
inline constexpr const char* kKind = "AgentWorkspace";
inline constexpr const char* kFinalizer = "palisade.dev/workspace";
inline constexpr const char* kFieldManager = "palisade-operator";
inline constexpr const char* kWorkspaceLabel = "palisade.dev/workspace";
inline constexpr const char* kAgentLabel = "palisade.dev/agent";
inline constexpr const char* kManagedByLabel = "app.kubernetes.io/managed-by";
inline constexpr const char* kManagedBy = "palisade";
inline constexpr const char* kSchedulingGate = "palisade.dev/network-policy";

// agentworkspaces.palisade.dev
[[nodiscard]] const kube::Resource& workspaces();

struct SecretRef {
  std::string name;
  std::string key = "token";
  std::string username = "x-access-token";
};

struct Task {
  std::string message;
  std::vector<std::string> files;
  std::vector<std::string> test_command;
};

struct Workspace {
  std::string name;
  std::string ns;
  std::string uid;
  std::int64_t generation = 0;
  bool deleting = false;
  bool has_finalizer = false;

  std::string image;  // empty: the operator's default
  std::string model = "gpt-4o";
  Json limits = Json::object();
  Json requests = Json::object();
  std::string url;
  std::string ref = "main";
  std::string branch;
  bool read_only = false;
  std::optional<SecretRef> secret;
  std::optional<Task> task;
  std::string gateway = "default";
  bool user_namespace = true;
  std::string runtime_class;
  Json egress = Json::array();  // NetworkPolicyEgressRule objects
  std::chrono::seconds deadline{7200};
  std::chrono::seconds ttl_after_finished{3600};
  bool suspend = false;

  [[nodiscard]] std::string agent_object() const {
    return name + "-agent";
  }  // Pod, ServiceAccount, ConfigMap, NetworkPolicy
  [[nodiscard]] std::string git_secret() const { return name + "-git"; }
};

// The schema may have been by-passed (an older CRD, a conversion): what it promises is checked
// again where safety rests on it. The error names the field.
[[nodiscard]] std::expected<Workspace, std::string> parse_workspace(const Json& object);

// "1h30m" and the like; nullopt for anything else.
[[nodiscard]] std::optional<std::chrono::seconds> parse_duration(const std::string& text);

// A branch or tag name that no git command can mistake for an option, a range or another namespace.
[[nodiscard]] bool is_safe_ref_name(const std::string& name);

}  // namespace palisade::op
