// A workspace's life in a real API server: made in order, kept as it should be, changed without
// ever widening a live pod's network, ended, and gone without a trace.
#include <gmock/gmock.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using kube::WatchEventType;

constexpr auto kAdded = WatchEventType::kAdded;
constexpr auto kModified = WatchEventType::kModified;
constexpr auto kDeleted = WatchEventType::kDeleted;

bool gated(const Json& pod) {
  return pod["spec"].contains("schedulingGates");
}

const Json kWider =
    Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}}})},
                  {"ports", Json::array({{{"port", 5432}, {"protocol", "TCP"}}})}}});

TEST_F(ControllerTest, ObjectsAreMadeInOrderAndThePodIsFreedLast) {
  make_secret();
  const Recorder recorder(admin_, ns_);
  make(workspace());
  const Json pod = await_pod();

  const auto made = [&](const char* kind, const std::string& name) {
    return recorder.first(kind, kAdded,
                          [&](const Json& object) { return object["metadata"]["name"] == name; });
  };
  std::uint64_t pod_made = 0;
  std::uint64_t freed = 0;
  eventually("the watch tells of the pod", [&] {
    pod_made = made("Pod", "fix-login-agent");
    freed = recorder.first("Pod", kModified, [](const Json& p) { return !gated(p); });
    return freed != 0;
  });
  EXPECT_TRUE(recorder.first("Pod", kAdded, gated)) << "the pod was made without its gate";
  for (const char* kind : {"ServiceAccount", "ConfigMap", "NetworkPolicy"}) {
    EXPECT_GT(made(kind, "fix-login-agent"), 0U) << kind;
    EXPECT_LT(made(kind, "fix-login-agent"), pod_made) << kind;
  }
  EXPECT_GT(made("Secret", "fix-login-git"), 0U);
  EXPECT_LT(made("Secret", "fix-login-git"), pod_made);
  EXPECT_LT(pod_made, freed);

  const Json policy = find(kNetworkPolicies, "fix-login-agent");
  EXPECT_EQ(policy["spec"]["egress"][0]["to"][0]["podSelector"]["matchLabels"]["app"], "llm");
  EXPECT_EQ(policy["spec"]["egress"][0]["ports"][0]["port"], 9090)
      << "the pod's port, not the Service's";
  EXPECT_EQ(policy["spec"]["egress"][1]["to"][0]["ipBlock"]["cidr"], "192.0.2.10/32");
  const std::string llm = admin_->get(kServices, "llm", "llm")->at("spec").at("clusterIP");
  EXPECT_EQ(pod["spec"]["hostAliases"][0]["ip"], llm);
  EXPECT_EQ(find(kSecrets, "fix-login-git")["data"]["token"], "dG9rZW4tMQ==");
  const Json metadata = find(workspaces(), "fix-login")["metadata"];
  EXPECT_EQ(metadata["finalizers"], Json({kFinalizer}));
  EXPECT_EQ(pod["metadata"]["ownerReferences"][0]["uid"], metadata["uid"]);

  await_condition("Isolated", "True", "NetworkPolicyInPlace");
  EXPECT_EQ(condition("Accepted")["status"], "True");
  EXPECT_EQ(condition("CredentialsReady")["reason"], "Copied");
  EXPECT_EQ(status()["phase"], "Pending");
  EXPECT_EQ(status()["branch"], "palisade/fix-login");
}

TEST_F(ControllerTest, SettledWorkspaceIsLeftAlone) {
  make_secret();
  make(workspace());
  await_pod();
  run();
  await_condition("Ready", "True", "Working");
  const Recorder recorder(admin_, ns_);
  const std::string before = find(workspaces(), "fix-login")["metadata"]["resourceVersion"];
  for (int i = 0; i < 3; ++i)
    nudge();
  // Something that comes after all three has been seen, so they have been looked at.
  Json other = workspace("other");
  make(other);
  await_pod("other-agent");
  for (const Change& change : recorder.changes())
    EXPECT_FALSE(change.object["metadata"]["name"].get<std::string>().starts_with("fix-login"))
        << change.kind << " was written again: " << change.object.dump();
  EXPECT_EQ(status()["phase"], "Running");
  EXPECT_NE(find(workspaces(), "fix-login")["metadata"]["resourceVersion"], before);
  const std::string started = pod()["status"]["startTime"];
  EXPECT_EQ(status()["startedAt"], started);
  EXPECT_EQ(status()["expiresAt"], format_time(*parse_time(started) + std::chrono::hours(2)));
}

