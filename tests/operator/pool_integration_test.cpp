// Pools against a real API server with the chart's rights: pods wait, workspaces take them, once.
#include <map>
#include <set>

#include <gmock/gmock.h>

#include <operator/pool.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using ::testing::HasSubstr;

class PoolTest : public ControllerTest {
 protected:
  void SetUp() override {
    ControllerTest::SetUp();
    make_secret();
    make(workspace_templates(), {{"apiVersion", kApiVersion},
                                 {"kind", "AgentWorkspaceTemplate"},
                                 {"metadata", {{"name", "python"}}},
                                 {"spec", {{"workspace", {{"llm", {{"gateway", "own"}}}}}}}});
  }

  void make_pool(int replicas) {
    make(pools(), {{"apiVersion", kApiVersion},
                   {"kind", kPoolApiKind},
                   {"metadata", {{"name", "warm"}}},
                   {"spec", {{"templateRef", {{"name", "python"}}}, {"replicas", replicas}}}});
  }
  [[nodiscard]] Json pool() const { return find(pools(), "warm"); }
  [[nodiscard]] Json pool_status() const {
    const Json found = pool();
    return found.is_null() ? Json::object() : found.value("status", Json::object());
  }
  [[nodiscard]] std::string reason(const std::string& type) const {
    for (const Json& entry : pool_status().value("conditions", Json::array())) {
      if (entry.at("type") == type) return entry.at("reason");
    }
    return {};
  }
  [[nodiscard]] std::vector<Json> listed(const kube::Resource& resource) const {
    kube::ListOptions list;
    list.ns = ns_;
    list.label_selector = "palisade.dev/pool=warm";
    auto found = admin_->list(resource, list);
    if (!found) throw std::runtime_error(found.error().text());
    return std::move(found->items);
  }
  [[nodiscard]] std::vector<Json> waiting() const {
    std::vector<Json> out = listed(kPods);
    std::erase_if(out, [](const Json& pod) {
      return pod["spec"].contains("schedulingGates") ||
             pod["metadata"].contains("deletionTimestamp");
    });
    return out;
  }
  // What the kubelet says once the containers of a pod wait.
  void bring_up(const Json& pod) {
    Json statuses = Json::array();
    for (const char* name : {"guard", "recorder", "relay", "courier", "checkout"}) {
      const Json state = name == std::string("guard")
                             ? Json{{"terminated", {{"exitCode", 0}, {"reason", "Completed"}}}}
                             : Json{{"running", {{"startedAt", "2026-01-01T10:00:05Z"}}}};
      statuses.push_back({{"name", name},
                          {"image", "i"},
                          {"imageID", "i"},
                          {"ready", false},
                          {"restartCount", 0},
                          {"state", state}});
    }
    set_status({{"phase", "Pending"},
                {"startTime", format_time(std::chrono::system_clock::now())},
                {"initContainerStatuses", statuses}},
               pod["metadata"]["name"]);
  }
  void await_waiting(std::size_t count) {
    eventually(std::to_string(count) + " pods", [&] { return waiting().size() == count; });
  }
  void await_warm(std::size_t count) {
    await_waiting(count);
    for (const Json& pod : waiting()) {
      if (!pod["status"].contains("startTime")) bring_up(pod);
    }
    eventually("warm",
               [&] { return pool_status().value("readyReplicas", 0) == static_cast<int>(count); });
  }
  [[nodiscard]] Json templated(const std::string& name = "fix-login") const {
    Json out = through_gateway(name);
    out["metadata"]["annotations"]["palisade.dev/template"] = "as the webhook writes it";
    out["spec"]["templateRef"] = {{"name", "python"}};
    return out;
  }
  // The workspaces, by uid, that each pod of the namespace has ever been.
  static std::map<std::string, std::set<std::string>> owners(const Recorder& recorder) {
    std::map<std::string, std::set<std::string>> out;
    for (const Change& change : recorder.changes()) {
      if (change.kind != "Pod") continue;
      for (const Json& owner : change.object["metadata"]["ownerReferences"]) {
        if (owner["kind"] == kKind) out[change.object["metadata"]["uid"]].insert(owner["uid"]);
      }
    }
    return out;
  }
};

