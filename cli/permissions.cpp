// `palisade permissions`: what each container of a session may do, from its live objects.
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <operator/workspace.h>
#include <policy/permissions.h>

#include "commands.h"
#include "live.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;

constexpr const char* kPermissionsFooter = R"(
The document is derived from the pod of the workspace and from what else is in force for it: the
NetworkPolicies that select it, the courier's ConfigMap, its ServiceAccount and the rights bound to
that; of Palisade's gateway from its routes there, and from its configuration where you may read it
(where not, standard error and the field `unread` say so).
Each entry names the object and the field that it comes from. Nothing is changed.

Examples:
  palisade permissions fix-login -n team-a
  palisade permissions fix-login -n team-a -o json | jq '.actors.aider.capabilities | keys'
  palisade permissions fix-login -n team-a -o rego > permissions.rego

An AgentPolicy bounds what agents may have by the same names (spec.permissions.agent).

Exit status: 0, or 2 where the session cannot be read.)";

struct PermissionsArguments {
  ClusterOptions cluster;
  std::string ns;
  std::string workspace;
  std::string format = "text";
};

Json member(const Json& object, const std::string& pointer) {
  const Json::json_pointer at(pointer);
  return object.contains(at) ? object[at] : Json();
}

std::string text(const Json& object, const std::string& pointer) {
  const Json found = member(object, pointer);
  return found.is_string() ? found.get<std::string>() : std::string();
}

std::optional<bool> flag(const Json& object, const char* pointer) {
  const Json found = member(object, pointer);
  return found.is_boolean() ? std::optional(found.get<bool>()) : std::nullopt;
}

// Whether a token of the API server may be in the pod: only then do rights matter.
bool may_hold_token(const Json& pod, const Json& account) {
  const auto automount = flag(pod, "/spec/automountServiceAccountToken");
  if (automount.value_or(flag(account, "/automountServiceAccountToken").value_or(true)))
    return true;
  const Json volumes = member(pod, "/spec/volumes");
  for (const Json& volume : volumes) {
    const Json sources = member(volume, "/projected/sources");
    for (const Json& source : sources) {
      if (source.is_object() && source.contains("serviceAccountToken")) return true;
    }
  }
  return false;
}

using Read = std::expected<Json, std::string>;

struct Objects {
  Json all;                         // as policy::permissions_of takes them
  std::vector<std::string> unread;  // Permissions::unread
};

Read config_maps(const Live& live, const std::string& ns, const Json& pod) {
  Json out = Json::array();
  const Json volumes = member(pod, "/spec/volumes");
  for (const Json& volume : volumes) {
    const std::string name = text(volume, "/configMap/name");
    if (name.empty()) continue;
    auto found = live.find(kube::resources::kConfigMaps, ns, name);
    if (!found) return std::unexpected(found.error());
    if (*found) out.push_back(std::move(**found));
  }
  return out;
}

// The configuration of Palisade's gateway, where the session goes through it: it names the
// upstreams of the models. Not everybody may read it; without it the gateway itself is named.
std::expected<void, std::string> add_gateway_config(const Live& live, const Json& pod,
                                                    Objects& objects) {
  constexpr const char* kName = "palisade-gateway-config";
  const Json access = Json::parse(text(pod, "/metadata/annotations/palisade.dev~1access"), nullptr,
                                  /*allow_exceptions=*/false);
  for (const char* route : {"/llm", "/git"}) {
    const std::string ns = text(access, std::string(route) +
                                            "/peers/0/namespaceSelector/matchLabels/"
                                            "kubernetes.io~1metadata.name");
    if (ns.empty()) continue;
    auto found = live.client().get(kube::resources::kConfigMaps, ns, kName);
    if (found) {
      objects.all["configMaps"].push_back(std::move(*found));
      return {};
    }
    if (found.error().is_forbidden()) {
      objects.unread.push_back("ConfigMap " + ns + "/" + kName);
      return {};
    }
    if (!found.error().is_not_found())
      return std::unexpected(
          trouble("get", kube::resources::kConfigMaps, ns, kName, found.error()));
  }
  return {};
}

Read role_bindings(const Live& live, const std::string& ns, Progress& progress) {
  Json out = Json::array();
  for (const kube::Resource* kind : {&kinds::kRoleBindings, &kinds::kClusterRoleBindings}) {
    auto all = live.all(*kind, ns, progress);
    if (!all) return std::unexpected(all.error());
    for (Json& binding : *all)
      out.push_back(std::move(binding));
  }
  return out;
}

