// Who created a workspace: the mutating side writes it down, whatever was sent, and the validating
// side refuses anything else, so that it holds also where a later mutation or no mutation came.
#include <algorithm>

#include <policy/json_text.h>
#include <policy/workspace_template.h>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

using policy::Finding;
using simdjson::dom::element;

std::optional<std::string_view> creator_of(const element& object) {
  return find_text(metadata_texts(object, "annotations"), kCreatedByAnnotation);
}

}  // namespace

Lookup<std::vector<Finding>> creator_findings(const Request& request) {
  std::vector<Finding> out;
  if (request.operation != Operation::kCreate && request.operation != Operation::kUpdate)
    return out;
  if (!request.object) return std::unexpected("the review holds no object");
  const auto said = creator_of(*request.object);
  std::optional<std::string_view> wanted = request.user.name;
  if (request.operation == Operation::kUpdate) {
    if (!request.old_object) return std::unexpected("an update without the old object");
    wanted = creator_of(*request.old_object);
  } else if (request.user.name.empty()) {
    return std::unexpected("the review does not say who asks");
  }
  if (said == wanted) return out;
  out.push_back({policy::kWorkspaceCreator, path_of("annotations", kCreatedByAnnotation),
                 shown(said),
                 request.operation == Operation::kUpdate
                     ? "who created a workspace never changes: leave it at " + shown(wanted)
                     : "must be who asks, which Palisade's mutating webhook writes here: see that "
                       "MutatingWebhookConfiguration palisade-webhook is in place, and leave the "
                       "annotation out"});
  return out;
}

Judgement mutate_workspace(const Request& request, const ClusterView& cluster) {
  element metadata;
  if (!request.object || !object_at(*request.object, "metadata", metadata))
    return Judgement::not_understood("the review holds no object");
  if (request.operation == Operation::kUpdate && !request.old_object)
    return Judgement::not_understood("an update without the old object");
  if (request.operation != Operation::kUpdate && request.operation != Operation::kCreate)
    return Judgement::pass("nothing to record");
  auto operations = template_patch(request, cluster);
  if (!operations) return Judgement::unsure(operations.error());
  auto version = template_version(request, cluster);
  if (!version) return Judgement::unsure(version.error());
  // A manifest that replaces the object knows nothing of the annotations.
  std::optional<std::string_view> creator = request.user.name;
  if (request.operation == Operation::kUpdate) creator = creator_of(*request.old_object);
  if (creator && creator->empty()) return Judgement::unsure("the review does not say who asks");
  std::vector<std::pair<std::string_view, std::string_view>> wanted;
  const Texts had = metadata_texts(*request.object, "annotations");
  const auto want = [&](std::string_view key, std::optional<std::string_view> value) {
    if (value && (request.operation == Operation::kCreate || find_text(had, key) != value))
      wanted.emplace_back(key, *value);
  };
  want(kCreatedByAnnotation, creator);
  if (*version) want(policy::kTemplateAnnotation, **version);
  if (!wanted.empty()) {
    element annotations;
    if (!object_at(metadata, "annotations", annotations)) {
      *operations += R"({"op":"add","path":"/metadata/annotations","value":{}},)";
    } else if (!annotations.is_object()) {
      return Judgement::unsure("metadata.annotations is no object");
    }
  }
  for (const auto& [key, value] : wanted) {
    std::string pointer = "/metadata/annotations";
    policy::append_pointer_part(pointer, key);
    *operations += R"({"op":"add","path":)";
    policy::append_json(*operations, pointer);
    *operations += R"(,"value":)";
    policy::append_json(*operations, value);
    *operations += "},";
  }
  if (operations->empty()) return Judgement::pass("nothing to record");
  operations->back() = ']';
  Judgement out = Judgement::pass("its creator, and what its template sets, is recorded");
  out.patch = "[" + *operations;
  return out;
}

}  // namespace palisade::webhook
