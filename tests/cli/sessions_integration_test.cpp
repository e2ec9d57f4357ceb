// `palisade create`, `logs`, `suspend`, `resume`, `delete` and `approve` on a real API server. What
// an operator would write is written by the tests.
#include <chrono>
#include <thread>

#include <gmock/gmock.h>

#include "cli/cluster.h"

namespace palisade::cli {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;

const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace",
                                 true};
constexpr const char* kUrl = "https://git.example.com/team/app.git";

class Sessions : public testing::ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    install_crds({"agentworkspaces"});
  }
  static json workspace(const std::string& ns, const std::string& name, json spec = {}) {
    spec["repository"]["url"] = kUrl;
    return make(kWorkspaces, ns, {{"metadata", {{"name", name}}}, {"spec", std::move(spec)}});
  }
  static void set_status(const std::string& ns, const std::string& name, const json& status) {
    const auto done = admin_->patch(kWorkspaces, ns, name, kube::PatchType::kMerge,
                                    {{"status", status}}, "status");
    ASSERT_TRUE(done) << done.error().text();
  }
  static json ready(const char* status, const char* reason) {
    return {{{"type", "Ready"},
             {"status", status},
             {"reason", reason},
             {"message", std::string("about ") + reason},
             {"lastTransitionTime", "2026-11-21T12:00:00Z"}}};
  }
  // Does `change` once the workspace is as `when` says, as an operator would, while a command runs.
  static std::jthread operate(const std::string& ns, const std::string& name,
                              std::function<bool(const json&)> when,
                              std::function<void(const json&)> change) {
    return std::jthread([=](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        const auto now = admin_->get(kWorkspaces, ns, name);
        if (now && when(*now)) {
          change(*now);
          return;
        }
        std::this_thread::sleep_for(50ms);
      }
    });
  }
};

TEST_F(Sessions, AreCreated) {
  make_namespace("create");
  const std::string repo = std::string(" --repo ") + kUrl;
  const auto made = run("create -n create -m 'Fix the login' --test 'python3 -m pytest'" + repo);
  EXPECT_EQ(made.status, 0) << made.err;
  EXPECT_EQ(made.out, "AgentWorkspace create/fix-the-login created\n");
  EXPECT_EQ(made.err, "Next: palisade status fix-the-login -n create\n");
  const auto there = admin_->get(kWorkspaces, "create", "fix-the-login");
  ASSERT_TRUE(there);
  EXPECT_EQ((*there)["spec"]["task"]["testCommand"], json({"python3", "-m", "pytest"}));

  // A name that was made up is made up again; one that was given is not.
  const auto again = run("create -n create -m 'Fix the login' -o name" + repo);
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_THAT(again.out, MatchesRegex("agentworkspace/fix-the-login-[a-z0-9]{5}\n"));
  const auto taken = run("create fix-the-login -n create -m x" + repo);
  EXPECT_EQ(taken.status, 2);
  EXPECT_THAT(taken.err, HasSubstr("there is an AgentWorkspace fix-the-login in namespace create"));
  EXPECT_EQ(taken.out, "");
}

TEST_F(Sessions, AreAskedForWithoutBeingMade) {
  make_namespace("dry");
  const auto dry = run(std::string("create one -n dry -m x --dry-run=server --repo ") + kUrl);
  EXPECT_EQ(dry.status, 0) << dry.err;
  EXPECT_THAT(dry.out, HasSubstr("ref: \"main\""));  // the server's default
  EXPECT_THAT(dry.out, Not(HasSubstr("managedFields")));
  EXPECT_TRUE(admin_->get(kWorkspaces, "dry", "one").error().is_not_found());
  // What only the server's schema knows.
  const auto refused =
      run("create one -n dry -m x --dry-run=server --repo 'https://git.example.com/a?b'");
  EXPECT_EQ(refused.status, 2);
  EXPECT_THAT(refused.err, HasSubstr("without spaces, query or fragment"));
  EXPECT_EQ(refused.out, "");
}

