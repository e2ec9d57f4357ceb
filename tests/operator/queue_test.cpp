// spec.limits.maxRunning of AgentPolicies: who runs, who waits, and in which order.
#include <random>
#include <set>

#include <gmock/gmock.h>

#include <operator/turns.h>

#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

policy::AgentPolicy limit(const char* name, std::optional<std::int64_t> most) {
  policy::AgentPolicy out;
  out.name = name;
  out.max_running = most;
  return out;
}

std::expected<policy::AgentPolicy, std::string> read_policy(const std::string& spec) {
  simdjson::dom::parser parser;
  const simdjson::padded_string text(R"({"metadata": {"name": "p"}, "spec": )" + spec + "}");
  return policy::parse_agent_policy(parser.parse(text).value());
}

TEST(Queue, LimitIsReadStrictly) {
  EXPECT_EQ(read_policy(R"({"limits": {"maxRunning": 3}})")->max_running, 3);
  EXPECT_EQ(read_policy(R"({"limits": {"maxRunning": 0}})")->max_running, 0);
  EXPECT_FALSE(read_policy(R"({"limits": {}})")->max_running);
  for (const char* wrong :
       {R"({"limits": {"maxRunning": -1}})", R"({"limits": {"maxRunning": "3"}})",
        R"({"limits": {"maxRunning": 1.5}})", R"({"limits": {"most": 1}})", R"({"limits": 3})"}) {
    const auto read = read_policy(wrong);
    ASSERT_FALSE(read) << wrong;
    EXPECT_THAT(read.error(), HasSubstr("spec.limits")) << wrong;
  }
}

TEST(Queue, StrictestPolicyCounts) {
  Observed seen;
  seen.policies = std::vector<policy::AgentPolicy>();
  EXPECT_FALSE(running_limit(seen));
  seen.policies->push_back(limit("none", std::nullopt));
  EXPECT_FALSE(running_limit(seen));
  seen.policies->push_back(limit("five", 5));
  seen.policies->push_back(limit("two", 2));
  seen.policies->push_back(limit("three", 3));
  ASSERT_TRUE(running_limit(seen));
  EXPECT_EQ(running_limit(seen)->most, 2);
  EXPECT_EQ(running_limit(seen)->policy, "two");
}

TEST(Queue, WaitsWithItsPlaceAndMakesNothing) {
  Model model;
  model.seen.policies = std::vector{limit("two", 2)};
  EXPECT_TRUE(model.decide().asks_turn);
  // Nobody could be asked: it does not start.
  EXPECT_FALSE(std::ranges::any_of(model.decide().actions, [](const Action& action) {
    return action.kind == ActionKind::kCreatePod || action.kind == ActionKind::kApply;
  }));
  model.seen.turn = Turn{false, 2, 3};
  const Plan plan = model.decide();
  EXPECT_FALSE(plan.asks_turn);
  ASSERT_EQ(plan.events.size(), 1U);
  EXPECT_EQ(plan.events[0].reason, "Queued");
  EXPECT_FALSE(plan.events[0].warning);
  model.settle();
  EXPECT_EQ(model.phase(), "Pending");
  EXPECT_EQ(model.condition("Accepted")["status"], "True");
  EXPECT_EQ(model.condition("Ready")["status"], "False");
  EXPECT_EQ(model.condition("Ready")["reason"], "Queued");
  EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(),
              HasSubstr("AgentPolicy two lets 2 workspace(s)"));
  EXPECT_THAT(model.condition("Ready")["message"].get<std::string>(),
              HasSubstr("number 2 of 3 that wait"));
  EXPECT_EQ(model.seen.workspace["status"]["queue"], (Json{{"position", 2}, {"of", 3}}));
  EXPECT_FALSE(model.seen.pod || model.seen.secret || model.seen.config_map ||
               model.seen.network_policy || model.seen.service_account);
  // A new place is no new event.
  model.seen.turn = Turn{false, 1, 2};
  EXPECT_THAT(model.decide().events, IsEmpty());
  model.seen.turn = Turn{true, 1, 1};
  model.settle();
  EXPECT_TRUE(model.seen.pod);
  EXPECT_FALSE(model.seen.workspace["status"].contains("queue"));
}

