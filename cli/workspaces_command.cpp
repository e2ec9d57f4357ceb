// `palisade list`, `palisade pools` and `palisade status`: AgentWorkspaces of a cluster, the pools
// that they take pods from, and one with what belongs to it.
#include <algorithm>
#include <memory>
#include <ostream>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <operator/workspace.h>

#include "commands.h"
#include "follow.h"
#include "json_out.h"
#include "live.h"
#include "object_out.h"
#include "text.h"
#include "workspaces.h"

namespace palisade::cli {
namespace {

using kube::Json;

constexpr const char* kListFooter = R"(
REFUSALS counts what guard refused in a session that has ended; palisade audit shows each.

Examples:
  palisade list                          # the context's namespace
  palisade list -A -o wide
  palisade list -n team-a -o json | jq -r '.[] | select(.status.phase == "Failed").metadata.name'

Exit status: 0, or 2 where the cluster cannot be read.)";

constexpr const char* kPoolsFooter = R"(
WAITING counts the pods that a workspace can take at once, COMING those that still come up. READY is
the condition's reason; -o wide says why in full, and how many pods are of what the template was.

Examples:
  palisade pools                         # the context's namespace
  palisade pools -A -o wide
  palisade pools -n team-a -o json | jq -r '.[] | select(.status.readyReplicas == 0).metadata.name'

Exit status: 0, or 2 where the cluster cannot be read.)";

constexpr const char* kStatusFooter = R"(
Shows the conditions of the workspace, the objects that belong to it, each container of its pod and
the last events, and what to do next where it is not ready.

Examples:
  palisade status fix-login -n team-a
  palisade status fix-login -n team-a -o wide   # every event, images, nothing cut
  palisade status fix-login -n team-a -o yaml

Exit status: 0 it runs, or ended well; 1 it does not; 2 it cannot be read.)";

struct Options {
  ClusterOptions cluster;
  ScopeOptions scope;
  std::string workspace;
  std::string format = "table";
};

const kube::Resource kPools{"palisade.dev", "v1alpha1", "agentworkspacepools", "AgentWorkspacePool",
                            true};

// What a command lists.
struct Listing {
  const char* command;
  const kube::Resource& kind;
  std::string (*table)(std::vector<Json> objects, const TableOptions& options,
                       WallClock::time_point now);
};

int run_list(const Listing& listing, const Options& options, const Streams& streams) {
  const auto fail = [&](const std::string& why) {
    streams.err << "palisade " << listing.command << ": " << why << '\n';
    return kUnreadable;
  };
  const auto live = Live::connect(options.cluster);
  if (!live) return fail(live.error());
  const std::string ns = live->scope(options.scope);
  Progress progress(streams.err);
  std::vector<Json> found;
  const auto read = live->each(
      listing.kind, ns, options.scope.selector, progress, [&] { found.clear(); },
      [&](const Json& object) { found.push_back(without_managed_fields(object)); });
  progress.end();
  if (!read) return fail(read.error());
  if (options.format == "json" || options.format == "yaml") {
    const Json all(found);
    streams.out << (options.format == "json" ? json_text(all) : yaml_text(all));
    return kCompliant;
  }
  if (options.format == "name") {
    for (const Json& one : found)
      streams.out << printable(one["metadata"].value("name", "")) << '\n';
    return kCompliant;
  }
  if (found.empty()) {
    streams.err << "There is no " << listing.kind.kind
                << (ns.empty()
                        ? " in this cluster."
                        : " in namespace " + printable(ns) + "; -A lists those of all namespaces.")
                << '\n';
    return kCompliant;
  }
  streams.out << listing.table(std::move(found),
                               {.namespaces = ns.empty(), .wide = options.format == "wide"},
                               WallClock::now());
  return kCompliant;
}

