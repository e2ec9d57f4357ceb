// Who may see how a namespace is guarded: the chart's readers, on the real API server, with the
// real `palisade check --live`.
#include <fstream>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <kube/client.h>
#include <kube/envtest.h>

#include "as_user.h"
#include "chart/chart.h"
#include "policy/fixture.h"

namespace palisade::chart::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace known = kube::resources;

const kube::Resource kRoles{"rbac.authorization.k8s.io", "v1", "roles", "Role", true};
const kube::Resource kRoleBindings{"rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding",
                                   true};
const kube::Resource kClusterRoles{"rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole",
                                   false};
const kube::Resource kClusterRoleBindings{"rbac.authorization.k8s.io", "v1", "clusterrolebindings",
                                          "ClusterRoleBinding", false};
const kube::Resource kExceptions{"palisade.dev", "v1alpha1", "hardeningexceptions",
                                 "HardeningException", false};
const kube::Resource kPolicies{"palisade.dev", "v1alpha1", "agentpolicies", "AgentPolicy", false};
const kube::Resource kWorkspaces{"palisade.dev", "v1alpha1", "agentworkspaces", "AgentWorkspace",
                                 true};

// jane views team-a and is a reader of the chart's values; joe views team-a alone.
class Readers : public ::testing::Test {
 protected:
  void SetUp() override {
    const fs::path tokens = directory_.path() / "tokens";
    std::ofstream(tokens) << "jane,jane,1,developers\njoe,joe,2\n";
    kube::EnvTestOptions options;
    options.apiserver_flags = {"--token-auth-file=" + tokens.string()};
    auto started = kube::EnvTest::start(options);
    ASSERT_TRUE(started) << started.error().text();
    cluster_ = *std::move(started);
    admin_ = kube::Client::connect(cluster_->config());
    for (const char* kind : {"agentworkspaces", "agentpolicies", "hardeningexceptions"}) {
      const auto done =
          cluster_->install_crd(chart() / "crds" / (std::string(kind) + ".palisade.dev.yaml"));
      ASSERT_TRUE(done) << done.error().text();
    }
    for (const char* ns : {"team-a", "team-b", "palisade-system"})
      make(known::kNamespaces, "", {{"metadata", {{"name", ns}}}});
    for (const char* ns : {"team-a", "team-b"}) {
      json pod = policy::testing::good_pod();
      pod["metadata"].erase("namespace");
      pod["metadata"].erase("ownerReferences");
      pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = false;
      make(known::kPods, ns, pod);
      make(known::kNetworkPolicies, ns,
           {{"metadata", {{"name", "deny-all"}}},
            {"spec", {{"podSelector", json::object()}, {"policyTypes", {"Ingress", "Egress"}}}}});
    }
    make(kExceptions, "",
         {{"metadata", {{"name", "e"}}},
          {"spec",
           {{"namespaces", {"team-a"}},
            {"controls", {"read-only-root-filesystem"}},
            {"reason", "a test"},
            {"ticket", "OPS-1"},
            {"approver", "ada"},
            {"expires", "2999-01-01T00:00:00Z"}}}});
    const auto all = objects({R"(readers={"users": [], "groups": ["developers"]})"});
    make(known::kConfigMaps, "palisade-system", named(all, "ConfigMap", "palisade-config"));
    make(kClusterRoles, "", named(all, "ClusterRole", "palisade-view"));
    make(kClusterRoles, "", named(all, "ClusterRole", "palisade-reader"));
    make(kClusterRoleBindings, "", named(all, "ClusterRoleBinding", "palisade-reader"));
    make(kRoles, "palisade-system", named(all, "Role", "palisade-reader"));
    make(kRoleBindings, "palisade-system", named(all, "RoleBinding", "palisade-reader"));
    // Last: its webhook is not there.
    make(known::kValidatingWebhookConfigurations, "",
         named(all, "ValidatingWebhookConfiguration", "palisade-webhook"));
    // The role `view` as a cluster makes it of its parts: a controller, which is not here, does.
    for (const char* role : {"system:aggregate-to-view", "palisade-view"}) {
      json subjects = json::array();
      for (const char* user : {"jane", "joe"})
        subjects.push_back(
            {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "User"}, {"name", user}});
      std::string name(role);
      std::ranges::replace(name, ':', '-');
      make(kRoleBindings, "team-a",
           {{"metadata", {{"name", name}}},
            {"roleRef",
             {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", role}}},
            {"subjects", subjects}});
    }
  }

  void make(const kube::Resource& kind, const std::string& ns, json object) const {
    object["apiVersion"] = kind.api_version();
    object["kind"] = kind.kind;
    const auto done = admin_->create(kind, ns, object);
    ASSERT_TRUE(done) << kind.kind << ": " << done.error().text();
  }

  Outcome check(const std::string& user, const Strings& scope) const {
    const json config{
        {"apiVersion", "v1"},
        {"kind", "Config"},
        {"current-context", "c"},
        {"clusters", json::array({{{"name", "c"},
                                   {"cluster",
                                    {{"server", cluster_->config().server},
                                     {"insecure-skip-tls-verify", true}}}}})},
        {"users", json::array({{{"name", "u"}, {"user", {{"token", user}}}}})},
        {"contexts",
         json::array({{{"name", "c"}, {"context", {{"cluster", "c"}, {"user", "u"}}}}})}};
    const fs::path file = directory_.path() / (user + ".json");
    std::ofstream(file) << config.dump();
    Strings arguments{PALISADE_PROGRAM, "check", "--live", "--kubeconfig", file.string()};
    arguments.insert(arguments.end(), scope.begin(), scope.end());
    return run(std::move(arguments));
  }

  const Directory directory_;
  std::unique_ptr<kube::EnvTest> cluster_;
  std::unique_ptr<kube::Client> admin_;
};

TEST_F(Readers, SeeHowTheirOwnNamespaceIsGuarded) {
  const Outcome jane = check("jane", {"-n", "team-a"});
  EXPECT_EQ(jane.code, 0) << jane.out << jane.err;
  EXPECT_THAT(jane.out, HasSubstr("let through (HardeningException e)"));
  // By the cluster's own settings and exemptions.
  EXPECT_THAT(jane.err, Not(HasSubstr("note:")));
  // Of another namespace they see nothing.
  const Outcome elsewhere = check("jane", {"-n", "team-b"});
  EXPECT_EQ(elsewhere.code, 2) << elsewhere.out;
  EXPECT_THAT(elsewhere.err, HasSubstr("this user lacks the right"));

  // A RoleBinding alone does not reach what is cluster-scoped.
  const Outcome joe = check("joe", {"-n", "team-a"});
  EXPECT_EQ(joe.code, 2) << joe.out << joe.err;
  EXPECT_THAT(joe.err, HasSubstr("hardeningexceptions"));
}

TEST_F(Readers, ChangeNothing) {
  const auto jane = kube::Client::connect(as_user(cluster_->config(), "jane"));
  for (const auto& [kind, ns] : std::vector<std::pair<kube::Resource, std::string>>{
           {kExceptions, ""}, {kPolicies, ""}, {kWorkspaces, "team-a"}}) {
    kube::ListOptions of;
    of.ns = ns;
    EXPECT_TRUE(jane->list(kind, of)) << kind.kind;
    const auto made = jane->create(kind, ns,
                                   {{"apiVersion", kind.api_version()},
                                    {"kind", kind.kind},
                                    {"metadata", {{"name", "mine"}}}});
    ASSERT_FALSE(made) << kind.kind;
    EXPECT_EQ(made.error().code, 403) << made.error().text();
    const auto gone = jane->remove(kind, ns, "e");
    ASSERT_FALSE(gone) << kind.kind;
    EXPECT_EQ(gone.error().code, 403) << gone.error().text();
  }
}

}  // namespace
}  // namespace palisade::chart::testing
