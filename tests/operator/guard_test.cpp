// The guard's policy as the operator writes it, read by guard's own reader, and guard's last word
// as the operator reads it.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <guard/policy.h>

#include "operator/fixture.h"
#include "operator/model.h"

namespace palisade::op::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

guard::Policy read(const Json& policy) {
  auto out = guard::read_policy(policy.dump());
  if (!out) throw std::invalid_argument(out.error() + " in " + policy.dump());
  return std::move(*out);
}

guard::Policy policy_of(const Json& workspace) {
  return read(guard_policy(parsed(workspace), unreachable()));
}

Json with(const char* pointer, const Json& value) {
  Json workspace = usual_workspace();
  workspace[Json::json_pointer(pointer)] = value;
  return workspace;
}

std::vector<std::string> peers(const guard::Policy& policy) {
  std::vector<std::string> out;
  for (const guard::Peer& peer : policy.network.connect) {
    out.push_back(peer.cidr + ":" + std::to_string(peer.port) +
                  (peer.end_port != 0 ? "-" + std::to_string(peer.end_port) : ""));
  }
  return out;
}

bool covers(const guard::Policy& policy, const std::string& address) {
  const Cidr wanted = *parse_cidr(address);
  return std::ranges::any_of(policy.network.connect, [&](const guard::Peer& peer) {
    return parse_cidr(peer.cidr)->contains(wanted);
  });
}

TEST(GuardPolicy, OfTheUsualSession) {
  const guard::Policy policy = policy_of(usual_workspace());
  EXPECT_EQ(policy.mode, guard::Mode::kEnforce);
  EXPECT_EQ(policy.workspace, "team-a/fix-login");
  EXPECT_EQ(policy.exec.profile, "aider");
  EXPECT_FALSE(policy.exec.jit);
  EXPECT_TRUE(policy.exec.allow.empty());
  EXPECT_EQ(policy.exec.commands, (std::vector<std::string>{"aider", "sh", "python3"}));
  EXPECT_EQ(peers(policy), std::vector<std::string>{"127.0.0.1/32:4000"}) << "the relay alone";
  EXPECT_TRUE(policy.network.own_listeners);
  EXPECT_EQ(policy.limits.deadline, std::chrono::hours(2));
  EXPECT_EQ(policy.limits.idle.count(), 0);
  EXPECT_EQ(policy.limits.command.count(), 0);
  EXPECT_EQ(policy.limits.processes, 4096U);
  ASSERT_EQ(policy.preflight.unreachable.size(), 5U);
  EXPECT_EQ(policy.preflight.unreachable[0].address, "169.254.169.254");
  EXPECT_EQ(policy.preflight.unreachable[2].port, 6443);
  EXPECT_TRUE(policy.preflight.unreachable[3].udp);
  EXPECT_EQ(policy.files.write, (std::vector<std::string>{"/workspace", "/tmp"}));
  EXPECT_EQ(policy.record.path, "/palisade/record/record.jsonl");
}

TEST(GuardPolicy, TheProjectIsReadWhereItIsShared) {
  const guard::Policy usual = policy_of(usual_workspace());
  const guard::Policy shared = policy_of(with("/spec/repository/mount", "GitDirOnly"));
  std::vector<std::string> read = usual.files.read;
  read.emplace_back("/palisade/project");
  EXPECT_EQ(shared.files.read, read);
  EXPECT_EQ(shared.files.write, usual.files.write);
  Json workspace = with("/spec/repository/mount", "ReadOnly");
  workspace["spec"]["repository"]["outputDir"] = "docs/reports";
  const guard::Policy fixed = policy_of(workspace);
  EXPECT_EQ(fixed.files.read, read);
  EXPECT_EQ(fixed.files.write,
            (std::vector<std::string>{"/workspace/.home", "/workspace/repo/docs/reports", "/tmp"}));
}

TEST(GuardPolicy, WithoutATestCommandThereIsNoShellAndNoListener) {
  Json workspace = usual_workspace();
  workspace["spec"]["task"].erase("testCommand");
  for (const Json& one : {workspace, minimal_workspace()}) {
    EXPECT_TRUE(policy_of(one).exec.allow.empty());
    EXPECT_TRUE(policy_of(one).exec.commands.empty());
    EXPECT_FALSE(policy_of(one).network.own_listeners);
  }
}

