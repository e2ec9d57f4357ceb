// decide(), case by case: what a plan holds, and in which order.
#include <gmock/gmock.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

const Json kEgress =
    Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "203.0.113.0/24"}}}}})},
                  {"ports", Json::array({{{"port", 5432}, {"protocol", "TCP"}}})}}});

Model running(Json workspace = usual_workspace()) {
  Model model(std::move(workspace));
  model.settle();
  model.run();
  model.settle();
  return model;
}

std::string text(const Json& json) {
  return json.get<std::string>();
}

TEST(Decide, FirstPlanMakesEverythingWithThePodLast) {
  Model model;
  EXPECT_EQ(tell(model.decide()),
            "add finalizer, apply ServiceAccount, apply Secret, apply ConfigMap, "
            "apply NetworkPolicy, create Pod, status");
}

TEST(Decide, GateIsLiftedOnlyOnThePolicyThatWasReadBack) {
  Model model;
  for (const Action& action : model.decide().actions)
    model.carry_out(action);
  EXPECT_THAT(tell(model.decide()), HasSubstr("lift gate"));
  const struct {
    const char* name;
    Json change;
  } rows[] = {
      {"a wider rule", {{"spec", {{"egress", kEgress}}}}},
      {"an ingress rule", {{"spec", {{"ingress", Json::array({Json::object()})}}}}},
      {"another selector",
       {{"spec", {{"podSelector", {{"matchLabels", {{"palisade.dev/workspace", "x"}}}}}}}}},
      {"one label more", {{"spec", {{"podSelector", {{"matchLabels", {{"a", "b"}}}}}}}}},
      {"egress left open", {{"spec", {{"policyTypes", {"Ingress"}}}}}},
      {"on its way out", {{"metadata", {{"deletionTimestamp", "2026-01-01T12:00:00Z"}}}}},
  };
  for (const auto& row : rows) {
    Model other = model;
    other.edit(&Observed::network_policy, row.change);
    EXPECT_THAT(tell(other.decide()), Not(HasSubstr("lift gate"))) << row.name;
  }
  Model none = model;
  none.seen.network_policy.reset();
  EXPECT_THAT(tell(none.decide()), Not(HasSubstr("lift gate")));
  EXPECT_THAT(tell(none.decide()), HasSubstr("apply NetworkPolicy"));
}

// What an earlier process has sent may still arrive: it is made void before the gate is lifted.
TEST(Decide, GateIsLiftedOnlyOnWhatNoEarlierWriteCanChange) {
  Model model;
  for (const Action& action : model.decide().actions)
    model.carry_out(action);
  model.edit(&Observed::network_policy, {{"metadata", {{"resourceVersion", "17"}}}});
  model.seen.network_settled = false;
  ASSERT_EQ(tell(model.decide()), "fence NetworkPolicy, status") << "the status tells of the pod";
  const Plan plan = model.decide();
  EXPECT_EQ(plan.actions[0].version, "17");
  EXPECT_EQ(plan.actions[0].uid, text((*model.seen.network_policy)["metadata"]["uid"]));
  EXPECT_EQ(text(plan.actions[0].object["metadata"]["annotations"][kFencedAnnotation]), "17");
  model.seen.config_settled = false;
  EXPECT_EQ(tell(model.decide()), "fence NetworkPolicy, fence ConfigMap, status");
  // A write of the same plan is as good.
  model.edit(&Observed::network_policy, {{"metadata", {{"labels", {{kManagedByLabel, "x"}}}}}});
  EXPECT_EQ(tell(model.decide()), "apply NetworkPolicy, fence ConfigMap, status");
  EXPECT_EQ(model.decide().actions[0].version, "17");
  model.seen.network_settled = model.seen.config_settled = true;
  EXPECT_EQ(tell(model.decide()), "apply NetworkPolicy, lift gate Pod, status");
}

TEST(Decide, SettledIsSettled) {
  for (const Json& workspace : {usual_workspace(), minimal_workspace()}) {
    Model model = running(workspace);
    EXPECT_EQ(tell(model.decide()), "");
    EXPECT_TRUE(model.decide().events.empty());
    EXPECT_TRUE(model.decide().requeue_after) << "nobody tells of a rotated token";
    model.now += seconds(600);
    EXPECT_EQ(tell(model.decide()), "") << "time alone changes nothing";
  }
}

