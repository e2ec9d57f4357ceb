#include "policy/templates.h"

#include <algorithm>

namespace palisade::policy {

namespace {

constexpr std::array kTemplates{
    PodTemplate{"Pod", "", "pods", {}},
    PodTemplate{"PodTemplate", "", "podtemplates", {"template"}},
    PodTemplate{"ReplicationController", "", "replicationcontrollers", {"spec", "template"}},
    PodTemplate{"Deployment", "apps", "deployments", {"spec", "template"}},
    PodTemplate{"StatefulSet", "apps", "statefulsets", {"spec", "template"}},
    PodTemplate{"DaemonSet", "apps", "daemonsets", {"spec", "template"}},
    PodTemplate{"ReplicaSet", "apps", "replicasets", {"spec", "template"}},
    PodTemplate{"Job", "batch", "jobs", {"spec", "template"}},
    PodTemplate{"CronJob", "batch", "cronjobs", {"spec", "jobTemplate", "spec", "template"}},
};

const PodTemplate* find(std::string_view group, std::string_view PodTemplate::*member,
                        std::string_view value) {
  const auto found = std::ranges::find_if(kTemplates, [&](const PodTemplate& candidate) {
    return candidate.*member == value &&
           (candidate.group == group || (candidate.group == "apps" && group == "extensions"));
  });
  return found == kTemplates.end() ? nullptr : &*found;
}

}  // namespace

std::string PodTemplate::prefix() const {
  std::string out;
  for (const std::string_view member : path) {
    if (!member.empty()) out.append(member).append(".");
  }
  return out;
}

std::span<const PodTemplate> pod_templates() {
  return kTemplates;
}

const PodTemplate* template_of_kind(std::string_view group, std::string_view kind) {
  return find(group, &PodTemplate::kind, kind);
}

const PodTemplate* template_of_resource(std::string_view group, std::string_view resource) {
  return find(group, &PodTemplate::resource, resource);
}

std::expected<simdjson::dom::element, std::string> pod_in(simdjson::dom::element object,
                                                          const PodTemplate& where) {
  std::string missing;
  for (const std::string_view member : where.path) {
    if (member.empty()) break;
    missing.append(missing.empty() ? "" : ".").append(member);
    simdjson::dom::object members;
    simdjson::dom::element next;
    if (object.get(members) != simdjson::SUCCESS ||
        members.at_key(member).get(next) != simdjson::SUCCESS) {
      return std::unexpected(missing);
    }
    object = next;
  }
  return object;
}

}  // namespace palisade::policy
