// What the operator makes of changes of workspaces.
#include "metrics.h"

#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <operator/workspace.h>

namespace palisade::op {
namespace {

using namespace std::chrono_literals;

// 2026-01-01T10:00:00Z
constexpr std::chrono::system_clock::time_point kMade{1'767'261'600s};

class MetricsTest : public ::testing::Test {
 protected:
  MetricsTest() { metrics_.lead(); }
  static kube::ObjectPtr workspace(const std::string& phase, Json status = Json::object(),
                                   const std::string& name = "fix") {
    if (!phase.empty()) status["phase"] = phase;
    return std::make_shared<const Json>(Json{{"metadata",
                                              {{"name", name},
                                               {"namespace", "team-a"},
                                               {"uid", "uid-" + name},
                                               {"creationTimestamp", "2026-01-01T10:00:00Z"}}},
                                             {"status", status}});
  }
  static kube::ObjectPtr ended(int programs, int connections, int refusals,
                               const std::string& name = "fix") {
    return workspace("Succeeded",
                     {{"audit",
                       {{"execs", 10},
                        {"deniedExecs", programs},
                        {"deniedConnects", connections},
                        {"refusals", refusals},
                        {"findings", 1}}}},
                     name);
  }
  void show(const std::vector<kube::ObjectPtr>& workspaces) {
    kube::Cache cache;
    for (const kube::ObjectPtr& workspace : workspaces)
      cache.put(workspace);
    metrics_.show(&cache, {}, {}, {});
  }
  // A line of the page.
  [[nodiscard]] bool has(const std::string& line) {
    const std::string text = prometheus::TextSerializer().Serialize(registry_.Collect());
    return text.find("\n" + line + "\n") != std::string::npos;
  }

  prometheus::Registry registry_;
  Metrics metrics_{registry_};
};

TEST_F(MetricsTest, TheFirstStartOfASessionIsTimed) {
  metrics_.changed(workspace(""), workspace("Pending"), kMade + 1s);
  metrics_.changed(workspace("Pending"), workspace("Running"), kMade + 4s);
  EXPECT_TRUE(has("palisade_operator_time_to_ready_seconds_count 1"));
  EXPECT_TRUE(has("palisade_operator_time_to_ready_seconds_sum 4"));
  EXPECT_TRUE(has(R"(palisade_operator_time_to_ready_seconds_bucket{le="3"} 0)"));
  EXPECT_TRUE(has(R"(palisade_operator_time_to_ready_seconds_bucket{le="5"} 1)"));
}

// Two that watch the same workspaces would count everything twice.
TEST_F(MetricsTest, WhoStandsByCountsNothing) {
  prometheus::Registry registry;
  Metrics follower(registry);
  const auto page = [&] { return prometheus::TextSerializer().Serialize(registry.Collect()); };
  follower.changed(workspace("Pending"), workspace("Running"), kMade + 4s);
  follower.changed(workspace("Running"), ended(3, 1, 9), kMade + 5s);
  EXPECT_NE(page().find("\npalisade_operator_leader 0\n"), std::string::npos);
  EXPECT_NE(page().find("\npalisade_operator_time_to_ready_seconds_count 0\n"), std::string::npos);
  EXPECT_NE(page().find("\npalisade_agent_programs_total 0\n"), std::string::npos);
  follower.lead();
  follower.changed(workspace("Pending"), workspace("Running"), kMade + 4s);
  EXPECT_NE(page().find("\npalisade_operator_leader 1\n"), std::string::npos);
  EXPECT_NE(page().find("\npalisade_operator_time_to_ready_seconds_count 1\n"), std::string::npos);
}

TEST_F(MetricsTest, NoLaterStartIs) {
  const struct {
    const char* why;
    kube::ObjectPtr before, after;
  } cases[] = {
      {"it was there when the operator started", nullptr, workspace("Running")},
      {"it ran already", workspace("Running"), workspace("Running")},
      {"its pod was lost", workspace("Pending", {{"restarts", 1}}),
       workspace("Running", {{"restarts", 1}})},
      {"it has gone", workspace("Running"), nullptr},
  };
  for (const auto& c : cases) {
    metrics_.changed(c.before, c.after, kMade + 1h);
    EXPECT_TRUE(has("palisade_operator_time_to_ready_seconds_count 0")) << c.why;
  }
  // Suspended, and resumed an hour later.
  metrics_.changed(workspace("Running"), workspace("Suspended"), kMade + 1min);
  metrics_.changed(workspace("Suspended"), workspace("Pending"), kMade + 1h);
  metrics_.changed(workspace("Pending"), workspace("Running"), kMade + 1h);
  EXPECT_TRUE(has("palisade_operator_time_to_ready_seconds_count 0"));
}

TEST_F(MetricsTest, RefusalsAreCountedOnceAndByKind) {
  metrics_.changed(nullptr, ended(5, 5, 20), kMade);
  EXPECT_TRUE(has(R"(palisade_agent_refusals_total{kind="program"} 0)")) << "it is nothing new";
  metrics_.changed(workspace("Running"), ended(3, 1, 9), kMade);
  metrics_.changed(ended(3, 1, 9), ended(3, 1, 9), kMade);
  EXPECT_TRUE(has(R"(palisade_agent_refusals_total{kind="program"} 3)"));
  EXPECT_TRUE(has(R"(palisade_agent_refusals_total{kind="connection"} 1)"));
  EXPECT_TRUE(has(R"(palisade_agent_refusals_total{kind="other"} 5)"));
  EXPECT_TRUE(has("palisade_agent_programs_total 10"));
  EXPECT_TRUE(has("palisade_agent_findings_total 1"));
  // The session begins anew, and ends again with less.
  metrics_.changed(ended(3, 1, 9), workspace("Running"), kMade);
  metrics_.changed(workspace("Running"), ended(2, 0, 2), kMade);
  EXPECT_TRUE(has(R"(palisade_agent_refusals_total{kind="program"} 5)"));
  EXPECT_TRUE(has(R"(palisade_agent_refusals_total{kind="other"} 5)"));
}

TEST_F(MetricsTest, PoolsAreCountedByWhatWaitsThere) {
  const auto pool = [](int wanted, Json status) {
    return std::make_shared<const Json>(
        Json{{"spec", {{"replicas", wanted}}}, {"status", std::move(status)}});
  };
  metrics_.show(nullptr,
                {pool(2, {{"replicas", 3}, {"readyReplicas", 2}, {"updatedReplicas", 3}}),
                 pool(4, {{"replicas", 4}, {"readyReplicas", 1}, {"updatedReplicas", 2}}),
                 pool(1, Json::object()), pool(0, {{"readyReplicas", 0}}),
                 pool(1, {{"readyReplicas", "one"}, {"replicas", -3}})},
                {}, {});
  EXPECT_TRUE(has(R"(palisade_operator_pools{state="full"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_pools{state="short"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_pools{state="empty"} 2)"));
  EXPECT_TRUE(has(R"(palisade_operator_pools{state="idle"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_warm_pods{state="waiting"} 3)"));
  EXPECT_TRUE(has(R"(palisade_operator_warm_pods{state="coming"} 2)"));
  EXPECT_TRUE(has(R"(palisade_operator_warm_pods{state="outdated"} 2)"));
  show({});
  EXPECT_TRUE(has(R"(palisade_operator_pools{state="empty"} 0)"));
  EXPECT_TRUE(has(R"(palisade_operator_warm_pods{state="waiting"} 0)"));
}

TEST_F(MetricsTest, SetupsAreCountedByResult) {
  const auto with = [](const char* phase, int attempts, bool cached) {
    return workspace("Pending",
                     {{"setup", {{"phase", phase}, {"attempts", attempts}, {"cached", cached}}}});
  };
  metrics_.changed(with("Running", 0, false), with("Failed", 1, false), kMade);
  metrics_.changed(with("Failed", 1, false), with("Running", 1, false), kMade);
  metrics_.changed(with("Running", 1, false), with("Ready", 1, false), kMade);
  metrics_.changed(with("Ready", 1, false), with("Ready", 1, false), kMade);
  metrics_.changed(workspace("Pending"), with("Ready", 0, true), kMade);
  EXPECT_TRUE(has(R"(palisade_operator_setups_total{result="failed"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_setups_total{result="installed"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_setups_total{result="cached"} 1)"));
}

TEST_F(MetricsTest, ClaimsAreCountedByResultAndTimedWhereOneWasTaken) {
  metrics_.claimed(WarmPods::kOffered, 20ms);
  metrics_.claimed(WarmPods::kOffered, std::nullopt);
  metrics_.claimed(WarmPods::kNone, std::nullopt);
  metrics_.claimed(WarmPods::kUnfit, std::nullopt);
  EXPECT_TRUE(has(R"(palisade_operator_warm_claims_total{result="taken"} 2)"));
  EXPECT_TRUE(has(R"(palisade_operator_warm_claims_total{result="none"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_warm_claims_total{result="unfit"} 1)"));
  EXPECT_TRUE(has("palisade_operator_warm_claim_duration_seconds_count 1"));
  EXPECT_TRUE(has(R"(palisade_operator_warm_claim_duration_seconds_bucket{le="0.025"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_warm_claim_duration_seconds_bucket{le="0.01"} 0)"));
}

TEST_F(MetricsTest, NonsenseInAStatusCountsNothing) {
  for (const Json& audit : {Json("many"), Json::array(), Json{{"deniedExecs", -7}},
                            Json{{"deniedExecs", "7"}, {"refusals", 1.5}}, Json(nullptr)}) {
    metrics_.changed(workspace("Running"), workspace("Failed", {{"audit", audit}}), kMade);
    show({workspace("Failed", {{"audit", audit}}), workspace("Dancing", {}, "other"),
          std::make_shared<const Json>(Json{{"status", "none"}})});
  }
  EXPECT_TRUE(has(R"(palisade_agent_refusals_total{kind="program"} 0)"));
  EXPECT_TRUE(has(R"(palisade_operator_workspaces{phase="Failed"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_workspaces{phase="Pending"} 1)"));
  EXPECT_FALSE(has(R"(palisade_operator_workspaces{phase="Dancing"} 1)"));
}

TEST_F(MetricsTest, TheHundredMostRefusedAreNamedAsLongAsTheyAreThere) {
  std::vector<kube::ObjectPtr> all;
  for (int i = 1; i <= 150; ++i)
    all.push_back(ended(0, 0, i, "w" + std::to_string(i)));
  show(all);
  const auto line = [](int i) {
    return R"(palisade_agent_workspace_refusals{workspace="w)" + std::to_string(i) +
           R"(",workspace_namespace="team-a"} )" + std::to_string(i);
  };
  EXPECT_TRUE(has(line(150)));
  EXPECT_TRUE(has(line(51)));
  EXPECT_FALSE(has(line(50)));
  all.pop_back();
  show(all);
  EXPECT_FALSE(has(line(150)));
  EXPECT_TRUE(has(line(50)));
  show({});
  EXPECT_FALSE(has(line(149)));
}