TEST(Decide, LooserNetworkWaitsForThePodsEnd) {
  Model model = running();
  const Json before = *model.seen.network_policy;
  model.spec()["isolation"]["egress"] = kEgress;
  EXPECT_EQ(tell(model.decide()), "delete Pod, status");
  model.settle();
  EXPECT_EQ(*model.seen.network_policy, before) << "the pod is still ending";
  EXPECT_EQ(model.condition("Ready")["reason"], "Replacing");
  model.let_go();
  EXPECT_EQ(tell(model.decide()), "apply ConfigMap, apply NetworkPolicy, create Pod, status");
}

TEST(Decide, WhatWasNarrowedIsNotWidenedAgainUnderALivePod) {
  Json workspace = usual_workspace();
  workspace["spec"]["isolation"]["egress"] = kEgress;
  Model model = running(workspace);
  model.spec()["isolation"].erase("egress");
  EXPECT_EQ(tell(model.decide()), "apply NetworkPolicy, apply ConfigMap");
  model.settle();
  model.spec()["isolation"]["egress"] = kEgress;
  EXPECT_EQ(tell(model.decide()), "delete Pod, status") << "though it was made with it";
}

TEST(Decide, OtherPortsAndPeersAreLooserToo) {
  Json workspace = usual_workspace();
  workspace["spec"]["isolation"]["egress"] = kEgress;
  const struct {
    const char* name;
    Json egress;
    bool looser;
  } rows[] = {
      {"another port",
       Json::array({{{"to", kEgress[0]["to"]}, {"ports", Json::array({{{"port", 1}}})}}}), true},
      {"every port", Json::array({{{"to", kEgress[0]["to"]}}}), true},
      {"none", Json::array(), false},
      {"a second rule",
       Json::array({kEgress[0], {{"to", Json::array({{{"podSelector", Json::object()}}})}}}), true},
      {"the same twice", Json::array({kEgress[0], kEgress[0]}), false},
  };
  for (const auto& row : rows) {
    Model model = running(workspace);
    model.spec()["isolation"]["egress"] = row.egress;
    EXPECT_EQ(tell(model.decide()).starts_with("delete Pod"), row.looser)
        << row.name << ": " << tell(model.decide());
  }
}

TEST(Decide, AnUpgradedOperatorEndsNoSession) {
  const auto image_of = [](const Model& m, const char* list, std::size_t at) {
    return (*m.seen.pod)["spec"][list][at]["image"];
  };
  for (const char* named : {"", "registry.example.com/own/aider:1"}) {
    SCOPED_TRACE(named);
    Json workspace = usual_workspace();
    if (*named != '\0') workspace["spec"]["agent"]["image"] = named;
    Model model = running(workspace);
    const Json old_courier = image_of(model, "initContainers", 0);
    model.config.defaults.agent_image = "registry.example.com/palisade/aider:next";
    model.config.defaults.courier_image = "registry.example.com/palisade/control-plane:next";
    EXPECT_EQ(tell(model.decide()), "");
    // Somebody else's image is still noticed, be it the one that a forged status names.
    Model other = model;
    Json containers = (*other.seen.pod)["spec"]["initContainers"];
    containers[0]["image"] = "registry.example.com/evil:1";
    other.edit(&Observed::pod, {{"spec", {{"initContainers", containers}}}});
    EXPECT_THAT(tell(other.decide()), HasSubstr("delete Pod"));
    // The next pod is made with the new ones.
    model.seen.workspace["status"]["madeWith"]["courierImage"] = "registry.example.com/evil:1";
    EXPECT_THAT(tell(model.decide()), HasSubstr("delete Pod"));
    model.settle();
    model.let_go();
    model.settle();
    EXPECT_EQ(image_of(model, "initContainers", 0),
              "registry.example.com/palisade/control-plane:next");
    EXPECT_EQ(image_of(model, "containers", 0),
              *named == '\0' ? "registry.example.com/palisade/aider:next" : named);
    EXPECT_NE(old_courier, image_of(model, "initContainers", 0));
  }
}

