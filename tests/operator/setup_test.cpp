// spec.setup: how it is read, the objects that it makes, and what they may reach.
#include <gmock/gmock.h>

#include <policy/permissions.h>

#include "operator/setup_world.h"

namespace palisade::op::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

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
  const SetupWorld world;
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
  const SetupWorld world;
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
  const SetupWorld world;
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
  const SetupWorld world(wanting(), false);
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
  SetupWorld none;
  none.seen.policies = std::vector<policy::AgentPolicy>{};
  none.settle();
  ASSERT_TRUE(none.seen.setup_network);
  EXPECT_EQ((*none.seen.setup_network)["spec"]["egress"].size(), 1U);
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
    SetupWorld world(wanting(row.setup));
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
  const SetupWorld world;
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
