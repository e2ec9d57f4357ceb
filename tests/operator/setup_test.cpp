// spec.setup: installed before the agent exists, by a pod that has neither token nor way out but to
// the mirrors; kept by its inputs' hash; never again after that.
#include <gmock/gmock.h>

#include <policy/permissions.h>
#include <policy/policy.h>

#include "operator/model.h"
#include "setups.h"

namespace palisade::op::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kCommit = "0123456789abcdef0123456789abcdef01234567";
constexpr const char* kDigest = "fedcba9876543210fedcba9876543210fedcba98";
constexpr const char* kOther = "other/uid-of-other";

Json wanting(Json setup = Json::object()) {
  Json workspace = usual_workspace();
  workspace["spec"]["setup"] = {{"command", {"sh", "-c", "make deps"}},
                                {"inputs", {"requirements.txt", "a/lock.json"}},
                                {"ref", kCommit}};
  workspace["spec"]["setup"].merge_patch(setup);
  return workspace;
}

policy::SetupMirror mirror(const char* name = "pypi.example.com",
                           const char* address = "192.0.2.40") {
  return {name, {address}, 8443};
}

struct World : Model {
  explicit World(Json workspace = wanting(), bool own_gateway = true)
      : Model(std::move(workspace), own_gateway) {
    name_mirrors({mirror()});
  }
  void name_mirrors(std::vector<policy::SetupMirror> mirrors) {
    policy::AgentPolicy policy;
    policy.name = "mirrors";
    policy.setup_mirrors = std::move(mirrors);
    seen.policies = std::vector<policy::AgentPolicy>{policy};
  }
  // The kubelet.
  void begin_setup() {
    edit(&Observed::setup_pod,
         {{"spec", {{"nodeName", "node-1"}}}, {"status", {{"phase", "Running"}}}});
  }
  void end_setup(const char* phase, Json status = Json::object()) {
    status["phase"] = phase;
    edit(&Observed::setup_pod, {{"status", status}});
  }
  void succeed() {
    settle();
    begin_setup();
    settle();
    end_setup("Succeeded");
    settle();
  }
  [[nodiscard]] Json record() const {
    return seen.workspace.value("status", Json::object()).value("setup", Json::object());
  }
  [[nodiscard]] std::string reason() const { return condition("SetupReady")["reason"]; }
  // As another workspace has made it.
  void offer_claim(const std::string& by, bool complete) {
    Json claim = desired_setup_claim(parsed(seen.workspace), key());
    claim["metadata"]["uid"] = "claim-of-another";
    claim["metadata"]["resourceVersion"] = "70";
    claim["metadata"]["annotations"][kSetupByAnnotation] = by;
    if (complete)
      claim["metadata"]["annotations"][kSetupCompleteAnnotation] = "2026-01-01T11:00:00Z";
    put(&Observed::setup_claim, std::move(claim));
  }
  [[nodiscard]] std::string key() const {
    return setup_key(parsed(seen.workspace), config.defaults, {{mirror()}, kCommit, {}});
  }
};

std::vector<policy::Finding> judged(const Json& pod, const policy::Settings& settings) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(pod.dump());
  return policy::evaluate(parser.parse(text).value(), settings);
}

std::vector<std::string> volumes_of(const Json& container) {
  std::vector<std::string> out;
  for (const Json& entry : container["volumeMounts"])
    out.push_back(entry["name"]);
  return out;
}