TEST(Decide, PodIsReplacedWhereItsSpecOrItselfChanged) {
  const std::pair<const char*, std::function<void(Model&)>> rows[] = {
      {"model", [](Model& m) { m.spec()["agent"]["model"] = "other"; }},
      {"ref", [](Model& m) { m.spec()["repository"]["ref"] = "dev"; }},
      {"deadline", [](Model& m) { m.spec()["lifecycle"]["deadline"] = "1h"; }},
      {"its labels",
       [](Model& m) {
         m.edit(&Observed::pod, {{"metadata", {{"labels", {{kWorkspaceLabel, "other"}}}}}});
       }},
      {"its hash",
       [](Model& m) {
         m.edit(&Observed::pod, {{"metadata", {{"annotations", {{kSpecHashAnnotation, "0"}}}}}});
       }},
      {"its life",
       [](Model& m) {
         m.edit(&Observed::pod, {{"spec", {{"activeDeadlineSeconds", nullptr}}}});
       }},
      {"a debugger",
       [](Model& m) {
         m.edit(&Observed::pod,
                {{"spec", {{"ephemeralContainers", Json::array({{{"name", "d"}}})}}}});
       }},
  };
  for (const auto& [name, change] : rows) {
    Model model = running();
    const std::string uid = text((*model.seen.pod)["metadata"]["uid"]);
    change(model);
    EXPECT_THAT(tell(model.decide()), HasSubstr("delete Pod")) << name;
    model.settle();
    model.let_go();
    model.settle();
    ASSERT_TRUE(model.seen.pod) << name;
    EXPECT_NE(text((*model.seen.pod)["metadata"]["uid"]), uid) << name;
  }
}

TEST(Decide, NameThatResolvesAnewDoesNotEndASession) {
  Model model = running();
  model.seen.access->git.alias = "192.0.2.99";
  model.seen.access->git.peers = Json::array({{{"ipBlock", {{"cidr", "192.0.2.99/32"}}}}});
  EXPECT_EQ(tell(model.decide()), "");
  model.seen.access = std::unexpected(Problem{"EndpointUnresolved", "no answer"});
  EXPECT_EQ(tell(model.decide()), "");
  model.seen.network_policy.reset();
  EXPECT_EQ(tell(model.decide()), "apply NetworkPolicy") << "drift is put right all the same";
  model.settle();
  EXPECT_EQ((*model.seen.network_policy)["spec"]["egress"][1]["to"], access().git.peers);
}

TEST(Decide, AnnotationsOpenNoNetwork) {
  const std::pair<const char*, std::function<void(Access&)>> rows[] = {
      {"everything",
       [](Access& a) {
         a.git.peers = Json::array({{{"ipBlock", {{"cidr", "0.0.0.0/0"}}}}});
       }},
      {"no peers, which is everything", [](Access& a) { a.git.peers = Json::array(); }},
      {"no ports, which is all", [](Access& a) { a.git.ports = Json::array(); }},
      {"another port",
       [](Access& a) {
         a.git.ports = Json::array({{{"protocol", "TCP"}, {"port", 22}}});
       }},
      {"another address",
       [](Access& a) {
         a.git.alias = "198.51.100.7";
         a.git.peers = Json::array({{{"ipBlock", {{"cidr", "198.51.100.7/32"}}}}});
       }},
      {"a second address",
       [](Access& a) {
         a.git.peers.push_back({{"ipBlock", {{"cidr", "198.51.100.7/32"}}}});
       }},
      {"all pods of the gateway's namespace",
       [](Access& a) { a.llm.peers[0]["podSelector"] = Json::object(); }},
      {"all namespaces", [](Access& a) { a.llm.peers[0]["namespaceSelector"] = Json::object(); }},
      {"an address beside the gateway",
       [](Access& a) {
         a.llm.peers.push_back({{"ipBlock", {{"cidr", "198.51.100.7/32"}}}});
       }},
      {"another gateway",
       [](Access& a) {
         a.llm_url = "http://evil.llm.svc/v1";
         a.llm.host = "evil.llm.svc";
       }},
  };
  for (const bool resolves : {true, false}) {
    for (const auto& [name, change] : rows) {
      Model model = running();
      const Json policy = (*model.seen.network_policy)["spec"];
      Access forged = access();
      change(forged);
      model.edit(&Observed::pod,
                 {{"metadata", {{"annotations", {{kAccessAnnotation, to_json(forged).dump()}}}}}});
      if (!resolves)
        model.seen.access = std::unexpected(Problem{"EndpointUnresolved", "no answer"});
      model.settle([&](const Action&) {
        if (model.seen.pod) {
          EXPECT_EQ((*model.seen.network_policy)["spec"], policy) << name;
        }
      });
    }
  }
}

