// The promises about setups: no token is where a project's command runs; a claim is filled by one
// pod, is called complete once that has ended well, and is mounted for an agent only then; no setup
// runs beside its agent or after it; what a session uses is not removed.
#include <algorithm>

#include "json_access.h"
#include "operator/simulation_api.h"

namespace palisade::op::testing {

namespace {

bool is_complete(const Json& claim) {
  return child(child(claim, "metadata"), "annotations").contains(kSetupCompleteAnnotation);
}

}  // namespace

bool ModelApi::is_mounted(const std::string& claim) const {
  const std::string name = kube::split_key(claim).second;
  return std::ranges::any_of(all("pods"), [&](const kube::ObjectPtr& pod) {
    return (*pod)["spec"].contains("nodeName") && !is_final(*pod) && setup_claim_of(*pod) == name;
  });
}

void ModelApi::look_at_setup_pod(const Place& place, const Json& pod) {
  for (const Json& container : pod["spec"]["containers"]) {
    const std::string text = container.dump();
    for (const char* credential : {"git-token", "identity", "secretKeyRef", "secretRef"}) {
      if (text.find(credential) != std::string::npos) fail("a setup has a credential", place);
    }
  }
  if (pod["spec"].value("automountServiceAccountToken", true))
    fail("a setup has the API server's token", place);
  if (lenient) return;
  for (const auto& other : all("pods")) {
    if (owner_uid(*other) == owner_uid(pod) && !is_a_setups(*other))
      fail("a setup was made beside its agent", place);
  }
}

void ModelApi::look_at_claim(const Place& place, const kube::ObjectPtr& before,
                             const kube::ObjectPtr& after) {
  const Json& claim = before ? *before : *after;
  const std::string uid = claim["metadata"]["uid"];
  if (!child(claim["metadata"], "annotations").contains(kSetupKeyAnnotation))
    return fail("what is not its own was touched", place);
  const bool ends = !after || ((*after)["metadata"].contains("deletionTimestamp") &&
                               !(before && (*before)["metadata"].contains("deletionTimestamp")));
  if (!ends && is_complete(*after) && !(before && is_complete(*before))) {
    ++set_up;
    if (!filled_.contains(uid)) fail("a claim was called complete that nothing has filled", place);
  }
  if (lenient || !ends || !is_complete(claim)) return;
  for (const auto& workspace : all("agentworkspaces")) {
    const Json& status = child(*workspace, "status");
    if (text_at(child(status, "setup"), "claim") == place.name &&
        text_at(child(status, "setup"), "phase") == "Ready" &&
        !is_final_phase(text_at(status, "phase")) &&
        !(*workspace)["metadata"].contains("deletionTimestamp"))
      fail("what a session uses was removed", place);
  }
}

void ModelApi::writes_to_claim(const Json& pod) {
  const Place place{volume_claims().plural, pod["metadata"]["namespace"], setup_claim_of(pod)};
  const auto claim = find(place.plural, place.key());
  if (!claim) return;
  const std::string uid = pod["metadata"]["uid"];
  const auto [known, first] = writers_.emplace((*claim)["metadata"]["uid"], uid);
  if (!first && known->second != uid) fail("a claim was written to by two pods", place);
  if (is_complete(*claim)) fail("a claim that is complete was written to", place);
}

void ModelApi::filled_claim(const Json& pod) {
  const auto claim =
      find(volume_claims().plural,
           kube::object_key(pod["metadata"]["namespace"].get<std::string>(), setup_claim_of(pod)));
  if (claim && writers_[(*claim)["metadata"]["uid"]] == pod["metadata"]["uid"])
    filled_.insert((*claim)["metadata"]["uid"]);
}

bool ModelApi::mounts_claim(const Json& pod) {
  const Place place{volume_claims().plural, pod["metadata"]["namespace"], setup_claim_of(pod)};
  const auto claim = find(place.plural, place.key());
  if (!claim || (*claim)["metadata"].contains("deletionTimestamp")) return false;
  if (!is_complete(*claim) || !filled_.contains((*claim)["metadata"]["uid"].get<std::string>()))
    fail("an agent has what no setup has completed", place);
  return true;
}

}  // namespace palisade::op::testing