TEST_F(MetricsTest, OnlyWhatGuardFoundWantingIsNotIsolated) {
  const auto isolated = [](const char* status, const char* reason, const char* phase) {
    return workspace(
        phase,
        {{"conditions",
          Json::array({{{"type", "Isolated"}, {"status", status}, {"reason", reason}}})}},
        phase);
  };
  show({isolated("False", "NotStarted", "Pending"), isolated("True", "Held", "Running")});
  EXPECT_TRUE(has("palisade_operator_unisolated_workspaces 0"));
  EXPECT_TRUE(has(R"(palisade_operator_conditions{status="False",type="Isolated"} 1)"));
  show({isolated("False", "NetworkOpen", "Failed"), isolated("True", "Held", "Running")});
  EXPECT_TRUE(has("palisade_operator_unisolated_workspaces 1"));
  EXPECT_TRUE(has(R"(palisade_operator_conditions{status="False",type="Isolated"} 0)"))
      << "it has ended";
}

TEST_F(MetricsTest, TheQueueIsShownAsItIs) {
  kube::WorkQueue queue(
      {.waited = [this](std::chrono::nanoseconds since_due) { metrics_.waited(since_due); }});
  queue.add("a/1");
  queue.add("a/2", kube::Priority::kRoutine);
  queue.add_after("a/3", 1h);
  metrics_.show(nullptr, {}, queue.snapshot(0), {});
  EXPECT_TRUE(has(R"(palisade_operator_queue_depth{priority="fresh"} 1)"));
  EXPECT_TRUE(has(R"(palisade_operator_queue_depth{priority="routine"} 1)"));
  EXPECT_TRUE(has("palisade_operator_queue_delayed 1"));
  const auto first = queue.get({});
  ASSERT_TRUE(first);
  EXPECT_TRUE(has("palisade_operator_queue_latency_seconds_count 1"));
  metrics_.show(nullptr, {}, queue.snapshot(0), {});
  EXPECT_TRUE(has(R"(palisade_operator_queue_depth{priority="fresh"} 0)"));
  queue.done(*first);
  queue.add_rate_limited("a/4");
  metrics_.show(nullptr, {}, queue.snapshot(0), {});
  EXPECT_TRUE(has("palisade_operator_queue_failing 1"));
}

}  // namespace
}  // namespace palisade::op
