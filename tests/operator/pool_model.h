// A pool's objects as the API server would hold them, without one.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <operator/pool.h>

#include "operator/fixture.h"

namespace palisade::op::testing {

inline constexpr const char* kPoolUid = "0d9c1b52-0000-4000-8000-000000000001";

inline Json usual_template() {
  return {{"apiVersion", kApiVersion},
          {"kind", "AgentWorkspaceTemplate"},
          {"metadata", {{"name", "python"}, {"namespace", "team-a"}}},
          {"spec",
           {{"workspace",
             {{"agent", {{"model", "gpt-4o-mini"}}}, {"lifecycle", {{"deadline", "1h"}}}}}}}};
}

inline Json usual_pool(int replicas = 2) {
  return {{"apiVersion", kApiVersion},
          {"kind", "AgentWorkspacePool"},
          {"metadata",
           {{"name", "warm"},
            {"namespace", "team-a"},
            {"uid", kPoolUid},
            {"generation", 1},
            {"resourceVersion", "3"}}},
          {"spec", {{"templateRef", {{"name", "python"}}}, {"replicas", replicas}}}};
}

// What the kubelet says of a pod whose containers wait.
inline Json waiting_status(std::chrono::system_clock::time_point began) {
  Json statuses =
      Json::array({{{"name", "guard"}, {"state", {{"terminated", {{"exitCode", 0}}}}}}});
  for (const char* name : {"recorder", "relay", "courier", "checkout"})
    statuses.push_back({{"name", name}, {"state", {{"running", {{"startedAt", "x"}}}}}});
  return {{"phase", "Pending"},
          {"startTime", format_time(began)},
          {"initContainerStatuses", std::move(statuses)}};
}

class PoolModel {
 public:
  explicit PoolModel(int replicas = 2) {
    seen.pool = usual_pool(replicas);
    seen.workspace_template = std::make_shared<const Json>(usual_template());
    seen.policies = std::vector<policy::AgentPolicy>();
    seen.unreachable = unreachable();
    seen.gateways = {{"default", gateway().llm_url()}, {"other", "http://llm.llm.svc:8080/v1"}};
    config.defaults = gateway_defaults();
    config.defaults.gateway->authorities.clear();
    config.policy.allowed_token_audiences = {gateway().audience};
    now = *parse_time("2026-01-01T12:00:00Z");
  }

  PoolObserved seen;
  Config config;
  std::chrono::system_clock::time_point now;
  bool gone = false;

  [[nodiscard]] Plan decide() const { return decide_pool(seen, config, now); }
  [[nodiscard]] Json status() const { return seen.pool.value("status", Json::object()); }
  [[nodiscard]] Json condition(const std::string& type) const {
    for (const Json& entry : status().value("conditions", Json::array())) {
      if (entry["type"] == type) return entry;
    }
    return {{"status", ""}, {"reason", ""}, {"message", ""}};
  }
  [[nodiscard]] std::vector<Json> pods() const {
    std::vector<Json> out;
    for (const WarmPlace& one : seen.places) {
      if (one.pod) out.push_back(*one.pod);
    }
    return out;
  }
  WarmPlace& place(const std::string& name) {
    const auto found = std::ranges::find(seen.places, name, &WarmPlace::name);
    if (found != seen.places.end()) return *found;
    seen.places.push_back({name});
    return seen.places.back();
  }
  static void edit(kube::ObjectPtr& object, const Json& merge_patch) {
    Json changed = *object;
    changed.merge_patch(merge_patch);
    object = std::make_shared<const Json>(std::move(changed));
  }
  // The kubelet brings up all that have no gate.
  void bring_up() {
    for (WarmPlace& one : seen.places) {
      if (one.pod && !(*one.pod)["spec"].contains("schedulingGates") &&
          !(*one.pod).contains("status"))
        edit(one.pod, {{"status", waiting_status(now)}});
    }
  }

  void carry_out(const Action& action) {
    Json& metadata = seen.pool["metadata"];
    switch (action.kind) {
      case ActionKind::kAddFinalizer:
        metadata["finalizers"] = {kPoolFinalizer};
        return;
      case ActionKind::kRemoveFinalizer:
        gone = true;
        return;
      case ActionKind::kStatus:
        seen.pool["status"] = action.object;
        return;
      case ActionKind::kApply:
      case ActionKind::kCreatePod: {
        Json object = action.object;
        object["metadata"]["uid"] = "made-" + std::to_string(++uids_);
        object["metadata"]["resourceVersion"] = std::to_string(++uids_);
        *held(action) = std::make_shared<const Json>(std::move(object));
        return;
      }
      case ActionKind::kLiftGate:
        edit(*held(action), {{"spec", {{"schedulingGates", nullptr}}}});
        return;
      case ActionKind::kDelete: {
        kube::ObjectPtr* const object = held(action);
        const Json& is = (**object)["metadata"];
        // One that was taken meanwhile is not met.
        if (is["uid"] != action.uid || is["resourceVersion"] != action.version)
          throw std::logic_error("deletes what it has not looked at: " + action.name);
        object->reset();
        std::erase_if(seen.places,
                      [](const WarmPlace& one) { return !one.pod && !one.account && !one.config; });
        return;
      }
      default:
        throw std::logic_error("a pool does no such thing");
    }
  }
  // The number of plans that had actions.
  int settle(const std::function<void(const Action&)>& after_each = [](const Action&) {}) {
    for (int rounds = 0; rounds < 30; ++rounds) {
      if (gone) return rounds;
      const Plan plan = decide();
      if (plan.actions.empty()) return rounds;
      for (const Action& action : plan.actions) {
        carry_out(action);
        after_each(action);
      }
    }
    throw std::runtime_error("it never settles");
  }

 private:
  kube::ObjectPtr* held(const Action& action) {
    namespace resources = kube::resources;
    if (*action.resource == resources::kNetworkPolicies) return &seen.network;
    WarmPlace& at = place(action.name);
    if (*action.resource == resources::kPods) return &at.pod;
    if (*action.resource == resources::kServiceAccounts) return &at.account;
    if (*action.resource == resources::kConfigMaps) return &at.config;
    throw std::logic_error("a pool touches " + action.resource->kind);
  }
  int uids_ = 0;
};

}  // namespace palisade::op::testing
