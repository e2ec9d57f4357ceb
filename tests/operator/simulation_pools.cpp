// Pools in the simulated world: who makes, scales, changes and deletes them, the kubelet of pods
// that wait and of those that were taken, and what a pool must be like when all is quiet.
#include <algorithm>

#include "json_access.h"
#include "operator/fixture.h"
#include "operator/pool_model.h"
#include "operator/simulation_world.h"

namespace palisade::op::testing {

namespace {

constexpr const char* kPool = "team-a/warm";
constexpr const char* kTemplate = "team-a/python";

Json shape_of(int which) {
  return {{"resources", {{"limits", {{"cpu", std::to_string(1 + which)}}}}}};
}

}  // namespace

void World::heal_pools() {
  if (api_.find("agentworkspacetemplates", kTemplate)) return;
  Json object = usual_template();
  object["spec"]["workspace"]["lifecycle"]["deadline"] = "12h";
  object["spec"]["workspace"]["agent"].update(shape_of(0));
  api_.put("agentworkspacetemplates", std::move(object));
}

// There is a pool whose pods wait already, or one of which nobody has heard yet, or none.
void World::make_pools() {
  const int what = pick(8);
  if (what == 7) return;
  use_pools();
  if (what == 6) return;
  troubled_ = false;
  drain();
  troubled_ = true;
}

void World::fill_in_template(Json& workspace) const {
  const auto made_from = api_.find("agentworkspacetemplates", kTemplate);
  if (!made_from) return;
  workspace["metadata"]["annotations"]["palisade.dev/template"] = "as the webhook writes it";
  workspace["spec"]["templateRef"] = {{"name", kube::split_key(kTemplate).second}};
  workspace["spec"]["lifecycle"]["deadline"] = "12h";
  workspace["spec"]["agent"] = (*made_from)["spec"]["workspace"]["agent"];
}

void World::use_pools() {
  if (!api_.find("agentworkspacepools", kPool)) {
    Json object = usual_pool(1 + pick(2));
    for (const char* field : {"uid", "generation", "resourceVersion"})
      object["metadata"].erase(field);
    note("user: creates the pool");
    api_.put("agentworkspacepools", std::move(object));
    return;
  }
  switch (pick(6)) {
    case 0:
    case 1:
      edit("user", "agentworkspacepools", kPool, {{"spec", {{"replicas", pick(4)}}}});
      break;
    case 2:
    case 3:
      edit("user", "agentworkspacetemplates", kTemplate,
           {{"spec", {{"workspace", {{"agent", shape_of(pick(2))}}}}}});
      break;
    case 4:
      note("user: deletes the pool");
      api_.remove("agentworkspacepools", kPool);
      break;
    default:
      note("user: deletes the template");
      api_.remove("agentworkspacetemplates", kTemplate);
  }
}

bool World::is_made_warm(const Json& pod) {
  return child(child(pod, "metadata"), "annotations").contains(kConfigAnnotation);
}

std::vector<kube::ObjectPtr> World::warm_pods() const {
  std::vector<kube::ObjectPtr> out = api_.all("pods");
  std::erase_if(out, [](const kube::ObjectPtr& pod) { return !is_a_pools(*pod); });
  return out;
}

// The network policy, the pods and what goes with them.
void World::meddle_with_pools() {
  if (pick(4) == 3) {
    const std::string key = std::string(kPool) + "-pool";
    if (pick(2) == 0)
      return edit("others", "networkpolicies", key,
                  {{"spec", {{"egress", Json::array({Json::object()})}}}});
    note("others: delete the pool's policy");
    return api_.remove("networkpolicies", key);
  }
  const auto waiting = warm_pods();
  if (waiting.empty()) return;
  const std::string key =
      kube::object_key(*waiting[static_cast<std::size_t>(pick(static_cast<int>(waiting.size())))]);
  const char* const plural =
      std::array{"pods", "configmaps", "serviceaccounts"}[static_cast<std::size_t>(pick(3))];
  if (pick(2) == 0) {
    note(std::string("others: delete ") + plural + " " + key);
    return api_.remove(plural, key);
  }
  edit("others", plural, key,
       std::array<Json, 3>{
           Json{{"metadata", {{"labels", {{kWorkspaceLabel, "ws-0"}}}}}},
           Json{{"spec", {{"ephemeralContainers", Json::array({{{"name", "x"}}})}}}},
           Json{{"data", {{"command.json", "[]"}}}}}[static_cast<std::size_t>(pick(3))]);
}

void World::run_warm_pod(const kube::ObjectPtr& pod) {
  const std::string key = kube::object_key(*pod);
  if (!pod->contains("status")) {
    edit("kubelet", "pods", key,
         {{"spec", {{"nodeName", "node-1"}}}, {"status", waiting_status(api_.now)}});
    return;
  }
  // What the session is has come, so that the checkout ends and Aider begins.
  const auto config = api_.find("configmaps", key);
  if ((*pod)["status"].contains("containerStatuses") || is_a_pools(*pod) || !config ||
      owner_uid(*config) != owner_uid(*pod) || !(*config)["data"].contains(kCommandKey))
    return;
  begin_aider(key);
}

void World::fail_warm_pod() {
  const auto waiting = warm_pods();
  if (waiting.empty()) return;
  const auto& pod = waiting[static_cast<std::size_t>(pick(static_cast<int>(waiting.size())))];
  if (is_final(*pod) || !(*pod)["spec"].contains("nodeName")) return;
  edit("kubelet", "pods", kube::object_key(*pod),
       {{"status", {{"phase", "Failed"}, {"reason", "Evicted"}, {"message", "memory"}}}});
}

// As many pods as asked for, all of what the template is now, and nothing beside them.
std::string World::wrong_pool(const Json& object) const {
  const auto pool = parse_pool(object);
  if (!pool) return "cannot be read: " + pool.error();
  if (pool->deleting) return "never goes";
  const auto wanted = template_workspace(*pool, *api_.find("agentworkspacetemplates", kTemplate));
  const auto want = static_cast<std::size_t>(pool->replicas);
  std::set<std::string> names;
  for (const auto& pod : warm_pods()) {
    if (owner_uid(*pod) != pool->uid) continue;
    const Json& metadata = (*pod)["metadata"];
    if (!is_warm(*pod)) return "has a pod that does not wait";
    if (metadata["annotations"][kShapeAnnotation] != warm_shape(*wanted, config_.defaults))
      return "has a pod of what the template was";
    const auto config = api_.find("configmaps", kube::object_key(*pod));
    const PoolPlace place{pool->ns, pool->name, pool->uid, metadata["name"], {}};
    if (!config ||
        !may_be_taken(*pod, *config, desired_warm_pod(place, *wanted, config_.defaults), pool->uid))
      return "has a pod that nobody may take";
    names.insert(metadata["name"]);
  }
  if (names.size() != want) return "has " + std::to_string(names.size()) + " pods that wait";
  for (const char* plural : {"configmaps", "serviceaccounts"}) {
    std::set<std::string> beside;
    for (const auto& one : api_.all(plural)) {
      // Without the label nobody watches it: the garbage collector has it when the pool goes.
      const bool watched = child((*one)["metadata"], "labels").contains(kManagedByLabel);
      if (watched && owner_uid(*one) == pool->uid) beside.insert((*one)["metadata"]["name"]);
    }
    if (beside != names) return std::string("has left behind, or lacks: ") + plural;
  }
  const auto network = api_.find("networkpolicies", std::string(kPool) + "-pool");
  if (!network ||
      (*network)["spec"] != desired_pool_network({pool->ns, pool->name, pool->uid, {}, {}})["spec"])
    return "has another network than it should";
  const Json& status = child(object, "status");
  for (const char* field : {"replicas", "readyReplicas", "updatedReplicas"}) {
    if (child(status, field) != pool->replicas) return std::string("tells a wrong ") + field;
  }
  return text_at(condition_of(status, "Ready"), "status") == "True" ? "" : "is not Ready";
}

}  // namespace palisade::op::testing
