// Who is who in the cluster: agent pods, the AgentWorkspaces that own them, and what the policies
// of their namespaces allow. From watches alone; what they have not told yet is refused.
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <gateway/core/caller.h>

#include <kube/client.h>
#include <kube/reflector.h>
#include <policy/policy.h>

namespace palisade::gateway {

// What a verified token says.
struct Proven {
  std::string ns;
  std::string service_account;
  std::string pod;
  std::string pod_uid;
  bool operator==(const Proven&) const = default;
};

struct DirectoryEvents {
  // On a watch's thread.
  std::function<void(std::string_view ns, std::string_view uid)> workspace_gone;
};

// Rights: list and watch of AgentPolicies, and of pods, namespaces and AgentWorkspaces: in all
// namespaces, or with `namespaces` in those alone, where get is enough for namespaces themselves. A
// change of their labels counts some seconds later then (kube::ReflectorOptions::poll).
// Thread-safe.
class Directory {
 public:
  // `settings` bound everybody, beside the AgentPolicies. `namespaces`: whose agents are known;
  // empty: all.
  Directory(std::shared_ptr<const kube::Client> client, policy::Settings settings,
            DirectoryEvents events = {}, std::vector<std::string> namespaces = {});
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  void start();
  // What has not synced yet, for readiness; "" when all has. One of given namespaces that cannot be
  // watched is told in the log and refused to its agents; it holds up no others.
  [[nodiscard]] std::string not_synced() const;
  [[nodiscard]] std::vector<const kube::Reflector*> watches() const;
  void set_settings(policy::Settings settings);

  // Whether the watch knows the pod that the token names, whatever it is worth. A pod that was made
  // a moment ago may not be known yet.
  [[nodiscard]] bool knows_pod(const Proven& proven) const;
  // The pod as it is now, and what its workspace may use now. 401 where the pod is gone or another,
  // 403 where it is no agent's, its workspace cannot be read or its namespace is none of those
  // given, 503 where that is not known yet.
  [[nodiscard]] std::expected<Caller, Refusal> caller(const Proven& proven) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace palisade::gateway
