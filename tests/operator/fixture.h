// A workspace as the API server hands it out, and what the administrator has set.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <operator/decide.h>

namespace palisade::op::testing {

inline constexpr const char* kUid = "6c1f2f0e-6f0c-4a0e-9a53-0b5f2f5a8c11";

// What a run is repeated or widened by: PALISADE_TEST_SEED and the like.
inline std::uint64_t from_environment(const char* name, std::uint64_t usual) {
  const char* given = std::getenv(name);
  return given != nullptr ? std::strtoull(given, nullptr, 10) : usual;
}

// Nothing but what the schema requires.
inline Json minimal_workspace() {
  return {{"apiVersion", kApiVersion},
          {"kind", kKind},
          {"metadata",
           {{"name", "fix-login"},
            {"namespace", "team-a"},
            {"uid", kUid},
            {"generation", 1},
            {"resourceVersion", "7"}}},
          {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}};
}

// One-shot, with a token: the usual one.
inline Json usual_workspace() {
  Json object = minimal_workspace();
  object["spec"]["repository"]["credentials"] = {{"secretRef", {{"name", "app-git-token"}}}};
  object["spec"]["task"] = {{"message", "Make the login form accept spaces"},
                            {"files", {"src/login.py"}},
                            {"testCommand", {"python3", "-m", "pytest", "-q"}}};
  return object;
}

inline Workspace parsed(const Json& object) {
  auto workspace = parse_workspace(object);
  if (!workspace) throw std::invalid_argument(workspace.error());
  return std::move(*workspace);
}

inline Defaults defaults() {
  return {"registry.example.com/palisade/aider:0.86.2",
          "registry.example.com/palisade/control-plane:0.1.0", ""};
}

// The gateway is a Service, the git host a name outside the cluster.
inline Access access() {
  Access out;
  out.llm_url = "http://llm.llm.svc:8080/v1";
  out.llm = {"llm.llm.svc", "10.96.0.20",
             Json::array({{{"namespaceSelector",
                            {{"matchLabels", {{"kubernetes.io/metadata.name", "llm"}}}}},
                           {"podSelector", {{"matchLabels", {{"app", "llm"}}}}}}}),
             Json::array({{{"protocol", "TCP"}, {"port", 8080}}})};
  out.git = {"git.example.com", "192.0.2.10",
             Json::array({{{"ipBlock", {{"cidr", "192.0.2.10/32"}}}}}),
             Json::array({{{"protocol", "TCP"}, {"port", 443}}})};
  return out;
}

// Palisade's own gateway, for LLM and git alike.
inline Gateway gateway() {
  return {"https://palisade-gateway.palisade-gateway.svc:8443", "palisade-gateway",
          "palisade-gateway", "-----BEGIN CERTIFICATE-----\none\n-----END CERTIFICATE-----\n"};
}

inline Defaults gateway_defaults() {
  Defaults out = defaults();
  out.gateway = gateway();
  return out;
}

inline Access gateway_access() {
  Access out;
  out.llm_url = gateway().llm_url();
  out.git_url = gateway().git_url();
  out.llm = {
      "palisade-gateway.palisade-gateway.svc", "10.96.3.4",
      Json::array({{{"namespaceSelector",
                     {{"matchLabels", {{"kubernetes.io/metadata.name", "palisade-gateway"}}}}},
                    {"podSelector", {{"matchLabels", {{"app", "palisade-gateway"}}}}}}}),
      Json::array({{{"protocol", "TCP"}, {"port", 8443}}})};
  out.git = out.llm;
  return out;
}

// What a session must not reach: API server, metadata and the cluster's DNS.
inline std::vector<Unreachable> unreachable() {
  return {{"the cloud's metadata service", "169.254.169.254", 80, false, true},
          {"the API server", "10.96.0.1", 443, false, true},
          {"the API server", "198.51.100.7", 6443, false, true},
          {"the cluster's DNS", "10.96.0.10", 53, true, false},
          {"the cluster's DNS", "10.96.0.10", 53, false, false}};
}

inline Json config_map_of(const Workspace& workspace, const Defaults& set = defaults()) {
  return desired_config_map(workspace, set, access(), unreachable());
}

inline Json pod_of(const Json& workspace) {
  return desired_pod(parsed(workspace), defaults(), access(), "secret-token");
}

inline Json gateway_pod_of(const Json& workspace) {
  return desired_pod(parsed(workspace), gateway_defaults(), gateway_access(), "secret-token");
}

// {initContainers..., containers...} by name; throws where there is none of that name.
inline const Json& container(const Json& pod, const std::string& name) {
  for (const char* list : {"initContainers", "containers"}) {
    for (const Json& entry : pod.at("spec").at(list)) {
      if (entry.at("name") == name) return entry;
    }
  }
  throw std::out_of_range("no container " + name);
}

inline const Json& named(const Json& list, const std::string& name) {
  for (const Json& entry : list) {
    if (entry.at("name") == name) return entry;
  }
  throw std::out_of_range("nothing is named " + name);
}

}  // namespace palisade::op::testing
