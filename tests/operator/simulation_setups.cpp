// Setups in the simulated world: workspaces that ask for one, what befalls its pod and its claim,
// the kubelet, and what must be left when all is quiet.
#include <array>

#include "json_access.h"
#include "operator/fixture.h"
#include "operator/simulation_world.h"

namespace palisade::op::testing {

namespace {

constexpr int kMostAttempts = 3;

std::string commit_of(int digit) {
  return std::string(40, static_cast<char>('0' + digit));
}

// What the pod's first container, which fetches, says at its end.
Json fetched(int commit) {
  const Json said{{"commit", commit_of(commit)}, {"digest", commit_of(commit + 4)}};
  return Json::array({{{"name", "fetch"},
                       {"state", {{"terminated", {{"exitCode", 0}, {"message", said.dump()}}}}}}});
}

}  // namespace

void World::ask_for_setup(Json& workspace) {
  Json setup{{"command", {"make", "deps"}}, {"inputs", {"requirements.txt"}}};
  if (pick(3) != 2) setup["ref"] = commit_of(1);
  if (pick(6) == 5) setup["command"].push_back("more");
  workspace["spec"]["setup"] = std::move(setup);
}

// Its pod, its network, what it has made; and the branch moves.
void World::meddle_with_setups() {
  const std::string key = workspace_key();
  const std::string object = key + "-setup";
  const auto workspace = api_.find("agentworkspaces", key);
  const std::string uid = workspace ? (*workspace)["metadata"]["uid"].get<std::string>() : "";
  switch (pick(5)) {
    case 0:
      commit_ = 3 - commit_;
      note("user: pushes commit " + std::to_string(commit_));
      return;
    case 1:
      if (!api_.find("pods", object)) return;
      ++harm_[uid];
      note("others: delete pods " + object);
      return api_.remove("pods", object);
    case 2:
      if (!api_.find("pods", object)) return;
      ++harm_[uid];
      return edit("others", "pods", object, {{"metadata", {{"labels", {{kSetupLabel, "else"}}}}}});
    case 3:
      if (pick(2) == 0) {
        note("others: delete networkpolicies " + object);
        return api_.remove("networkpolicies", object);
      }
      return edit("others", "networkpolicies", object,
                  {{"spec", {{"egress", Json::array({Json::object()})}}}});
    default:
      break;
  }
  // The webhook lets nobody remove one that is in use.
  for (const auto& claim : api_.all("persistentvolumeclaims")) {
    const std::string name = (*claim)["metadata"]["name"];
    bool used = false;
    for (const auto& one : api_.all("agentworkspaces"))
      used = used || text_at(child(child(*one, "status"), "setup"), "claim") == name;
    if (used) continue;
    claims_gone_ = true;
    note("others: delete the claim " + name);
    return api_.remove("persistentvolumeclaims", kube::object_key(*claim));
  }
}

void World::run_setup_pod(const kube::ObjectPtr& pod) {
  if (is_gated(*pod) || is_final(*pod)) return;
  const std::string key = kube::object_key(*pod);
  const std::string claim = setup_claim_of(*pod);
  if (!pod->contains("status")) {
    const auto volume =
        api_.find("persistentvolumeclaims", kube::object_key(kube::split_key(key).first, claim));
    // It waits for its volume.
    if (!claim.empty() && (!volume || (*volume)["metadata"].contains("deletionTimestamp"))) return;
    edit("kubelet", "pods", key,
         {{"spec", {{"nodeName", "node-1"}}}, {"status", {{"phase", "Running"}}}});
    if (!claim.empty()) api_.writes_to_claim(*pod);
    return;
  }
  if (!claim.empty()) api_.filled_claim(*pod);
  edit("kubelet", "pods", key,
       {{"status", {{"phase", "Succeeded"}, {"initContainerStatuses", fetched(commit_)}}}});
}

void World::fail_setup_pod() {
  const std::string key = workspace_key() + "-setup";
  const auto pod = api_.find("pods", key);
  if (!pod || is_final(*pod) || !pod->contains("status")) return;
  ++harm_[owner_uid(*pod)];
  edit("kubelet", "pods", key,
       {{"status", {{"phase", "Failed"}, {"reason", "Evicted"}, {"message", "memory"}}}});
}

// The cluster keeps a claim for as long as a pod mounts it.
void World::let_go_of_claims() {
  for (const auto& claim : api_.all("persistentvolumeclaims")) {
    const std::string key = kube::object_key(*claim);
    if ((*claim)["metadata"].contains("deletionTimestamp") && !api_.is_mounted(key))
      api_.remove("persistentvolumeclaims", key, true);
  }
}

std::string World::wrong_setup(const Json& workspace) const {
  const std::string object = kube::object_key(workspace) + "-setup";
  if (api_.find("pods", object) || api_.find("networkpolicies", object))
    return "has a setup's pod or network left";
  const Json& status = child(workspace, "status");
  const std::string phase = text_at(status, "phase");
  if (phase == "Suspended") return {};
  const std::string uid = workspace["metadata"]["uid"];
  const std::string why = text_at(child(status, "result"), "reason");
  const auto harm = harm_.find(uid);
  if (why == "SetupFailed")
    return harm != harm_.end() && harm->second >= kMostAttempts ? "" : "had no three failures";
  if (why == "SetupLost") return claims_gone_ ? "" : "lost what nobody has removed";
  if (phase != "Running") return {};
  const Json& record = child(status, "setup");
  const auto claim = api_.find("persistentvolumeclaims", "team-a/" + text_at(record, "claim"));
  if (text_at(record, "phase") != "Ready" || !claim) return "runs without what its setup has made";
  return {};
}

std::string World::wrong_claims() const {
  for (const auto& claim : api_.all("persistentvolumeclaims")) {
    if (!child((*claim)["metadata"], "annotations").contains(kSetupCompleteAnnotation))
      return "half of a setup is left behind: " + kube::object_key(*claim);
  }
  return {};
}

}  // namespace palisade::op::testing