TEST(Queue, WhatRunsIsNotAsked) {
  Model model;
  model.settle();
  model.run();
  model.settle();
  model.seen.policies = std::vector{limit("none", 0)};
  EXPECT_FALSE(model.decide().asks_turn);
  model.settle();
  EXPECT_EQ(model.phase(), "Running");
}

TEST(Queue, WhatCannotStartGivesItsTurnBack) {
  Model model;
  model.seen.policies = std::vector{limit("two", 2)};
  model.seen.turn = Turn{true, 1, 1};
  EXPECT_FALSE(model.decide().gives_turn_back);
  model.seen.token = std::unexpected(Problem{"SecretNotFound", "no"});
  EXPECT_TRUE(model.decide().gives_turn_back);
  model.seen.token = "token";
  const auto reach = model.seen.access;
  model.seen.access = std::unexpected(Problem{"EndpointNotFound", "no"});
  EXPECT_TRUE(model.decide().gives_turn_back);
  model.seen.access = reach;
  EXPECT_FALSE(model.decide().gives_turn_back);
  // What cannot be read at all.
  Json& workspace = model.seen.workspace;
  const Json spec = workspace["spec"];
  workspace["spec"]["repository"] = "no";
  EXPECT_TRUE(model.decide().gives_turn_back);
  workspace["spec"] = spec;
  // A volume that has gone, while no pod has it.
  workspace["spec"]["storage"] = {{"size", "5Gi"}};
  Json claim = desired_volume_claim(parsed(workspace));
  claim["metadata"]["uid"] = "claim-1";
  claim["status"]["phase"] = "Pending";
  model.seen.volume = std::make_shared<const Json>(claim);
  EXPECT_FALSE(model.decide().gives_turn_back);
  claim["status"]["phase"] = "Lost";
  model.seen.volume = std::make_shared<const Json>(claim);
  EXPECT_TRUE(model.decide().gives_turn_back);
  Json pod = pod_of(workspace);
  pod["metadata"]["uid"] = "pod-1";
  model.seen.pod = std::make_shared<const Json>(pod);
  EXPECT_FALSE(model.decide().gives_turn_back);
}

// {name, created, status, more of the object}
Json object(const char* name, const char* created, Json status = Json::object(),
            Json more = Json::object()) {
  Json out{{"metadata", {{"name", name}, {"namespace", "a"}, {"creationTimestamp", created}}},
           {"spec", Json::object()},
           {"status", std::move(status)}};
  out.merge_patch(more);
  return out;
}

Json conditions(const char* type, const char* status, const char* reason) {
  return {{"conditions", Json::array({{{"type", type}, {"status", status}, {"reason", reason}}})}};
}