TEST_F(PoolTest, KeepsAsManyAsTheScaleSubresourceSays) {
  const Recorder recorder(admin_, ns_);
  make_pool(2);
  await_warm(2);
  EXPECT_EQ(reason("Ready"), "Warm");
  // Its policy stood before its first pod, and each has what is named after it.
  const auto made = kube::WatchEventType::kAdded;
  EXPECT_LT(recorder.first("NetworkPolicy", made), recorder.first("Pod", made));
  for (const Json& pod : waiting()) {
    const std::string name = pod["metadata"]["name"];
    EXPECT_EQ(pod["spec"]["serviceAccountName"], name);
    EXPECT_FALSE(find(kServiceAccounts, name).is_null());
    EXPECT_EQ(find(kConfigMaps, name)["data"].size(), 2U);
  }
  const Json scale = patch(pools(), "warm", {{"spec", {{"replicas", 3}}}}, "scale");
  EXPECT_EQ(scale["status"]["selector"], "palisade.dev/pool=warm");
  await_warm(3);
  patch(pools(), "warm", {{"spec", {{"replicas", 1}}}}, "scale");
  await_waiting(1);
  eventually("what was named after the others has gone", [&] {
    return listed(kServiceAccounts).size() == 1 && listed(kConfigMaps).size() == 1;
  });
  // Somebody deletes one.
  const Json only = waiting().at(0);
  remove(kPods, only["metadata"]["name"], true);
  eventually("another", [&] {
    const auto now = waiting();
    return now.size() == 1 && now[0]["metadata"]["uid"] != only["metadata"]["uid"];
  });
}

TEST_F(PoolTest, IsMadeAnewAsTheTemplateChangesAndEndsWithNothingLeft) {
  make_pool(2);
  await_warm(2);
  std::set<std::string> before;
  for (const Json& pod : waiting())
    before.insert(pod["metadata"]["name"]);
  patch(workspace_templates(), "python",
        {{"spec", {{"workspace", {{"agent", {{"image", "registry.example.com/other:1"}}}}}}}});
  eventually("all are new", [&] {
    const auto now = waiting();
    EXPECT_LE(now.size(), 3U);
    for (const Json& pod : now) {
      if (!pod["status"].contains("startTime")) bring_up(pod);
    }
    return now.size() == 2 && std::ranges::none_of(now, [&](const Json& pod) {
             return before.contains(pod["metadata"]["name"]);
           });
  });
  remove(pools(), "warm");
  eventually("gone", [&] { return pool().is_null(); });
  EXPECT_TRUE(listed(kPods).empty());
  EXPECT_TRUE(listed(kServiceAccounts).empty());
  EXPECT_TRUE(listed(kConfigMaps).empty());
  EXPECT_TRUE(find(kNetworkPolicies, "warm-pool").is_null());
}

// A pool looks at itself once a minute: sooner only where it is told.
TEST_F(PoolTest, ItsNetworkPolicyIsRepairedAsSoonAsSomebodyTouchesIt) {
  make_pool(1);
  await_warm(1);
  const auto network = [&] { return find(kNetworkPolicies, "warm-pool"); };
  const Json first = network();
  remove(kNetworkPolicies, "warm-pool");
  eventually("the policy is back", [&] {
    const Json now = network();
    return !now.is_null() && now["metadata"]["uid"] != first["metadata"]["uid"];
  });
  patch(kNetworkPolicies, "warm-pool", {{"spec", {{"egress", Json::array({Json::object()})}}}});
  eventually("it is closed again", [&] { return network()["spec"] == first["spec"]; });
}

