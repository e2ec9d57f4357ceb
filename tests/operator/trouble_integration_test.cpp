// What cannot work: the workspace says why and what to do, leaves the others alone, and recovers by
// itself when the cause goes.
#include <gmock/gmock.h>

#include "operator/cluster.h"

namespace palisade::op::testing {
namespace {

using namespace kube::resources;
using ::testing::HasSubstr;

const kube::Resource kQuotas{"", "v1", "resourcequotas", "ResourceQuota", true};

std::string message(const Json& condition) {
  return condition["message"];
}

TEST_F(ControllerTest, MissingSecretIsNamedAndItsComingIsNoticed) {
  make(workspace());
  await_condition("CredentialsReady", "False", "SecretNotFound");
  EXPECT_THAT(message(condition("CredentialsReady")),
              HasSubstr("kubectl create secret generic app-git-token -n " + ns_));
  EXPECT_EQ(condition("Ready")["reason"], "CredentialsMissing");
  EXPECT_TRUE(pod().is_null());
  eventually("an event tells of it", [&] { return told("SecretNotFound"); });

  make(kSecrets, {{"apiVersion", "v1"},
                  {"kind", "Secret"},
                  {"metadata", {{"name", "app-git-token"}}},
                  {"stringData", {{"password", "x"}}}});
  nudge();
  await_condition("CredentialsReady", "False", "KeyNotFound");
  patch(kSecrets, "app-git-token", {{"stringData", {{"token", "two\nlines"}}}});
  nudge();
  await_condition("CredentialsReady", "False", "TokenInvalid");
  EXPECT_THAT(message(condition("CredentialsReady")), Not(HasSubstr("two")));
  EXPECT_TRUE(pod().is_null());

  // Nobody tells of Secrets: it looks again by itself.
  patch(kSecrets, "app-git-token", {{"stringData", {{"token", "  good-token\n"}}}});
  await_pod();
  eventually("the condition holds",
             [&] { return condition("CredentialsReady")["status"] == "True"; });
  EXPECT_EQ(find(kSecrets, "fix-login-git")["data"]["token"], "Z29vZC10b2tlbg==");
}

TEST_F(ControllerTest, RotatedTokenIsCopiedIntoTheRunningSession) {
  make_secret("token-1");
  make(workspace());
  const std::string uid = await_pod()["metadata"]["uid"];
  run();
  await_condition("Ready", "True", "Working");
  patch(kSecrets, "app-git-token", {{"stringData", {{"token", "token-2"}}}});
  nudge();
  eventually("the copy is the new token",
             [&] { return find(kSecrets, "fix-login-git")["data"]["token"] == "dG9rZW4tMg=="; });
  EXPECT_EQ(pod()["metadata"]["uid"], uid);
  // A session outlasts its Secret: what it was given it keeps.
  remove(kSecrets, "app-git-token");
  nudge();
  await_condition("CredentialsReady", "False", "SecretNotFound");
  EXPECT_EQ(condition("Ready")["status"], "True");
  EXPECT_EQ(find(kSecrets, "fix-login-git")["data"]["token"], "dG9rZW4tMg==");
  EXPECT_EQ(pod()["metadata"]["uid"], uid);
}

TEST_F(ControllerTest, NewTokenMakesANewPodWhereTheOldOneCouldNotFetch) {
  make_secret("bad-token");
  make(workspace());
  const std::string uid = await_pod()["metadata"]["uid"];
  set_status(
      {{"phase", "Pending"},
       {"initContainerStatuses",
        Json::array({{{"name", "courier"},
                      {"image", "i"},
                      {"imageID", "i"},
                      {"ready", false},
                      {"started", false},
                      {"restartCount", 2},
                      {"state", {{"waiting", {{"reason", "CrashLoopBackOff"}}}}},
                      {"lastState",
                       {{"terminated",
                         {{"exitCode", 1},
                          {"message", R"({"error": "the git host refused the token"})"}}}}}}})}});
  await_condition("Ready", "False", "RepositoryUnavailable");
  EXPECT_THAT(message(condition("Ready")), HasSubstr("the git host refused the token"));
  EXPECT_EQ(pod()["metadata"]["uid"], uid) << "the courier's own restart is the retry";
  patch(kSecrets, "app-git-token", {{"stringData", {{"token", "good-token"}}}});
  nudge();
  await_pod("fix-login-agent", uid);
}

TEST_F(ControllerTest, ForeignObjectsAreNeverAdopted) {
  make_secret();
  struct Row {
    const kube::Resource* resource;
    std::string suffix;
    Json content;
  };
  const Json container{{"name", "c"}, {"image", "i"}};
  const Row rows[] = {
      {&kConfigMaps, "-agent", {{"data", {{"courier.json", "mine"}}}}},
      {&kServiceAccounts, "-agent", Json::object()},
      {&kSecrets, "-git", {{"stringData", {{"token", "mine"}}}}},
      {&kNetworkPolicies, "-agent", {{"spec", {{"podSelector", Json::object()}}}}},
      {&kPods, "-agent", {{"spec", {{"containers", Json::array({container})}}}}},
  };
  int number = 0;
  for (const Row& row : rows) {
    // Nobody's, and another workspace's of the same name (an earlier one, by its UID).
    for (const bool former : {false, true}) {
      const std::string name = "case-" + std::to_string(++number);
      SCOPED_TRACE(row.resource->kind + (former ? " of another UID" : " of nobody"));
      const std::string held = name + row.suffix;
      Json foreign = row.content;
      foreign["apiVersion"] = row.resource->api_version();
      foreign["kind"] = row.resource->kind;
      foreign["metadata"] = {{"name", held},
                             {"labels", {{kWorkspaceLabel, name}, {kManagedByLabel, kManagedBy}}}};
      if (former)
        foreign["metadata"]["ownerReferences"] =
            Json::array({{{"apiVersion", kApiVersion},
                          {"kind", kKind},
                          {"name", name},
                          {"uid", "00000000-0000-0000-0000-000000000000"},
                          {"controller", true}}});
      const Json before = make(*row.resource, foreign);
      make(workspace(name));
      await_condition("Accepted", "False", "NameConflict", name);
      EXPECT_THAT(message(condition("Accepted", name)), HasSubstr(row.resource->kind + " " + held));
      EXPECT_EQ(find(*row.resource, held)["metadata"]["resourceVersion"],
                before["metadata"]["resourceVersion"]);
      if (row.resource != &kPods) {
        EXPECT_TRUE(pod(name + "-agent").is_null());
      }
      // On its way out it takes away nothing that is not its own.
      if (former) {
        remove(workspaces(), name);
        eventually("the workspace is gone", [&] { return find(workspaces(), name).is_null(); });
        EXPECT_EQ(find(*row.resource, held)["metadata"]["uid"], before["metadata"]["uid"]);
        continue;
      }
      remove(*row.resource, held, true);
      nudge(name);
      await_pod(name + "-agent");
      await_condition("Accepted", "True", "Accepted", name);
    }
  }
}

TEST_F(ControllerTest, FullQuotaIsToldAndRetried) {
  make_secret();
  const auto quota = [&](int pods) {
    return Json{
        {"status", {{"hard", {{"pods", std::to_string(pods)}}}, {"used", {{"pods", "0"}}}}}};
  };
  make(kQuotas, {{"apiVersion", "v1"},
                 {"kind", "ResourceQuota"},
                 {"metadata", {{"name", "few"}}},
                 {"spec", {{"hard", {{"pods", "0"}}}}}});
  patch(kQuotas, "few", quota(0), "status");
  make(workspace());
  await_condition("Ready", "False", "PodNotCreated");
  EXPECT_THAT(message(condition("Ready")), HasSubstr("exceeded quota: few"));
  EXPECT_TRUE(pod().is_null());
  EXPECT_FALSE(find(kNetworkPolicies, "fix-login-agent").is_null());
  eventually("an event tells of it", [&] { return told("PodNotCreated"); });
  // The quota's controller would write this; the operator tries again by itself.
  patch(kQuotas, "few", {{"spec", {{"hard", {{"pods", "5"}}}}}});
  patch(kQuotas, "few", quota(5), "status");
  await_pod();
  eventually("the condition has gone", [&] { return condition("Ready")["reason"] == "Starting"; });
}

TEST_F(ControllerTest, RefusalsAreToldWithTheirReason) {
  make_secret();
  const auto egress = [](const std::string& cidr) {
    return Json{
        {"isolation",
         {{"egress", Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", cidr}}}}})}}})}}}};
  };
  struct Row {
    const char* name;
    Json spec;
    const char* reason;
    const char* says;
  };
  const Row rows[] = {
      {"gateway", {{"llm", {{"gateway", "other"}}}}, "UnknownGateway", "there is: api, default"},
      {"api-service", {{"llm", {{"gateway", "api"}}}}, "EndpointRefused", "kubernetes.default.svc"},
      {"nowhere",
       {{"repository", {{"url", "https://nowhere.example.com/a.git"}}}},
       "EndpointUnresolved",
       "nowhere.example.com does not resolve: no such host"},
      {"no-service",
       {{"repository", {{"url", "https://gone.llm.svc/a.git"}}}},
       "EndpointNotFound",
       "Service gone in namespace llm is not there"},
      {"metadata",
       {{"repository", {{"url", "https://169.254.169.254/a.git"}}}},
       "EndpointRefused",
       "link-local"},
      {"api-by-name",
       {{"repository", {{"url", "https://api.example.com/a.git"}}}},
       "EndpointRefused",
       "the API server (198.51.100.7)"},
      {"egress-api", egress("198.51.100.0/24"), "EgressRefused", "the API server (198.51.100.7)"},
      {"egress-service", egress("10.0.0.1/32"), "EgressRefused", "the API server (10.0.0.1)"},
      {"egress-all", egress("0.0.0.0/0"), "EgressRefused",
       "spec.isolation.egress[0].to[0].ipBlock"},
      {"node-users",
       {{"isolation", {{"userNamespace", false}}}},
       "PolicyViolation",
       "user-namespace"},
      {"greedy",
       {{"agent", {{"resources", {{"limits", {{"memory", "64Gi"}}}}}}}},
       "PolicyViolation",
       "resource-limits"},
  };
  for (const Row& row : rows) {
    Json asked = workspace(row.name);
    asked["spec"].merge_patch(row.spec);
    make(asked);
  }
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    await_condition("Accepted", "False", row.reason, row.name);
    EXPECT_THAT(message(condition("Accepted", row.name)), HasSubstr(row.says));
    const std::string objects = std::string(row.name) + "-agent";
    EXPECT_TRUE(pod(objects).is_null());
    EXPECT_TRUE(find(kNetworkPolicies, objects).is_null());
    EXPECT_TRUE(find(kSecrets, std::string(row.name) + "-git").is_null());
    eventually("an event tells of it", [&] { return told(row.reason, row.name); });
  }
  // Put right, it is accepted.
  patch(workspaces(), "greedy",
        {{"spec", {{"agent", {{"resources", {{"limits", {{"memory", "1Gi"}}}}}}}}}});
  await_pod("greedy-agent");
}

TEST_F(ControllerTest, WhatTheApiServerRefusesIsTold) {
  make_secret();
  Json asked = workspace();
  // The schema knows no address arithmetic.
  asked["spec"]["isolation"]["egress"] = Json::parse(
      R"([{"to": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["192.0.2.0/24"]}}]}])");
  make(asked);
  await_condition("Ready", "False", "PodNotCreated");
  EXPECT_THAT(message(condition("Ready")), HasSubstr("spec.egress[2].to[0].ipBlock.except[0]"));
  EXPECT_TRUE(pod().is_null());
  patch(workspaces(), "fix-login", {{"spec", {{"isolation", {{"egress", nullptr}}}}}});
  await_pod();
}

TEST_F(ControllerTest, EgressWrittenInLongHandDoesNotKeepThePodWaiting) {
  make_secret();
  Json asked = workspace();
  // Each of these comes back from the API server in another form.
  asked["spec"]["isolation"]["egress"] = Json::parse(R"([
    {"to": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": []}}], "ports": []},
    {"to": [{"podSelector": {"matchLabels": {}, "matchExpressions": []}}], "ports": [{"port": "http"}]},
    {"to": [{"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": []}]}}],
     "ports": [{"protocol": "UDP", "port": 53}, {}]}
  ])");
  make(asked);
  await_pod();
  EXPECT_EQ(find(kNetworkPolicies, "fix-login-agent")["spec"]["egress"].size(), 5U);
}

TEST_F(ControllerTest, TroubleOfThePodIsToldWithWhatToDo) {
  make_secret();
  struct Row {
    const char* name;
    Json status;
    const char* reason;
    const char* says;
  };
  const auto waiting = [](const char* container, const char* reason, const char* text) {
    return Json::array({{{"name", container},
                         {"image", "registry.example.com/palisade/aider:0.86.2"},
                         {"imageID", ""},
                         {"ready", false},
                         {"restartCount", 0},
                         {"state", {{"waiting", {{"reason", reason}, {"message", text}}}}}}});
  };
  const Row rows[] = {
      {"no-image",
       {{"containerStatuses", waiting("aider", "ImagePullBackOff", "no such tag")}},
       "ImagePullBackOff",
       "check spec.agent.image"},
      {"full-node",
       {{"conditions", Json::array({{{"type", "PodScheduled"},
                                     {"status", "False"},
                                     {"reason", "Unschedulable"},
                                     {"message", "0/1 nodes are available"}}})}},
       "Unschedulable",
       "0/1 nodes are available"},
      {"hostile",
       {{"containerStatuses", waiting("aider", "CreateContainerError", "a\u001b[2J\nb")}},
       "CreateContainerError",
       "a?[2J b"},
  };
  for (const Row& row : rows)
    make(workspace(row.name));
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const std::string objects = std::string(row.name) + "-agent";
    await_pod(objects);
    Json status = row.status;
    status["phase"] = "Pending";
    set_status(status, objects);
    await_condition("Ready", "False", row.reason, row.name);
    EXPECT_THAT(message(condition("Ready", row.name)), HasSubstr(row.says));
    EXPECT_EQ(this->status(row.name)["phase"], "Pending");
  }
}

TEST_F(ControllerTest, TwoOperatorsAtOnceDoNoHarm) {
  prometheus::Registry registry;
  const auto second = make_controller(registry);
  second->start();
  make_secret();
  const Recorder recorder(admin_, ns_);
  std::vector<std::string> names;
  for (int i = 0; i < 5; ++i)
    names.push_back("twin-" + std::to_string(i));
  for (const std::string& name : names)
    make(workspace(name));
  for (const std::string& name : names)
    await_pod(name + "-agent");
  for (const Change& change : recorder.changes()) {
    EXPECT_NE(change.type, kube::WatchEventType::kDeleted)
        << change.kind << " " << change.object["metadata"]["name"];
  }
  for (const std::string& name : names)
    remove(workspaces(), name);
  for (const std::string& name : names)
    eventually(name + " is gone", [&] { return find(workspaces(), name).is_null(); });
  EXPECT_TRUE(second->ready()) << second->trouble();
}

TEST_F(ControllerTest, ApiServerThatGoesAndComesIsFollowed) {
  make_secret();
  make(workspace());
  await_pod();
  ASSERT_TRUE(env_->stop_apiserver(kube::EnvTest::Stop::kAbrupt));
  const auto again = env_->start_apiserver();
  ASSERT_TRUE(again) << again.error().text();
  make(workspace("after"));
  await_pod("after-agent");
  remove(kNetworkPolicies, "fix-login-agent");
  eventually("drift is put right again",
             [&] { return !find(kNetworkPolicies, "fix-login-agent").is_null(); });
}

}  // namespace
}  // namespace palisade::op::testing