TEST(Setup, IsReadStrictly) {
  const struct {
    const char* patch;
    const char* field;  // nullptr: taken
  } rows[] = {
      {"{}", nullptr},
      {R"({"ref": "main", "mirrors": [], "size": "1Gi", "timeout": "45s", "accessMode": "ReadWriteMany"})",
       nullptr},
      {R"({"command": null})", "spec.setup.command"},
      {R"({"command": []})", "spec.setup.command"},
      {R"({"command": "make"})", "spec.setup.command"},
      {R"({"command": ["make", ""]})", "spec.setup.command"},
      {R"({"inputs": ["/etc/passwd"]})", "spec.setup.inputs"},
      {R"({"inputs": ["../x"]})", "spec.setup.inputs"},
      {R"({"inputs": ["a/../x"]})", "spec.setup.inputs"},
      {R"({"inputs": ["a//x"]})", "spec.setup.inputs"},
      {R"({"inputs": [".git/config"]})", "spec.setup.inputs"},
      {R"({"inputs": ["-x"]})", "spec.setup.inputs"},
      {R"({"inputs": ["a b"]})", "spec.setup.inputs"},
      {R"({"ref": "-x"})", "spec.setup.ref"},
      {R"({"ref": "HEAD"})", "spec.setup.ref"},
      {R"({"ref": "palisade/fix-login"})", "spec.setup.ref"},
      {R"({"mirrors": "pypi"})", "spec.setup.mirrors"},
      {R"({"size": "0"})", "spec.setup.size"},
      {R"({"timeout": "10s"})", "spec.setup.timeout"},
      {R"({"timeout": "3h"})", "spec.setup.timeout"},
      {R"({"accessMode": "ReadOnlyMany"})", "spec.setup.accessMode"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.patch);
    const auto read = parse_workspace(wanting(Json::parse(row.patch)));
    ASSERT_EQ(read.has_value(), row.field == nullptr);
    if (row.field != nullptr) {
      EXPECT_THAT(read.error(), HasSubstr(row.field));
    }
  }
}

TEST(Setup, PodThatOnlyLooksForTheCommitIsHardenedToo) {
  const World world;
  const Workspace w = parsed(world.seen.workspace);
  const Json pod = desired_setup_pod(w, gateway_defaults(), gateway_access(), {{}, {}, {}}, "");
  policy::Settings settings;
  settings.allowed_token_audiences = {gateway().audience};
  const auto findings = judged(pod, settings);
  EXPECT_TRUE(findings.empty()) << policy::explain(findings);
  EXPECT_THAT(volumes_of(container(pod, "fetch")), Contains("identity"));
  EXPECT_THAT(volumes_of(container(pod, "resolved")), ElementsAre("closed", "closed"));
}

TEST(Setup, PodHoldsTheIdentityInItsFirstContainerAlone) {
  const World world;
  const Workspace w = parsed(world.seen.workspace);
  const SetupInputs inputs{{mirror()}, kCommit, {}};
  const Json pod = desired_setup_pod(w, gateway_defaults(), gateway_access(), inputs, world.key());
  policy::Settings settings;
  settings.allowed_token_audiences = {gateway().audience};
  const auto findings = judged(pod, settings);
  EXPECT_TRUE(findings.empty()) << policy::explain(findings);
  const Json& fetch = container(pod, "fetch");
  const Json& setup = container(pod, "setup");
  EXPECT_EQ(pod["spec"]["initContainers"].size(), 1U);
  EXPECT_EQ(pod["spec"]["containers"].size(), 1U);
  EXPECT_THAT(volumes_of(fetch), Contains("identity"));
  EXPECT_THAT(volumes_of(setup), ElementsAre("setup", "inputs", "home", "tmp", "closed", "closed"));
  EXPECT_EQ(setup["volumeMounts"][1]["readOnly"], true);
  EXPECT_EQ(setup["command"], Json({"sh", "-c", "make deps"}));
  // Its relay lives as long as the fetch.
  EXPECT_EQ(fetch["command"][1], "with");
  EXPECT_THAT(fetch["command"].get<std::vector<std::string>>(),
              Contains("--commit=" + std::string(kCommit)));
  EXPECT_FALSE(fetch.contains("restartPolicy"));
  EXPECT_EQ(pod["spec"]["hostAliases"],
            Json::parse(R"([{"ip": "192.0.2.40", "hostnames": ["pypi.example.com"]}])"));
  EXPECT_EQ(pod["spec"]["dnsConfig"]["nameservers"], Json::array({"127.0.0.1"}));
  EXPECT_EQ(pod["spec"]["automountServiceAccountToken"], false);
  EXPECT_EQ(pod["spec"]["activeDeadlineSeconds"], 600);
  // The agent's NetworkPolicy selects another label.
  EXPECT_FALSE(pod["metadata"]["labels"].contains(kWorkspaceLabel));
  EXPECT_EQ(pod["metadata"]["labels"][kSetupLabel], "fix-login");
}

TEST(Setup, ThePermissionsDocumentSaysWhatItReaches) {
  const World world;
  const Workspace w = parsed(world.seen.workspace);
  const Json objects{
      {"pod", desired_setup_pod(w, gateway_defaults(), gateway_access(), {{mirror()}, kCommit, {}},
                                world.key())},
      {"networkPolicies", Json::array({desired_setup_network(w, gateway_access(), {mirror()}),
                                       desired_network_policy(w, gateway_access())})},
      {"serviceAccount", desired_service_account(w)}};
  simdjson::dom::parser parser;
  const simdjson::padded_string text(objects.dump());
  const auto said = policy::permissions_of(parser.parse(text).value());
  ASSERT_TRUE(said) << said.error();
  const auto actor = [&](const char* container) {
    return *std::ranges::find(said->actors, container, &policy::Actor::container);
  };
  const policy::Actor setup = actor("setup");
  for (const char* name : {"identity.token", "secret.read", "kube.api", "network.egress.any"})
    EXPECT_EQ(setup.find(name), nullptr) << name;
  EXPECT_NE(actor("fetch").find("identity.token"), nullptr);
  const policy::Capability* const egress = setup.find("network.egress.extra");
  ASSERT_NE(egress, nullptr);
  EXPECT_THAT(egress->grants,
              Contains(::testing::Field(&policy::Grant::value, "192.0.2.40/32 TCP/8443")));
}

TEST(Setup, PodOfAHostOfItsOwnHoldsTheTokenInItsFirstContainerAlone) {
  const World world(wanting(), false);
  const Workspace w = parsed(world.seen.workspace);
  const Json pod =
      desired_setup_pod(w, defaults(), access(), {{mirror()}, kCommit, {}}, world.key());
  const auto findings = judged(pod, {});
  EXPECT_TRUE(findings.empty()) << policy::explain(findings);
  EXPECT_THAT(volumes_of(container(pod, "fetch")), Contains("git-token"));
  EXPECT_THAT(volumes_of(container(pod, "setup")), Not(Contains("git-token")));
  EXPECT_EQ(container(pod, "fetch")["command"][0], "/usr/local/bin/palisade-courier");
  EXPECT_EQ(pod["spec"]["hostAliases"][0]["hostnames"], Json::array({"git.example.com"}));
}

TEST(Setup, NetworkIsGitAndTheMirrorsAndNothingIsNamedByDefault) {
  const Workspace w = parsed(wanting());
  const Json network = desired_setup_network(w, gateway_access(), {mirror()});
  EXPECT_EQ(network["spec"]["podSelector"],
            Json::parse(R"({"matchLabels": {"palisade.dev/setup": "fix-login"}})"));
  EXPECT_EQ(network["spec"]["policyTypes"], Json({"Ingress", "Egress"}));
  EXPECT_FALSE(network["spec"].contains("ingress"));
  ASSERT_EQ(network["spec"]["egress"].size(), 2U);
  EXPECT_EQ(network["spec"]["egress"][1],
            Json::parse(R"({"to": [{"ipBlock": {"cidr": "192.0.2.40/32"}}],
                            "ports": [{"protocol": "TCP", "port": 8443}]})"));
  World none;
  none.seen.policies = std::vector<policy::AgentPolicy>{};
  none.settle();
  ASSERT_TRUE(none.seen.setup_network);
  EXPECT_EQ((*none.seen.setup_network)["spec"]["egress"].size(), 1U);
}

TEST(Setup, ComesBeforeTheAgentAndEachStepAfterTheOneThatItNeeds) {
  World world;
  const auto order = [&](const Action& action) {
    if (action.kind == ActionKind::kCreatePod && action.name == "fix-login-setup") {
      EXPECT_TRUE(world.seen.setup_network);
      EXPECT_TRUE(world.seen.setup_claim);
      EXPECT_TRUE(world.seen.config_map);
    }
    if (action.kind == ActionKind::kLiftGate && action.name == "fix-login-setup") {
      EXPECT_TRUE(world.seen.setup_network);
    }
    EXPECT_FALSE(world.seen.pod && world.seen.setup_pod) << "both pods are there";
    if (world.seen.pod) {
      EXPECT_EQ(world.record()["phase"], "Ready");
    }
  };
  world.settle(order);
  ASSERT_TRUE(world.seen.setup_pod);
  EXPECT_FALSE((*world.seen.setup_pod)["spec"].contains("schedulingGates"));
  EXPECT_EQ(world.reason(), "Running");
  EXPECT_EQ(world.condition("Ready")["reason"], "SettingUp");
  world.begin_setup();
  world.settle(order);
  EXPECT_FALSE(world.seen.pod);
  world.end_setup("Succeeded");
  world.settle(order);
  ASSERT_TRUE(world.seen.pod);
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.setup_network);
  const std::string claim = setup_claim_name(world.key());
  EXPECT_EQ(world.record()["claim"], claim);
  EXPECT_EQ(world.record()["cached"], false);
  EXPECT_FALSE(world.record()["usedAt"].get<std::string>().empty());
  EXPECT_EQ(world.reason(), "Installed");
  const Json& pod = *world.seen.pod;
  EXPECT_EQ(named(pod["spec"]["volumes"], "setup")["persistentVolumeClaim"],
            (Json{{"claimName", claim}, {"readOnly", true}}));
  const Json& mounts = container(pod, "aider")["volumeMounts"];
  EXPECT_EQ(named(mounts, "setup"),
            (Json{{"name", "setup"}, {"mountPath", "/opt/setup"}, {"readOnly", true}}));
  const Json guard = Json::parse((*world.seen.config_map)["data"]["guard.json"].get<std::string>());
  EXPECT_EQ(guard["exec"]["folders"], Json::array({"/opt/setup/bin"}));
}

