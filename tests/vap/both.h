// What both guards say of a pod: the API server with what `palisade render vap` prints, and the
// policy that the webhook asks.
#pragma once

#include <map>

#include "policy/breaks.h"
#include "vap/cluster.h"

namespace palisade::vap::testing {

using policy::Settings;
using policy::testing::good_pod;

// Fixtures on which the two cannot agree, by name, and why.
inline const std::map<std::string, std::string> kDisagreements{
    {"hidden: in base64", "CEL decodes no base64"},
    {"hidden: in a variable", "CEL does not resolve the container's variables in its words"},
};

// Controls whose every broken fixture the API server itself refuses before any policy is asked, or
// drops without storing it: their twins are there for servers that do store it.
inline const std::map<std::string, std::string> kNeverStored{
    {"known-fields", "fields that this API server does not know are dropped before admission"},
};

class Vap : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    cluster_ = std::make_unique<Cluster>();
    cluster_->name_space("team-a");
    cluster_->name_space("guard-all", {{"palisade.dev/enforce", "all"}});
    cluster_->name_space("guard-typo", {{"palisade.dev/enforce", "al"}});
    cluster_->name_space("guard-off", {{"palisade.dev/enforce", "off"}});
    cluster_->name_space("warned", {{"palisade.dev/mode", "warn"}});
    cluster_->name_space("audited", {{"palisade.dev/mode", "audit"}});
    cluster_->name_space("typo-mode", {{"palisade.dev/mode", "Warn"}});
    cluster_->install({}, "palisade");
    // Each kind has a policy that must have come into effect.
    json bad = good_pod();
    bad["spec"]["shareProcessNamespace"] = true;
    for (const policy::PodTemplate& kind : policy::pod_templates()) {
      std::string last;
      EXPECT_TRUE(Cluster::eventually([&] {
        const Verdict verdict = cluster_->create(resource_of(kind), "team-a", workload(kind, bad));
        last = verdict.text;
        return verdict.judged;
      })) << kind.kind
          << ": " << last;
    }
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  // An object of the kind around a pod, as far as its API takes one.
  static json workload(const policy::PodTemplate& kind, const json& pod) {
    json object = json::object();
    json inner = {{"metadata", pod.value("metadata", json::object())}, {"spec", pod.at("spec")}};
    if (kind.path[0].empty()) return pod;
    for (const char* field : {"name", "namespace", "generateName"})
      inner["metadata"].erase(field);
    std::string pointer;
    for (const std::string_view member : kind.path) {
      if (!member.empty()) pointer += "/" + std::string(member);
    }
    object[json::json_pointer(pointer)] = inner;
    json& metadata = object[json::json_pointer(pointer)]["metadata"];
    const json labels = {{"app", "x"}};
    if (kind.group == "apps" || kind.resource == "replicationcontrollers") {
      metadata["labels"]["app"] = "x";
      object["spec"]["selector"] = kind.group == "apps" ? json{{"matchLabels", labels}} : labels;
      json& spec = object[json::json_pointer(pointer)]["spec"];
      spec["restartPolicy"] = "Always";
      spec.erase("activeDeadlineSeconds");
    }
    if (kind.resource == "statefulsets") object["spec"]["serviceName"] = "x";
    if (kind.resource == "cronjobs") object["spec"]["schedule"] = "0 0 1 1 *";
    return object;
  }

  // One fixture: both verdicts, and that they are one.
  static void agree(const std::string& name, const json& pod, const Settings& settings = {},
                    const std::string& ns = "team-a") {
    SCOPED_TRACE(name);
    auto wanted = expected(pod, settings, ns == "guard-all" || ns == "guard-typo");
    for (const auto& [control, why] : kNeverStored)
      wanted.erase(control);
    const Verdict verdict = cluster_->create(resources::kPods, ns, pod);
    if (!verdict.created && !verdict.judged) {
      // Not a matter of policy: the API server takes no such pod from anybody.
      EXPECT_THAT(verdict.text, ::testing::Not(::testing::HasSubstr("AdmissionPolicy"))) << name;
      refused_by_itself_[name] = verdict.text;
      return;
    }
    ++judged_;
    const bool same = verdict.controls == wanted;
    EXPECT_EQ(same, !kDisagreements.contains(name))
        << "policy: " << ::testing::PrintToString(wanted) << "\nAPI server: " << verdict.text
        << "\n"
        << pod.dump();
    if (same) seen_.insert(wanted.begin(), wanted.end());
  }

  static inline std::unique_ptr<Cluster> cluster_;
  static inline std::set<std::string> seen_;  // controls that both named
  static inline std::map<std::string, std::string> refused_by_itself_;
  static inline int judged_ = 0;
};

// What the API server does not let stand beside the weakness, and has nothing to do with it.
inline json storable(json pod) {
  json& spec = pod["spec"];
  const bool host = spec.value("hostNetwork", false) || spec.value("hostPID", false) ||
                    spec.value("hostIPC", false);
  if (host) spec.erase("hostUsers");
  std::set<std::string> volumes;
  for (json& volume : spec["volumes"]) {
    volumes.insert(volume.at("name"));
    if (!volume.contains("ephemeral")) continue;
    json& claim = volume["ephemeral"]["volumeClaimTemplate"]["spec"];
    claim["accessModes"] = {"ReadWriteOnce"};
    claim["resources"]["requests"]["storage"] = "1Gi";
  }
  for (const char* list : {"containers", "initContainers"}) {
    for (json& container : spec[list]) {
      if (json& mounts = container["volumeMounts"]; mounts.is_array()) {
        json known = json::array();
        for (const json& mount : mounts) {
          if (volumes.contains(mount.value("name", ""))) known.push_back(mount);
        }
        mounts = known;
      }
      json& security = container["securityContext"];
      if (!security.is_object()) continue;
      const json adds = security.contains("capabilities")
                            ? security["capabilities"].value("add", json::array())
                            : json::array();
      if (security.value("privileged", json()) == true ||
          std::ranges::count(adds, json("SYS_ADMIN")) != 0)
        security.erase("allowPrivilegeEscalation");
    }
  }
  return pod;
}

}  // namespace palisade::vap::testing