std::expected<Objects, std::string> objects_of(const Live& live, const std::string& ns,
                                               const std::string& name, Progress& progress) {
  auto workspace = live.find(kinds::kAgentWorkspaces, ns, name);
  if (!workspace) return std::unexpected(workspace.error());
  if (!*workspace)
    return std::unexpected("there is no AgentWorkspace " + printable(name) + " in namespace " +
                           printable(ns) + "; kubectl get agentworkspaces -A lists them");
  const std::string uid = text(**workspace, "/metadata/uid");
  auto pod = live.find(kube::resources::kPods, ns, op::pod_name_of(**workspace));
  // Before the session's there is the pod of its setup, where it has one.
  if (pod && !*pod) pod = live.find(kube::resources::kPods, ns, name + "-setup");
  if (!pod) return std::unexpected(pod.error());
  if (!*pod || text(**pod, "/metadata/ownerReferences/0/uid") != uid) {
    const std::string phase = text(**workspace, "/status/phase");
    return std::unexpected("AgentWorkspace " + printable(name) + " has no pod now (phase " +
                           (phase.empty() ? "unknown" : printable(phase)) +
                           "): nothing of it may do anything");
  }
  Objects objects{{{"pod", std::move(**pod)}}, {}};
  Json& out = objects.all;
  auto policies = live.all(kube::resources::kNetworkPolicies, ns, progress);
  if (!policies) return std::unexpected(policies.error());
  out["networkPolicies"] = std::move(*policies);
  auto maps = config_maps(live, ns, out["pod"]);
  if (!maps) return std::unexpected(maps.error());
  out["configMaps"] = std::move(*maps);
  if (auto added = add_gateway_config(live, out["pod"], objects); !added)
    return std::unexpected(added.error());
  std::string account = text(out["pod"], "/spec/serviceAccountName");
  if (account.empty()) account = "default";
  auto held = live.find(kube::resources::kServiceAccounts, ns, account);
  if (!held) return std::unexpected(held.error());
  if (*held) out["serviceAccount"] = std::move(**held);
  if (!may_hold_token(out["pod"], *held ? out["serviceAccount"] : Json::object())) return objects;
  auto bindings = role_bindings(live, ns, progress);
  if (!bindings) return std::unexpected(bindings.error());
  out["roleBindings"] = std::move(*bindings);
  return objects;
}

int run_permissions(const PermissionsArguments& options, const Streams& streams) {
  const auto fail = [&](const std::string& why) {
    streams.err << "palisade permissions: " << why << '\n';
    return kUnreadable;
  };
  const auto live = Live::connect(options.cluster);
  if (!live) return fail(live.error());
  const std::string ns = live->scope({options.ns, false, ""});
  Progress progress(streams.err);
  const auto objects = objects_of(*live, ns, options.workspace, progress);
  progress.end();
  if (!objects) return fail(objects.error());
  simdjson::dom::parser parser;
  const simdjson::padded_string document(
      objects->all.dump(-1, ' ', false, Json::error_handler_t::replace));
  simdjson::dom::element root;
  if (const auto error = parser.parse(document).get(root); error != simdjson::SUCCESS)
    return fail(std::string("the session's objects cannot be read: ") +
                simdjson::error_message(error));
  auto permissions = policy::permissions_of(root);
  if (!permissions)
    return fail("what the session may do cannot be told: " + printable(permissions.error()));
  permissions->unread = objects->unread;
  for (const std::string& object : objects->unread)
    streams.err << "note: " << printable(object)
                << " may not be read by this user (403), so the models' upstreams behind the "
                   "gateway are not named; ask for `get configmaps` there\n";
  streams.out << (options.format == "json"   ? policy::permissions_json(*permissions)
                  : options.format == "rego" ? policy::permissions_rego(*permissions)
                                             : policy::permissions_text(*permissions));
  return kCompliant;
}

}  // namespace

Command add_permissions(CLI::App& parent) {
  auto options = std::make_shared<PermissionsArguments>();
  CLI::App* app =
      parent.add_subcommand("permissions", "Print what each container of a session may do");
  app->footer(kPermissionsFooter);
  app->add_option("WORKSPACE", options->workspace, "Name of the AgentWorkspace")->required();
  app->add_option("-n,--namespace", options->ns, "Namespace; else the context's")
      ->type_name("NAME");
  app->add_option("-o,--output", options->format, "text, json or rego")
      ->check(CLI::IsMember({"text", "json", "rego"}))
      ->type_name("FORMAT");
  add_cluster_options(*app, options->cluster);
  return {app, [options](const Streams& streams) { return run_permissions(*options, streams); }};
}

}  // namespace palisade::cli