TEST(GuardPolicy, WhatTheSpecSays) {
  EXPECT_EQ(policy_of(with("/spec/isolation/exec", {{"mode", "Audit"}})).mode, guard::Mode::kAudit);
  const auto allow =
      policy_of(with("/spec/isolation/exec", {{"allow", {"/usr/bin/make", "/bin/sh"}}})).exec.allow;
  EXPECT_EQ(allow, (std::vector<std::string>{"/usr/bin/make", "/bin/sh"}));
  const auto limits =
      policy_of(with("/spec/lifecycle",
                     {{"deadline", "1h"}, {"idleTimeout", "20m"}, {"commandTimeout", "90s"}}))
          .limits;
  EXPECT_EQ(limits.deadline, std::chrono::hours(1));
  EXPECT_EQ(limits.idle, std::chrono::minutes(20));
  EXPECT_EQ(limits.command, std::chrono::seconds(90));
  EXPECT_EQ(policy_of(with("/spec/isolation/userNamespace", false)).limits.processes, 0U)
      << "all pods of the node would share them";
  const auto absolute = policy_of(with("/spec/task/testCommand", {"/usr/bin/tox", "-q"})).exec;
  EXPECT_EQ(absolute.allow, std::vector<std::string>{"/usr/bin/tox"});
  EXPECT_EQ(absolute.commands, (std::vector<std::string>{"aider", "sh"}));
  // A script of the repository is nothing that could be executed: the shell may read it.
  const auto script = policy_of(with("/spec/task/testCommand", {"./run-tests"})).exec;
  EXPECT_TRUE(script.allow.empty());
  EXPECT_EQ(script.commands, (std::vector<std::string>{"aider", "sh"}));
  Json both = with("/spec/task/lintCommand", {"ruff", "check"});
  both["spec"]["task"]["testCommand"] = {"ruff", "x"};
  EXPECT_EQ(policy_of(both).exec.commands, (std::vector<std::string>{"aider", "sh", "ruff"}));
  both["spec"]["task"].erase("testCommand");
  EXPECT_EQ(policy_of(both).exec.commands, (std::vector<std::string>{"aider", "sh", "ruff"}));
  EXPECT_TRUE(policy_of(both).network.own_listeners);
}

TEST(GuardPolicy, EgressByAddressIsOpenAsFarAsItSays) {
  const Json rules =
      Json::array({{{"to", Json::array({{{"ipBlock",
                                          {{"cidr", "203.0.113.9/24"},
                                           {"except", {"203.0.113.128/25", "203.0.113.7/32"}}}}}})},
                    {"ports", Json::array({{{"port", 5432}},
                                           {{"port", 8000}, {"endPort", 8010}},
                                           {{"port", 53}, {"protocol", "UDP"}},
                                           {{"port", "web"}}})}}});
  const guard::Policy policy = policy_of(with("/spec/isolation/egress", rules));
  for (const auto& [address, open] : {std::pair("203.0.113.1", true),
                                      {"203.0.113.6", true},
                                      {"203.0.113.127", true},
                                      {"203.0.113.7", false},
                                      {"203.0.113.128", false},
                                      {"203.0.113.255", false},
                                      {"203.0.112.255", false},
                                      {"192.0.2.10", false}}) {
    EXPECT_EQ(covers(policy, address), open) << address;
  }
  for (const guard::Peer& peer : policy.network.connect) {
    const bool known = peer.port == 5432 || (peer.port == 8000 && peer.end_port == 8010) ||
                       (peer.cidr == "127.0.0.1/32" && peer.port == 4000);
    EXPECT_TRUE(known) << peer.cidr << " " << peer.port;
  }
}

TEST(GuardPolicy, EgressBySelectorIsNeverWhatNoSessionMayReach) {
  const Json rules =
      Json::array({{{"to", Json::array({{{"podSelector", {{"matchLabels", {{"app", "db"}}}}}}})},
                    {"ports", Json::array({{{"port", 5432}}, {{"port", "web"}}})}}});
  const guard::Policy policy = policy_of(with("/spec/isolation/egress", rules));
  for (const char* address : {"10.244.0.7", "192.168.1.1", "fd12::7", "2001:db8::9"})
    EXPECT_TRUE(covers(policy, address)) << address;
  for (const char* address : {"127.0.0.2", "::1", "169.254.169.254", "fe80::1", "fd00:ec2::254",
                              "10.96.0.1", "198.51.100.7", "224.0.0.1", "0.0.0.0"})
    EXPECT_FALSE(covers(policy, address)) << address;
  // The selected pods may be the cluster's DNS: that it answers says nothing any more.
  EXPECT_EQ(policy.preflight.unreachable.size(), 3U);
}

