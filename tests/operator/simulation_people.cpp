// Who else acts in the simulated world: users, people who meddle with what is not theirs, kubelet.
#include "operator/fixture.h"
#include "operator/simulation_world.h"

namespace palisade::op::testing {

namespace {

constexpr const char* kNs = "team-a";
constexpr const char* kUserSecret = "team-a/app-git-token";

Json rule(int number) {
  return {{"to",
           Json::array({{{"ipBlock", {{"cidr", "203.0.113." + std::to_string(number) + "/32"}}}}})},
          {"ports", Json::array({{{"port", 443}, {"protocol", "TCP"}}})}};
}

Json aider(const char* state, const Json& what) {
  return Json::array({{{"name", "aider"}, {"state", {{state, what}}}}});
}

}  // namespace

std::string World::workspace_key() {
  const int second = has_pools_ || has_setups_ ? 50 : 25;  // two are after the same there
  return std::string(kNs) + "/ws-" + (happens(second) ? "1" : "0");
}

std::string World::pod_key(const std::string& workspace) const {
  const auto found = api_.find("agentworkspaces", workspace);
  const auto [ns, name] = kube::split_key(workspace);
  return kube::object_key(ns, found ? pod_name_of(*found) : agent_object(name));
}

Json World::rules() {
  Json egress = Json::array();
  const int which = pick(8);
  for (int i = 0; i < 3; ++i) {
    if ((which >> i) % 2 == 1) egress.push_back(rule(i));
  }
  return egress;
}

void World::edit(const std::string& who, const std::string& plural, const std::string& key,
                 const Json& change) {
  if (!api_.find(plural, key)) return;
  if (tell_) note(who + ": edits " + plural + " " + key + ": " + change.dump());
  api_.edit(plural, key, change);
}

void World::pass(std::chrono::seconds time) {
  note("time passes: " + std::to_string(time.count()) + " s");
  clock_ += time;
  api_.now += time;
  for (auto& one : processes_) {
    if (one) one->timers();
  }
}

// Creates, changes, suspends, resumes, deletes.
void World::user() {
  if (has_pools_ && pick(4) == 3) return use_pools();
  const std::string key = workspace_key();
  if (!api_.find("agentworkspaces", key)) {
    Json object = usual_workspace();
    object["metadata"] = {{"name", kube::split_key(key).second}, {"namespace", kNs}};
    object["spec"]["repository"]["url"] = "https://192.0.2.10/team/app.git";
    object["spec"]["lifecycle"] = {{"maxRestarts", 10}, {"deadline", "24h"}};
    object["spec"]["isolation"]["egress"] = rules();
    if (has_pools_) fill_in_template(object);
    if (has_setups_) ask_for_setup(object);
    note("user: creates " + key);
    api_.put("agentworkspaces", std::move(object));
    return;
  }
  Json spec;
  switch (pick(10)) {
    case 0:
    case 1:
    case 2:
    case 3:
      spec["isolation"]["egress"] = rules();
      break;
    case 4:
      spec["agent"]["model"] = "m" + std::to_string(pick(3));
      break;
    case 5:
      spec["lifecycle"]["suspend"] = true;
      break;
    case 6:
      spec["lifecycle"]["suspend"] = false;
      break;
    case 7:
      if (own_gateway_) spec["repository"]["via"] = pick(2) == 0 ? "Gateway" : "Direct";
      break;
    case 8: {
      const int what = pick(3);
      note("user: token " + std::to_string(what));
      if (what == 2) {
        api_.remove("secrets", kUserSecret);
      } else {
        edit("user", "secrets", kUserSecret,
             {{"data", {{"token", what == 0 ? "dG9rZW4tMQ==" : "dG9rZW4tMg=="}}}});
      }
      return;
    }
    default:
      note("user: deletes " + key);
      api_.remove("agentworkspaces", key);
      return;
  }
  if (!spec.is_null()) edit("user", "agentworkspaces", key, {{"spec", spec}});
}

// Edits, deletes and takes the names of the session's objects.
void World::meddle() {
  if (has_pools_ && pick(3) == 2) return meddle_with_pools();
  if (has_setups_ && pick(3) == 2) return meddle_with_setups();
  const std::string key = workspace_key();
  const auto workspace = api_.find("agentworkspaces", key);
  const std::string uid = workspace ? (*workspace)["metadata"]["uid"].get<std::string>() : "";
  std::string plural;
  std::string at = pod_key(key);
  Json change;
  switch (pick(7)) {
    case 0:
    case 1:
    case 2:
      plural = "networkpolicies";
      at = key + "-agent";
      change = std::array<Json, 5>{
          Json{{"spec", {{"egress", Json::array({Json::object()})}}}},
          Json{{"spec", {{"ingress", Json::array({Json::object()})}}}},
          Json{{"spec", {{"egress", Json::array()}}}},
          Json{{"spec", {{"podSelector", {{"matchLabels", {{"else", "where"}}}}}}}},
          Json{{"metadata",
                {{"annotations",
                  {{kNetworkHashAnnotation, "x"}}}}}}}[static_cast<std::size_t>(pick(5))];
      break;
    case 3:
      plural = "configmaps";
      change = {{"data", {{"courier.json", "{}"}, {"more", "x"}}}};
      break;
    case 4:
      plural = "serviceaccounts";
      change = {{"automountServiceAccountToken", true}};
      break;
    case 5: {
      plural = "secrets";
      at = own_gateway_ && pick(2) == 0 ? "palisade-gateway/git-" + uid : key + "-git";
      change = {{"data", {{"token", "eHh4"}}}};
      break;
    }
    default:
      plural = "pods";
      change = pick(2) == 0
                   ? Json{{"metadata", {{"labels", {{kWorkspaceLabel, "else"}}}}}}
                   : Json{{"spec", {{"ephemeralContainers", Json::array({{{"name", "x"}}})}}}};
      break;
  }
  const auto found = api_.find(plural, at);
  const auto lose = [&] {
    if (plural == "pods" && !(*found)["metadata"].contains("deletionTimestamp"))
      ++losses_[owner_uid(*found)];
  };
  const int what = pick(8);
  if (!found) {
    // A name is taken before the operator has it.
    if (what != 7 || plural == "secrets") return;
    note("others: take the name " + plural + " " + at);
    clashed_.insert(key);
    const auto [ns, name] = kube::split_key(at);
    api_.put(plural, {{"metadata", {{"namespace", ns}, {"name", name}}},
                      {"spec", {{"nodeName", "node-1"}}}});
    return;
  }
  if (what < 4) {
    note("others: delete " + plural + " " + at);
    lose();
    api_.remove(plural, at);
  } else if (what == 4 && plural != "pods") {
    edit("others", plural, at, {{"metadata", {{"labels", {{kManagedByLabel, nullptr}}}}}});
  } else {
    edit("others", plural, at, change);
  }
}

void World::run_pods() {
  for (const auto& pod : api_.all("pods")) {
    const Json& metadata = (*pod)["metadata"];
    const std::string key = kube::object_key(*pod);
    if (owner_uid(*pod).empty()) continue;
    if (metadata.contains("deletionTimestamp")) {
      note("kubelet: lets go of " + key);
      api_.remove("pods", key, true);
    } else if (!is_gated(*pod) && !is_final(*pod) && is_made_warm(*pod)) {
      run_warm_pod(pod);
    } else if (is_a_setups(*pod)) {
      run_setup_pod(pod);
    } else if (!is_gated(*pod) && !pod->contains("status") &&
               (setup_claim_of(*pod).empty() || api_.mounts_claim(*pod))) {
      edit(
          "kubelet", "pods", key,
          {{"spec", {{"nodeName", "node-1"}}}, {"status", {{"startTime", format_time(api_.now)}}}});
      begin_aider(key);
    }
  }
  let_go_of_claims();
}

void World::begin_aider(const std::string& pod) {
  edit("kubelet", "pods", pod,
       {{"status",
         {{"phase", "Running"}, {"containerStatuses", aider("running", {{"startedAt", "x"}})}}}});
}

void World::kubelet() {
  const int what = pick(12);
  if (what < 9) return run_pods();
  if (has_pools_ && pick(3) == 2) return fail_warm_pod();
  if (has_setups_ && pick(3) == 2) return fail_setup_pod();
  const std::string key = pod_key(workspace_key());
  const auto pod = api_.find("pods", key);
  if (!pod || is_final(*pod) || !(*pod)["spec"].contains("nodeName")) return;
  const std::string owner = owner_uid(*pod);
  if (owner.empty() || is_a_pools(*pod)) return;
  if (what == 9) {
    ++losses_[owner];
    edit("kubelet", "pods", key,
         {{"status",
           {{"phase", "Failed"},
            {"reason", "Evicted"},
            {"message", "The node was low on resource: memory."}}}});
    return;
  }
  if ((*pod)["status"].contains("containerStatuses")) end_agent(pod, what == 10);
}

// By itself.
void World::end_agent(const kube::ObjectPtr& pod, bool well) {
  ended_.insert(owner_uid(*pod));
  Json status{
      {"phase", well ? "Succeeded" : "Failed"},
      {"containerStatuses", aider("terminated", {{"exitCode", well ? 0 : 1}})},
      {"initContainerStatuses",
       Json::array({{{"name", "courier"},
                     {"state",
                      {{"terminated",
                        {{"exitCode", 0}, {"message", R"({"commits": 1, "pushed": true})"}}}}}}})}};
  edit("kubelet", "pods", kube::object_key(*pod), {{"status", status}});
}

// What the sessions need of others is there, and no name is taken.
void World::heal() {
  if (!api_.find("secrets", kUserSecret)) {
    api_.put("secrets", {{"metadata", {{"namespace", kNs}, {"name", "app-git-token"}}},
                         {"data", {{"token", "dG9rZW4tMQ=="}}}});
  }
  if (has_pools_) heal_pools();
  for (const char* plural : {"pods", "networkpolicies", "configmaps", "serviceaccounts"}) {
    for (const auto& object : api_.all(plural)) {
      const Json& metadata = (*object)["metadata"];
      if (metadata["namespace"] != kNs || metadata.contains("ownerReferences")) continue;
      note("others: give back the name " + std::string(plural) + " " + kube::object_key(*object));
      api_.remove(plural, kube::object_key(*object), true);
    }
  }
}

}  // namespace palisade::op::testing
