// Pieces that the pods of sessions and of their setups are made of alike.
#pragma once

#include "desired/common.h"

namespace palisade::op {

inline constexpr int kAgentUser = 1001;
inline constexpr int kCourierUser = 1002;
inline constexpr int kIdentitySeconds = 600;  // the shortest that the API server issues
inline constexpr const char* kRelay = "/usr/local/bin/palisade-relay";

inline Json security_context(int user) {
  return {{"runAsNonRoot", true},
          {"runAsUser", user},
          {"runAsGroup", kAgentUser},
          {"privileged", false},
          {"allowPrivilegeEscalation", false},
          {"readOnlyRootFilesystem", true},
          {"capabilities", {{"drop", {"ALL"}}}},
          {"seccompProfile", {{"type", "RuntimeDefault"}}}};
}

inline Json mount(const char* volume, const char* path, bool read_only = false) {
  Json out{{"name", volume}, {"mountPath", path}};
  if (read_only) out["readOnly"] = true;
  return out;
}

inline Json variable(const char* name, const std::string& value) {
  return {{"name", name}, {"value", value}};
}

inline Json empty_dir(const char* name, const char* size, bool memory = false) {
  Json directory{{"sizeLimit", size}};
  if (memory) directory["medium"] = "Memory";
  return {{"name", name}, {"emptyDir", directory}};
}

// Of the pod as a whole.
inline Json pod_security_context() {
  return {{"runAsNonRoot", true},
          {"runAsUser", kAgentUser},
          {"runAsGroup", kAgentUser},
          {"fsGroup", kAgentUser},
          {"fsGroupChangePolicy", "OnRootMismatch"},
          {"seccompProfile", {{"type", "RuntimeDefault"}}}};
}

// No more than the current token: beside it a Secret may hold some that wait to be revoked.
inline Json git_token_volume(const Workspace& w) {
  return {{"name", "git-token"},
          {"secret",
           {{"secretName", w.git_secret()},
            {"defaultMode", 0440},
            {"items", {{{"key", "token"}, {"path", "token"}}}}}}};
}

// The token by which the gateway knows the pod.
inline Json identity_volume(const Defaults& defaults) {
  return {{"name", "identity"},
          {"projected",
           {{"defaultMode", 0440},
            {"sources",
             {{{"serviceAccountToken",
                {{"audience", defaults.gateway->audience},
                 {"expirationSeconds", kIdentitySeconds},
                 {"path", "token"}}}}}}}}};
}

}  // namespace palisade::op
