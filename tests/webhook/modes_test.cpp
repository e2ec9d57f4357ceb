// What becomes of a finding: modes of namespaces and controls, exceptions, and what the answer
// tells the user and the audit log.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <webhook/review.h>

#include "webhook/reviews.h"

namespace palisade::webhook::testing {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

json privileged_and_writable() {
  json pod = good_pod();
  pod["spec"]["containers"][0]["securityContext"]["privileged"] = true;
  pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false;
  return pod;
}

struct Guarded : FakeView {
  explicit Guarded(const std::string& label, const std::string& value) {
    static_cast<policy::Modes&>(guarded) = policy::modes_of({{label, value}});
  }
};

TEST(Modes, LabelsAreReadStrictly) {
  const struct {
    policy::Labels labels;
    Mode mode;
    Action action;
    Action of_host_ports;
  } cases[] = {
      {{}, Mode::kAgents, Action::kEnforce, Action::kEnforce},
      {{{"palisade.dev/enforce", "all"}}, Mode::kAll, Action::kEnforce, Action::kEnforce},
      {{{"palisade.dev/enforce", "Off"}}, Mode::kAll, Action::kEnforce, Action::kEnforce},
      {{{"palisade.dev/mode", "warn"}}, Mode::kAgents, Action::kWarn, Action::kWarn},
      {{{"palisade.dev/mode", "audit"}}, Mode::kAgents, Action::kAudit, Action::kAudit},
      {{{"palisade.dev/mode", "Audit"}}, Mode::kAgents, Action::kEnforce, Action::kEnforce},
      {{{"palisade.dev/mode", ""}}, Mode::kAgents, Action::kEnforce, Action::kEnforce},
      {{{"control.palisade.dev/host-ports", "audit"}},
       Mode::kAgents,
       Action::kEnforce,
       Action::kAudit},
      {{{"palisade.dev/mode", "warn"}, {"control.palisade.dev/host-ports", "enforce"}},
       Mode::kAgents,
       Action::kWarn,
       Action::kEnforce},
      {{{"palisade.dev/mode", "warn"}, {"control.palisade.dev/host-ports", "off"}},
       Mode::kAgents,
       Action::kWarn,
       Action::kEnforce},
  };
  for (const auto& c : cases) {
    const policy::Modes rules = policy::modes_of(c.labels);
    const std::string name = json(c.labels).dump();
    EXPECT_EQ(rules.mode, c.mode) << name;
    EXPECT_EQ(rules.action_of("not-privileged"), c.action) << name;
    EXPECT_EQ(rules.action_of("host-ports"), c.of_host_ports) << name;
  }
}

TEST(Modes, WarnLetsPassAndTellsTheUserWhatWouldBeRejected) {
  const Guarded cluster("palisade.dev/mode", "warn");
  const Outcome outcome = ask(envelope(privileged_and_writable()), cluster);
  const json response = response_of(outcome);
  EXPECT_TRUE(outcome.allowed);
  EXPECT_THAT(outcome.denied_controls, IsEmpty());
  EXPECT_THAT(outcome.warned_controls, ElementsAre("not-privileged", "read-only-root-filesystem"));
  EXPECT_THAT(response["warnings"].dump(),
              HasSubstr("spec.containers[0].securityContext.privileged"));
  EXPECT_THAT(response["warnings"].dump(), HasSubstr("palisade would reject this"));
  EXPECT_EQ(response["auditAnnotations"]["verdict"], "allowed-by-mode");
  EXPECT_EQ(response["auditAnnotations"]["warned-controls"],
            "not-privileged,read-only-root-filesystem");
}

TEST(Modes, AuditIsSilentToTheUser) {
  const Guarded cluster("palisade.dev/mode", "audit");
  const Outcome outcome = ask(envelope(privileged_and_writable()), cluster);
  const json response = response_of(outcome);
  EXPECT_TRUE(outcome.allowed);
  EXPECT_FALSE(response.contains("warnings"));
  EXPECT_THAT(outcome.audited_controls, ElementsAre("not-privileged", "read-only-root-filesystem"));
  EXPECT_EQ(response["auditAnnotations"]["audited-controls"],
            "not-privileged,read-only-root-filesystem");
  EXPECT_THAT(response["auditAnnotations"]["findings"].get<std::string>(),
              HasSubstr("[not-privileged] spec.containers[0].securityContext.privileged is true"));
}

TEST(Modes, OneControlMayWarnWhileTheOthersEnforce) {
  const Guarded cluster("control.palisade.dev/read-only-root-filesystem", "warn");
  const Outcome outcome = ask(envelope(privileged_and_writable()), cluster);
  const json response = response_of(outcome);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_THAT(outcome.denied_controls, ElementsAre("not-privileged"));
  EXPECT_THAT(outcome.warned_controls, ElementsAre("read-only-root-filesystem"));
  EXPECT_THAT(message_of(outcome), Not(HasSubstr("readOnlyRootFilesystem")));
  EXPECT_THAT(response["warnings"].dump(), HasSubstr("readOnlyRootFilesystem"));
  json writable = good_pod();
  writable["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false;
  EXPECT_TRUE(ask(envelope(writable), cluster).allowed);
}

TEST(Modes, WhatIsNoMatterOfANamespaceIsAlwaysEnforced) {
  Guarded cluster("palisade.dev/mode", "audit");
  json body = envelope(
      json{{"metadata", {{"name", "team-a"}, {"labels", {{"palisade.dev/enforce", "off"}}}}}});
  body["request"]["resource"] = {{"group", ""}, {"version", "v1"}, {"resource", "namespaces"}};
  body["request"]["userInfo"]["username"] = "jane";
  const Outcome outcome = ask(body, cluster);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_THAT(outcome.denied_controls, ElementsAre("namespace-labels"));
}

TEST(Modes, WarningsAreFewShortAndOfOneLine) {
  json pod = good_pod();
  for (int i = 0; i < 40; ++i) {
    json container = pod["spec"]["containers"][0];
    container["securityContext"]["privileged"] = std::string(500, '\n') + "\x1b[31m";
    pod["spec"]["containers"].push_back(container);
  }
  const Guarded cluster("palisade.dev/mode", "warn");
  const json response = response_of(ask(envelope(pod), cluster));
  ASSERT_LE(response["warnings"].size(), 13U);
  EXPECT_THAT(response["warnings"].back().get<std::string>(), HasSubstr("more"));
  const json warnings = response["warnings"];
  for (const json& warning : warnings) {
    const auto text = warning.get<std::string>();
    EXPECT_LE(text.size(), 256U);
    EXPECT_EQ(text.find_first_of("\n\x1b"), std::string::npos);
  }
}

// --- Exceptions ---

std::shared_ptr<const policy::HardeningException> exception(std::vector<std::string> controls,
                                                            std::int64_t expires = kNow + 60) {
  auto out = std::make_shared<policy::HardeningException>();
  out->name = "legacy";
  out->uid = "u1";
  out->namespaces = {"team-a"};
  out->controls = std::move(controls);
  out->ticket = "OPS-7";
  out->expires = expires;
  return out;
}

TEST(Exceptions, LetPassWhatTheyNameAndLeaveATrace) {
  FakeView cluster;
  cluster.guarded.exceptions = {exception({"not-privileged", "read-only-root-filesystem"})};
  const Outcome outcome = ask(envelope(privileged_and_writable()), cluster);
  const json response = response_of(outcome);
  EXPECT_TRUE(outcome.allowed) << outcome.body;
  ASSERT_EQ(outcome.exceptions.size(), 1U);
  EXPECT_EQ(outcome.exceptions[0].controls, "not-privileged,read-only-root-filesystem");
  EXPECT_THAT(outcome.subject, HasSubstr("CREATE pods team-a/"));
  EXPECT_EQ(response["auditAnnotations"]["exceptions"],
            "legacy (OPS-7): not-privileged,read-only-root-filesystem");
}

TEST(Exceptions, LetNothingElsePass) {
  FakeView cluster;
  cluster.guarded.exceptions = {exception({"not-privileged"})};
  const Outcome outcome = ask(envelope(privileged_and_writable()), cluster);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_THAT(outcome.denied_controls, ElementsAre("read-only-root-filesystem"));
  EXPECT_TRUE(ask(envelope(good_pod()), cluster).exceptions.empty());
}

TEST(Exceptions, EndByThemselves) {
  FakeView cluster;
  cluster.guarded.exceptions = {exception({"not-privileged", "read-only-root-filesystem"}, kNow)};
  EXPECT_FALSE(ask(envelope(privileged_and_writable()), cluster).allowed);
}

TEST(Exceptions, HoldInTheirNamespaceOnly) {
  FakeView cluster;
  cluster.guarded.exceptions = {exception({"not-privileged", "read-only-root-filesystem"})};
  json body = envelope(privileged_and_writable());
  body["request"]["namespace"] = "team-b";
  EXPECT_FALSE(ask(body, cluster).allowed);
}

TEST(Exceptions, DoNotMakeAPodAWorkspaces) {
  FakeView cluster;
  cluster.guarded.exceptions = {exception({"agent-identity"})};
  json body = envelope(good_pod());
  body["request"]["userInfo"]["username"] = "jane";
  EXPECT_FALSE(ask(body, cluster).allowed);
}

// --- AgentPolicies, as the rules bring them ---

TEST(AgentPolicies, AreTheSettingsOfTheNamespace) {
  FakeView cluster;
  cluster.guarded.settings.allowed_registries = std::vector<std::string>{"elsewhere.example.com"};
  const Outcome outcome = ask(envelope(good_pod()), cluster);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_THAT(outcome.denied_controls, ElementsAre("image-source"));
}

TEST(AgentPolicies, OneThatCannotBeReadDeniesAgentsAndNobodyElse) {
  FakeView cluster;
  cluster.guarded.problem = "AgentPolicy p cannot be read: spec has no field \"x\"";
  const Outcome outcome = ask(envelope(good_pod()), cluster);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_THAT(message_of(outcome), HasSubstr("AgentPolicy p cannot be read"));
  EXPECT_TRUE(ask(envelope(nginx_pod()), cluster).allowed);
}

// --- The pod's network ---

TEST(Network, AnAgentPodThatNothingClosesInIsRefused) {
  FakeView cluster;
  cluster.policies.clear();
  const Outcome outcome = ask(envelope(good_pod()), cluster);
  EXPECT_FALSE(outcome.allowed);
  EXPECT_THAT(outcome.denied_controls, ElementsAre("deny-all-network"));
  EXPECT_EQ(cluster.live_reads, 1) << "the cache may be behind";
  EXPECT_TRUE(ask(envelope(nginx_pod()), cluster).allowed);
}

TEST(Network, APolicyThatTheCacheDoesNotKnowYetCounts) {
  FakeView cluster;
  cluster.live_policies = cluster.policies;
  cluster.policies.clear();
  EXPECT_TRUE(ask(envelope(good_pod()), cluster).allowed);
}

}  // namespace
}  // namespace palisade::webhook::testing
