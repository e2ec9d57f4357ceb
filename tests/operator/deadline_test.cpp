// The deadline is the session's, not a pod's; and what is told of a session that has ended.
#include <gmock/gmock.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using ::testing::HasSubstr;

Model running(const char* deadline = "2h") {
  Json workspace = usual_workspace();
  workspace["spec"]["lifecycle"]["deadline"] = deadline;
  Model model(std::move(workspace));
  model.settle();
  model.run();
  model.settle();
  return model;
}

const Json& status(const Model& model) {
  return model.seen.workspace["status"];
}

std::int64_t given(const Model& model) {
  return (*model.seen.pod)["spec"]["activeDeadlineSeconds"].get<std::int64_t>();
}

std::string given_to_guard(const Model& model) {
  const std::string policy = (*model.seen.config_map)["data"]["guard.json"];
  return Json::parse(policy)["limits"]["deadline"];
}

void evict(Model& model) {
  model.end("Failed", "",
            {{"reason", "Evicted"}, {"message", "The node was low on resource: memory."}});
  model.settle();
}

TEST(Deadline, CountsFromTheFirstStartOverLostPods) {
  Model model = running();
  EXPECT_EQ(given(model), 7200);
  EXPECT_EQ(given_to_guard(model), "7200s");
  const std::string began = status(model)["startedAt"];
  EXPECT_EQ(began, format_time(model.now));
  EXPECT_EQ(status(model)["expiresAt"], format_time(model.now + hours(2)));
  const std::string spec_hash =
      (*model.seen.pod)["metadata"]["annotations"]["palisade.dev/spec-hash"];

  model.now += minutes(90);
  evict(model);
  EXPECT_EQ(given(model), 1800);
  EXPECT_EQ(given_to_guard(model), "1800s");
  EXPECT_EQ((*model.seen.pod)["metadata"]["annotations"]["palisade.dev/spec-hash"], spec_hash);
  // However long the second one runs, it is left in peace.
  model.run();
  model.settle();
  model.now += minutes(10);
  EXPECT_EQ(model.settle(), 0);
  EXPECT_EQ(model.phase(), "Running");
  EXPECT_EQ(status(model)["startedAt"], began);
  EXPECT_EQ(status(model)["expiresAt"], format_time(model.now + minutes(20)));

  model.now += minutes(15);
  evict(model);
  model.now += minutes(1);
  model.settle();
  EXPECT_EQ(given(model), 240);
  // Somebody takes time off it: no such pod is ours.
  model.run();
  model.settle();
  model.edit(&Observed::pod, {{"spec", {{"activeDeadlineSeconds", 100}}}});
  model.settle();
  EXPECT_EQ(model.condition("Ready")["reason"], "Replacing");
}

TEST(Deadline, IsOverWithoutAPod) {
  Model model = running("1h");
  model.now += minutes(61);
  evict(model);
  EXPECT_EQ(model.phase(), "Expired");
  EXPECT_EQ(model.condition("Ready")["reason"], "DeadlineExceeded");
  EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(), HasSubstr("3600 s"));
  EXPECT_EQ(status(model)["result"], (Json{{"reason", "DeadlineExceeded"}}));
  EXPECT_EQ(status(model)["finishedAt"], format_time(model.now));
  EXPECT_FALSE(model.seen.secret) << "its token goes as any finished session's";
  if (model.seen.pod) {
    EXPECT_TRUE((*model.seen.pod)["metadata"].contains("deletionTimestamp"));
  }
}

TEST(Deadline, AChangedOneCountsFromTheSameStart) {
  Model model = running("1h");
  model.now += minutes(40);
  model.spec()["lifecycle"]["deadline"] = "3h";
  model.settle();
  model.let_go();
  model.settle();
  EXPECT_EQ(given(model), 140 * 60);
  model.run();
  model.settle();
  EXPECT_EQ(model.phase(), "Running");
  EXPECT_EQ(model.settle(), 0);
}

TEST(Deadline, BeginsAnewAfterASuspension) {
  Model model = running();
  model.now += minutes(90);
  model.spec()["lifecycle"]["suspend"] = true;
  model.settle();
  model.let_go();
  model.settle();
  EXPECT_FALSE(status(model).contains("startedAt"));
  model.spec()["lifecycle"]["suspend"] = false;
  model.settle();
  EXPECT_EQ(given(model), 7200);
}

// A pod from before an upgrade has no word of what it was given.
TEST(Deadline, PodsOfAnOlderOperatorAreLeftInPeace) {
  Model model = running();
  model.seen.workspace["status"]["madeWith"].erase("deadlineSeconds");
  model.settle();
  EXPECT_EQ(model.phase(), "Running");
  EXPECT_FALSE((*model.seen.pod)["metadata"].contains("deletionTimestamp"));
}

TEST(Result, HoldsTheLastLinesBoundedAndPrintable) {
  Model model = running();
  Json lines = Json::array({"fine", "\u001b[2Jnot fine\n", std::string(1000, 'x'), 7});
  for (int i = 0; i < 40; ++i)
    lines.push_back("line");
  const Json word{{"guard", "palisade.dev/guard/v1"}, {"ended", "exited"}, {"lastLines", lines}};
  model.end(
      "Failed", R"({"commits": 0})",
      {{"containerStatuses",
        Json::array({{{"name", "aider"},
                      {"state",
                       {{"running", nullptr},
                        {"terminated",
                         {{"exitCode", 3}, {"reason", "Error"}, {"message", word.dump()}}}}}}})}});
  model.settle();
  const Json& result = status(model)["result"];
  EXPECT_EQ(result["exitCode"], 3);
  EXPECT_EQ(result["reason"], "AiderFailed");
  ASSERT_EQ(result["lastLines"].size(), 20U);
  EXPECT_EQ(result["lastLines"][0], "fine");
  EXPECT_EQ(result["lastLines"][1], "?[2Jnot fine");
  EXPECT_LE(result["lastLines"][2].get<std::string>().size(), 256U);
  EXPECT_EQ(result["lastLines"][3], "line") << "what is no text is left out";
}

TEST(Result, HasNoLinesWhereNoneWerePrinted) {
  Model model = running();
  model.end("Succeeded", R"({"commits": 0})");
  model.settle();
  EXPECT_FALSE(status(model)["result"].contains("lastLines"));
}

}  // namespace
}  // namespace palisade::op::testing