TEST_F(ControllerTest, DriftIsPutRight) {
  make_secret();
  make(workspace());
  const Json pod_before = await_pod();
  const std::string name = "fix-login-agent";
  const Json wanted = find(kNetworkPolicies, name)["spec"];
  const Json everything = Json::array({Json::object()});
  struct Row {
    const char* what;
    const kube::Resource* resource;
    Json change;
    const char* section;
  };
  const Row rows[] = {
      {"egress opened", &kNetworkPolicies, {{"spec", {{"egress", everything}}}}, "spec"},
      {"ingress opened", &kNetworkPolicies, {{"spec", {{"ingress", everything}}}}, "spec"},
      {"egress no longer judged",
       &kNetworkPolicies,
       {{"spec", {{"policyTypes", {"Ingress"}}}}},
       "spec"},
      {"other pods selected",
       &kNetworkPolicies,
       {{"spec", {{"podSelector", {{"matchLabels", {{"palisade.dev/workspace", "x"}}}}}}}},
       "spec"},
      {"selection narrowed",
       &kNetworkPolicies,
       {{"spec", {{"podSelector", {{"matchLabels", {{"never", "there"}}}}}}}},
       "spec"},
      {"courier redirected", &kConfigMaps, {{"data", {{"courier.json", "{}"}}}}, "data"},
      {"file slipped in", &kConfigMaps, {{"data", {{"git-ca.pem", "evil"}}}}, "data"},
      {"token mounted",
       &kServiceAccounts,
       {{"automountServiceAccountToken", true}},
       "automountServiceAccountToken"},
      {"label taken off",
       &kNetworkPolicies,
       {{"metadata", {{"labels", {{"app.kubernetes.io/managed-by", nullptr}}}}}},
       "metadata"},
  };
  for (const Row& row : rows) {
    const auto section = [&] {
      const Json found = find(*row.resource, name);
      return std::string_view(row.section) == "metadata" ? found["metadata"]["labels"]
                                                         : found[row.section];
    };
    const Json before = section();
    patch(*row.resource, name, row.change);
    eventually(row.what, [&] { return section() == before; });
  }
  EXPECT_EQ(find(kNetworkPolicies, name)["spec"], wanted);
  for (const kube::Resource* resource : {&kNetworkPolicies, &kConfigMaps, &kServiceAccounts}) {
    const std::string uid = find(*resource, name)["metadata"]["uid"];
    remove(*resource, name);
    eventually(resource->kind + " made anew", [&] {
      const Json found = find(*resource, name);
      return !found.is_null() && found["metadata"]["uid"] != uid;
    });
  }
  eventually("the policy as it was",
             [&] { return find(kNetworkPolicies, name)["spec"] == wanted; });
  EXPECT_EQ(pod()["metadata"]["uid"], pod_before["metadata"]["uid"]) << "the session was ended";
}

TEST_F(ControllerTest, PodChangedBySomebodyElseIsReplaced) {
  make_secret();
  make(workspace());
  struct Row {
    const char* what;
    Json change;
    const char* subresource;
  };
  const Row rows[] = {
      {"another image",
       {{"spec", {{"containers", Json::array({{{"name", "aider"}, {"image", "evil:1"}}})}}}},
       ""},
      {"out of reach of its policy",
       {{"metadata", {{"labels", {{"palisade.dev/workspace", "other"}}}}}},
       ""},
      {"its policy's label gone",
       {{"metadata", {{"labels", {{"palisade.dev/workspace", nullptr}}}}}},
       ""},
      {"no longer known as an agent",
       {{"metadata", {{"labels", {{"palisade.dev/agent", nullptr}}}}}},
       ""},
      {"a debugger",
       {{"spec", {{"ephemeralContainers", Json::array({{{"name", "debug"}, {"image", "x"}}})}}}},
       "ephemeralcontainers"},
      {"a shorter life", {{"spec", {{"activeDeadlineSeconds", 5}}}}, ""},
  };
  for (const Row& row : rows) {
    const std::string uid = await_pod()["metadata"]["uid"];
    // Strategic: lists of containers are merged by name.
    const auto changed =
        admin_->patch(kPods, ns_, "fix-login-agent", kube::PatchType::kStrategicMerge, row.change,
                      row.subresource);
    ASSERT_TRUE(changed) << row.what << ": " << changed.error().text();
    SCOPED_TRACE(row.what);
    await_pod("fix-login-agent", uid);
  }
}