std::expected<WorkspaceView, std::string> view_of(const Live& live, const std::string& ns,
                                                  const std::string& name, Progress& progress) {
  auto workspace = find_workspace(live, ns, name);
  if (!workspace) return std::unexpected(workspace.error());
  WorkspaceView out;
  out.workspace = without_managed_fields(std::move(*workspace));
  const std::string uid = out.workspace["metadata"].value("uid", "");
  const auto owned = [&uid](const Json& object) {
    const Json owners = object["metadata"].value("ownerReferences", Json::array());
    return std::ranges::any_of(owners, [&uid](const Json& owner) {
      return owner.is_object() && owner.value("uid", "") == uid;
    });
  };
  // A pod from a pool has kept its name, and what goes with it.
  const std::string objects = op::pod_name_of(out.workspace);
  for (const kube::Resource* kind :
       {&kube::resources::kServiceAccounts, &kube::resources::kNetworkPolicies,
        &kube::resources::kConfigMaps}) {
    const std::string named =
        *kind == kube::resources::kNetworkPolicies ? op::agent_object(name) : objects;
    auto object = live.find(*kind, ns, named);
    Part part{kind->kind, named, false, ""};
    if (!object) {
      part.note = object.error();
    } else if (*object) {
      part.there = true;
      if (!owned(**object)) part.note = "not this workspace's own";
    }
    out.parts.push_back(std::move(part));
  }
  auto pod = live.find(kube::resources::kPods, ns, objects);
  if (!pod) return std::unexpected(pod.error());
  if (*pod && owned(**pod)) out.pod = without_managed_fields(std::move(**pod));
  auto events = live.all(kube::resources::kEvents, ns, progress);
  if (!events) return std::unexpected(events.error());
  const std::string pod_uid = out.pod ? (*out.pod)["metadata"].value("uid", "") : "";
  for (Json& event : *events) {
    const Json regarding = event.value("regarding", Json::object());
    const std::string about = regarding.is_object() ? regarding.value("uid", "") : "";
    if (!about.empty() && (about == uid || about == pod_uid))
      out.events.push_back(std::move(event));
  }
  return out;
}

int run_status(const Options& options, const Streams& streams) {
  const auto fail = [&](const std::string& why) {
    streams.err << "palisade status: " << why << '\n';
    return kUnreadable;
  };
  const auto live = Live::connect(options.cluster);
  if (!live) return fail(live.error());
  Progress progress(streams.err);
  const auto view = view_of(*live, live->scope(options.scope), options.workspace, progress);
  progress.end();
  if (!view) return fail(view.error());
  if (options.format == "json") {
    streams.out << json_text(view->workspace);
  } else if (options.format == "yaml") {
    streams.out << yaml_text(view->workspace);
  } else {
    streams.out << workspace_tree(*view, WallClock::now(), options.format == "wide");
  }
  return in_order(view->workspace) ? kCompliant : kFindings;
}

}  // namespace

namespace {

Command add_listing(CLI::App& parent, const Listing& listing, const char* help,
                    const char* footer) {
  auto options = std::make_shared<Options>();
  CLI::App* app = parent.add_subcommand(listing.command, help);
  app->footer(footer);
  app->add_option("-o,--output", options->format, "table, wide, name, json or yaml")
      ->check(CLI::IsMember({"table", "wide", "name", "json", "yaml"}))
      ->type_name("FORMAT");
  add_scope_options(*app, options->scope);
  add_cluster_options(*app, options->cluster);
  return {app, [options, listing](const Streams& streams) {
            return run_list(listing, *options, streams);
          }};
}

}  // namespace

Command add_list(CLI::App& parent) {
  return add_listing(parent, {"list", kinds::kAgentWorkspaces, workspace_table},
                     "List AgentWorkspaces and where they are", kListFooter);
}

Command add_pools(CLI::App& parent) {
  return add_listing(parent, {"pools", kPools, pool_table},
                     "List AgentWorkspacePools and how many pods wait there", kPoolsFooter);
}

Command add_status(CLI::App& parent) {
  auto options = std::make_shared<Options>();
  CLI::App* app =
      parent.add_subcommand("status", "Show a workspace, its objects and why it is not ready");
  app->footer(kStatusFooter);
  app->add_option("WORKSPACE", options->workspace, "Name of the AgentWorkspace")->required();
  app->add_option("-n,--namespace", options->scope.ns, "Namespace; else the context's")
      ->type_name("NAME");
  app->add_option("-o,--output", options->format, "tree, wide, json or yaml")
      ->check(CLI::IsMember({"tree", "wide", "json", "yaml"}))
      ->type_name("FORMAT");
  add_cluster_options(*app, options->cluster);
  return {app, [options](const Streams& streams) { return run_status(*options, streams); }};
}

}  // namespace palisade::cli