TEST_F(PoolTest, AWorkspaceTakesOneAndThePoolFollowsUp) {
  make_pool(1);
  await_warm(1);
  const Json warm = waiting().at(0);
  const std::string name = warm["metadata"]["name"];
  const Recorder recorder(admin_, ns_);
  const std::string uid = make(templated())["metadata"]["uid"];
  eventually("it is the workspace's",
             [&] { return pod(name)["metadata"]["ownerReferences"][0]["uid"] == uid; });
  eventually("all is delivered", [&] {
    return pod(name)["metadata"]["annotations"].contains("palisade.dev/delivered");
  });
  EXPECT_EQ(pod(name)["metadata"]["uid"], warm["metadata"]["uid"]);
  for (const kube::Resource* kind : {&kServiceAccounts, &kConfigMaps}) {
    const Json object = find(*kind, name);
    ASSERT_EQ(object["metadata"]["ownerReferences"].size(), 1U);
    EXPECT_EQ(object["metadata"]["ownerReferences"][0]["uid"], uid);
  }
  const Json data = find(kConfigMaps, name)["data"];
  EXPECT_THAT(data["command.json"].get<std::string>(), HasSubstr("aider"));
  EXPECT_EQ(status()["podName"], name);
  EXPECT_EQ(status()["warmPod"]["pool"], "warm");
  eventually("an event tells of it", [&] { return told("PodTaken"); });
  // No pod of its own was made, nor anything else of that name but its policy.
  EXPECT_TRUE(pod("fix-login-agent").is_null());
  EXPECT_TRUE(find(kServiceAccounts, "fix-login-agent").is_null());
  // The policy stood before the pod was given to it, and the ConfigMap came after.
  const auto changed = kube::WatchEventType::kModified;
  const auto is_taken = [&](const Json& object) {
    return object["metadata"]["ownerReferences"][0]["uid"] == uid;
  };
  const auto given = recorder.first("Pod", changed, is_taken);
  EXPECT_LT(recorder.first("NetworkPolicy", kube::WatchEventType::kAdded), given);
  EXPECT_GT(recorder.first("ConfigMap", changed, is_taken), given);
  await_warm(1);
  const std::string next = waiting().at(0)["metadata"]["name"];

  // The pool's end is not the session's.
  remove(pools(), "warm");
  eventually("the pool is gone", [&] { return pool().is_null(); });
  EXPECT_TRUE(pod(next).is_null());
  EXPECT_FALSE(pod(name)["metadata"].contains("deletionTimestamp"));
  run(name);
  await_condition("Ready", "True", "Working");
  end("Succeeded", R"({"commits": 0, "pushed": true})", name);
  eventually("it has ended", [&] { return status()["phase"] == "Succeeded"; });
  remove(workspaces(), "fix-login");
  eventually("the workspace is gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  EXPECT_TRUE(pod(name).is_null());
  EXPECT_TRUE(find(kServiceAccounts, name).is_null());
  EXPECT_TRUE(find(kConfigMaps, name).is_null());
}

TEST_F(PoolTest, AWorkspaceThatIsOtherwiseHasAPodOfItsOwn) {
  make_pool(1);
  await_warm(1);
  Json other = templated();
  other["spec"]["agent"]["resources"]["limits"]["memory"] = "3Gi";
  make(other);
  await_pod();
  EXPECT_EQ(waiting().size(), 1U);
  EXPECT_FALSE(status().contains("warmPod"));
}

// Nobody leads and both work: what a Lease cannot wholly prevent.
TEST_F(PoolTest, TwoOperatorsNeverGiveOnePodToTwo) {
  make_pool(3);
  await_warm(3);
  prometheus::Registry registry;
  const auto second = make_controller(registry);
  second->start();
  const Recorder recorder(admin_, ns_);
  std::map<std::string, std::string> uids;
  for (int i = 0; i < 6; ++i) {
    const std::string name = "w" + std::to_string(i);
    uids[name] = make(templated(name))["metadata"]["uid"];
  }
  const auto pods_of = [&](const std::string& uid) {
    std::vector<std::string> out;
    kube::ListOptions list;
    list.ns = ns_;
    const auto found = admin_->list(kPods, list);
    for (const Json& pod : found->items) {
      if (pod["metadata"]["ownerReferences"][0]["uid"] == uid)
        out.push_back(pod["metadata"]["name"]);
    }
    return out;
  };
  for (const auto& [name, uid] : uids) {
    eventually(name + " has its pod", [&, n = name, u = uid] {
      const auto pods = pods_of(u);
      return pods.size() == 1 && status(n).value("podName", "") == pods[0];
    });
  }
  for (const auto& [pod, of] : owners(recorder))
    EXPECT_EQ(of.size(), 1U) << pod;
  const auto took = [&](const std::string& name) { return status(name).contains("warmPod"); };
  std::size_t taken = 0;
  for (const auto& entry : uids)
    taken += took(entry.first) ? 1 : 0;
  EXPECT_LE(taken, 3U);
  EXPECT_GE(taken, 1U);
}

// Between the making of the ConfigMap and the moment that the webhook knows the pod nobody guards
// it, and a namespace may be out of the webhook's reach.
TEST_F(PoolTest, APodThatSomebodyHadAHandInIsNeverTakenAndEnds) {
  make_pool(1);
  await_warm(1);
  for (const char* what : {"config", "image", "label"}) {
    SCOPED_TRACE(what);
    await_warm(1);
    const Json before = waiting().at(0);
    const std::string name = before["metadata"]["name"];
    const std::string is = what;
    if (is == "config") patch(kConfigMaps, name, {{"data", {{"relay.json", "{}"}}}});
    if (is == "image") {
      Json containers = before["spec"]["containers"];
      containers[0]["image"] = "registry.example.com/theirs:1";
      patch(kPods, name, {{"spec", {{"containers", containers}}}});
    }
    if (is == "label")
      patch(kPods, name, {{"metadata", {{"labels", {{kWorkspaceLabel, "fix-login"}}}}}});
    // The pool hears of pods; of a ConfigMap when it looks for another reason.
    patch(pools(), "warm", {{"metadata", {{"annotations", {{"test/touched", what}}}}}});
    eventually("another waits", [&] {
      const auto now = waiting();
      return now.size() == 1 && now[0]["metadata"]["uid"] != before["metadata"]["uid"];
    });
  }
}

// The write by which a pod is taken, sent by one that led before, comes when the workspace has
// another pod.
TEST_F(PoolTest, APodThatWasTakenTooLateEndsAndTheSessionsOwnStays) {
  make_pool(1);
  await_warm(1);
  Json other = templated();
  other["spec"]["agent"]["resources"]["limits"]["memory"] = "3Gi";
  const std::string uid = make(other)["metadata"]["uid"];
  const Json own = await_pod();
  const std::string late = waiting().at(0)["metadata"]["name"];
  patch(kPods, late,
        {{"metadata",
          {{"labels", {{kPoolLabel, nullptr}, {kWorkspaceLabel, "fix-login"}}},
           {"ownerReferences", own["metadata"]["ownerReferences"]}}}});
  eventually("it has gone", [&] { return pod(late).is_null(); });
  EXPECT_EQ(pod()["metadata"]["uid"], own["metadata"]["uid"]);
  EXPECT_FALSE(pod()["metadata"].contains("deletionTimestamp"));
  await_waiting(1);
  EXPECT_NE(waiting().at(0)["metadata"]["name"], late);
}

// Who is offered a pod and cannot begin keeps it from nobody.
TEST_F(PoolTest, OneThatCannotBeginHoldsNoPodBack) {
  make_pool(1);
  await_warm(1);
  Json poor = templated("poor");
  poor["spec"]["repository"]["credentials"]["secretRef"]["name"] = "not-there";
  make(poor);
  await_condition("CredentialsReady", "False", "SecretNotFound", "poor");
  make(templated());
  eventually("it took the pod", [&] { return status().contains("warmPod"); });
}

TEST_F(PoolTest, WhatBecomesOfClaimsIsCounted) {
  const auto claims = [](const std::string& result) {
    for (const auto& family : registry_->Collect()) {
      if (family.name != "palisade_operator_warm_claims_total") continue;
      for (const auto& metric : family.metric) {
        if (metric.label.at(0).value == result) return metric.counter.value;
      }
    }
    return -1.0;
  };
  const double taken = claims("taken");
  const double none = claims("none");
  const double unfit = claims("unfit");
  make_pool(1);
  await_warm(1);
  make(templated());
  eventually("taken", [&] { return claims("taken") > taken; });
  patch(pools(), "warm", {{"spec", {{"replicas", 0}}}}, "scale");
  await_waiting(0);
  make(templated("second"));
  eventually("none waits", [&] { return claims("none") > none; });
  Json terminal = templated("third");
  terminal["spec"].erase("task");
  make(terminal);
  eventually("it is another", [&] { return claims("unfit") > unfit; });
}

TEST_F(PoolTest, QuotaIsToldAndNothingSpins) {
  const kube::Resource quotas{"", "v1", "resourcequotas", "ResourceQuota", true};
  make(quotas, {{"apiVersion", "v1"},
                {"kind", "ResourceQuota"},
                {"metadata", {{"name", "few"}}},
                {"spec", {{"hard", {{"pods", "0"}}}}}});
  // There is no controller that would fill it in.
  patch(quotas, "few", {{"status", {{"hard", {{"pods", "0"}}}, {"used", {{"pods", "0"}}}}}},
        "status");
  make_pool(1);
  eventually("it says so", [&] { return reason("Ready") == "PodNotCreated"; });
  const Recorder recorder(admin_, ns_);
  std::this_thread::sleep_for(std::chrono::seconds(3));
  EXPECT_LT(recorder.changes().size(), 60U);
  EXPECT_TRUE(listed(kPods).empty());
}

}  // namespace
}  // namespace palisade::op::testing