// A process that ends just after leaves to the next that the pod may have written to the claim.
TEST(Setup, ItsPodAndItsUseAreOnRecordBeforeTheyBegin) {
  World world;
  int told = 0;
  for (int rounds = 0; rounds < 40; ++rounds) {
    if (world.seen.setup_pod && !(*world.seen.setup_pod)["spec"].contains("schedulingGates"))
      world.end_setup("Succeeded");
    const Plan plan = world.decide();
    Json status = world.seen.workspace.value("status", Json::object());
    for (const Action& action : plan.actions) {
      if (action.kind == ActionKind::kStatus) status = action.object;
    }
    for (const Action& action : plan.actions) {
      if (action.kind == ActionKind::kLiftGate && action.name == "fix-login-setup") {
        EXPECT_TRUE(plan.tells_first);
        EXPECT_EQ(status["setup"]["podUID"], action.uid);
        ++told;
      }
      if (action.kind == ActionKind::kCreatePod && action.name == "fix-login-agent") {
        EXPECT_TRUE(plan.tells_first);
        EXPECT_FALSE(status["setup"]["usedAt"].get<std::string>().empty());
        ++told;
      }
      world.carry_out(action);
    }
    if (plan.actions.empty()) world.let_go();
  }
  EXPECT_EQ(told, 2);
}