TEST_F(Sessions, AreWaitedFor) {
  make_namespace("wait");
  const std::string command = std::string(" -n wait -m x --timeout 30s --repo ") + kUrl + " --wait";
  {
    const auto operating = operate(
        "wait", "runs", [](const json&) { return true; },
        [](const json&) {
          set_status("wait", "runs",
                     {{"phase", "Running"}, {"conditions", ready("True", "Running")}});
        });
    const auto runs = run("create runs" + command);
    EXPECT_EQ(runs.status, 0) << runs.err;
    EXPECT_THAT(runs.out,
                HasSubstr("AgentWorkspace wait/runs created\nAgentWorkspace wait/runs: Running"));
    EXPECT_THAT(runs.err, Not(HasSubstr("\x1b")));  // no terminal: no cursor movements
  }
  {
    const auto operating = operate(
        "wait", "ends", [](const json&) { return true; },
        [](const json&) {
          set_status("wait", "ends",
                     {{"phase", "Succeeded"},
                      {"mergeRequest", {{"url", "https://git.example.com/pulls/1"}}},
                      {"conditions", ready("False", "Succeeded")}});
        });
    const auto ends = run("create ends" + command + "=finished");
    EXPECT_EQ(ends.status, 0) << ends.err;
    EXPECT_THAT(ends.out, HasSubstr("Merge request: https://git.example.com/pulls/1\n"));
  }
  {
    const auto operating = operate(
        "wait", "fails", [](const json&) { return true; },
        [](const json&) {
          set_status("wait", "fails",
                     {{"phase", "Failed"}, {"conditions", ready("False", "AiderFailed")}});
        });
    const auto fails = run("create fails" + command + " -o json");
    EXPECT_EQ(fails.status, 1);
    EXPECT_EQ(json::parse(fails.out)["status"]["phase"], "Failed");
    EXPECT_THAT(fails.err, HasSubstr("palisade status fails -n wait says why"));
  }
  const auto late = run(std::string("create late -n wait -m x --wait --timeout 1s --repo ") + kUrl);
  EXPECT_EQ(late.status, 1);
  EXPECT_THAT(late.err, HasSubstr("did not come so far within 1s"));
}

TEST_F(Sessions, AreSuspendedAndResumed) {
  make_namespace("suspend");
  workspace("suspend", "fix",
            {{"repository", {{"credentials", {{"secretRef", {{"name", "t"}}}}}}}});
  set_status(
      "suspend", "fix",
      {{"phase", "Running"}, {"commits", 2}, {"branch", "palisade/fix"}, {"head", "abcdef"}});
  const auto suspended_is = [](bool wanted) {
    return [wanted](const json& w) { return w["spec"]["lifecycle"]["suspend"] == wanted; };
  };
  {
    const auto operating = operate("suspend", "fix", suspended_is(true), [](const json& w) {
      set_status("suspend", "fix",
                 {{"phase", "Suspended"}, {"observedGeneration", w["metadata"]["generation"]}});
    });
    const auto done = run("suspend fix -n suspend --timeout 30s");
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_THAT(done.out, HasSubstr("AgentWorkspace suspend/fix suspended: its pod is gone\n"));
    EXPECT_THAT(done.out, HasSubstr("Removed: the session's copy of its token\n"));
    EXPECT_THAT(done.out, HasSubstr("Stays: branch palisade/fix of https://git.example.com/team/"
                                    "app.git with 2 commits, the last is abcdef\n"));
    EXPECT_THAT(done.out, HasSubstr("palisade resume fix -n suspend"));
  }
  {
    const auto operating = operate("suspend", "fix", suspended_is(false), [](const json& w) {
      set_status("suspend", "fix",
                 {{"phase", "Running"},
                  {"observedGeneration", w["metadata"]["generation"]},
                  {"conditions", ready("True", "Running")}});
    });
    const auto done = run("resume fix -n suspend --wait --timeout 30s");
    EXPECT_EQ(done.status, 0) << done.err;
    EXPECT_THAT(done.out, HasSubstr("AgentWorkspace suspend/fix: Running"));
  }
  const auto late = run("suspend fix -n suspend --timeout 1s");
  EXPECT_EQ(late.status, 1);
  EXPECT_THAT(late.err, HasSubstr("is to be suspended, but is Running"));
  set_status("suspend", "fix", {{"phase", "Succeeded"}});
  for (const char* command : {"suspend", "resume"}) {
    const auto ended = run(std::string(command) + " fix -n suspend");
    EXPECT_EQ(ended.status, 2) << command;
    EXPECT_THAT(ended.err, HasSubstr("Succeeded")) << command;
  }
}

