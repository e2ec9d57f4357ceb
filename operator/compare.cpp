#include "compare.h"

#include <algorithm>

#include "json_access.h"

namespace palisade::op {

namespace {

// Every field of `wanted` stands in `found` with the same value; `found` may have more.
bool covers(const Json& found, const Json& wanted) {
  if (wanted.is_object()) {
    if (!found.is_object()) return false;
    for (const auto& [key, value] : wanted.items()) {
      const auto member = found.find(key);
      if (member == found.end() || !covers(*member, value)) return false;
    }
    return true;
  }
  if (wanted.is_array()) {
    return found.is_array() && found.size() == wanted.size() &&
           std::ranges::equal(found, wanted,
                              [](const Json& a, const Json& b) { return covers(a, b); });
  }
  return found == wanted;
}

}  // namespace

std::string uid_of(const Json& object) {
  return text_at(child(object, "metadata"), "uid");
}
std::string version_of(const Json& object) {
  return text_at(child(object, "metadata"), "resourceVersion");
}
bool terminating(const Json& object) {
  return !child(child(object, "metadata"), "deletionTimestamp").empty();
}
std::string annotation(const Json& object, const char* name) {
  return text_at(child(child(object, "metadata"), "annotations"), name);
}

bool owned_by(const Json& object, const Workspace& workspace) {
  const Json& metadata = child(object, "metadata");
  if (text_at(metadata, "namespace") != workspace.ns)
    return annotation(object, kWorkspaceLabel) == workspace.ns + "/" + workspace.name;
  const Json& owners = child(metadata, "ownerReferences");
  return owners.is_array() && std::ranges::any_of(owners, [&](const Json& owner) {
           return text_at(owner, "uid") == workspace.uid &&
                  child(owner, "controller").is_boolean() && child(owner, "controller").get<bool>();
         });
}

bool is_volume_of(const Json& claim, const Workspace& workspace) {
  return !workspace.uid.empty() && annotation(claim, kWorkspaceUidAnnotation) == workspace.uid;
}

void repair(Plan& plan, const kube::Resource& resource, const kube::ObjectPtr& found,
            const Json& wanted, const char* section) {
  const std::string name = wanted["metadata"]["name"];
  const std::string ns = wanted["metadata"]["namespace"];
  if (!found || !covers(*found, wanted) ||
      (section != nullptr && child(*found, section) != wanted[section]))
    plan.actions.push_back({ActionKind::kApply, &resource, name, found ? uid_of(*found) : "",
                            wanted, ns, found ? version_of(*found) : ""});
  if (!found || section == nullptr) return;
  Json extra = Json::object();
  for (const auto& [key, value] : child(*found, section).items()) {
    if (!wanted[section].contains(key)) extra[key] = nullptr;
  }
  if (!extra.empty())
    plan.actions.push_back(
        {ActionKind::kStrip, &resource, name, uid_of(*found), {{section, extra}}, ns});
}

bool same_network(const kube::ObjectPtr& found, const Json& wanted) {
  return found && !terminating(*found) && child(*found, "spec") == wanted["spec"];
}

bool narrows(const kube::ObjectPtr& found, const Json& wanted) {
  if (!found || child(child(*found, "spec"), "podSelector") != wanted["spec"]["podSelector"])
    return true;
  const Json& open = child(child(*found, "spec"), "egress");
  return std::ranges::all_of(wanted["spec"]["egress"], [&](const Json& rule) {
    return open.is_array() && std::ranges::find(open, rule) != open.end();
  });
}

bool altered(const Json& pod, const Json& wanted) {
  return child(pod["spec"], "activeDeadlineSeconds") != wanted["spec"]["activeDeadlineSeconds"] ||
         tampered(pod, wanted);
}

bool tampered(const Json& pod, const Json& wanted) {
  if (!covers(child(pod["metadata"], "labels"), wanted["metadata"]["labels"])) return true;
  for (const char* list : {"initContainers", "containers"}) {
    const Json& found = child(pod["spec"], list);
    const Json& asked = child(wanted["spec"], list);
    if (found.size() != asked.size()) return true;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (!found.is_array() || found[i].value("image", "") != asked[i].value("image", ""))
        return true;
    }
  }
  return !child(pod["spec"], "ephemeralContainers").empty();
}

}  // namespace palisade::op