// The workspace sends its git elsewhere while a setup fetches by the gateway.
TEST(Setup, NoTokenGoesBeforeThePodThatUsesIt) {
  World world;
  world.settle();
  world.begin_setup();
  world.settle();
  ASSERT_TRUE(world.seen.gateway_secret);
  world.spec()["repository"]["via"] = "Direct";
  world.seen.access->git = access().git;
  world.seen.access->git_url.clear();
  world.settle([&](const Action& action) {
    const bool takes_token =
        action.kind == ActionKind::kDelete && *action.resource == kube::resources::kSecrets;
    EXPECT_FALSE(takes_token && world.seen.setup_pod);
  });
  world.let_go();
  world.settle();
  EXPECT_FALSE(world.seen.gateway_secret);
}

TEST(Setup, ABranchIsResolvedByAPodThatMountsNothing) {
  World world(wanting({{"ref", "main"}}));
  world.settle();
  ASSERT_TRUE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.setup_claim);
  EXPECT_EQ(world.record()["phase"], "Resolving");
  EXPECT_EQ((*world.seen.setup_pod)["spec"]["containers"][0]["name"], "resolved");
  EXPECT_THAT((*world.seen.setup_pod)["spec"]["volumes"].dump(),
              Not(HasSubstr("persistentVolumeClaim")));
  const auto say = [&](const std::string& text) {
    world.begin_setup();
    world.settle();
    world.end_setup(
        "Succeeded",
        {{"initContainerStatuses",
          Json::array({{{"name", "fetch"}, {"state", {{"terminated", {{"message", text}}}}}}})}});
    world.settle();
    world.let_go();
  };
  // What it says is data.
  say(R"({"commit": "main; rm -rf /", "digest": "x"})");
  EXPECT_EQ(world.record()["attempts"], 1);
  EXPECT_FALSE(world.record().contains("commit"));
  world.now += std::chrono::minutes(2);
  world.settle();
  say(Json{{"commit", kCommit}, {"digest", kDigest}}.dump());
  EXPECT_EQ(world.record()["commit"], kCommit);
  EXPECT_EQ(world.record()["inputs"], kDigest);
  ASSERT_TRUE(world.seen.setup_claim);
  ASSERT_TRUE(world.seen.setup_pod);
  EXPECT_EQ((*world.seen.setup_pod)["spec"]["initContainers"].size(), 1U);
  // Another commit with the same files is the same result.
  const Workspace w = parsed(world.seen.workspace);
  EXPECT_EQ(setup_key(w, gateway_defaults(), {{mirror()}, kCommit, kDigest}),
            setup_key(w, gateway_defaults(), {{mirror()}, std::string(40, '1'), kDigest}));
}

