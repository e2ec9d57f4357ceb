// The rights that the chart gives to one of Palisade's accounts, in a test's API server.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <kube/client.h>
#include <kube/envtest.h>

#include "as_user.h"
#include "chart/chart.h"

namespace palisade::chart::testing {

// The account, its bindings and the roles that they name, out of `rendered`. What is there already
// stays. Returns the namespaces that are not there, and so got nothing; any other error throws.
inline std::set<std::string> grant(const kube::Client& admin, const std::vector<json>& rendered,
                                   const std::string& account) {
  std::set<std::string> missing;
  const auto make = [&](const std::string& plural, const json& object) {
    const std::string api = object.at("apiVersion");
    const auto slash = api.find('/');
    const std::string ns = object["metadata"].value("namespace", "");
    const kube::Resource resource{slash == std::string::npos ? "" : api.substr(0, slash),
                                  api.substr(slash == std::string::npos ? 0 : slash + 1), plural,
                                  object.at("kind"), !ns.empty()};
    const auto made = admin.create(resource, ns, object);
    if (made || made.error().is_already_exists()) return;
    if (!made.error().is_not_found() || ns.empty())
      throw std::runtime_error(name_of(object) + ": " + made.error().text());
    missing.insert(ns);
  };
  make("serviceaccounts", named(rendered, "ServiceAccount", account));
  for (const json& binding : rendered) {
    const std::string kind = binding.at("kind");
    if (kind != "RoleBinding" && kind != "ClusterRoleBinding") continue;
    if (std::ranges::none_of(binding.at("subjects"),
                             [&](const json& subject) { return subject.at("name") == account; }))
      continue;
    make(kind == "RoleBinding" ? "rolebindings" : "clusterrolebindings", binding);
    for (const json& role : rendered) {
      if (role.at("kind") != binding["roleRef"]["kind"] ||
          role["metadata"]["name"] != binding["roleRef"]["name"] ||
          (role["kind"] == "Role" &&
           role["metadata"]["namespace"] != binding["metadata"]["namespace"]))
        continue;
      make(role["kind"] == "Role" ? "roles" : "clusterroles", role);
    }
  }
  return missing;
}

inline std::string token_of(const kube::Client& admin, const std::string& ns,
                            const std::string& account) {
  const kube::Resource tokens{"", "v1", "serviceaccounts/" + account + "/token", "TokenRequest",
                              true};
  const auto made = admin.create(tokens, ns,
                                 {{"apiVersion", "authentication.k8s.io/v1"},
                                  {"kind", "TokenRequest"},
                                  {"spec", {{"expirationSeconds", 3600}}}});
  if (!made) throw std::runtime_error(account + ": " + made.error().text());
  return made->at("status").at("token");
}

// The API server as that account sees it.
inline kube::Config as_account(const kube::EnvTest& env, const kube::Client& admin,
                               const std::string& ns, const std::string& account) {
  return as_user(env.config(), token_of(admin, ns, account));
}

}  // namespace palisade::chart::testing