TEST(GuardPolicy, AnotherPodIsTriedUnlessItMayBeMeantAndNeverPartsTheRanges) {
  const Workspace usual = parsed(usual_workspace());
  const Unreachable pod{"another pod", "10.244.0.7", 8443, false, false, true};
  auto targets = unreachable();
  targets.push_back(pod);
  const Json tried = guard_policy(usual, targets).at("preflight").at("unreachable");
  EXPECT_EQ(
      tried.back(),
      (Json{{"name", "another pod"}, {"address", "10.244.0.7"}, {"port", 8443}, {"udp", false}}));

  const Json rules =
      Json::array({{{"to", Json::array({{{"podSelector", {{"matchLabels", {{"app", "db"}}}}}}})}}});
  const Workspace wide = parsed(with("/spec/isolation/egress", rules));
  // It lives as long as it does, and a session longer: what a session may reach is not written anew
  // for it.
  EXPECT_EQ(guard_policy(wide, targets), guard_policy(wide, unreachable()));
}

TEST(GuardPolicy, StaysReadableHoweverMuchEgressThereIs) {
  Json rules = Json::array();
  for (int i = 0; i < 16; ++i) {
    Json rule{{"to", Json::array()}, {"ports", Json::array()}};
    Json except = Json::array();
    for (int k = 0; k < 32; ++k)
      except.push_back("2001:db8:" + std::to_string(i) + "::" + std::to_string(k + 1) + "/128");
    for (int k = 0; k < 8; ++k)
      rule["to"].push_back(
          {{"ipBlock", {{"cidr", "2001:db8:" + std::to_string(i) + "::/48"}, {"except", except}}}});
    rule["to"].push_back({{"podSelector", {{"matchLabels", {{"app", std::to_string(i)}}}}}});
    for (int k = 1; k <= 16; ++k)
      rule["ports"].push_back({{"port", k * 100 + i}});
    rules.push_back(rule);
  }
  const guard::Policy policy = policy_of(with("/spec/isolation/egress", rules));
  EXPECT_LE(policy.network.connect.size(), 1024U);
  EXPECT_TRUE(covers(policy, "2001:db8:3::ffff"));
  EXPECT_TRUE(covers(policy, "127.0.0.1")) << "the relay";
  EXPECT_FALSE(covers(policy, "169.254.169.254"));
}

TEST(GuardPolicy, ProgramsThatCannotBeAreRefused) {
  for (const char* path : {"make", "./make", "/", "/usr/bin/", "/usr//bin/make", "/usr/../bin/sh",
                           "/usr/./bin/sh", "/workspace/repo/tool", "/tmp/x", "/proc/self/exe",
                           "/palisade/bin/palisade-guard", "/dev/shm/x", "/usr/bin/a\nb", ""}) {
    const auto broken = parse_workspace(with("/spec/isolation/exec", {{"allow", {path}}}));
    ASSERT_FALSE(broken) << path;
    EXPECT_THAT(broken.error(), HasSubstr("spec.isolation.exec.allow")) << path;
  }
  EXPECT_FALSE(parse_workspace(with("/spec/isolation/exec", {{"mode", "Off"}})));
  for (const char* value : {"", "9s", "25h", "soon", "-1m"}) {
    EXPECT_FALSE(parse_workspace(with("/spec/lifecycle", {{"idleTimeout", value}}))) << value;
    EXPECT_FALSE(parse_workspace(with("/spec/lifecycle", {{"commandTimeout", value}}))) << value;
  }
}