TEST_F(Sessions, AreDeletedAndItIsSaidWhatWasRevoked) {
  make_namespace("delete");
  const json gitlab{
      {"repository", {{"credentials", {{"gitlab", {{"secretRef", {{"name", "t"}}}}}}}}}};
  workspace("delete", "plain");
  const auto plain = run("delete plain -n delete");
  EXPECT_EQ(plain.status, 0) << plain.err;
  EXPECT_EQ(plain.out,
            "AgentWorkspace delete/plain deleted: its pod, ServiceAccount, NetworkPolicy and "
            "ConfigMap are gone\nNothing had been pushed.\n");
  workspace("delete", "minted", gitlab);
  const auto minted = run("delete minted -n delete");
  EXPECT_EQ(minted.status, 0) << minted.err;
  EXPECT_THAT(minted.out, HasSubstr("Revoked: every token that was minted for it with GitLab\n"));

  const json left = workspace("delete", "left", gitlab);
  make(kube::resources::kEvents, "delete",
       {{"metadata", {{"name", "left.1"}}},
        {"eventTime", "2026-11-21T12:00:00.000000Z"},
        {"reportingController", "palisade.dev/operator"},
        {"reportingInstance", "test"},
        {"action", "Reconcile"},
        {"type", "Warning"},
        {"reason", "TokenNotRevoked"},
        {"note", "17 could not be revoked\x1b[2J"},
        {"regarding",
         {{"kind", "AgentWorkspace"},
          {"namespace", "delete"},
          {"name", "left"},
          {"uid", left["metadata"]["uid"]}}}});
  const auto unrevoked = run("delete left -n delete");
  EXPECT_EQ(unrevoked.status, 1);
  EXPECT_THAT(unrevoked.out, HasSubstr("NOT REVOKED: 17 could not be revoked?[2J\n"));
  EXPECT_THAT(unrevoked.out, Not(HasSubstr("Revoked: every")));

  json held = workspace("delete", "held");
  ASSERT_TRUE(admin_->patch(kWorkspaces, "delete", "held", kube::PatchType::kMerge,
                            {{"metadata", {{"finalizers", {"palisade.dev/workspace"}}}}}));
  const auto stuck = run("delete held -n delete --timeout 1s");
  EXPECT_EQ(stuck.status, 1);
  EXPECT_THAT(stuck.err, HasSubstr("is not gone after 1 s"));
  const auto unwaited = run("delete held -n delete --no-wait");
  EXPECT_EQ(unwaited.status, 0);
  EXPECT_EQ(unwaited.out, "AgentWorkspace delete/held is being deleted\n");
  ASSERT_TRUE(admin_->patch(kWorkspaces, "delete", "held", kube::PatchType::kMerge,
                            {{"metadata", {{"finalizers", nullptr}}}}));
}

TEST_F(Sessions, AreApproved) {
  make_namespace("approve");
  workspace("approve", "fix", {{"repository", {{"mergeRequest", json::object()}}}});
  const auto none = run("approve fix -n approve");
  EXPECT_EQ(none.status, 1);
  EXPECT_THAT(none.err, HasSubstr("nothing has been pushed yet"));
  set_status("approve", "fix", {{"phase", "Running"}, {"commits", 1}, {"branch", "palisade/fix"}});
  EXPECT_THAT(run("approve fix -n approve").err, HasSubstr("once the session has ended"));
  set_status("approve", "fix",
             {{"phase", "Succeeded"},
              {"mergeRequest", {{"url", "https://git.example.com/team/app/pulls/7"}}},
              {"audit", {{"refusals", 3}}},
              {"feedback", {{"stopped", "Passed"}}}});
  const auto there = run("approve fix -n approve");
  EXPECT_EQ(there.status, 0);
  EXPECT_EQ(there.out, "https://git.example.com/team/app/pulls/7\n");
  EXPECT_THAT(there.err, HasSubstr("1 commit on palisade/fix; its commands: Passed; 3 refusals"));
  const auto ended = run("approve fix -n approve --refuse");
  EXPECT_EQ(ended.status, 0) << ended.err;
  EXPECT_THAT(ended.out,
              HasSubstr("Stays: merge request https://git.example.com/team/app/pulls/7"));
  const auto refused = run("approve fix -n approve --refuse=delete");
  EXPECT_EQ(refused.status, 0) << refused.err;
  EXPECT_THAT(refused.out, HasSubstr("AgentWorkspace approve/fix deleted"));
  EXPECT_THAT(refused.out, HasSubstr("Stays: branch palisade/fix"));
  EXPECT_TRUE(admin_->get(kWorkspaces, "approve", "fix").error().is_not_found());

  workspace("approve", "app",
            {{"repository",
              {{"credentials",
                {{"githubApp", {{"appId", 1}, {"privateKeySecretRef", {{"name", "a"}}}}}}}}}});
  set_status("approve", "app",
             {{"phase", "Succeeded"}, {"commits", 1}, {"branch", "palisade/app"}});
  const auto by_hand = run("approve app -n approve");
  EXPECT_EQ(by_hand.status, 1);
  EXPECT_THAT(
      by_hand.err,
      HasSubstr("open one at https://git.example.com/team/app/compare/main...palisade/app"));
}