TEST(Queue, WhoHoldsAndWhoWants) {
  const Json suspended{{"spec", {{"lifecycle", {{"suspend", true}}}}}};
  const Json deleted{{"metadata", {{"deletionTimestamp", "2026-01-01T00:00:00Z"}}}};
  const struct {
    const char* name;
    Json workspace;
    bool has_pod, active, holds, wants;
  } rows[] = {
      {"new", object("w", "t"), false, true, false, true},
      {"starting", object("w", "t"), true, true, true, false},
      {"between pods", object("w", "t", {{"podName", "w-agent"}}), false, true, true, false},
      {"refused", object("w", "t", conditions("Accepted", "False", "InvalidSpec")), false, true,
       false, false},
      {"refused between pods",
       object("w", "t",
              {{"podName", "w-agent"},
               {"conditions", conditions("Accepted", "False", "InvalidSpec")["conditions"]}}),
       false, true, false, false},
      {"no Secret", object("w", "t", conditions("CredentialsReady", "False", "SecretNotFound")),
       false, true, false, false},
      {"minting", object("w", "t", conditions("CredentialsReady", "False", "Minting")), false, true,
       false, true},
      {"queued", object("w", "t", conditions("Ready", "False", "Queued")), false, true, false,
       true},
      {"its volume is lost between pods",
       object("w", "t",
              {{"podName", "w-agent"},
               {"conditions", conditions("Ready", "False", "VolumeLost")["conditions"]}}),
       false, true, false, false},
      {"its volume is lost under a pod",
       object("w", "t", conditions("Ready", "False", "VolumeLost")), true, true, true, false},
      {"suspended", object("w", "t", {}, suspended), false, false, false, false},
      {"suspended, its pod ends", object("w", "t", {}, suspended), true, false, true, false},
      {"deleted, its pod ends", object("w", "t", {}, deleted), true, false, true, false},
      {"deleted", object("w", "t", {{"podName", "w-agent"}}, deleted), false, false, false, false},
      {"finished", object("w", "t", {{"phase", "Succeeded"}, {"podName", "w-agent"}}), true, false,
       false, false},
      {"expired", object("w", "t", {{"phase", "Expired"}}), true, false, false, false},
  };
  for (const auto& row : rows)
    EXPECT_EQ(peer_of(row.workspace, row.has_pod),
              (Peer{"a/w", "t", row.active, row.holds, row.wants}))
        << row.name;
}

class Line {
 public:
  std::map<std::string, Peer> peers;
  std::optional<std::vector<std::string>> living = std::vector<std::string>();
  int looks = 0;
  std::function<void()> meanwhile;  // while the API server is asked
  Turns turns{[this](const std::string& ns) {
                std::vector<Peer> out;
                for (const auto& [key, peer] : peers)
                  if (key.starts_with(ns + "/")) out.push_back(peer);
                return out;
              },
              [this](const std::string&, const std::stop_token&) {
                ++looks;
                if (meanwhile) meanwhile();
                return living;
              }};

  void add(const std::string& key, const std::string& created) {
    peers[key] = {key, created, true, false, true};
  }
  void run(const std::string& key) {
    peers[key].holds = true;
    peers[key].wants = false;
  }
  void finish(const std::string& key) {
    peers[key].active = peers[key].holds = peers[key].wants = false;
    turns.give_back(key);
  }
};

TEST(Turns, GoByCreationThenName) {
  Line line;
  line.add("a/z", "2026-01-01T00:00:01Z");
  line.add("a/b", "2026-01-01T00:00:02Z");
  line.add("a/c", "2026-01-01T00:00:02Z");
  line.add("b/a", "2026-01-01T00:00:00Z");  // another namespace
  const Turn last = line.turns.ask("a/c", 1);
  EXPECT_FALSE(last.granted);
  EXPECT_EQ(last.position, 3U);
  EXPECT_EQ(last.of, 3U);
  EXPECT_FALSE(line.turns.ask("a/b", 1).granted);
  EXPECT_THAT(line.turns.waiting("a", 9), ElementsAre("a/b", "a/c"));
  EXPECT_TRUE(line.turns.ask("a/z", 1).granted);
  // It has not begun, but it will.
  EXPECT_FALSE(line.turns.ask("a/b", 1).granted);
  EXPECT_EQ(line.turns.ask("a/b", 1).position, 1U);
  EXPECT_TRUE(line.turns.ask("b/a", 1).granted);
  line.run("a/z");
  EXPECT_TRUE(line.turns.ask("a/z", 1).granted) << "what it holds it keeps";
  EXPECT_TRUE(line.turns.ask("a/b", 2).granted);
  line.finish("a/z");
  EXPECT_THAT(line.turns.waiting("a", 9), ElementsAre("a/c"));
  EXPECT_TRUE(line.turns.ask("a/c", 2).granted);
  EXPECT_THAT(line.turns.waiting("a", 9), IsEmpty());
}

