// RBAC that goes round the guard is found, whoever has it.
#include "cli/doctor.h"

namespace palisade::cli::testing {
namespace {

json rule(const json& groups, const json& resources, const json& verbs) {
  return {{"apiGroups", groups}, {"resources", resources}, {"verbs", verbs}};
}

TEST_F(Doctor, RightsThatGoRoundTheGuardAreFound) {
  struct Case {
    json rule;
    const char* level;
    const char* said;
  };
  for (const Case& item : {
           Case{rule({""}, {"nodes/proxy"}, {"get"}), "problem", "nodes/proxy"},
           Case{rule({""}, {"nodes/*"}, {"*"}), "", ""},  // no such form in RBAC
           Case{rule({""}, {"*/proxy"}, {"create"}), "problem", "nodes/proxy"},
           Case{rule({"admissionregistration.k8s.io"}, {"validatingwebhookconfigurations"},
                     {"delete"}),
                "warning", "change or delete webhook configurations"},
           Case{rule({"*"}, {"mutatingwebhookconfigurations"}, {"deletecollection"}), "warning",
                "change or delete webhook configurations"},
           Case{rule({"admissionregistration.k8s.io"}, {"validatingadmissionpolicybindings"},
                     {"patch"}),
                "problem", "change or delete ValidatingAdmissionPolicies"},
           Case{rule({"admissionregistration.k8s.io"}, {"*"}, {"get", "list"}), "", ""},
           Case{rule({"rbac.authorization.k8s.io"}, {"clusterroles"}, {"escalate"}), "problem",
                "escalate, bind"},
           Case{rule({"rbac.authorization.k8s.io"}, {"roles"}, {"bind"}), "problem",
                "escalate, bind"},
           Case{rule({""}, {"users"}, {"impersonate"}), "problem", "act as anybody"},
           Case{rule({"certificates.k8s.io"}, {"certificatesigningrequests/approval"}, {"update"}),
                "problem", "approve client certificates"},
           Case{rule({""}, {"serviceaccounts/token"}, {"create"}), "problem",
                "make tokens of Palisade's own"},
           Case{rule({""}, {"secrets"}, {"update"}), "warning", "write the webhook's Secrets"},
           Case{rule({"apps"}, {"deployments"}, {"delete"}), "warning",
                "change or delete the webhook's Deployment"},
           Case{rule({"apiextensions.k8s.io"}, {"customresourcedefinitions"}, {"patch"}), "warning",
                "change custom resource definitions"},
           Case{rule({"palisade.dev"}, {"hardeningexceptions"}, {"create"}), "warning",
                "write AgentPolicies or HardeningExceptions"},
           Case{rule({""}, {"pods/binding"}, {"create"}), "warning", "bind pods to nodes by hand"},
           Case{rule({""}, {"pods"}, {"create"}), "warning",
                "create pods in a namespace that is never judged"},
           Case{rule({"*"}, {"*"}, {"*"}), "problem", "may do everything"},
           Case{rule({""}, {"configmaps"}, {"*"}), "", ""},
       }) {
    SCOPED_TRACE(item.rule.dump());
    make(kClusterRoles, "",
         {{"metadata", {{"name", "round"}}}, {"rules", json::array({item.rule})}});
    make(kClusterRoleBindings, "",
         {{"metadata", {{"name", "round"}}},
          {"roleRef",
           {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "ClusterRole"}, {"name", "round"}}},
          {"subjects",
           json::array(
               {{{"kind", "User"}, {"name", "eve"}, {"apiGroup", "rbac.authorization.k8s.io"}}})}});
    if (std::string(item.level).empty()) {
      const json document = report("--only rights", 0);
      EXPECT_EQ(messages(document, "problem") + messages(document, "warning"), "");
    } else {
      expect("rights", item.level, item.said);
      expect("rights", item.level, "User eve may ");
    }
    remove(kClusterRoleBindings, "", "round");
    remove(kClusterRoles, "", "round");
  }
}

TEST_F(Doctor, SubjectsAreToldApart) {
  make(kClusterRoles, "",
       {{"metadata", {{"name", "proxy"}}},
        {"rules", json::array({rule({""}, {"nodes/proxy"}, {"get"})})}});
  struct Case {
    json subject;
    const char* said;  // "" where it is trusted
  };
  const char* const rbac = "rbac.authorization.k8s.io";
  for (const Case& item : {
           Case{{{"kind", "Group"}, {"name", "system:authenticated"}, {"apiGroup", rbac}},
                "Group system:authenticated may"},
           Case{{{"kind", "Group"}, {"name", "system:serviceaccounts:x"}, {"apiGroup", rbac}},
                "Group system:serviceaccounts:x may"},
           Case{{{"kind", "User"}, {"name", "system:anonymous"}, {"apiGroup", rbac}},
                "User system:anonymous may"},
           Case{{{"kind", "ServiceAccount"}, {"name", "a"}, {"namespace", "default"}},
                "ServiceAccount default/a may"},
           Case{{{"kind", "User"}, {"name", "system:serviceaccount:default:a"}, {"apiGroup", rbac}},
                "ServiceAccount default/a may"},
           Case{{{"kind", "Group"}, {"name", "system:masters"}, {"apiGroup", rbac}}, ""},
           Case{{{"kind", "User"}, {"name", "system:kube-scheduler"}, {"apiGroup", rbac}}, ""},
           Case{{{"kind", "ServiceAccount"}, {"name", "x"}, {"namespace", "kube-system"}}, ""},
       }) {
    SCOPED_TRACE(item.subject.dump());
    make(kClusterRoleBindings, "",
         {{"metadata", {{"name", "proxy"}}},
          {"roleRef", {{"apiGroup", rbac}, {"kind", "ClusterRole"}, {"name", "proxy"}}},
          {"subjects", json::array({item.subject})}});
    if (std::string(item.said).empty()) {
      EXPECT_EQ(messages(report("--only rights", 0), "problem"), "");
    } else {
      expect("rights", "problem", item.said);
    }
    remove(kClusterRoleBindings, "", "proxy");
  }
  // Whom the Deployment names is an administrator.
  make(kClusterRoleBindings, "",
       {{"metadata", {{"name", "proxy"}}},
        {"roleRef", {{"apiGroup", rbac}, {"kind", "ClusterRole"}, {"name", "cluster-admin"}}},
        {"subjects", json::array({{{"kind", "User"}, {"name", "jane"}, {"apiGroup", rbac}}})}});
  expect("rights", "problem", "User jane may do everything");
  edited(
      kDeployments, kNs, "palisade-webhook",
      [](json& o) {
        o["spec"]["template"]["spec"]["containers"][0]["args"].push_back("--admin-user=jane");
      },
      [&] { EXPECT_EQ(messages(report("--only rights", 0), "problem"), ""); });
  remove(kClusterRoleBindings, "", "proxy");
  // In Palisade's own namespace more is dangerous.
  make(kClusterRoles, "",
       {{"metadata", {{"name", "writer"}}},
        {"rules", json::array({rule({""}, {"secrets"}, {"update"})})}});
  for (const char* ns : {kNs, "default"}) {
    make(kRoleBindings, ns,
         {{"metadata", {{"name", "writer"}}},
          {"roleRef", {{"apiGroup", rbac}, {"kind", "ClusterRole"}, {"name", "writer"}}},
          {"subjects", json::array({{{"kind", "User"}, {"name", "eve"}, {"apiGroup", rbac}}})}});
    if (ns == std::string(kNs)) {
      expect("rights", "problem",
             "User eve may write the webhook's Secrets: RoleBinding palisade-system/writer");
    } else {
      EXPECT_EQ(messages(report("--only rights", 0), "problem"), "");
    }
    remove(kRoleBindings, ns, "writer");
  }
  remove(kClusterRoles, "", "writer");
  // In one namespace only what is dangerous there counts.
  make_namespace("corner");
  make(kRoleBindings, "corner",
       {{"metadata", {{"name", "proxy"}}},
        {"roleRef", {{"apiGroup", rbac}, {"kind", "ClusterRole"}, {"name", "proxy"}}},
        {"subjects", json::array({{{"kind", "User"}, {"name", "eve"}, {"apiGroup", rbac}}})}});
  EXPECT_EQ(messages(report("--only rights", 0), "problem"), "");
  remove(kRoleBindings, "corner", "proxy");
  remove(kClusterRoles, "", "proxy");
}

TEST_F(Doctor, AgentsWithRightsAreFound) {
  make_namespace("armed");
  close_network("armed");
  make(known::kPods, "armed", pod("agent"));
  EXPECT_EQ(messages(report("--only rights", 0), "problem"), "");
  make(kRoles, "armed",
       {{"metadata", {{"name", "reader"}}},
        {"rules", json::array({rule({""}, {"configmaps"}, {"get"})})}});
  const auto bound = [&](const json& subject) {
    make(kRoleBindings, "armed",
         {{"metadata", {{"name", "reader"}}},
          {"roleRef",
           {{"apiGroup", "rbac.authorization.k8s.io"}, {"kind", "Role"}, {"name", "reader"}}},
          {"subjects", json::array({subject})}});
    expect("rights", "problem",
           "ServiceAccount armed/fix-login-agent of an agent has rights by RoleBinding "
           "armed/reader to Role reader");
    remove(kRoleBindings, "armed", "reader");
  };
  bound({{"kind", "ServiceAccount"}, {"name", "fix-login-agent"}});
  bound({{"kind", "Group"},
         {"name", "system:serviceaccounts:armed"},
         {"apiGroup", "rbac.authorization.k8s.io"}});
  remove(known::kPods, "armed", "agent");
}

}  // namespace
}  // namespace palisade::cli::testing
