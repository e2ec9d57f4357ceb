// The Helm chart rendered by the real Helm, as objects.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "courier/process.h"
#include "yaml_json.h"

namespace palisade::chart::testing {

namespace fs = std::filesystem;
using courier::testing::Directory;
using courier::testing::Outcome;
using courier::testing::Process;
using nlohmann::json;
using Strings = std::vector<std::string>;

inline std::string environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(std::string(name) + " is not set");
  return value;
}

inline fs::path chart() {
  return fs::path(environment("PALISADE_SOURCE_DIR")) / "charts/palisade";
}

inline Outcome run(Strings arguments, const fs::path& in = "/dev/null") {
  const Directory home;
  Process::Options options;
  options.environment.push_back("HOME=" + home.path().string());
  options.in = in;
  return courier::testing::run(std::move(arguments), options);
}

inline Outcome helm(Strings arguments) {
  const fs::path program = fs::path(environment("PALISADE_TOOLS_BIN")) / "helm";
  if (!fs::exists(program))
    throw std::runtime_error(program.string() + " is missing: build it with `make tools`");
  arguments.insert(arguments.begin(), program.string());
  return run(std::move(arguments));
}

// `values`: Helm's --set-json expressions.
inline Outcome render(const Strings& values = {}, const std::string& ns = "palisade-system") {
  Strings arguments{"template", "palisade", chart().string(), "--namespace", ns, "--skip-tests"};
  for (const std::string& value : values) {
    arguments.emplace_back("--set-json");
    arguments.push_back(value);
  }
  return helm(std::move(arguments));
}

// What sets of values an administrator may come with.
inline const std::vector<Strings>& variations() {
  static const std::vector<Strings> kVariations{
      {},
      {R"(image={"repository": "registry.example.com/x", "tag": "v9", "pullPolicy": "Always"})"},
      {R"(imagePullSecrets=["one", "two"])"},
      {R"(gitCA="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")"},
      {R"(llmGateways=[{"name": "a", "url": "https://a.example.com"},
           {"name": "b", "url": "http://b.llm.svc:80/v1"}])",
       R"(logLevel="debug")"},
      {R"(operator={"replicas": 0, "workers": 1, "transport": "beast"})",
       R"(webhook={"replicas": 3, "transport": "beast", "timeoutSeconds": 10,
           "exemptNamespaces": ["kube-system", "storage"]})"},
      {R"(policy={"maxLifetimeSeconds": 3600, "allowedVolumeTypes": ["emptyDir", "configMap",
           "secret", "projected", "downwardAPI"]})"},
      {"policy=null"},
      {R"(operator={"replicas": 2, "leaseDurationSeconds": 30})"},
      {R"(imageRegistry="registry.internal:5000/mirror")",
       R"(scheduling={"priorityClassName": "platform",
           "nodeSelector": {"kubernetes.io/os": "linux"},
           "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
           "topologySpread": {"topologyKey": "kubernetes.io/hostname",
                              "whenUnsatisfiable": "DoNotSchedule"}})"},
      {R"(networkPolicy={"metricsFrom": [{"namespaceSelector": {}}],
           "webhookFrom": [{"ipBlock": {"cidr": "192.0.2.0/28"}}], "gitHosts": []})",
       R"(gateway={"replicas": 1, "networkPolicy": {"metricsFrom": [{"podSelector": {}}]}})"},
      {R"(networkPolicy={"enabled": false})", R"(gateway={"networkPolicy": {"enabled": false}})",
       R"(readers={"users": ["jane"], "groups": ["developers"]})"},
      {R"(webhook={"clientCA": {"configMap": "front-ca", "names": ["kube-apiserver"]}})"},
      {R"(webhook={"certManager": {"enabled": true}})"},
      {R"(webhook={"certManager": {"enabled": true, "duration": "720h", "renewBefore": "240h",
           "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer",
                         "name": "internal-ca"}}})",
       R"(monitoring={"force": true, "podMonitor": {"enabled": true, "interval": "1m"},
           "prometheusRule": {"enabled": true, "disabled": ["PalisadeBudgetBurnt"]}})"},
      {R"(monitoring={"force": true, "prometheusRule": {"enabled": true},
           "serviceMonitor": {"enabled": true, "labels": {"release": "prometheus"}},
           "dashboard": {"enabled": true, "namespace": "palisade-gateway"}})"},
      {R"(gateway={"archive": {"enabled": true, "pvc": {"storageClass": "nfs"}}})"},
      {R"(gateway={"replicas": 1, "archive": {"enabled": true, "pvc": {"existingClaim": "kept",
           "accessMode": "ReadWriteOnce"}}})"},
      {R"(gateway={"archive": {"enabled": true, "retentionDays": 0, "s3": {
           "endpoint": "https://s3.example.com:9000", "bucket": "records", "prefix": "one",
           "credentialsSecret": "records", "ca": "PEM"}}})"},
      {R"(watchNamespaces=["default", "kube-public"])",
       R"(operator={"serviceNamespaces": ["kube-node-lease"]})"},
  };
  return kVariations;
}

inline std::vector<json> objects_of(const std::string& yaml) {
  const auto documents = cli::read_yaml(yaml);
  if (!documents) throw std::runtime_error(documents.error().message);
  std::vector<json> out;
  for (const auto& document : *documents)
    out.push_back(json::parse(document.json));
  return out;
}

inline std::vector<json> objects(const Strings& values = {},
                                 const std::string& ns = "palisade-system") {
  const Outcome rendered = render(values, ns);
  if (rendered.code != 0) throw std::runtime_error(rendered.err);
  return objects_of(rendered.out);
}

inline std::vector<json> of_kind(const std::vector<json>& all, std::string_view kind) {
  std::vector<json> out;
  std::ranges::copy_if(all, std::back_inserter(out),
                       [&](const json& one) { return one.at("kind") == kind; });
  return out;
}

inline std::string name_of(const json& object) {
  return object.at("metadata").at("name");
}

// The members of a list of strings; none where there is no such list.
inline std::set<std::string> strings_of(const json& rule, const char* key) {
  const json list = rule.value(key, json::array());
  return {list.begin(), list.end()};
}

inline json named(const std::vector<json>& all, std::string_view kind, std::string_view name) {
  for (const json& one : of_kind(all, kind)) {
    if (name_of(one) == name) return one;
  }
  throw std::runtime_error(std::string(kind) + " " + std::string(name) + " is not in the chart");
}

}  // namespace palisade::chart::testing
