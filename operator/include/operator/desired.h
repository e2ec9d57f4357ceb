// The objects of a workspace as they should be. Pure: the same inputs give the same objects, byte
// for byte.
#pragma once

#include <string>

#include <operator/endpoints.h>
#include <operator/workspace.h>

namespace palisade::op {

// What the administrator has set for all workspaces.
struct Defaults {
  std::string agent_image;
  std::string courier_image;
  std::string
      git_ca;  // PEM of authorities that git hosts may use beside the public ones; may be empty
};

struct Access {
  std::string llm_url;  // the gateway's base URL as Aider gets it
  Endpoint llm;
  Endpoint git;
  bool operator==(const Access&) const = default;
};

[[nodiscard]] Json desired_service_account(const Workspace& workspace);
// The token is copied from the user's Secret, so that the pod mounts an object that ends with the
// session.
[[nodiscard]] Json desired_secret(const Workspace& workspace, const std::string& token);
[[nodiscard]] Json desired_config_map(const Workspace& workspace, const Defaults& defaults);
// Deny all, then the LLM gateway, the git host and spec.isolation.egress.
[[nodiscard]] Json desired_network_policy(const Workspace& workspace, const Access& access);
// With the scheduling gate on, and annotations that say what it was made from.
[[nodiscard]] Json desired_pod(const Workspace& workspace, const Defaults& defaults,
                               const Access& access, const std::string& token);

inline constexpr const char* kSpecHashAnnotation = "palisade.dev/spec-hash";
inline constexpr const char* kTokenHashAnnotation = "palisade.dev/token-hash";
// On the NetworkPolicy: what its spec was when the operator last wrote it. Tells drift, which is
// put right at once, from a wish for a wider network, which waits for the pod's end.
inline constexpr const char* kNetworkHashAnnotation = "palisade.dev/network-hash";
// The addresses that the pod was made with: kept for its life, so that a name that resolves
// differently does not end a session.
inline constexpr const char* kAccessAnnotation = "palisade.dev/access";

[[nodiscard]] Json to_json(const Access& access);
[[nodiscard]] std::optional<Access> access_from_json(const std::string& text);

// First 32 hexadecimal digits of the SHA-256.
[[nodiscard]] std::string hash_text(const std::string& text);

}  // namespace palisade::op