TEST(Decide, ObjectsOfAnotherUidAreNeverTouched) {
  const std::pair<const char*, kube::ObjectPtr Observed::*> rows[] = {
      {"ServiceAccount", &Observed::service_account},
      {"Secret", &Observed::secret},
      {"ConfigMap", &Observed::config_map},
      {"NetworkPolicy", &Observed::network_policy},
      {"Pod", &Observed::pod}};
  const std::pair<const char*, Json> owners[] = {
      {"nobody's", nullptr},
      {"another's", Json::array({{{"uid", "other"}, {"controller", true}}})},
      {"not controlled", Json::array({{{"uid", kUid}, {"controller", false}}})},
      {"no boolean", Json::array({{{"uid", kUid}, {"controller", "true"}}})},
      {"broken", "x"}};
  for (const auto& [kind, place] : rows) {
    for (const auto& [whose, owner] : owners) {
      SCOPED_TRACE(std::string(kind) + " " + whose);
      Model model = running();
      model.edit(place, {{"metadata", {{"ownerReferences", owner}}}});
      // A wish that would otherwise make much of it new.
      model.spec()["isolation"]["egress"] = kEgress;
      EXPECT_EQ(tell(model.decide()), "status");
      model.settle();
      EXPECT_EQ(model.condition("Accepted")["reason"], "NameConflict");
      EXPECT_THAT(text(model.condition("Accepted")["message"]), HasSubstr(kind));
      // Nor on the way out.
      model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z";
      model.settle();
      model.let_go();
      model.settle();
      EXPECT_TRUE(model.gone);
      EXPECT_TRUE(model.seen.*place);
    }
  }
}

TEST(Decide, DeletionEndsThePodThenTheRestThenTheFinalizer) {
  Model model = running();
  model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z";
  EXPECT_EQ(tell(model.decide()), "delete Pod");
  model.settle();
  EXPECT_TRUE(model.decide().requeue_after);
  EXPECT_TRUE(model.seen.secret && model.seen.network_policy);
  model.let_go();
  EXPECT_EQ(tell(model.decide()),
            "delete NetworkPolicy, delete Secret, delete ConfigMap, delete ServiceAccount, "
            "remove finalizer");
  model.settle();
  EXPECT_TRUE(model.gone);
  for (const auto& place : {model.seen.pod, model.seen.network_policy, model.seen.secret,
                            model.seen.config_map, model.seen.service_account})
    EXPECT_FALSE(place);
}

TEST(Decide, DeletionWithoutOurFinalizerIsOthersAffair) {
  Model model = running();
  model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z";
  model.seen.workspace["metadata"]["finalizers"] = {"somebody.else/x"};
  EXPECT_EQ(tell(model.decide()), "");
}

TEST(Decide, WorkspaceThatCannotBeReadIsNeverRunButLetGo) {
  Model model = running();
  model.spec()["repository"]["url"] = "ext::sh -c reboot";
  EXPECT_EQ(tell(model.decide()), "status");
  model.settle();
  EXPECT_EQ(model.condition("Accepted")["reason"], "InvalidSpec");
  EXPECT_THAT(text(model.condition("Accepted")["message"]), HasSubstr("spec.repository.url"));
  model.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:00Z";
  model.settle();
  model.let_go();
  model.settle();
  EXPECT_TRUE(model.gone);
  for (const Json& nothing : {Json(), Json::array(), Json::object(), Json("x")}) {
    Model broken(nothing);
    EXPECT_NO_THROW(static_cast<void>(broken.decide())) << nothing;
  }
}

