// When nobody asks for anything any more and nothing fails: it comes to rest as the specs say.
#include <algorithm>

#include "operator/fixture.h"
#include "operator/simulation_world.h"

namespace palisade::op::testing {

namespace {

Json section(const Json& object, const char* name) {
  return object.value(name, Json::object());
}

std::string text_in(const Json& object, const char* field) {
  const auto found = object.find("status");
  return found == object.end() ? std::string() : found->value(field, "");
}

// A ConfigMap's data but for what is left of the deadline, which depends on when it was written.
Json without_time(Json data) {
  Json guard = Json::parse(data.value("guard.json", "{}"));
  guard["limits"].erase("deadline");
  data["guard.json"] = guard;
  return data;
}

}  // namespace

// All events are heard and nothing is due; no time passes.
void World::drain() {
  for (int i = 0; i < 100; ++i) {
    bool idle = true;
    const auto before = api_.writes;
    for (const auto& process : processes_) {
      if (process) process->hear_all();
    }
    for (int looks = 0; processes_[leader_]->is_due() && looks < 50; ++looks) {
      work();
      processes_[leader_]->hear_all();
      idle = false;
    }
    run_pods();
    api_.collect();
    if (idle && api_.writes == before) return;
  }
  if (api_.broken.empty()) api_.broken = "the operator never comes to rest";
}

std::string World::settle() {
  note("-- all is quiet");
  troubled_ = false;
  carry_out_late();
  drain();
  // Who was told to come back in a second does so.
  pass(std::chrono::seconds(2));
  drain();
  if (const std::string why = not_prompt(); !why.empty()) return why;
  heal();
  // Longer than any pause after a lost pod, were the clock set back meanwhile.
  std::string why = "never looked at";
  for (int minutes = 0; minutes < 40 && !why.empty(); minutes += 6) {
    pass(std::chrono::minutes(6));
    drain();
    // A setup goes on step by step.
    for (int steps = 0; has_setups_ && steps < 6; ++steps) {
      pass(std::chrono::seconds(5));
      drain();
    }
    if (!api_.broken.empty()) return api_.broken;
    why = wrong();
  }
  if (!why.empty()) return why;
  const int before = api_.writes;
  pass(std::chrono::minutes(2));
  drain();
  if (!api_.broken.empty()) return api_.broken;
  if (api_.writes != before) return "writes go on although all is as it should be";
  return {};
}

Access World::access_of(const Workspace& workspace) const {
  const auto at = [&](const std::string& url) {
    const auto target = parse_target(url);
    const auto made =
        target->is_address()
            ? address_endpoint(*target, {target->host}, {"10.96.0.1"})
            : service_endpoint(*target,
                               *api_.find("services", "palisade-gateway/palisade-gateway"));
    return *made;
  };
  Access out;
  out.llm_url = own_gateway_ ? gateway().llm_url() : "http://192.0.2.77:8080/v1";
  out.llm = at(out.llm_url);
  if (wants_gateway_for_git(workspace, config_.defaults)) out.git_url = gateway().git_url();
  out.git = at(out.git_url.empty() ? workspace.url : out.git_url);
  return out;
}

// What a watch tells of is put right without waiting for any timer, where an agent runs.
std::string World::not_prompt() const {
  for (const auto& workspace : api_.all("agentworkspaces")) {
    const std::string key = kube::object_key(*workspace);
    const auto pod = api_.find("pods", pod_key(key));
    const bool lives = pod && owner_uid(*pod) == (*workspace)["metadata"]["uid"] &&
                       !is_gated(*pod) && !is_final(*pod) &&
                       !(*pod)["metadata"].contains("deletionTimestamp");
    if (!lives || clashed_.contains(key) || is_final(*workspace)) continue;
    const auto policy = api_.find("networkpolicies", key + "-agent");
    if (!policy) return key + " runs without its policy until the next timer";
    const auto parsed = parse_workspace(*workspace);
    const Workspace wanted = *parsed;
    if (section(*policy, "spec") != desired_network_policy(wanted, access_of(wanted))["spec"])
      return key + " runs in a network that is not its spec's until the next timer: " +
             section(*policy, "spec").dump();
  }
  return {};
}

std::string World::wrong_session(const Workspace& wanted, const Json& workspace) const {
  const std::string agent = wanted.ns + "/" + wanted.agent_object();
  Defaults set = config_.defaults;
  if (set.gateway) set.gateway->authorities = gateway().authorities;
  const Access access = access_of(wanted);
  const bool through = git_through_gateway(access, set);
  const auto user = api_.find("secrets", wanted.ns + "/app-git-token");
  const Json token = (*user)["data"]["token"];
  if (text_in(workspace, "phase") != "Running")
    return "is " + text_in(workspace, "phase") + " and should be Running";
  const auto pod = api_.find("pods", agent);
  if (!pod || is_gated(*pod) || is_final(*pod)) return "has no pod that runs";
  if (text_in(workspace, "podUID") != (*pod)["metadata"]["uid"]) return "is told of another pod";
  const Json made = desired_pod(wanted, set, access, "token");
  for (const char* name : {kSpecHashAnnotation, kAccessAnnotation}) {
    if ((*pod)["metadata"]["annotations"][name] != made["metadata"]["annotations"][name])
      return std::string("has a pod of another spec: ") + name;
  }
  if (section(*pod, "metadata")["labels"] != made["metadata"]["labels"] ||
      (*pod)["spec"].contains("ephemeralContainers"))
    return "has a pod that others changed";
  const auto policy = api_.find("networkpolicies", wanted.ns + "/" + wanted.network_policy());
  if (!policy || section(*policy, "spec") != desired_network_policy(wanted, access)["spec"])
    return "has another network than its spec's";
  const auto config_map = api_.find("configmaps", agent);
  const std::vector<Unreachable> unreachable{
      {"the cloud's metadata service", "169.254.169.254", 80, false, true},
      {"the API server", "10.96.0.1", 443, false, true}};
  const Json data = desired_config_map(wanted, set, access, unreachable)["data"];
  if (!config_map || without_time(section(*config_map, "data")) != without_time(data))
    return "has another ConfigMap than its spec's";
  const auto account = api_.find("serviceaccounts", agent);
  if (!account || (*account)["automountServiceAccountToken"] != false)
    return "has no ServiceAccount as it should be";
  for (const auto& object : {config_map, account, policy}) {
    if (section(section(*object, "metadata"), "labels").value(kManagedByLabel, "") != kManagedBy)
      return "has an object without its label";
  }
  const auto direct = api_.find("secrets", wanted.ns + "/" + wanted.git_secret());
  const auto there = api_.find("secrets", "palisade-gateway/" + wanted.gateway_secret());
  if (static_cast<bool>(direct) == through || static_cast<bool>(there) != through)
    return "has its token where it is not used";
  if ((*(through ? there : direct))["data"]["token"] != token) return "has another token";
  return {};
}

std::string World::wrong_with(const Json& workspace) const {
  const auto parsed = parse_workspace(workspace);
  if (!parsed) return "cannot be read: " + parsed.error();
  Workspace wanted = *parsed;
  if (wanted.setup)
    wanted.setup_claim = section(section(workspace, "status"), "setup").value("claim", "");
  if (wanted.deleting) return "never goes";
  const int restarts = section(workspace, "status").value("restarts", 0);
  const auto lost = losses_.find(wanted.uid);
  // However often it was interrupted: what the operator ends itself is no loss, but where the
  // delete comes late and the next leader has kept the pod.
  if (restarts > (lost == losses_.end() ? 0 : lost->second) + late_ends_)
    return "counts " + std::to_string(restarts) + " lost pods, which are too many";
  const bool finished = is_final(workspace);
  if (has_setups_) {
    if (const std::string why = wrong_setup(workspace); !why.empty()) return why;
  }
  const bool unprepared =
      section(section(workspace, "status"), "result").value("reason", "").starts_with("Setup");
  if (finished && !unprepared && !ended_.contains(wanted.uid))
    return "has ended, but its agent has not";
  if (!finished && !wanted.suspend) return wrong_session(wanted, workspace);
  const auto pod = api_.find("pods", wanted.ns + "/" + wanted.agent_object());
  if (pod && !(finished && is_final(*pod))) return "has a pod, and should not";
  if (!finished && text_in(workspace, "phase") != "Suspended") return "is not Suspended";
  if (api_.find("secrets", wanted.ns + "/" + wanted.git_secret()) ||
      api_.find("secrets", "palisade-gateway/" + wanted.gateway_secret()))
    return "has a token, and should not";
  return {};
}

std::string World::wrong() const {
  std::set<std::string> owners;
  for (const auto& workspace : api_.all("agentworkspaces")) {
    owners.insert((*workspace)["metadata"]["uid"]);
    if (const std::string why = wrong_with(*workspace); !why.empty())
      return kube::object_key(*workspace) + " " + why;
  }
  for (const auto& pool : api_.all("agentworkspacepools")) {
    owners.insert((*pool)["metadata"]["uid"]);
    if (const std::string why = wrong_pool(*pool); !why.empty())
      return "pool " + kube::object_key(*pool) + " " + why;
  }
  if (const std::string why = wrong_claims(); !why.empty()) return why;
  for (const char* plural :
       {"pods", "networkpolicies", "configmaps", "serviceaccounts", "secrets"}) {
    for (const auto& object : api_.all(plural)) {
      const std::string owner = owner_uid(*object);
      if (!owner.empty() && !owners.contains(owner))
        return std::string("an orphan: ") + plural + " " + kube::object_key(*object);
    }
  }
  return {};
}

}  // namespace palisade::op::testing
