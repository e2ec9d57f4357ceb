// What AgentPolicies withhold from a workspace that is about to be written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using ::testing::HasSubstr;
using Lines = std::vector<std::string>;

policy::AgentPolicy bound(const Lines& agent) {
  policy::AgentPolicy out;
  out.name = "strict";
  out.agent_permissions = agent;
  return out;
}

TEST(Bounds, AWorkspaceThatExceedsThemIsRefusedWithTheDifference) {
  struct Case {
    const char* name;
    std::vector<policy::AgentPolicy> policies;
    std::string refused;  // what the message must name; "" where it is accepted
  };
  const Lines all{"filesystem.rw", "git.api"};
  const std::vector<Case> cases{
      {"no policy", {}, ""},
      {"one that says nothing of it", {policy::AgentPolicy{}}, ""},
      {"all that a session has", {bound(all)}, ""},
      {"the relay is nobody's to withhold", {bound({"filesystem", "git.api"})}, ""},
      {"no git",
       {bound({"filesystem.rw"})},
       "aider: git.api: push palisade/fix-login of https://git.example.com/team/app.git"},
      {"nothing", {bound({})}, "allow the agents of this namespace nothing"},
      {"two that meet in less",
       {bound(all), bound({"git.api"})},
       "aider: filesystem.rw: /workspace"},
  };
  for (const Case& c : cases) {
    Model model;
    model.seen.policies = c.policies;
    model.settle();
    const Json accepted = model.condition("Accepted");
    EXPECT_EQ(accepted["status"], c.refused.empty() ? "True" : "False") << c.name;
    EXPECT_EQ(model.seen.pod != nullptr, c.refused.empty()) << c.name;
    if (c.refused.empty()) continue;
    EXPECT_EQ(accepted["reason"], "ExceedsPermissions") << c.name;
    EXPECT_THAT(accepted["message"].get<std::string>(), HasSubstr(c.refused)) << c.name;
    // What the policy asks is what helps.
    model.seen.policies->clear();
    model.settle();
    EXPECT_TRUE(model.seen.pod) << c.name;
  }
}

// Guard in mode Audit bounds neither the agent's programs nor what it connects to, and the latter
// no AgentPolicy can allow.
TEST(Bounds, AuditModeIsEveryProgramAndTheSessionsNetwork) {
  for (const bool programs : {false, true}) {
    Model model;
    model.spec()["isolation"]["exec"] = {{"mode", "Audit"}};
    Lines names{"filesystem.rw", "git.api"};
    if (programs) names.emplace_back("exec.any");
    model.seen.policies = std::vector{bound(names)};
    model.settle();
    EXPECT_FALSE(model.seen.pod);
    const auto message = model.condition("Accepted")["message"].get<std::string>();
    EXPECT_THAT(message, HasSubstr("aider: network.egress."));
    const std::string every = "aider: exec.any: registry.example.com/palisade/aider:0.86.2";
    EXPECT_EQ(message.find(every) != std::string::npos, !programs) << message;
  }
}

TEST(Bounds, ExtraEgressIsNamedApart) {
  Model model;
  model.spec()["isolation"]["egress"] =
      Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "203.0.113.7/32"}}}}})}}});
  model.seen.policies = std::vector{bound({"filesystem.rw", "git.api"})};
  model.settle();
  EXPECT_THAT(model.condition("Accepted")["message"].get<std::string>(),
              ::testing::EndsWith("but they would have aider: network.egress.extra: 203.0.113.7/32 "
                                  "all ports"));
}

// The other bounds of AgentPolicies are the pod's controls.
TEST(Bounds, TightenedSettingsJudgeThePod) {
  policy::AgentPolicy small;
  small.max_memory_bytes = 1024;
  Model model;
  model.seen.policies = std::vector{small};
  model.settle();
  EXPECT_EQ(model.condition("Accepted")["reason"], "PolicyViolation");
  EXPECT_FALSE(model.seen.pod);
}

TEST(Bounds, WhatIsNotKnownStartsNothing) {
  Model model;
  model.seen.policies =
      std::unexpected(Problem{"AgentPolicyInvalid", "AgentPolicy x cannot be read: spec.y"});
  model.settle();
  EXPECT_EQ(model.condition("Accepted")["status"], "False");
  EXPECT_EQ(model.condition("Accepted")["reason"], "AgentPolicyInvalid");
  EXPECT_FALSE(model.seen.pod);
}

}  // namespace
}  // namespace palisade::op::testing