TEST(Decide, DeadlineEndsAsExpired) {
  Model model = running();
  EXPECT_EQ(model.seen.workspace["status"]["startedAt"], "2026-01-01T12:00:00Z");
  EXPECT_EQ(model.seen.workspace["status"]["expiresAt"], "2026-01-01T14:00:00Z");
  EXPECT_EQ((*model.seen.pod)["spec"]["activeDeadlineSeconds"], 7200);
  model.now += seconds(7200);
  model.end("Failed", R"({"commits": 1, "pushed": true})", {{"reason", "DeadlineExceeded"}});
  model.settle();
  EXPECT_EQ(model.phase(), "Expired");
  EXPECT_EQ(model.seen.workspace["status"]["finishedAt"], "2026-01-01T14:00:00Z");
  EXPECT_THAT(text(model.condition("Ready")["message"]), HasSubstr("1 commit(s) pushed"));
}

TEST(Decide, WhatWasLeftOutOfTheOutputIsTold) {
  for (const char* phase : {"Succeeded", "Failed"}) {
    Model model = running();
    model.end(
        phase,
        R"({"commits": 1, "pushed": true, "note": "spec.repository.outputDir: a\nb\u202e is a symbolic link and was left out"})");
    model.settle();
    EXPECT_EQ(model.phase(), phase);
    EXPECT_THAT(text(model.condition("Ready")["message"]),
                HasSubstr("1 commit(s) pushed to palisade/fix-login; spec.repository.outputDir: a "
                          "b??? is a symbolic link and was left out"));
  }
}

// The end is told before the pod is ended: whoever comes in between ends it.
TEST(Decide, AFinishedSessionHasNoPodThatRuns) {
  Model model = running();
  model.seen.workspace["status"]["phase"] = "Expired";
  model.seen.workspace["status"]["finishedAt"] = format_time(model.now);
  EXPECT_THAT(tell(model.decide()), HasSubstr("delete Pod"));
  model.settle();
  model.let_go();
  EXPECT_EQ(model.phase(), "Expired");
  EXPECT_FALSE(model.seen.pod);
  EXPECT_EQ(tell(model.decide()), "");
}

TEST(Decide, FinishedSessionLosesItsTokenAtOnceAndGoesAfterItsTime) {
  Model model = running();
  model.end("Succeeded", R"({"commits": 0, "pushed": false})");
  model.settle();
  EXPECT_EQ(model.phase(), "Succeeded");
  EXPECT_FALSE(model.seen.secret);
  EXPECT_TRUE(model.seen.pod) << "its log can still be read";
  EXPECT_EQ(model.decide().requeue_after, seconds(3600));
  model.now += seconds(3599);
  EXPECT_EQ(tell(model.decide()), "");
  EXPECT_EQ(model.decide().requeue_after, seconds(1));
  model.now += seconds(1);
  EXPECT_EQ(tell(model.decide()), "delete AgentWorkspace");
  model.settle();
  EXPECT_TRUE(model.gone);
  EXPECT_FALSE(model.seen.pod);
}

TEST(Decide, FinishedSessionIsNotStartedAgain) {
  Model model = running();
  model.end("Failed", "", {{"reason", "Evicted"}});
  model.settle();
  ASSERT_EQ(model.phase(), "Failed");
  model.seen.pod.reset();
  model.spec()["agent"]["model"] = "other";
  EXPECT_EQ(tell(model.decide()), "");
  model.spec()["lifecycle"]["suspend"] = true;
  EXPECT_EQ(tell(model.decide()), "");
  // A pod whose creation was sent before the end was known.
  model.put(&Observed::pod, pod_of(model.seen.workspace));
  model.edit(&Observed::pod, {{"metadata", {{"uid", "late"}}}});
  EXPECT_EQ(tell(model.decide()), "delete Pod");
}

