// spec.setup: its pod, its volume and its network are the operator's.
#include <policy/workspace.h>

#include "webhook/judges/fake_cluster.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kClaim = "palisade-setup-0123456789abcdef0123456789abcdef";

json claim() {
  return {
      {"metadata",
       {{"name", kClaim},
        {"namespace", "team-a"},
        {"labels", {{"app.kubernetes.io/managed-by", "palisade"}}},
        {"annotations", {{"palisade.dev/setup-key", "k"}, {"palisade.dev/setup-by", "fix/u"}}}}},
      {"spec", {{"accessModes", {"ReadWriteOnce"}}}},
      {"status", {{"phase", "Bound"}}}};
}

Review write(const char* operation, const json& before, const json& now,
             const std::string& user = "mallory") {
  return {.operation = operation,
          .resource = "persistentvolumeclaims",
          .user = user,
          .object = now,
          .old_object = before};
}

TEST(Setups, NobodyElseMakesOrChangesAClaimOfASetup) {
  FakeCluster cluster;
  json bare = claim();
  bare["metadata"].erase("labels");
  bare["metadata"].erase("annotations");
  for (const json& made : {claim(), bare})
    expect_refused(write("CREATE", nullptr, made).ask(judge_volume_claim, cluster),
                   "workspace-objects", {"metadata.name"});
  expect_passes(write("CREATE", nullptr, claim(), kOperator).ask(judge_volume_claim, cluster));
  json complete = claim();
  complete["metadata"]["annotations"]["palisade.dev/setup-complete"] = "2026-01-01T00:00:00Z";
  expect_refused(write("UPDATE", claim(), complete).ask(judge_volume_claim, cluster),
                 "workspace-objects", {R"(metadata.annotations["palisade.dev/setup-complete"])"});
  expect_passes(write("UPDATE", claim(), complete, kOperator).ask(judge_volume_claim, cluster));
  // What binds volumes goes on.
  json bound = claim();
  bound["spec"]["volumeName"] = "pv-1";
  bound["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = "yes";
  expect_passes(write("UPDATE", claim(), bound).ask(judge_volume_claim, cluster));
  json other = claim();
  other["metadata"]["name"] = "palisade-setup-mine";
  other["metadata"]["annotations"] = json::object();
  expect_passes(write("CREATE", nullptr, other).ask(judge_volume_claim, cluster));
}

TEST(Setups, AClaimThatAWorkspaceUsesIsNotDeleted) {
  FakeCluster cluster;
  expect_passes(write("DELETE", claim(), nullptr).ask(judge_volume_claim, cluster));
  cluster.workspace("fix");
  expect_passes(write("DELETE", claim(), nullptr).ask(judge_volume_claim, cluster));
  cluster.uses_setup("fix", kClaim);
  const Judgement refused = write("DELETE", claim(), nullptr).ask(judge_volume_claim, cluster);
  expect_refused(refused, "workspace-objects", {"metadata.name"});
  EXPECT_THAT(refused.findings[0].message, HasSubstr("workspace fix uses"));
  expect_passes(write("DELETE", claim(), nullptr, kOperator).ask(judge_volume_claim, cluster));
  json lost = claim();
  lost["status"]["phase"] = "Lost";
  expect_passes(write("DELETE", lost, nullptr).ask(judge_volume_claim, cluster));
}

TEST(Setups, NobodyEntersASetupsPod) {
  FakeCluster cluster;
  cluster.workspace("fix", "jane")
      .pod("fix-setup", {{"palisade.dev/setup", "fix"}, {"palisade.dev/agent", "aider"}}, "fix");
  for (const char* user : {"jane", "mallory", "root"}) {
    SCOPED_TRACE(user);
    const Judgement refused =
        Review{.operation = "CONNECT", .resource = "pods/exec", .name = "fix-setup", .user = user}
            .ask(judge_connect, cluster);
    expect_refused(refused, "session-access", {"userInfo.username"});
    EXPECT_THAT(refused.findings[0].message, HasSubstr("is the setup of workspace fix"));
  }
}

TEST(Setups, NoOtherPolicyOpensTheNetworkOfASetup) {
  FakeCluster cluster;
  cluster.workspace("fix");
  const json opens{{"metadata", {{"name", "open"}, {"namespace", "team-a"}}},
                   {"spec",
                    {{"podSelector", {{"matchLabels", {{"palisade.dev/setup", "fix"}}}}},
                     {"policyTypes", {"Egress"}},
                     {"egress", json::array({json::object()})}}}};
  const Review review{.operation = "CREATE",
                      .resource = "networkpolicies",
                      .group = "networking.k8s.io",
                      .user = "mallory",
                      .object = opens};
  const Judgement refused = review.ask(judge_network_policy, cluster);
  ASSERT_FALSE(refused.findings.empty());
  EXPECT_THAT(refused.reason, HasSubstr("fix-setup"));
}

TEST(Setups, TheLabelIsTheOperatorsAlone) {
  FakeCluster cluster;
  json pod{{"metadata",
            {{"name", "p"}, {"namespace", "team-a"}, {"labels", {{"palisade.dev/setup", "fix"}}}}},
           {"spec", {{"containers", json::array({{{"name", "c"}, {"image", "busybox"}}})}}}};
  const Review review{.operation = "CREATE", .resource = "pods", .user = "mallory", .object = pod};
  const Judgement refused = review.ask(judge_pod, cluster);
  EXPECT_TRUE(std::ranges::any_of(refused.findings, [](const policy::Finding& finding) {
    return finding.control == "agent-identity" &&
           finding.field == R"(metadata.labels["palisade.dev/setup"])";
  }));
}

// What a workspace asks of its setup beyond the bounds.
TEST(Setups, BoundsAreToldByField) {
  policy::Settings settings;
  settings.max_cpu_millis = 1000;
  settings.max_lifetime_seconds = 3600;
  settings.allowed_registries = std::vector<std::string>{"registry.example.com"};
  settings.setup_mirrors = std::vector<policy::SetupMirror>{
      policy::SetupMirror{"pypi.example.com", {"192.0.2.10"}, 443}};
  const json workspace{{"spec",
                        {{"repository", {{"url", "https://git.example.com/a/b.git"}}},
                         {"lifecycle", {{"deadline", "30m"}}},
                         {"setup",
                          {{"command", {"make"}},
                           {"image", "elsewhere.example.com/x"},
                           {"timeout", "2h"},
                           {"mirrors", {"pypi.example.com", "npm.example.com"}},
                           {"resources", {{"limits", {{"cpu", "4"}}}}}}}}}};
  simdjson::dom::parser parser;
  const simdjson::padded_string text(workspace.dump());
  const auto findings = policy::evaluate_workspace(parser.parse(text).value(), settings);
  std::vector<std::string> fields;
  for (const policy::Finding& finding : findings)
    fields.push_back(finding.field);
  EXPECT_THAT(fields, ::testing::UnorderedElementsAre("spec.setup.image", "spec.setup.timeout",
                                                      "spec.setup.mirrors[1]",
                                                      "spec.setup.resources.limits.cpu"));
  settings.setup_mirrors.reset();
  EXPECT_EQ(policy::evaluate_workspace(parser.parse(text).value(), settings).size(), 5U);
}

}  // namespace
}  // namespace palisade::webhook::testing
