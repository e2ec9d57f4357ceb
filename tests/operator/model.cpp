#include "operator/model.h"

#include <algorithm>

namespace palisade::op::testing {

using namespace kube::resources;

Model::Model(Json workspace, bool own_gateway) {
  now = *parse_time("2026-01-01T12:00:00Z");
  seen.workspace = std::move(workspace);
  seen.token = "token-1";
  seen.access = access();
  seen.api_server = {"10.96.0.1", "198.51.100.7"};
  seen.unreachable = unreachable();
  config.defaults = own_gateway ? gateway_defaults() : defaults();
  if (!own_gateway) return;
  seen.access = gateway_access();
  seen.gateway_ca = gateway().authorities;
  config.defaults.gateway->authorities.clear();
  config.policy.allowed_token_audiences = {gateway().audience};
}

kube::ObjectPtr* Model::place(const Action& action) {
  const kube::Resource& resource = *action.resource;
  const bool elsewhere = !action.ns.empty() && action.ns != "team-a";
  if (elsewhere != (resource == kSecrets && action.name.starts_with("git-")))
    throw std::logic_error("the operator touches " + action.ns + "/" + action.name);
  if (elsewhere) return &seen.gateway_secret;
  if (resource == kSecrets && action.name.ends_with("-llm")) return &seen.llm_secret;
  const bool sets_up = action.name.ends_with("-setup");
  if (resource == kPods) return sets_up ? &seen.setup_pod : &seen.pod;
  if (resource == volume_claims())
    return is_setup_claim_name(action.name) ? &seen.setup_claim : &seen.volume;
  if (resource == kNetworkPolicies) return sets_up ? &seen.setup_network : &seen.network_policy;
  if (resource == kSecrets) return &seen.secret;
  if (resource == kConfigMaps) return &seen.config_map;
  if (resource == kServiceAccounts) return &seen.service_account;
  throw std::logic_error("the operator touches " + resource.kind);
}

void Model::put(kube::ObjectPtr Observed::*object, Json value) {
  seen.*object = std::make_shared<const Json>(std::move(value));
}

void Model::edit(kube::ObjectPtr Observed::*object, const Json& merge_patch) {
  if (!(seen.*object)) return;
  Json changed = *(seen.*object);
  changed.merge_patch(merge_patch);
  put(object, std::move(changed));
}

void Model::carry_out(const Action& action) {
  Json& metadata = seen.workspace["metadata"];
  const auto let_workspace_go = [&] {
    if (metadata.contains("deletionTimestamp") &&
        metadata.value("finalizers", Json::array()).empty())
      gone = true;
  };
  switch (action.kind) {
    case ActionKind::kAddFinalizer:
      metadata["finalizers"] = metadata.value("finalizers", Json::array());
      metadata["finalizers"].push_back(kFinalizer);
      return;
    case ActionKind::kRemoveFinalizer:
      std::erase(metadata["finalizers"].get_ref<Json::array_t&>(), Json(kFinalizer));
      let_workspace_go();
      return;
    case ActionKind::kStatus:
      seen.workspace["status"] = action.object;
      return;
    case ActionKind::kApply: {
      kube::ObjectPtr* held = place(action);
      Json object =
          *held ? **held : Json{{"metadata", {{"uid", "made-" + std::to_string(++uids_)}}}};
      for (const char* atomic : {"spec"}) {  // selectors and rules are replaced as a whole
        if (action.object.contains(atomic)) {
          for (const auto& [key, value] : action.object[atomic].items())
            object[atomic][key] = value;
        }
      }
      Json rest = action.object;
      rest.erase("spec");
      object.merge_patch(rest);
      *held = std::make_shared<const Json>(std::move(object));
      return;
    }
    case ActionKind::kFence:
      return;
    case ActionKind::kTake:
      take(action);
      return;
    case ActionKind::kStrip: {
      kube::ObjectPtr* held = place(action);
      if (!*held || (**held)["metadata"]["uid"] != action.uid) return;
      Json object = **held;
      object.merge_patch(action.object);
      *held = std::make_shared<const Json>(std::move(object));
      return;
    }
    case ActionKind::kCreatePod: {
      kube::ObjectPtr* held = place(action);
      if (*held) return;  // AlreadyExists
      Json pod = action.object;
      pod["metadata"]["uid"] = "made-" + std::to_string(++uids_);
      *held = std::make_shared<const Json>(std::move(pod));
      return;
    }
    case ActionKind::kLiftGate: {
      kube::ObjectPtr* held = place(action);
      if (!*held || (**held)["metadata"]["uid"] != action.uid) return;
      Json pod = **held;
      pod["spec"].erase("schedulingGates");
      *held = std::make_shared<const Json>(std::move(pod));
      return;
    }
    case ActionKind::kDelete: {
      if (*action.resource == workspaces()) {
        metadata["deletionTimestamp"] = format_time(now);
        let_workspace_go();
        return;
      }
      kube::ObjectPtr* held = place(action);
      if (!*held || (**held)["metadata"]["uid"] != action.uid) return;
      const std::string phase = (**held).value("status", Json::object()).value("phase", "");
      const bool lingers = graceful && *action.resource == kPods &&
                           !(**held)["spec"].contains("schedulingGates") && phase != "Succeeded" &&
                           phase != "Failed";
      if (lingers) {
        Json pod = **held;
        pod["metadata"]["deletionTimestamp"] = format_time(now);
        *held = std::make_shared<const Json>(std::move(pod));
      } else {
        held->reset();
      }
      return;
    }
  }
}

// What is a pool's moves to the session's own place with the owner reference.
void Model::take(const Action& action) {
  const kube::Resource& resource = *action.resource;
  kube::ObjectPtr* const from = resource == kPods              ? &seen.warm_pod
                                : resource == kServiceAccounts ? &seen.warm_account
                                                               : &seen.warm_config;
  kube::ObjectPtr* const held = *from ? from : place(action);
  if (!*held || (**held)["metadata"]["uid"] != action.uid) return;
  const Json version = (**held)["metadata"].value("resourceVersion", Json(""));
  if (!action.version.empty() && version != action.version) return;
  Json object = **held;
  object.merge_patch(action.object);
  held->reset();
  *place(action) = std::make_shared<const Json>(std::move(object));
}

int Model::settle(const std::function<void(const Action&)>& after_each) {
  for (int rounds = 0; rounds < 20; ++rounds) {
    if (gone) return rounds;
    const Plan plan = decide();
    if (plan.actions.empty()) return rounds;
    for (const Action& action : plan.actions) {
      carry_out(action);
      after_each(action);
    }
  }
  throw std::runtime_error("it never settles: " + tell(decide()));
}

std::string Model::phase() const {
  return seen.workspace.value("status", Json::object()).value("phase", "");
}

Json Model::condition(const std::string& type) const {
  const Json status = seen.workspace.value("status", Json::object());
  for (const Json& entry : status.value("conditions", Json::array())) {
    if (entry["type"] == type) return entry;
  }
  return {{"status", ""}, {"reason", ""}, {"message", ""}};
}

void Model::run() {
  edit(&Observed::pod,
       {{"spec", {{"nodeName", "node-1"}}},
        {"status",
         {{"phase", "Running"},
          {"startTime", format_time(now)},
          {"containerStatuses",
           Json::array({{{"name", "aider"}, {"state", {{"running", {{"startedAt", "x"}}}}}}})}}}});
}

void Model::end(const std::string& pod_phase, const std::string& report, Json more) {
  more["phase"] = pod_phase;
  more["initContainerStatuses"] = Json::array(
      {{{"name", "courier"}, {"state", {{"terminated", {{"exitCode", 0}, {"message", report}}}}}}});
  edit(&Observed::pod, {{"status", more}});
}

void Model::let_go() {
  for (kube::ObjectPtr* const pod : {&seen.pod, &seen.setup_pod}) {
    if (*pod && (**pod)["metadata"].contains("deletionTimestamp")) pod->reset();
  }
}

std::string tell(const Action& action) {
  static constexpr const char* kNames[] = {
      "add finalizer", "remove finalizer", "apply",  "strip",  "fence",
      "create",        "lift gate",        "delete", "status", "take"};
  std::string out = kNames[static_cast<std::size_t>(action.kind)];
  if (action.kind != ActionKind::kStatus && action.kind != ActionKind::kAddFinalizer &&
      action.kind != ActionKind::kRemoveFinalizer)
    out += " " + action.resource->kind;
  return out;
}

std::string tell(const Plan& plan) {
  std::string out;
  for (const Action& action : plan.actions)
    out += (out.empty() ? "" : ", ") + tell(action);
  return out;
}

}  // namespace palisade::op::testing