TEST_F(ControllerTest, WiderNetworkComesAfterThePodsEnd) {
  make_secret();
  make(workspace());
  const std::string uid = await_pod()["metadata"]["uid"];
  bind();
  run();
  const Json before = find(kNetworkPolicies, "fix-login-agent")["spec"];
  const Recorder recorder(admin_, ns_);
  patch(workspaces(), "fix-login", {{"spec", {{"isolation", {{"egress", kWider}}}}}});
  eventually("the pod is told to end",
             [&] { return pod()["metadata"].contains("deletionTimestamp"); });
  // While it lives on (up to a minute of grace), nothing opens, however often it is looked at.
  await_condition("Ready", "False", "Replacing");
  nudge();
  EXPECT_EQ(find(kNetworkPolicies, "fix-login-agent")["spec"], before);
  remove(kPods, "fix-login-agent", true);
  await_pod("fix-login-agent", uid);
  EXPECT_EQ(find(kNetworkPolicies, "fix-login-agent")["spec"]["egress"].size(), 3U);
  std::uint64_t ended = 0;
  std::uint64_t widened = 0;
  std::uint64_t made = 0;
  eventually("the watch tells of it all", [&] {
    ended = recorder.first("Pod", kDeleted);
    widened = recorder.first("NetworkPolicy", kModified);
    made = recorder.first("Pod", kAdded);
    return ended != 0 && widened != 0 && made != 0;
  });
  EXPECT_LT(ended, widened);
  EXPECT_LT(widened, made);
}

TEST_F(ControllerTest, NarrowerNetworkComesAtOnceAndSparesThePod) {
  make_secret();
  Json wide = workspace();
  wide["spec"]["isolation"]["egress"] = kWider;
  make(wide);
  const std::string uid = await_pod()["metadata"]["uid"];
  bind();
  run();
  ASSERT_EQ(find(kNetworkPolicies, "fix-login-agent")["spec"]["egress"].size(), 3U);
  patch(workspaces(), "fix-login", {{"spec", {{"isolation", {{"egress", nullptr}}}}}});
  eventually("the policy is narrower", [&] {
    return find(kNetworkPolicies, "fix-login-agent")["spec"]["egress"].size() == 2U;
  });
  nudge();
  await_condition("Ready", "True", "Working");
  EXPECT_EQ(pod()["metadata"]["uid"], uid);
  EXPECT_FALSE(pod()["metadata"].contains("deletionTimestamp"));
}

TEST_F(ControllerTest, ChangedSpecMakesANewPod) {
  make_secret();
  make(workspace());
  const std::string uid = await_pod()["metadata"]["uid"];
  patch(workspaces(), "fix-login", {{"spec", {{"agent", {{"model", "other"}}}}}});
  EXPECT_NE(await_pod("fix-login-agent", uid).dump().find("openai/other"), std::string::npos);
  EXPECT_TRUE(told("Replacing"));
}

TEST_F(ControllerTest, SuspendedSessionHoldsNothingAndStartsAnew) {
  make_secret();
  make(workspace());
  const std::string uid = await_pod()["metadata"]["uid"];
  const auto suspend = [&](bool value) {
    patch(workspaces(), "fix-login", {{"spec", {{"lifecycle", {{"suspend", value}}}}}});
  };
  suspend(true);
  eventually("pod and token gone",
             [&] { return pod().is_null() && find(kSecrets, "fix-login-git").is_null(); });
  eventually("the phase", [&] { return status().value("phase", "") == "Suspended"; });
  EXPECT_FALSE(status().contains("podName"));
  EXPECT_FALSE(find(kNetworkPolicies, "fix-login-agent").is_null());
  suspend(false);
  await_pod("fix-login-agent", uid);
}

