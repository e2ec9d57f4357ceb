// The promises, asked after every write of the operator: network policy before the pod may run,
// the pod's end before its network is loosened, tokens gone only after the pod; what is not its own
// is never touched, and what has ended is never started again.
#include <algorithm>

#include "operator/simulation_api.h"

namespace palisade::op::testing {

namespace {

constexpr int kMostRestarts = 10;  // of the workspaces that users make here

// Whether it is the session's pod that the policy is about.
bool selects(const Json& policy) {
  const Json selector = policy["spec"].value("podSelector", Json::object());
  const Json labels = selector.value("matchLabels", Json::object());
  return selector.size() == 1 && labels.size() == 1 && labels.contains(kWorkspaceLabel);
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

bool has_finalizer(const Json& workspace) {
  const Json finalizers = workspace["metadata"].value("finalizers", Json::array());
  return std::ranges::find(finalizers, Json(kFinalizer)) != finalizers.end();
}

}  // namespace

void ModelApi::fail(const std::string& promise, const Place& place) {
  if (broken.empty()) broken = promise + " (" + place.plural + " " + place.key() + ")";
  if (note) note("BROKEN: " + broken);
}

kube::ObjectPtr ModelApi::live_pod(const std::string& key) const {
  auto pod = find("pods", key);
  const bool live = pod && !owner_uid(*pod).empty() && !is_gated(*pod) && !is_final(*pod);
  return live ? pod : nullptr;
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
  if (place.plural == "agentworkspaces") {
    if (!lenient && has_finalizer(*before) && !(after && has_finalizer(*after)))
      look_at_end(place, *before);
    return;
  }
  if (before && owner_uid(*before).empty()) fail("what is not its own was touched", place);
  if (place.plural == "networkpolicies") look_at_policy(place, before, after);
  if (place.plural == "pods") look_at_pod(place, before, after, process);
  if (lenient) return;
  if (place.plural == "secrets" && !after) look_at_secret(place, *before);
}

void ModelApi::look_at_policy(const Place& place, const kube::ObjectPtr& before,
                              const kube::ObjectPtr& after) {
  const auto pod = live_pod(place.key());
  if (!pod || owner_uid(*pod) != owner_uid(before ? *before : *after)) return;
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

void ModelApi::look_at_pod(const Place& place, const kube::ObjectPtr& before,
                           const kube::ObjectPtr& after, int process) {
  if (!lenient && before && (!after || is_ending(*after)) && !is_ending(*before))
    look_at_ended_pod(place, *before);
  if (!after) return;
  if (!before) {
    if (!is_gated(*after)) fail("a pod was made that nothing holds back", place);
    const std::string owner = owner_uid(*after);
    for (const auto& workspace : all("agentworkspaces")) {
      const Json& metadata = (*workspace)["metadata"];
      if (metadata["uid"] != owner) continue;
      if (!lenient && is_final(*workspace)) fail("a finished session was started again", place);
    }
    return;
  }
  if (!is_gated(*before) || is_gated(*after)) return;
  const auto policy = find("networkpolicies", place.key());
  const Read& read = read_[{process, place.key()}];
  const bool right = policy && denies_all(*policy);
  if (!right && !(read.right && read.touched)) fail("a pod may run without its policy", place);
  allowed_[(*after)["metadata"]["uid"]] = right && !read.touched ? egress_of(*policy) : read.egress;
}

// Whoever finds it gone while the status names it takes it for lost. A session that ends with its
// pod is told of last.
void ModelApi::look_at_ended_pod(const Place& place, const Json& pod) {
  for (const auto& workspace : all("agentworkspaces")) {
    const Json status = workspace->value("status", Json::object());
    if ((*workspace)["metadata"]["uid"] == owner_uid(pod) && !is_ending(*workspace) &&
        !is_final(pod) && status.value("restarts", 0) < kMostRestarts &&
        status.value("podUID", "") == pod["metadata"]["uid"])
      fail("a pod was ended while the status names it", place);
  }
}

void ModelApi::look_at_secret(const Place& place, const Json& before) {
  for (const auto& pod : all("pods")) {
    if (owner_uid(*pod) == owner_uid(before) && !is_final(*pod))
      return fail("a token was taken away before its pod", place);
  }
}

void ModelApi::look_at_end(const Place& place, const Json& workspace) {
  const std::string uid = workspace["metadata"]["uid"];
  for (const char* plural : {"pods", "secrets"}) {
    for (const auto& object : all(plural)) {
      if (owner_uid(*object) == uid)
        return fail(std::string("a workspace was let go before its ") + plural, place);
    }
  }
}

}  // namespace palisade::op::testing
