// What one decision has made for the next is taken only where it would be made again as it is.
#include <gmock/gmock.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

std::string whole(const Plan& plan) {
  std::string out;
  for (const Action& action : plan.actions)
    out += op::testing::tell(action) + " " + action.uid + " " + action.object.dump() + "\n";
  for (const PlannedEvent& event : plan.events)
    out += event.reason + ": " + event.note + "\n";
  return out;
}

// As a look leaves it after its first decision.
Model decided() {
  Model model(usual_workspace(), true);
  model.seen.surroundings = std::make_shared<const char>();
  const Plan plan = model.decide();
  for (const Action& action : plan.actions)
    model.carry_out(action);
  model.seen.draft = plan.draft;
  return model;
}

TEST(Draft, IsTakenWhereNothingHasChanged) {
  const Model model = decided();
  ASSERT_TRUE(model.seen.draft);
  const Plan plan = model.decide();
  EXPECT_EQ(plan.draft, model.seen.draft);
  Model anew = model;
  anew.seen.draft.reset();
  EXPECT_EQ(whole(plan), whole(anew.decide()));
}

TEST(Draft, IsNotTakenWhereAnythingHas) {
  const struct {
    const char* name;
    std::function<void(Model&)> change;
  } rows[] = {
      {"the spec", [](Model& m) { m.spec()["isolation"]["exec"]["allow"] = {"/usr/bin/make"}; }},
      {"the task", [](Model& m) { m.spec()["task"]["message"] = "Another."; }},
      {"the token", [](Model& m) { m.seen.token = "another"; }},
      {"the gateway's authorities", [](Model& m) { m.seen.gateway_ca = "others"; }},
      {"what must not be reachable",
       [](Model& m) {
         m.seen.unreachable.push_back({"x", "192.0.2.77", 80, false, true});
       }},
      {"the git hosts' authorities", [](Model& m) { m.config.defaults.git_ca = "others"; }},
      {"a policy that was read anew",
       [](Model& m) {
         policy::AgentPolicy bound;
         bound.name = "bound";
         bound.agent_permissions = std::vector<std::string>{};
         m.seen.policies = std::vector{bound};
         m.seen.surroundings = std::make_shared<const char>();
       }},
      {"surroundings that nobody names", [](Model& m) { m.seen.surroundings.reset(); }},
  };
  for (const auto& row : rows) {
    Model model = decided();
    row.change(model);
    const Plan plan = model.decide();
    ASSERT_TRUE(plan.draft) << row.name;
    EXPECT_NE(plan.draft, model.seen.draft) << row.name;
    model.seen.draft.reset();
    EXPECT_EQ(whole(plan), whole(model.decide())) << row.name;
  }
}

}  // namespace
}  // namespace palisade::op::testing
