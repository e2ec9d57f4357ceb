// The promises, asked after every write of the operator: network policy before the pod may run,
// the pod's end before its network is loosened, tokens gone only after the pod; what is not its own
// is never touched, and what has ended is never started again.
#include <algorithm>

#include <operator/pool.h>

#include "json_access.h"
#include "operator/simulation_api.h"

namespace palisade::op::testing {

namespace {

constexpr int kMostRestarts = 10;  // of the workspaces that users make here

// Whether it is the pods that the policy is about by its name.
bool selects(const Json& policy) {
  const std::string name = policy["metadata"]["name"];
  const char* const label = name.ends_with("-pool")    ? kPoolLabel
                            : name.ends_with("-setup") ? kSetupLabel
                                                       : kWorkspaceLabel;
  const Json selector = policy["spec"].value("podSelector", Json::object());
  const Json labels = selector.value("matchLabels", Json::object());
  return selector.size() == 1 && labels.size() == 1 && labels.contains(label);
}

bool denies_all(const Json& policy) {
  const Json& spec = policy["spec"];
  return selects(policy) && spec.value("policyTypes", Json()) == Json({"Ingress", "Egress"}) &&
         !spec.contains("ingress");
}

Json egress_of(const Json& policy) {
  return policy["spec"].value("egress", Json::array());
}

bool opens_more(const Json& now, const Json& before) {
  return std::ranges::any_of(
      now, [&](const Json& rule) { return std::ranges::find(before, rule) == before.end(); });
}

bool is_ending(const Json& object) {
  return object["metadata"].contains("deletionTimestamp");
}

// The operator's.
bool is_held(const Json& object) {
  const Json finalizers = object["metadata"].value("finalizers", Json::array());
  return std::ranges::any_of(
      finalizers, [](const Json& one) { return one == kFinalizer || one == kPoolFinalizer; });
}

}  // namespace

void ModelApi::fail(const std::string& promise, const Place& place) {
  if (broken.empty()) broken = promise + " (" + place.plural + " " + place.key() + ")";
  if (note) note("BROKEN: " + broken);
}

kube::ObjectPtr ModelApi::of_uid(const std::string& plural, const std::string& uid) const {
  for (auto& object : all(plural)) {
    if ((*object)["metadata"]["uid"] == uid) return object;
  }
  return nullptr;
}

std::vector<kube::ObjectPtr> ModelApi::live_pods(const std::string& policy,
                                                 const std::string& owner) const {
  std::vector<kube::ObjectPtr> out = owner.empty() ? std::vector<kube::ObjectPtr>() : all("pods");
  std::erase_if(out, [&](const kube::ObjectPtr& pod) {
    return owner_uid(*pod) != owner || is_gated(*pod) || is_final(*pod) ||
           policy_of(*pod) != policy;
  });
  return out;
}

// What others do after it is not the reader's fault: no request holds two objects at once, and
// with the webhook nobody else may change a live session's policy.
void ModelApi::was_read(const std::string& policy, const kube::ObjectPtr& found, int process) {
  read_[{process, policy}] = {found && denies_all(*found),
                              found ? egress_of(*found) : Json::array(), false};
}

void ModelApi::was_touched(const std::string& policy) {
  for (auto& [reader, read] : read_) {
    if (reader.second == policy) read.touched = true;
  }
}

void ModelApi::look(const Place& place, const kube::ObjectPtr& before, const kube::ObjectPtr& after,
                    int process) {
  if (place.plural == "agentworkspaces" || place.plural == "agentworkspacepools") {
    if (!lenient && is_held(*before) && !(after && is_held(*after))) look_at_end(place, *before);
    return;
  }
  if (place.plural == volume_claims().plural) return look_at_claim(place, before, after);
  if (before && owner_uid(*before).empty()) fail("what is not its own was touched", place);
  if (place.plural == "networkpolicies") look_at_policy(place, before, after);
  if (place.plural == "pods") look_at_pod(place, before, after, process);
  if (place.plural == "configmaps" && after) look_at_config_map(place, before, *after);
  if (lenient) return;
  if (place.plural == "secrets" && !after) look_at_secret(place, *before);
}

void ModelApi::look_at_policy(const Place& place, const kube::ObjectPtr& before,
                              const kube::ObjectPtr& after) {
  for (const auto& pod : live_pods(place.key(), owner_uid(before ? *before : *after))) {
    if (!after) return fail("the policy of a live pod was taken away", place);
    if (!denies_all(*after) && before && denies_all(*before))
      fail("the policy of a live pod no longer denies all", place);
    Json& allowed = allowed_[(*pod)["metadata"]["uid"]];
    const Json open = egress_of(*after);
    // Without a policy that selects it everything was open: any is narrower.
    const bool narrowed = !before || !selects(*before) || !opens_more(open, allowed);
    if (!narrowed && opens_more(open, egress_of(*before)))
      fail("a live pod's network has grown", place);
    // What others have opened, and a write left as it was, is not what the pod may reach.
    if (narrowed) allowed = open;
  }
}

void ModelApi::look_at_pod(const Place& place, const kube::ObjectPtr& before,
                           const kube::ObjectPtr& after, int process) {
  if (!lenient && before && (!after || is_ending(*after)) && !is_ending(*before))
    look_at_ended_pod(place, *before);
  if (!after) return;
  if (!before) return look_at_new_pod(place, *after);
  if (owner_uid(*before) != owner_uid(*after)) look_at_taken_pod(place, *before, *after, process);
  if (is_gated(*before) && !is_gated(*after))
    let_run("a pod may run without its policy", place, *after, process);
  look_at_sessions(place, owner_uid(*after));
}

void ModelApi::look_at_new_pod(const Place& place, const Json& pod) {
  if (!is_gated(pod)) fail("a pod was made that nothing holds back", place);
  if (is_a_pools(pod)) return look_at_warm_pod(place, pod);
  if (is_a_setups(pod)) look_at_setup_pod(place, pod);
  const auto workspace = of_uid("agentworkspaces", owner_uid(pod));
  if (!lenient && workspace && is_final(*workspace))
    fail("a finished session was started again", place);
}

void ModelApi::let_run(const std::string& promise, const Place& place, const Json& pod,
                       int process) {
  const std::string owner = owner_uid(pod);
  if (!is_a_setups(pod) && !is_a_pools(pod)) ran_.insert(owner);
  if (is_a_setups(pod) && ran_.contains(owner)) fail("a setup runs again after its agent", place);
  const std::string key = policy_of(pod);
  const auto policy = find("networkpolicies", key);
  const Read& read = read_[{process, key}];
  const bool right = policy && denies_all(*policy);
  if (!right && !(read.right && read.touched)) fail(promise, place);
  allowed_[pod["metadata"]["uid"]] = right && !read.touched ? egress_of(*policy) : read.egress;
}

// Whoever finds it gone while the status names it takes it for lost. A session that ends with its
// pod is told of last.
void ModelApi::look_at_ended_pod(const Place& place, const Json& pod) {
  const auto workspace = of_uid("agentworkspaces", owner_uid(pod));
  if (!workspace) return;
  const Json status = workspace->value("status", Json::object());
  if (!is_ending(*workspace) && !is_final(pod) && status.value("restarts", 0) < kMostRestarts &&
      status.value("podUID", "") == pod["metadata"]["uid"])
    fail("a pod was ended while the status names it", place);
}

void ModelApi::look_at_secret(const Place& place, const Json& before) {
  for (const auto& pod : all("pods")) {
    if (owner_uid(*pod) == owner_uid(before) && !is_final(*pod))
      return fail("a token was taken away before its pod", place);
  }
}

void ModelApi::look_at_end(const Place& place, const Json& owner) {
  const std::string uid = owner["metadata"]["uid"];
  for (const char* plural : {"pods", "secrets"}) {
    for (const auto& object : all(plural)) {
      if (owner_uid(*object) == uid)
        return fail("a " + owner.value("kind", place.plural) + " was let go before its " + plural,
                    place);
    }
  }
}

}  // namespace palisade::op::testing
