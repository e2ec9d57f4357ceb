// `palisade list` and `palisade status` on what a real API server holds.
#include <gmock/gmock.h>

#include "cli/cluster.h"

namespace palisade::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
namespace known = kube::resources;

const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace",
                                 true};

class WorkspacesOf : public testing::ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    install_crds({"agentworkspaces"});
  }
  json make_workspace(const std::string& ns, const std::string& name) const {
    return make(kWorkspaces, ns,
                {{"metadata", {{"name", name}, {"labels", {{"team", name}}}}},
                 {"spec", {{"repository", {{"url", "https://git.example.com/team/app.git"}}}}}});
  }
  static void set_status(const std::string& ns, const std::string& name, const json& status) {
    const auto done = admin_->patch(kWorkspaces, ns, name, kube::PatchType::kMerge,
                                    {{"status", status}}, "status");
    ASSERT_TRUE(done) << done.error().text();
  }
  static json condition(const char* type, const char* status, const char* reason) {
    return {{"type", type},
            {"status", status},
            {"reason", reason},
            {"message", std::string("about ") + reason},
            {"lastTransitionTime", "2026-11-21T12:00:00Z"}};
  }
};

TEST_F(WorkspacesOf, AreListed) {
  const auto ns = make_namespace("list-a");
  const auto other = make_namespace("list-b");
  make_workspace(ns, "one");
  make_workspace(ns, "two");
  make_workspace(other, "three");
  set_status(ns, "one",
             {{"phase", "Running"},
              {"branch", "palisade/one"},
              {"conditions", {condition("Ready", "True", "Running")}}});
  const auto here = run("list -n list-a");
  EXPECT_EQ(here.status, 0) << here.err;
  EXPECT_THAT(here.out, HasSubstr("one    Running   Running   palisade/one"));
  EXPECT_THAT(here.out, HasSubstr("two    -"));
  EXPECT_THAT(here.out, Not(HasSubstr("three")));
  const auto all = run("list -A -o wide");
  EXPECT_THAT(all.out, HasSubstr("list-b"));
  EXPECT_THAT(all.out, HasSubstr("https://git.example.com/team/app.git"));
  EXPECT_EQ(run("list -A -l team=three -o name").out, "three\n");
  const auto parsed = json::parse(run("list -n list-a -o json").out);
  ASSERT_EQ(parsed.size(), 2U);
  EXPECT_FALSE(parsed[0]["metadata"].contains("managedFields"));
  EXPECT_THAT(run("list -n list-a -o yaml").out, HasSubstr("name: \"two\""));
  make_namespace("list-none");
  const auto none = run("list -n list-none");
  EXPECT_EQ(none.status, 0);
  EXPECT_EQ(none.out, "");
  EXPECT_THAT(none.err, HasSubstr("There is no AgentWorkspace in namespace list-none"));
}

TEST_F(WorkspacesOf, OneIsShownWithWhatBelongsToIt) {
  const auto ns = make_namespace("status");
  const json workspace = make_workspace(ns, "fix");
  const std::string uid = workspace["metadata"]["uid"];
  const json owners = {{{"apiVersion", "palisade.dev/v1alpha1"},
                        {"kind", "AgentWorkspace"},
                        {"name", "fix"},
                        {"uid", uid},
                        {"controller", true}}};
  const auto unseen = run("status fix -n status");
  EXPECT_EQ(unseen.status, 1);
  EXPECT_THAT(unseen.out, HasSubstr("the operator has not seen it yet"));
  EXPECT_THAT(unseen.out, HasSubstr("ServiceAccount fix-agent  MISSING"));
  EXPECT_THAT(unseen.out, HasSubstr("Pod: there is none"));

  make(known::kServiceAccounts, ns,
       {{"metadata", {{"name", "fix-agent"}, {"ownerReferences", owners}}}});
  make(known::kConfigMaps, ns, {{"metadata", {{"name", "fix-agent"}}}});
  json agent = pod("fix-agent");
  agent["metadata"]["ownerReferences"] = owners;
  make(known::kPods, ns, agent);
  make(known::kEvents, ns,
       {{"metadata", {{"name", "fix.1"}}},
        {"eventTime", "2026-11-21T12:00:00.000000Z"},
        {"reportingController", "palisade.dev/operator"},
        {"reportingInstance", "test"},
        {"action", "Reconcile"},
        {"type", "Warning"},
        {"reason", "PreflightFailed"},
        {"note", "the network is open"},
        {"regarding",
         {{"kind", "AgentWorkspace"}, {"namespace", ns}, {"name", "fix"}, {"uid", uid}}}});
  set_status(ns, "fix",
             {{"phase", "Failed"},
              {"observedGeneration", 1},
              {"conditions",
               {condition("Isolated", "False", "PreflightFailed"),
                condition("Ready", "False", "PreflightFailed")}}});
  const auto failed = run("status fix -n status");
  EXPECT_EQ(failed.status, 1) << failed.err;
  EXPECT_THAT(failed.out, HasSubstr("AgentWorkspace status/fix  Failed\n"));
  EXPECT_THAT(failed.out, HasSubstr("ServiceAccount fix-agent\n"));
  EXPECT_THAT(failed.out, HasSubstr("ConfigMap fix-agent  (not this workspace's own)"));
  EXPECT_THAT(failed.out, HasSubstr("WARNING PreflightFailed: the network is open"));
  EXPECT_THAT(failed.out, HasSubstr("Next: palisade doctor"));
  const auto wide = run("status fix -n status -o wide");
  EXPECT_EQ(wide.status, 1) << wide.err;
  EXPECT_THAT(wide.out, HasSubstr("─ image "));
  EXPECT_THAT(failed.out, Not(HasSubstr("─ image ")));

  set_status(ns, "fix", {{"phase", "Succeeded"}});
  EXPECT_EQ(run("status fix -n status").status, 0);
  EXPECT_EQ(json::parse(run("status fix -n status -o json").out)["status"]["phase"], "Succeeded");
}

TEST_F(WorkspacesOf, WhatCannotBeReadIsSaid) {
  make_namespace("nothing");
  const auto missing = run("status none -n nothing");
  EXPECT_EQ(missing.status, 2);
  EXPECT_THAT(missing.err, HasSubstr("there is no AgentWorkspace none in namespace nothing"));
  for (const char* command : {"list -n nothing", "status none -n nothing"}) {
    const auto refused = run(std::string(command) + " --kubeconfig " + nobody());
    EXPECT_EQ(refused.status, 2) << command;
    EXPECT_THAT(refused.err, HasSubstr("palisade ")) << command;
    EXPECT_EQ(refused.out, "") << command;
  }
  EXPECT_EQ(run("list -o cheese").status, 2);
  EXPECT_EQ(run("status").status, 2);
}

}  // namespace
}  // namespace palisade::cli
