// AgentWorkspaceTemplates, and the workspaces that name one: the mutating side fills in what the
// template sets, the validating side refuses what it fixes and the workspace has otherwise. The
// template is read live both times, so that no cache decides what is fixed.
#include <algorithm>
#include <iterator>

#include <policy/json_text.h>
#include <policy/workspace_template.h>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

using policy::Finding;
using simdjson::dom::element;

// The workspace's template; null where it names none, or where that one is not there.
struct Named {
  std::string_view name;
  std::shared_ptr<const policy::WorkspaceTemplate> given;
};

Lookup<Named> named_template(const Request& request, const ClusterView& cluster) {
  const auto name = policy::template_of(*request.object);
  if (!name) return std::unexpected(name.error());
  if (name->empty()) return Named{};
  auto found = cluster.workspace_template(request.ns, *name);
  if (!found) return std::unexpected(found.error());
  return Named{*name, std::move(*found)};
}

std::optional<std::string_view> version_of(const element& object) {
  return find_text(metadata_texts(object, "annotations"), policy::kTemplateAnnotation);
}

bool leaving(const Request& request) {
  element metadata;
  element deletion;
  return request.operation == Operation::kUpdate &&
         object_at(*request.object, "metadata", metadata) &&
         object_at(metadata, "deletionTimestamp", deletion);
}

}  // namespace

Lookup<std::vector<Finding>> template_findings(const Request& request, const ClusterView& cluster) {
  std::vector<Finding> out;
  // Whatever it says, it must be able to lose its finalizers.
  if (!request.object) return std::unexpected("the review holds no object");
  if (leaving(request)) return out;
  const bool update = request.operation == Operation::kUpdate;
  if (update && !request.old_object) return std::unexpected("an update without the old object");
  const auto said = version_of(*request.object);
  const auto named = named_template(request, cluster);
  if (!named) return std::unexpected(named.error());
  const std::string at = path_of("annotations", policy::kTemplateAnnotation);
  if (update) {
    if (const auto had = version_of(*request.old_object); said != had)
      out.push_back({policy::kWorkspaceBounds, at, shown(said),
                     "which template was filled in never changes: leave it at " + shown(had)});
  } else if (named->name.empty()) {
    if (said)
      out.push_back({policy::kWorkspaceBounds, at, shown(said),
                     "the workspace names no template: leave the annotation out"});
  } else if (!named->given) {
    out.push_back({policy::kWorkspaceBounds, "spec.templateRef.name", shown(named->name),
                   "there is no such AgentWorkspaceTemplate in this namespace: name one that "
                   "there is, or leave spec.templateRef out"});
    return out;
  } else if (said != named->given->version) {
    out.push_back({policy::kWorkspaceBounds, at, shown(said),
                   "must be the template's version, which Palisade's mutating webhook writes here "
                   "with what the template sets: try again (the template may have changed this "
                   "moment), and see that MutatingWebhookConfiguration palisade-webhook is in "
                   "place"});
  }
  if (named->name.empty()) return out;
  const element* const before = update ? &*request.old_object : nullptr;
  policy::Merge merged = policy::merge(named->given.get(), *request.object, before);
  std::ranges::move(merged.findings, std::back_inserter(out));
  // What was not filled in, though the annotation says so.
  for (const policy::Merge::Fill& fill : merged.fills) {
    std::string field = "spec";
    for (const std::string& part : fill.path)
      field += "." + part;
    out.push_back({policy::kWorkspaceBounds, std::move(field), "(absent)",
                   "template " + clipped(named->name) + " sets it to " + clipped(fill.value) +
                       ", and it was taken away: leave it as it was"});
  }
  return out;
}

Lookup<std::string> template_patch(const Request& request, const ClusterView& cluster) {
  if (leaving(request)) return std::string();
  const auto named = named_template(request, cluster);
  if (!named) return std::unexpected(named.error());
  // The validating side says which one is missing.
  if (!named->given) return std::string();
  const element* const before =
      request.operation == Operation::kUpdate ? &*request.old_object : nullptr;
  const policy::Merge merged = policy::merge(named->given.get(), *request.object, before);
  return policy::patch_operations(merged.fills, *request.object);
}

Lookup<std::optional<std::string>> template_version(const Request& request,
                                                    const ClusterView& cluster) {
  if (request.operation == Operation::kUpdate) {
    const auto had = version_of(*request.old_object);
    return had ? std::optional<std::string>(*had) : std::nullopt;
  }
  const auto named = named_template(request, cluster);
  if (!named) return std::unexpected(named.error());
  return named->given ? std::optional(named->given->version) : std::nullopt;
}

Judgement judge_workspace_template(const Request& request, const ClusterView& /*cluster*/) {
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (!request.object) return Judgement::not_understood("the review holds no object");
  Judgement out;
  out.subject = "AgentWorkspaceTemplate";
  out.reason = "an AgentWorkspaceTemplate";
  if (leaving(request)) return out;
  if (const auto read = policy::WorkspaceTemplate::parse(*request.object); !read)
    out.findings.push_back({policy::kWorkspaceBounds, "spec", "not understood", read.error()});
  return out;
}

}  // namespace palisade::webhook
