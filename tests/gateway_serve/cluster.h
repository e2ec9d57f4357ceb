// A real API server with agents in it: AgentWorkspaces, their pods, and tokens bound to these.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <kube/base64.h>
#include <kube/client.h>
#include <kube/envtest.h>

#include "definitions.h"

namespace palisade::gateway::testing {

using kube::Json;
namespace resources = kube::resources;

inline constexpr const char* kOwnNamespace = "palisade-gateway";
inline constexpr const char* kAudience = "palisade-gateway";
inline const kube::Resource kWorkspaceKind{"palisade.dev", "v1alpha1", "agentworkspaces",
                                           "AgentWorkspace", true};
inline const kube::Resource kPolicyKind{"palisade.dev", "v1alpha1", "agentpolicies", "AgentPolicy",
                                        false};

// What an agent is made of.
struct Agent {
  std::string ns;
  std::string name;
  std::string workspace_uid;
  std::string pod_uid;
  [[nodiscard]] std::string pod() const { return name + "-agent"; }
};

class Cluster {
 public:
  Cluster() {
    auto started = kube::EnvTest::start();
    if (!started) throw std::runtime_error(started.error().text());
    env_ = std::move(*started);
    const auto installed = install_definitions(*env_, {"agentworkspaces", "agentpolicies"});
    if (!installed) throw std::runtime_error(installed.error().text());
    client_ = connect();
    make_namespace(kOwnNamespace);
  }

  [[nodiscard]] kube::EnvTest& env() { return *env_; }
  [[nodiscard]] const std::shared_ptr<kube::Client>& client() const { return client_; }
  [[nodiscard]] std::shared_ptr<kube::Client> connect() const {
    return kube::Client::connect(env_->config(), kube::Client::TransportKind::kBeast,
                                 std::chrono::seconds(5));
  }

  Json create(const kube::Resource& resource, const std::string& ns, const Json& object) const {
    auto made = client_->create(resource, ns, object);
    if (!made) throw std::runtime_error(resource.kind + ": " + made.error().text());
    return *made;
  }
  void remove(const kube::Resource& resource, const std::string& ns,
              const std::string& name) const {
    kube::DeleteOptions now;
    now.grace_period_seconds = 0;
    const auto removed = client_->remove(resource, ns, name, now);
    if (!removed) throw std::runtime_error(resource.kind + ": " + removed.error().text());
  }
  void make_namespace(const std::string& name) const {
    create(resources::kNamespaces, "",
           {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", {{"name", name}}}});
  }

  std::string make_workspace(const std::string& ns, const std::string& name,
                             const Json& spec = Json::object()) const {
    Json object = {{"apiVersion", "palisade.dev/v1alpha1"},
                   {"kind", "AgentWorkspace"},
                   {"metadata", {{"name", name}, {"namespace", ns}}},
                   {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}};
    object["spec"].merge_patch(spec);
    return create(kWorkspaceKind, ns, object).at("metadata").at("uid");
  }
  void make_account(const std::string& ns, const std::string& name) const {
    create(resources::kServiceAccounts, ns,
           {{"apiVersion", "v1"},
            {"kind", "ServiceAccount"},
            {"metadata", {{"name", name}, {"namespace", ns}}}});
  }
  // `changes` are merged into the pod of the workspace as the operator makes it. Its UID.
  std::string make_pod(const Agent& agent, const Json& changes = Json::object()) const {
    Json pod = {{"apiVersion", "v1"},
                {"kind", "Pod"},
                {"metadata",
                 {{"name", agent.pod()},
                  {"namespace", agent.ns},
                  {"labels", {{"palisade.dev/agent", "true"}}},
                  {"ownerReferences", Json::array({{{"apiVersion", "palisade.dev/v1alpha1"},
                                                    {"kind", "AgentWorkspace"},
                                                    {"name", agent.name},
                                                    {"uid", agent.workspace_uid},
                                                    {"controller", true}}})}}},
                {"spec",
                 {{"serviceAccountName", agent.pod()},
                  {"containers", Json::array({{{"name", "aider"}, {"image", "example.com/x"}}})}}}};
    pod.merge_patch(changes);
    return create(resources::kPods, agent.ns, pod).at("metadata").at("uid");
  }
  // All of it.
  Agent make_agent(const std::string& ns, const std::string& name,
                   const Json& spec = Json::object()) const {
    Agent out{ns, name, make_workspace(ns, name, spec), ""};
    make_account(ns, out.pod());
    out.pod_uid = make_pod(out);
    return out;
  }

  // Bound to a pod unless that is "".
  [[nodiscard]] std::string token(const std::string& ns, const std::string& account,
                                  const std::string& pod, const std::string& pod_uid,
                                  const std::string& audience = kAudience) const {
    const kube::Resource request{"", "v1", "serviceaccounts/" + account + "/token", "TokenRequest",
                                 true};
    Json spec = {{"audiences", {audience}}, {"expirationSeconds", 600}};
    if (!pod.empty())
      spec["boundObjectRef"] = {
          {"apiVersion", "v1"}, {"kind", "Pod"}, {"name", pod}, {"uid", pod_uid}};
    return create(request, ns,
                  {{"apiVersion", "authentication.k8s.io/v1"},
                   {"kind", "TokenRequest"},
                   {"spec", spec}})
        .at("status")
        .at("token");
  }
  [[nodiscard]] std::string token(const Agent& agent) const {
    return token(agent.ns, agent.pod(), agent.pod(), agent.pod_uid);
  }

  // Written whole, in place of what is there.
  void write_secret(const std::string& name, const std::map<std::string, std::string>& data,
                    const Json& metadata = Json::object()) const {
    Json object = {{"apiVersion", "v1"},
                   {"kind", "Secret"},
                   {"metadata", {{"name", name}, {"namespace", kOwnNamespace}}},
                   {"data", Json::object()}};
    object["metadata"].merge_patch(metadata);
    for (const auto& [key, value] : data)
      object["data"][key] = kube::encode_base64(value);
    const auto written = client_->update(resources::kSecrets, kOwnNamespace, name, object);
    if (!written && written.error().is_not_found()) {
      create(resources::kSecrets, kOwnNamespace, object);
    } else if (!written) {
      throw std::runtime_error(written.error().text());
    }
  }

 private:
  std::unique_ptr<kube::EnvTest> env_;
  std::shared_ptr<kube::Client> client_;
};

}  // namespace palisade::gateway::testing