TEST(Setup, KeyTellsApartWhateverTheResultDependsOn) {
  const SetupInputs inputs{{mirror()}, kCommit, {}};
  const auto key = [&](const Json& workspace, const SetupInputs& of) {
    return setup_key(parsed(workspace), defaults(), of);
  };
  const std::string usual = key(wanting(), inputs);
  Json renamed = wanting();
  renamed["metadata"]["name"] = "another";
  renamed["spec"]["task"]["message"] = "else";
  EXPECT_EQ(key(renamed, inputs), usual);
  EXPECT_TRUE(is_setup_claim_name(setup_claim_name(usual)));
  for (const char* patch :
       {R"({"image": "registry.example.com/build:1"})", R"({"command": ["make"]})",
        R"({"inputs": ["requirements.txt"]})", R"({"size": "1Gi"})",
        R"({"storageClassName": "fast"})", R"({"accessMode": "ReadWriteMany"})"}) {
    SCOPED_TRACE(patch);
    EXPECT_NE(key(wanting(Json::parse(patch)), inputs), usual);
  }
  EXPECT_NE(key(wanting(), {{}, kCommit, {}}), usual);
  EXPECT_NE(key(wanting(), {{mirror("pypi.example.com", "192.0.2.41")}, kCommit, {}}), usual);
  EXPECT_NE(key(wanting(), {{mirror()}, kDigest, {}}), usual);
  EXPECT_NE(key(wanting(), {{mirror()}, kCommit, kCommit}), usual);
  Json elsewhere = wanting();
  elsewhere["spec"]["repository"]["url"] = "https://git.example.com/team/other.git";
  EXPECT_NE(key(elsewhere, inputs), usual);
}