TEST(Decide, TokenIsCopiedAsItRotatesAndTheSessionOutlastsItsSecret) {
  Model model = running();
  model.seen.token = "token-2";
  EXPECT_EQ(tell(model.decide()), "apply Secret");
  model.settle();
  EXPECT_EQ((*model.seen.secret)["data"]["token"], "dG9rZW4tMg==");
  model.seen.token = std::unexpected(Problem{"SecretNotFound", "gone"});
  model.settle();
  EXPECT_EQ(model.phase(), "Running");
  EXPECT_EQ(model.condition("CredentialsReady")["reason"], "SecretNotFound");
  EXPECT_EQ((*model.seen.secret)["data"]["token"], "dG9rZW4tMg==");
}

TEST(Decide, TokenGoesWhereTheSpecNoLongerNamesOne) {
  Model model = running();
  model.spec()["repository"].erase("credentials");
  model.seen.token = "";
  model.settle();
  model.let_go();
  model.settle();
  EXPECT_FALSE(model.seen.secret);
  EXPECT_EQ(model.condition("CredentialsReady")["reason"], "NoneNeeded");
}

TEST(Decide, NothingIsMadeWithoutCredentialsOrAccess) {
  const std::pair<const char*, std::function<void(Model&)>> rows[] = {
      {"SecretNotFound",
       [](Model& m) {
         m.seen.token = std::unexpected(Problem{"SecretNotFound", "not there"});
       }},
      {"EndpointRefused",
       [](Model& m) {
         m.seen.access = std::unexpected(Problem{"EndpointRefused", "no"});
       }},
      {"EgressRefused",
       [](Model& m) {
         m.spec()["isolation"]["egress"] =
             Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "198.51.0.0/16"}}}}})}}});
       }},
      {"PolicyViolation", [](Model& m) { m.spec()["isolation"]["userNamespace"] = false; }},
  };
  for (const auto& [reason, change] : rows) {
    Model model;
    change(model);
    EXPECT_EQ(tell(model.decide()), "add finalizer, status") << reason;
    EXPECT_TRUE(model.decide().requeue_after) << reason << " would never be looked at again";
    EXPECT_EQ(model.decide().events.size(), 1U) << reason;
    model.settle();
    const Json told = model.condition(
        reason == std::string_view("SecretNotFound") ? "CredentialsReady" : "Accepted");
    EXPECT_EQ(told["reason"], reason);
    EXPECT_EQ(told["status"], "False");
  }
}

TEST(Decide, UserNamespaceIsTheAdministratorsToWaive) {
  Model model;
  model.spec()["isolation"]["userNamespace"] = false;
  model.config.policy.require_user_namespace = false;
  model.settle();
  EXPECT_TRUE(model.seen.pod);
}

TEST(Decide, ConditionsKeepTheTimeOfTheirLastChange) {
  Model model = running();
  const Json before = model.condition("Accepted");
  model.now += seconds(60);
  model.seen.workspace["metadata"]["generation"] = 2;
  model.settle();
  EXPECT_EQ(model.condition("Accepted")["lastTransitionTime"], before["lastTransitionTime"]);
  EXPECT_EQ(model.condition("Accepted")["observedGeneration"], 2);
  EXPECT_EQ(model.seen.workspace["status"]["observedGeneration"], 2);
  model.edit(&Observed::pod, {{"status", {{"containerStatuses", nullptr}}}});
  model.settle();
  EXPECT_EQ(model.condition("Ready")["lastTransitionTime"], "2026-01-01T12:01:00Z");
}

TEST(Times, AreReadAsTheyAreWritten) {
  EXPECT_EQ(format_time(*parse_time("2026-02-28T23:59:59Z")), "2026-02-28T23:59:59Z");
  for (const char* bad : {"", "2026-02-28", "2026-02-28T23:59:59+01:00", "2026-13-01T00:00:00Z",
                          "yesterday, at noon..", "2026-02-28T23:59:5 Z"})
    EXPECT_FALSE(parse_time(bad)) << bad;
}

}  // namespace
}  // namespace palisade::op::testing