TEST_F(Sessions, LogsThatCannotBeAreSaid) {
  make_namespace("logs");
  workspace("logs", "fix");
  const auto gone = run("logs fix -n logs");
  EXPECT_EQ(gone.status, 2);
  EXPECT_THAT(gone.err, HasSubstr("the session's pod fix-agent in logs is not there (any more)"));
  make(kube::resources::kPods, "logs", pod("fix-agent"));
  const auto waiting = run("logs fix -n logs -c courier");
  EXPECT_EQ(waiting.status, 0) << waiting.err;
  EXPECT_EQ(waiting.out, "");
  EXPECT_THAT(waiting.err, HasSubstr("note: container courier of fix-agent has printed nothing"));
  EXPECT_THAT(run("logs fix -c init").err, HasSubstr("there is no container init in a session"));
  EXPECT_THAT(run("logs fix --since soon").err, HasSubstr("write it as 30s, 10m or 2h"));
}

TEST_F(Sessions, AreEvidence) {
  make_namespace("report");
  workspace("report", "fix");
  set_status("report", "fix", {{"phase", "Succeeded"}, {"audit", {{"execs", 5}, {"refusals", 2}}}});
  const auto done = run("report --since 1h -n report -o json");
  EXPECT_EQ(done.status, 0) << done.err;
  const auto evidence = json::parse(done.out);
  ASSERT_EQ(evidence["sessions"].size(), 1U);
  EXPECT_EQ(evidence["sessions"][0]["audit"]["refusals"], 2);
  EXPECT_THAT(run("report --since 1d -o html").out, HasSubstr("<td>report/fix</td>"));
  EXPECT_THAT(run("report -n report").out, HasSubstr("| report/fix "));
  EXPECT_THAT(run("report --since tomorrow").err,
              HasSubstr("--since tomorrow: write how long ago"));
  const auto refused = run("report -n report --kubeconfig " + nobody());
  EXPECT_EQ(refused.status, 2);
  EXPECT_EQ(refused.out, "");
}

TEST_F(Sessions, WhatCannotBeDoneIsOneLine) {
  make_namespace("none");
  for (const char* command : {"logs", "suspend", "resume", "delete", "diff", "approve"}) {
    const auto missing = run(std::string(command) + " nobody -n none");
    EXPECT_EQ(missing.status, 2) << command;
    EXPECT_EQ(missing.err, "palisade " + std::string(command) +
                               ": there is no AgentWorkspace nobody in namespace none; palisade "
                               "list -A lists them\n");
    const auto forbidden = run(std::string(command) + " nobody -n none --kubeconfig " + nobody());
    EXPECT_EQ(forbidden.status, 2) << command;
    EXPECT_THAT(forbidden.err, HasSubstr("kubectl auth can-i get agentworkspaces.palisade.dev"));
  }
  const auto forbidden =
      run(std::string("create x -n none -m x --kubeconfig ") + nobody() + " --repo " + kUrl);
  EXPECT_EQ(forbidden.status, 2);
  EXPECT_THAT(forbidden.err, HasSubstr("can-i create agentworkspaces.palisade.dev -n none"));
  const auto nowhere = run(std::string("create x -n nowhere -m x --repo ") + kUrl);
  EXPECT_EQ(nowhere.status, 2);
  EXPECT_THAT(nowhere.err, HasSubstr("there is no namespace nowhere"));
}

}  // namespace
}  // namespace palisade::cli