TEST(GuardGit, FilesAndEnvironmentTameIt) {
  const std::string config = config_map_of(parsed(usual_workspace()))["data"]["gitconfig"];
  for (const char* line : {"hooksPath = /dev/null", "fsmonitor = false",
                           "helper =", "directory = /workspace/repo", "allow = never"})
    EXPECT_THAT(config, HasSubstr(line));
  EXPECT_THAT(config, Not(HasSubstr("include")));
  const Json pod = pod_of(usual_workspace());
  const Json& env = container(pod, "aider").at("env");
  EXPECT_EQ(named(env, "GIT_CONFIG_GLOBAL")["value"], "/palisade/policy/gitconfig");
  EXPECT_EQ(named(env, "GIT_CONFIG_SYSTEM")["value"], "/palisade/policy/gitconfig");
  const int count = std::stoi(named(env, "GIT_CONFIG_COUNT")["value"].get<std::string>());
  std::map<std::string, std::string> pairs;
  for (int i = 0; i < count; ++i)
    pairs[named(env, "GIT_CONFIG_KEY_" + std::to_string(i))["value"]] =
        named(env, "GIT_CONFIG_VALUE_" + std::to_string(i))["value"];
  EXPECT_EQ(pairs.at("core.hooksPath"), "/dev/null");
  EXPECT_EQ(pairs.at("protocol.ext.allow"), "never");
  EXPECT_EQ(pairs.at("protocol.file.allow"), "never");
  EXPECT_EQ(pairs.at("credential.helper"), "");
  for (const Json& volume : pod["spec"]["volumes"]) {
    if (volume["name"] != "policy") continue;
    EXPECT_EQ(volume["configMap"]["items"].size(), 2U)
        << "the courier's configuration is not for it";
  }
}

// The pod's status as the kubelet writes it when Aider's container has ended.
Json ended(int code, const std::string& message) {
  return {
      {"containerStatuses",
       Json::array({{{"name", "aider"},
                     {"state", {{"terminated", {{"exitCode", code}, {"message", message}}}}}}})}};
}

std::string word(const std::string& ended_by, const Json& more = Json::object()) {
  Json out{{"guard", "palisade.dev/guard/v1"}, {"ended", ended_by}, {"message", "said so"}};
  out.update(more);
  return out.dump();
}

Model run_until(int code, const std::string& message, const std::string& phase = "Failed") {
  Model model;
  model.settle();
  model.run();
  model.settle();
  model.end(phase, R"({"commits": 0, "pushed": false})", ended(code, message));
  model.settle();
  return model;
}

TEST(GuardEnd, EachWayIsToldInTheConditions) {
  const struct {
    int code;
    std::string message;
    const char* phase;
    const char* reason;
    const char* isolated;
  } rows[] = {
      {120, word("policy"), "Failed", "GuardPolicyInvalid", "False"},
      {121, word("kernel"), "Failed", "KernelUnsupported", "False"},
      {122, word("preflight"), "Failed", "PreflightFailed", "False"},
      {123, word("program"), "Failed", "ProgramNotStarted", "True"},
      {124, word("deadline"), "Expired", "DeadlineExceeded", "True"},
      {124, word("idle"), "Expired", "IdleTimeout", "True"},
      {125, word("record"), "Failed", "RecordFailed", "False"},
      {126, word("internal"), "Failed", "GuardFailed", "False"},
      // Without its word the code counts.
      {122, "", "Failed", "PreflightFailed", "False"},
      {122, "{", "Failed", "PreflightFailed", "False"},
      // The agent's own code is the agent's.
      {122, word("exited"), "Failed", "AiderFailed", "True"},
      {1, word("exited"), "Failed", "AiderFailed", "True"},
      {1, "", "Failed", "AiderFailed", "True"},
  };
  for (const auto& row : rows) {
    const Model model = run_until(row.code, row.message);
    SCOPED_TRACE(std::to_string(row.code) + " " + row.message);
    EXPECT_EQ(model.phase(), row.phase);
    EXPECT_EQ(model.condition("Ready")["reason"], row.reason);
    EXPECT_EQ(model.condition("Isolated")["status"], row.isolated);
    if (row.isolated == std::string_view("False")) {
      EXPECT_EQ(model.condition("Isolated")["reason"], row.reason);
      if (row.message.size() > 2) {
        EXPECT_THAT(model.condition("Isolated")["message"].get<std::string>(),
                    HasSubstr("said so"));
      }
    }
  }
}

