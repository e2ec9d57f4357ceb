// What a process that led before leaves to the next: writes that are carried out only now, and news
// that the next has not heard yet. Each of these is a way in which a wider network, a wider guard's
// policy or a second start could come about although one process works at a time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "operator/simulation_world.h"

namespace palisade::op::testing {

// One workspace that runs, a leader and one that stands by; nothing happens by chance.
class TakeOver : public ::testing::Test {
 protected:
  void SetUp() override {
    spdlog::set_level(spdlog::level::off);
    world_.user();
    world_.drain();
    world_.start(1);
    ASSERT_EQ(phase(), "Running");
  }
  void TearDown() override {
    EXPECT_EQ(world_.api_.broken, "");
    if (!HasFailure()) return;
    for (const std::string& line : world_.history())
      std::printf("  %s\n", line.c_str());
  }

  [[nodiscard]] kube::ObjectPtr workspace() const {
    return world_.api_.find("agentworkspaces", kKey);
  }
  [[nodiscard]] std::string phase() const { return (*workspace())["status"]["phase"]; }
  [[nodiscard]] kube::ObjectPtr pod() const { return world_.api_.find("pods", kAgent); }
  [[nodiscard]] Json of(const char* plural, const char* section) const {
    return (*world_.api_.find(plural, kAgent))[section];
  }
  void ask(const Json& spec) { world_.edit("user", "agentworkspaces", kKey, {{"spec", spec}}); }

  // The leader's next write of that kind is on its way when its term ends.
  void hold(const std::string& plural, const std::string& subresource = "") {
    const auto leader = world_.leader_;
    world_.holds_ = [this, plural, subresource, leader](const kube::Request& request,
                                                        const Place& place) {
      return world_.leader_ == leader && request.method == "PATCH" && place.plural == plural &&
             place.subresource == subresource;
    };
    for (int steps = 0; world_.late_.empty() && steps < 50; ++steps) {
      this->leader().hear_all();
      world_.work();
      if (world_.late_.empty()) world_.run_pods();
    }
    ASSERT_EQ(world_.late_.size(), 1U) << "it was not sent";
  }
  // A change is asked for and taken back, with a write for it still on its way.
  void change_mind(const std::string& plural, const Json& wish, const Json& before) {
    ask(wish);
    hold(plural);
    ask(before);
    world_.drain();
    ASSERT_EQ(phase(), "Running");
    ASSERT_TRUE(pod() && !is_gated(*pod()));
  }

  // Everything is heard and done.
  void rest() { world_.drain(); }
  void carry_out_late() { world_.carry_out_late(); }
  void end_agent() { world_.end_agent(pod(), true); }
  void lose_pod() { world_.api_.remove("pods", kAgent, true); }
  // Every look that is due, with what has been heard so far.
  void work() {
    for (int looks = 0; world_.processes_[world_.leader_]->is_due() && looks < 5; ++looks)
      world_.work();
  }
  [[nodiscard]] Process& leader() { return *world_.processes_[world_.leader_]; }
  [[nodiscard]] Process& next() { return *world_.processes_[1 - world_.leader_]; }
  void take_over() { world_.replace_leader(); }

  static constexpr const char* kKey = "team-a/ws-0";
  static constexpr const char* kAgent = "team-a/ws-0-agent";
  Choices quiet_{std::vector<std::uint32_t>{}};
  World world_{quiet_, true};
};

namespace {

TEST_F(TakeOver, AWiderNetworkThatComesLateIsRefused) {
  const Json before = of("networkpolicies", "spec");
  const Json wide =
      Json::array({{{"to", Json::array({{{"ipBlock", {{"cidr", "198.18.0.0/24"}}}}})}}});
  ASSERT_NO_FATAL_FAILURE(change_mind("networkpolicies", {{"isolation", {{"egress", wide}}}},
                                      {{"isolation", {{"egress", Json::array()}}}}));
  ASSERT_EQ(of("networkpolicies", "spec"), before);
  carry_out_late();
  EXPECT_EQ(of("networkpolicies", "spec"), before);
}

TEST_F(TakeOver, AWiderGuardsPolicyThatComesLateIsRefused) {
  const auto guard = [this] {
    Json policy = Json::parse(of("configmaps", "data")["guard.json"].get<std::string>());
    policy["limits"].erase("deadline");
    return policy;
  };
  const Json before = guard();
  ASSERT_NO_FATAL_FAILURE(change_mind("configmaps",
                                      {{"isolation", {{"exec", {{"allow", {"/usr/bin/make"}}}}}}},
                                      {{"isolation", {{"exec", {{"allow", Json::array()}}}}}}));
  ASSERT_EQ(guard(), before);
  carry_out_late();
  EXPECT_EQ(guard(), before);
}

TEST_F(TakeOver, AStatusThatComesLateUndoesNoEnd) {
  ask({{"agent", {{"model", "another"}}}});
  ASSERT_NO_FATAL_FAILURE(hold("agentworkspaces", "status"));
  end_agent();
  rest();
  ASSERT_EQ(phase(), "Succeeded");
  lose_pod();
  carry_out_late();
  rest();
  EXPECT_EQ(phase(), "Succeeded");
  EXPECT_FALSE(pod());
}

// The next leader's watch of workspaces lags behind that of pods.
TEST_F(TakeOver, AnEndOfWhichTheNextHasNotHeardIsAnEnd) {
  end_agent();
  leader().hear_all();
  work();
  ASSERT_EQ(phase(), "Succeeded");
  lose_pod();
  while (next().hear(1)) {
  }
  take_over();
  work();
  EXPECT_EQ(phase(), "Succeeded");
  EXPECT_FALSE(pod());
  rest();
  EXPECT_EQ(phase(), "Succeeded");
  EXPECT_FALSE(pod());
}

}  // namespace
}  // namespace palisade::op::testing