TEST(Setup, WhatIsCompleteIsTakenAtOnceAndMarkedAsUsed) {
  World world;
  world.offer_claim(kOther, true);
  bool pod_of_setup = false;
  bool marked = false;
  world.settle([&](const Action& action) {
    pod_of_setup = pod_of_setup || world.seen.setup_pod;
    marked = marked || (action.kind == ActionKind::kTake && *action.resource == volume_claims() &&
                        action.version == "70");
  });
  EXPECT_FALSE(pod_of_setup);
  EXPECT_TRUE(marked);
  ASSERT_TRUE(world.seen.pod);
  EXPECT_EQ(world.record()["cached"], true);
  EXPECT_EQ(world.reason(), "Cached");
}

TEST(Setup, WhatAnotherMakesIsWaitedForUntilThatOneGoes) {
  World world;
  world.offer_claim(kOther, false);
  world.settle();
  EXPECT_EQ(world.reason(), "Sharing");
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.pod);
  EXPECT_LE(world.decide().requeue_after, std::chrono::seconds(3));
  world.seen.setup_writer_lives = false;
  world.settle([&](const Action& action) {
    if (action.kind == ActionKind::kDelete && *action.resource == volume_claims()) {
      EXPECT_EQ(action.version, "70");
    }
  });
  ASSERT_TRUE(world.seen.setup_claim);
  EXPECT_EQ((*world.seen.setup_claim)["metadata"]["annotations"][kSetupByAnnotation],
            std::string("fix-login/") + kUid);
  EXPECT_TRUE(world.seen.setup_pod);
}

TEST(Setup, AClaimOfThatNameThatIsNoSetupsIsNotTaken) {
  World world;
  world.offer_claim(kOther, true);
  world.edit(&Observed::setup_claim,
             {{"metadata", {{"annotations", {{kSetupKeyAnnotation, nullptr}}}}}});
  world.settle();
  EXPECT_EQ(world.reason(), "NameConflict");
  EXPECT_FALSE(world.seen.pod);
}

TEST(Setup, FailsThreeTimesWithItsLastWordsAndLeavesNothing) {
  World world;
  for (int attempt = 1; attempt <= 3; ++attempt) {
    SCOPED_TRACE(attempt);
    world.settle();
    ASSERT_TRUE(world.seen.setup_pod);
    world.begin_setup();
    world.settle();
    world.end_setup(
        "Failed",
        {{"containerStatuses",
          Json::array(
              {{{"name", "setup"},
                {"state",
                 {{"terminated", {{"exitCode", 2}, {"message", "no such package\x1b[31m"}}}}}}})}});
    world.settle();
    EXPECT_FALSE(world.seen.setup_claim) << "half of a result is left";
    EXPECT_EQ(world.record()["attempts"], attempt);
    EXPECT_THAT(world.record()["lastFailure"].get<std::string>(),
                HasSubstr("exit code 2: no such package?[31m"));
    if (attempt == 1) {
      EXPECT_EQ(world.decide().requeue_after, std::chrono::seconds(15));
    }
    world.now += std::chrono::minutes(5);
  }
  world.settle();
  EXPECT_EQ(world.phase(), "Failed");
  EXPECT_EQ(world.condition("Ready")["reason"], "SetupFailed");
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.setup_network);
  EXPECT_FALSE(world.seen.pod);
}

TEST(Setup, APodThatSomebodyDeletesLeavesNoHalfResult) {
  World world;
  world.settle();
  world.begin_setup();
  world.settle();
  world.seen.setup_pod.reset();
  world.settle();
  EXPECT_EQ(world.record()["attempts"], 1);
  EXPECT_FALSE(world.seen.setup_claim);
}

