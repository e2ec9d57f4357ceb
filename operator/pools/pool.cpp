// A pool and its template, read.
#include <algorithm>

#include <operator/pool.h>

#include "json_access.h"

namespace palisade::op {

namespace {

constexpr int kMostReplicas = 1000;

}  // namespace

const kube::Resource& pools() {
  static const kube::Resource kPools{"palisade.dev", "v1alpha1", "agentworkspacepools",
                                     kPoolApiKind, true};
  return kPools;
}

const kube::Resource& workspace_templates() {
  static const kube::Resource kTemplates{"palisade.dev", "v1alpha1", "agentworkspacetemplates",
                                         "AgentWorkspaceTemplate", true};
  return kTemplates;
}

std::expected<Pool, std::string> parse_pool(const Json& object) {
  Pool out;
  const Json& metadata = child(object, "metadata");
  out.name = text_at(metadata, "name");
  out.ns = text_at(metadata, "namespace");
  out.uid = text_at(metadata, "uid");
  if (const Json& generation = child(metadata, "generation"); generation.is_number_integer())
    out.generation = generation.get<std::int64_t>();
  out.deleting = !child(metadata, "deletionTimestamp").empty();
  const Json& finalizers = child(metadata, "finalizers");
  out.has_finalizer = finalizers.is_array() &&
                      std::ranges::find(finalizers, Json(kPoolFinalizer)) != finalizers.end();
  // One on its way out is let go, whatever it says.
  if (out.deleting) return out;
  const Json& spec = child(object, "spec");
  out.template_name = text_at(child(spec, "templateRef"), "name");
  if (out.template_name.empty()) return std::unexpected("spec.templateRef.name is missing");
  const Json& replicas = child(spec, "replicas");
  if (replicas.is_number_integer()) {
    if (replicas < 0 || replicas > kMostReplicas)
      return std::unexpected("spec.replicas must be from 0 to 1000");
    out.replicas = replicas.get<int>();
  } else if (!replicas.empty()) {
    return std::unexpected("spec.replicas must be a number");
  }
  return out;
}

std::expected<Workspace, std::string> template_workspace(const Pool& pool,
                                                         const Json& the_template) {
  Json spec = child(child(the_template, "spec"), "workspace");
  if (!spec.is_object()) spec = Json::object();
  // For the shape alone: no pod of a pool knows a repository.
  spec["repository"]["url"] = "https://repository.invalid/none";
  return parse_workspace(
      {{"metadata", {{"name", pool.name}, {"namespace", pool.ns}}}, {"spec", std::move(spec)}});
}

}  // namespace palisade::op