TEST(Turns, NobodyIsHeldUpByWhatCannotStart) {
  Line line;
  line.add("a/1", "t1");
  line.add("a/2", "t2");
  EXPECT_FALSE(line.turns.ask("a/2", 1).granted);
  line.peers["a/1"].wants = false;
  EXPECT_TRUE(line.turns.ask("a/2", 1).granted);
  // Given back without having begun.
  EXPECT_TRUE(line.turns.give_back("a/2"));
  EXPECT_FALSE(line.turns.give_back("a/2"));
  line.peers["a/2"].wants = false;
  line.add("a/3", "t3");
  EXPECT_TRUE(line.turns.ask("a/3", 1).granted);
}

TEST(Turns, ARestartForgetsNobody) {
  Line line;
  line.add("a/1", "t1");
  line.add("a/2", "t2");
  // The caches know nothing of a/2's pod yet.
  line.living = {"a/2"};
  EXPECT_FALSE(line.turns.ask("a/1", 1).granted);
  EXPECT_TRUE(line.turns.ask("a/2", 1).granted);
  EXPECT_EQ(line.looks, 1);
  line.finish("a/2");
  EXPECT_TRUE(line.turns.ask("a/1", 1).granted);
}

TEST(Turns, NoneIsGivenWhereNothingIsKnown) {
  Line line;
  line.add("a/1", "t1");
  line.living = std::nullopt;
  EXPECT_FALSE(line.turns.ask("a/1", 1).granted);
  EXPECT_FALSE(line.turns.ask("a/gone", 1).granted);
  line.living = std::vector<std::string>();
  EXPECT_FALSE(line.turns.ask("a/gone", 1).granted);
  EXPECT_FALSE(line.turns.ask("a/1", 0).granted);
  EXPECT_TRUE(line.turns.ask("a/1", 1).granted);
}

// The API server may take half a minute to answer: watches tell and others give back meanwhile.
TEST(Turns, NothingIsLockedWhileTheApiServerIsAsked) {
  Line line;
  line.add("a/1", "t1");
  line.add("a/2", "t2");
  line.living = {"a/2"};
  line.meanwhile = [&] {
    line.meanwhile = nullptr;
    EXPECT_THAT(line.turns.waiting("a", 9), IsEmpty());
    EXPECT_TRUE(line.turns.ask("b/1", 1).position == 0);
    line.finish("a/2");  // the list, older than that, still has its pod
  };
  EXPECT_TRUE(line.turns.ask("a/1", 1).granted);
  // A later one of the same name has no turn of its namesake's.
  line.add("a/2", "t3");
  EXPECT_FALSE(line.turns.ask("a/2", 1).granted);
}

// Whatever comes, in whichever order they ask: never more than the limit, and nobody overtakes.
TEST(Turns, NeverTooManyOverRandomLives) {
  std::mt19937 random(static_cast<unsigned>(from_environment("PALISADE_TEST_SEED", 20260101)));
  for (int life = 0; life < 50; ++life) {
    Line line;
    std::set<std::string> running;
    const std::int64_t most = 1 + static_cast<std::int64_t>(random() % 3);
    int made = 0;
    for (int step = 0; step < 120; ++step) {
      if (random() % 4 == 0)
        line.add("a/w" + std::to_string(made++), "t" + std::to_string(1000 + step / 8));
      if (!running.empty() && random() % 6 == 0) {
        const std::string ended = *running.begin();
        running.erase(ended);
        line.finish(ended);
      }
      if (made == 0) continue;
      const std::string key = "a/w" + std::to_string(random() % static_cast<unsigned>(made));
      Peer& peer = line.peers[key];
      if (!peer.wants) continue;
      if (!line.turns.ask(key, most).granted) continue;
      running.insert(key);
      ASSERT_LE(static_cast<std::int64_t>(running.size()), most);
      for (const auto& [other, waits] : line.peers) {
        // Only who was made later may still wait where it is full.
        if (waits.wants && !running.contains(other) && other != key &&
            static_cast<std::int64_t>(running.size()) == most) {
          EXPECT_FALSE(std::pair(waits.created, other) < std::pair(peer.created, key));
        }
      }
      // The caches hear of some at once and of others later.
      if (random() % 2 == 0) line.run(key);
    }
  }
}

}  // namespace
}  // namespace palisade::op::testing