// Of the plan that told of the failure no more was carried out than the telling.
TEST(Setup, WhatAFailedAttemptLeftGoesBeforeAnotherBegins) {
  World world;
  world.settle();
  world.begin_setup();
  world.settle();
  const Json half = (*world.seen.setup_claim)["metadata"]["uid"];
  world.end_setup("Failed");
  for (const Action& action : world.decide().actions) {
    if (action.kind == ActionKind::kStatus) world.carry_out(action);
  }
  ASSERT_EQ(world.record()["phase"], "Failed");
  ASSERT_TRUE(world.seen.setup_claim);
  world.seen.setup_pod.reset();
  world.now += std::chrono::minutes(5);
  world.settle([&](const Action& action) {
    if (action.kind == ActionKind::kCreatePod) {
      EXPECT_NE((*world.seen.setup_claim)["metadata"]["uid"], half);
    }
  });
  EXPECT_TRUE(world.seen.setup_pod);
}

TEST(Setup, NothingOpensUnderAPodThatIsThere) {
  World world;
  world.settle();
  world.begin_setup();
  world.settle();
  const Json before = (*world.seen.setup_network)["spec"];
  world.name_mirrors({mirror(), mirror("npm.example.com", "192.0.2.41")});
  bool widened = false;
  world.settle([&](const Action&) {
    const bool alive = world.seen.setup_pod != nullptr;
    widened = widened ||
              (alive && world.seen.setup_network &&
               (*world.seen.setup_network)["spec"]["egress"].size() > before["egress"].size() &&
               !(*world.seen.setup_pod)["spec"].contains("schedulingGates"));
  });
  EXPECT_FALSE(widened);
}

TEST(Setup, SuspensionDeletionAndTheEndTakeItAlong) {
  World world;
  world.settle();
  world.begin_setup();
  world.settle();
  world.spec()["lifecycle"]["suspend"] = true;
  world.settle();
  world.let_go();
  world.settle();
  EXPECT_EQ(world.phase(), "Suspended");
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_FALSE(world.seen.setup_claim);
  EXPECT_FALSE(world.seen.setup_network);
  world.spec()["lifecycle"]["suspend"] = false;
  world.settle();
  ASSERT_TRUE(world.seen.setup_pod) << world.condition("SetupReady").dump();
  EXPECT_FALSE(world.record().contains("attempts"));
  world.begin_setup();
  world.settle();
  world.seen.workspace["metadata"]["deletionTimestamp"] = "2026-01-01T13:00:00Z";
  world.settle();
  EXPECT_FALSE(world.gone) << "its pod is still there";
  EXPECT_TRUE(world.seen.setup_network) << "its pod is still there";
  world.let_go();
  world.settle();
  EXPECT_TRUE(world.gone);
  EXPECT_FALSE(world.seen.setup_claim);
  EXPECT_FALSE(world.seen.setup_network);
}

TEST(Setup, NeverRunsAgainOnceAnAgentHasRun) {
  World world;
  world.succeed();
  ASSERT_TRUE(world.seen.pod);
  world.run();
  world.settle();
  // A lost pod is made anew with the same volume, whatever mirrors there are by then.
  const Json claim = world.record()["claim"];
  world.seen.policies = std::vector<policy::AgentPolicy>{};
  world.seen.pod.reset();
  world.settle();
  ASSERT_TRUE(world.seen.pod) << world.condition("Ready").dump();
  EXPECT_FALSE(world.seen.setup_pod);
  EXPECT_EQ(
      named((*world.seen.pod)["spec"]["volumes"], "setup")["persistentVolumeClaim"]["claimName"],
      claim);
  world.run();
  world.settle();
  world.seen.pod.reset();
  world.seen.setup_claim.reset();
  world.settle();
  world.now += std::chrono::minutes(5);
  world.settle();
  EXPECT_EQ(world.phase(), "Failed");
  EXPECT_EQ(world.condition("Ready")["reason"], "SetupLost");
  EXPECT_FALSE(world.seen.setup_pod);
}