TEST_F(ControllerTest, DeletionEndsThePodFirstAndLeavesNothing) {
  make_secret();
  make(workspace());
  await_pod();
  bind();
  run();
  const Recorder recorder(admin_, ns_);
  remove(workspaces(), "fix-login");
  eventually("the pod is told to end",
             [&] { return pod()["metadata"].contains("deletionTimestamp"); });
  nudge();
  // While the pod lives its policy and its token do.
  EXPECT_FALSE(find(kNetworkPolicies, "fix-login-agent").is_null());
  EXPECT_FALSE(find(kSecrets, "fix-login-git").is_null());
  remove(kPods, "fix-login-agent", true);
  eventually("the workspace is gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  for (const kube::Resource* resource :
       {&kPods, &kNetworkPolicies, &kConfigMaps, &kServiceAccounts, &kSecrets}) {
    kube::ListOptions list;
    list.ns = ns_;
    const auto left = admin_->list(*resource, list);
    ASSERT_TRUE(left) << left.error().text();
    for (const Json& object : left->items)
      EXPECT_EQ(object["metadata"]["name"], "app-git-token") << resource->kind << " is left";
  }
  eventually("the watch tells of it all", [&] {
    return recorder.first("NetworkPolicy", kDeleted) != 0 &&
           recorder.first("Secret", kDeleted) != 0;
  });
  EXPECT_LT(recorder.first("Pod", kDeleted), recorder.first("NetworkPolicy", kDeleted));
  EXPECT_LT(recorder.first("Pod", kDeleted), recorder.first("Secret", kDeleted));
}

TEST_F(ControllerTest, EndOfASessionIsTold) {
  make_secret();
  const std::string head(40, 'a');
  struct Row {
    const char* name;
    const char* pod_phase;
    std::string report;
    Json more;  // merged into the pod's status
    const char* phase;
    const char* reason;
    const char* says;
  };
  const Row rows[] = {
      {"done", "Succeeded", R"({"commits": 2, "head": ")" + head + R"(", "pushed": true})",
       Json::object(), "Succeeded", "Succeeded", "2 commit(s) pushed to palisade/done"},
      {"idle", "Succeeded", R"({"commits": 0, "pushed": false})", Json::object(), "Succeeded",
       "Succeeded", "nothing was pushed"},
      {"unpushed", "Succeeded", R"({"commits": 1, "pushed": false, "error": "the host says 403"})",
       Json::object(), "Failed", "PushFailed", "the host says 403"},
      {"silent", "Succeeded", "not a report", Json::object(), "Failed", "NoReport", "no report"},
      {"late",
       "Failed",
       R"({"commits": 1, "pushed": true})",
       {{"reason", "DeadlineExceeded"}, {"message", "Pod was active too long"}},
       "Expired",
       "DeadlineExceeded",
       "the deadline of 7200 s is over"},
      {"evicted",
       "Failed",
       "",
       {{"reason", "Evicted"}, {"message", "disk is full"}},
       "Failed",
       "Evicted",
       "disk is full"},
  };
  for (const Row& row : rows)
    make(workspace(row.name));
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const std::string name = row.name;
    await_pod(name + "-agent");
    run(name + "-agent");
    if (!row.more.empty()) set_status(row.more, name + "-agent");
    end(row.pod_phase, row.report, name + "-agent");
    await_condition("Ready", "False", row.reason, name);
    EXPECT_EQ(status(name)["phase"], row.phase);
    EXPECT_THAT(condition("Ready", name)["message"].get<std::string>(),
                ::testing::HasSubstr(row.says));
    EXPECT_TRUE(status(name).contains("finishedAt"));
    eventually("the token is gone", [&] { return find(kSecrets, name + "-git").is_null(); });
    EXPECT_FALSE(pod(name + "-agent").is_null()) << "its log can still be read";
  }
  EXPECT_EQ(status("done")["commits"], 2);
  EXPECT_EQ(status("done")["head"], head);
  eventually("an event tells of it", [&] { return told("Expired", "late"); });
}

TEST_F(ControllerTest, FinishedWorkspaceGoesAfterItsTime) {
  make_secret();
  Json brief = workspace();
  brief["spec"]["lifecycle"]["ttlAfterFinished"] = "0s";
  make(brief);
  await_pod();
  end("Succeeded", R"({"commits": 0, "pushed": false})");
  eventually("the workspace is gone", [&] { return find(workspaces(), "fix-login").is_null(); });
  EXPECT_TRUE(pod().is_null());
  EXPECT_TRUE(find(kNetworkPolicies, "fix-login-agent").is_null());
}

}  // namespace
}  // namespace palisade::op::testing