TEST(GuardEnd, ItsCountsReachTheStatusAndAnEvent) {
  Model model;
  model.settle();
  model.run();
  model.settle();
  model.end("Succeeded", R"({"commits": 0, "pushed": false})",
            ended(0, word("exited", {{"execs", 41},
                                     {"deniedExecs", 2},
                                     {"deniedConnects", 1},
                                     {"refusals", 5},
                                     {"findings", 1},
                                     {"dropped", 0},
                                     {"degraded", {"mdwe"}}})));
  const Plan plan = model.decide();
  const auto refused = std::ranges::find(plan.events, "Refused", &PlannedEvent::reason);
  ASSERT_NE(refused, plan.events.end());
  EXPECT_TRUE(refused->warning);
  EXPECT_THAT(refused->note, HasSubstr("5 attempts: 2 programs, 1 connections"));
  model.settle();
  EXPECT_EQ(model.phase(), "Succeeded");
  EXPECT_EQ(model.seen.workspace["status"]["audit"], Json({{"execs", 41},
                                                           {"deniedExecs", 2},
                                                           {"deniedConnects", 1},
                                                           {"refusals", 5},
                                                           {"findings", 1},
                                                           {"dropped", 0},
                                                           {"degraded", {"mdwe"}}}));
  EXPECT_EQ(tell(model.decide()), "") << "told once";
}

TEST(GuardEnd, HowTheRoundsWentIsInTheStatus) {
  const auto feedback = [](int code, const std::string& text, const char* phase) {
    return run_until(code, text, phase).seen.workspace["status"].value("feedback", Json());
  };
  EXPECT_EQ(feedback(0,
                     word("exited", {{"feedback",
                                      {{"rounds", 1},
                                       {"stopped", "Passed"},
                                       {"lastFailure", "the test command failed:\na\x1b[31m"}}}}),
                     "Succeeded"),
            Json({{"rounds", 1},
                  {"stopped", "Passed"},
                  {"lastFailure", "the test command failed: a?[31m"}}));
  EXPECT_LT(feedback(0,
                     word("exited", {{"feedback",
                                      {{"rounds", 18446744073709551615ULL},
                                       {"stopped", "RoundsSpent"},
                                       {"lastFailure", std::string(3000, 'x')}}}}),
                     "Succeeded")
                .dump()
                .size(),
            1100U)
      << "bounded";
  EXPECT_EQ(feedback(0, word("exited", {{"feedback", {{"rounds", 1}, {"stopped", "Fine"}}}}),
                     "Succeeded"),
            Json())
      << "no word of guard's";
  EXPECT_EQ(feedback(124, word("deadline"), "Failed"),
            Json({{"rounds", 0}, {"stopped", "TimedOut"}}));
  EXPECT_EQ(feedback(0, word("exited"), "Succeeded"), Json()) << "guard says nothing of it";
}

TEST(GuardEnd, HostileWordsAreBoundedAndTold) {
  const std::string none[] = {"[]",
                              "null",
                              "7",
                              R"({"guard": "palisade.dev/guard/v2", "ended": "exited"})",
                              word("owned"),
                              word("exited") + word("exited"),
                              std::string(5000, ' ') + word("exited"),
                              R"({"guard": ["palisade.dev/guard/v1"], "ended": "exited"})"};
  for (const std::string& text : none)
    EXPECT_FALSE(run_until(0, text, "Succeeded").seen.workspace["status"].contains("audit"))
        << text;
  const Model model = run_until(
      122, word("preflight", {{"message", std::string(2000, 'x') + "\x1b[31m\n"},
                              {"execs", -5},
                              {"deniedExecs", 18446744073709551615ULL},
                              {"deniedConnects", "9"},
                              {"degraded", Json::array({1, "a\x07", "b", "c", "d", "e", "f", "g",
                                                        "h", "i", std::string(500, 'y')})}}));
  const Json audit = model.seen.workspace["status"]["audit"];
  EXPECT_EQ(audit["execs"], 0);
  EXPECT_EQ(audit["deniedExecs"], 1000000000);
  EXPECT_EQ(audit["deniedConnects"], 0);
  EXPECT_LE(audit["degraded"].size(), 8U);
  const std::string told = model.condition("Isolated")["message"];
  EXPECT_LT(told.size(), 1000U);
  EXPECT_EQ(told.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace palisade::op::testing