TEST(Setup, MirrorsBeyondThePolicyOrOffLimitsAreRefusedByField) {
  const struct {
    Json setup;
    std::vector<policy::SetupMirror> mirrors;
    const char* reason;
    const char* says;
  } rows[] = {
      {{{"mirrors", {"npm.example.com"}}}, {mirror()}, "ExceedsPermissions", "spec.setup.mirrors"},
      {Json::object(),
       {mirror("a.example.com", "169.254.169.254")},
       "EgressRefused",
       "a.example.com"},
      {Json::object(), {mirror("a.example.com", "10.96.0.1")}, "EgressRefused", "API server"},
      {Json::object(), {mirror("a.example.com", "10.96.0.10")}, "EgressRefused", "DNS"},
      {Json::object(), {mirror("a.example.com", "127.0.0.1")}, "EgressRefused", "loopback"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.says);
    World world(wanting(row.setup));
    world.name_mirrors(row.mirrors);
    world.settle();
    EXPECT_EQ(world.condition("Accepted")["reason"], row.reason);
    EXPECT_THAT(world.condition("Accepted")["message"].get<std::string>(), HasSubstr(row.says));
    EXPECT_FALSE(world.seen.setup_pod);
    EXPECT_FALSE(world.seen.setup_network);
  }
}

TEST(Setup, CollectorRemovesWhatNobodyUsesAndNothingElse) {
  const auto now = *parse_time("2026-01-10T12:00:00Z");
  const std::chrono::hours week(168);
  const World world;
  const std::string name = setup_claim_name(world.key());
  Json claim = desired_setup_claim(parsed(world.seen.workspace), world.key());
  claim["metadata"]["uid"] = "claim-uid";
  claim["metadata"]["resourceVersion"] = "9";
  claim["metadata"]["creationTimestamp"] = "2026-01-01T10:00:00Z";
  Json user = world.seen.workspace;
  user["status"] = {{"phase", "Running"}, {"setup", {{"claim", name}, {"phase", "Ready"}}}};
  const auto with = [](Json object, const char* mark, const char* time) {
    object["metadata"]["annotations"][mark] = time;
    return object;
  };
  const Json complete = with(claim, kSetupCompleteAnnotation, "2026-01-01T11:00:00Z");
  Json ended = user;
  ended["status"]["phase"] = "Succeeded";
  Json elsewhere = user;
  elsewhere["metadata"]["namespace"] = "team-b";
  Json foreign = complete;
  foreign["metadata"].erase("labels");
  Json young = claim;
  young["metadata"]["creationTimestamp"] = "2026-01-10T11:55:00Z";
  const struct {
    const char* what;
    Json claim;
    std::vector<Json> users;
    std::optional<ActionKind> action;
  } rows[] = {
      {"unused for long", complete, {}, ActionKind::kDelete},
      {"used by one that ended", complete, {ended}, ActionKind::kDelete},
      {"used in another namespace", complete, {elsewhere}, ActionKind::kDelete},
      {"used", complete, {user}, ActionKind::kTake},
      {"used, which is known",
       with(complete, kSetupUsedAnnotation, "2026-01-10T01:00:00Z"),
       {user},
       std::nullopt},
      {"used not long ago",
       with(complete, kSetupUsedAnnotation, "2026-01-09T12:00:00Z"),
       {},
       std::nullopt},
      {"nobody's", foreign, {}, std::nullopt},
      {"left half done", claim, {}, ActionKind::kDelete},
      {"being filled", claim, {user}, std::nullopt},
      {"just made", young, {}, std::nullopt},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.what);
    std::vector<kube::ObjectPtr> users;
    for (const Json& one : row.users)
      users.push_back(std::make_shared<const Json>(one));
    const auto actions = sweep_setups({std::make_shared<const Json>(row.claim)}, users, now, week);
    ASSERT_EQ(actions.size(), row.action ? 1U : 0U);
    if (!row.action) continue;
    EXPECT_EQ(actions[0].kind, *row.action);
    EXPECT_EQ(actions[0].version, "9");
    EXPECT_EQ(actions[0].uid, "claim-uid");
    EXPECT_EQ(actions[0].ns, "team-a");
  }
}

}  // namespace
}  // namespace palisade::op::testing
