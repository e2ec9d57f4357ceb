// RBAC that goes round the guard. What is granted is what some binding says: rules are read as the
// API server's authorizer reads them.
// Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "doctor.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;

constexpr const char* kRbac = "rbac.authorization.k8s.io";
const kube::Resource kClusterRoles{kRbac, "v1", "clusterroles", "ClusterRole", false};
const kube::Resource kRoles{kRbac, "v1", "roles", "Role", true};

using Words = std::vector<std::string_view>;

// Where a right counts.
enum class Where : std::uint8_t {
  anywhere,  // in whatever namespace it is granted
  cluster,   // on objects without a namespace: only where a ClusterRoleBinding grants it
  palisade,  // in the webhook's namespace; less so where it is granted in all
  accounts,  // there, and as much where it is granted in all
  exempt,    // in a namespace that is never judged
};

struct Danger {
  std::string_view group;
  Words resources;
  Words verbs;
  Where where;
  // What a rule limited by resourceNames must name to count: "" any; "*.x" a name that ends so.
  std::string_view name;
  Level level;
  std::string_view what;  // may ...
};

constexpr std::string_view kTurnsOff =
    "change or delete webhook configurations, and so turn the guard off";

const std::vector<Danger>& dangers() {
  static const std::vector<Danger> kDangers{
      {"",
       {"nodes/proxy"},
       {"get", "create"},
       Where::cluster,
       "",
       Level::problem,
       "speak to kubelets through nodes/proxy, and so run commands in every pod without a review"},
      {"admissionregistration.k8s.io",
       {"validatingwebhookconfigurations", "mutatingwebhookconfigurations"},
       {"update", "patch", "delete", "deletecollection"},
       Where::cluster,
       "palisade-webhook",
       Level::problem,
       kTurnsOff},
      {"admissionregistration.k8s.io",
       {"validatingadmissionpolicies", "validatingadmissionpolicybindings"},
       {"update", "patch", "delete", "deletecollection"},
       Where::cluster,
       "palisade-self-guard",
       Level::problem,
       "change or delete ValidatingAdmissionPolicies, such as the one that guards Palisade's "
       "webhook configurations"},
      {kRbac,
       {"clusterroles", "roles"},
       {"escalate", "bind"},
       Where::cluster,
       "",
       Level::problem,
       "give rights that they do not have (escalate, bind)"},
      {"",
       {"users", "groups", "serviceaccounts"},
       {"impersonate"},
       Where::cluster,
       "",
       Level::problem,
       "act as anybody (impersonate)"},
      {"certificates.k8s.io",
       {"certificatesigningrequests/approval"},
       {"update", "patch"},
       Where::cluster,
       "",
       Level::problem,
       "approve client certificates, and so become anybody"},
      {"",
       {"serviceaccounts/token"},
       {"create"},
       Where::accounts,
       "",
       Level::problem,
       "make tokens of Palisade's own ServiceAccounts"},
      {"",
       {"secrets"},
       {"create", "update", "patch"},
       Where::palisade,
       "palisade-webhook-tls",
       Level::problem,
       "write the webhook's Secrets"},
      {"",
       {"pods/exec", "pods/attach", "pods/ephemeralcontainers"},
       {"create", "get", "update", "patch"},
       Where::palisade,
       "",
       Level::problem,
       "enter Palisade's own pods"},
      {"apps",
       {"deployments"},
       {"update", "patch", "delete", "deletecollection"},
       Where::palisade,
       "palisade-webhook",
       Level::problem,
       "change or delete the webhook's Deployment"},
      {"apiextensions.k8s.io",
       {"customresourcedefinitions"},
       {"update", "patch", "delete", "deletecollection"},
       Where::cluster,
       "*.palisade.dev",
       Level::warning,
       "change custom resource definitions (the webhook refuses Palisade's own while it runs)"},
      {"palisade.dev",
       {"agentpolicies", "hardeningexceptions"},
       {"create", "update", "patch", "delete", "deletecollection"},
       Where::cluster,
       "",
       Level::warning,
       "write AgentPolicies or HardeningExceptions (the webhook refuses all but administrators)"},
      {"",
       {"pods/binding", "bindings"},
       {"create"},
       Where::anywhere,
       "",
       Level::warning,
       "bind pods to nodes by hand (the webhook refuses agents' pods)"},
      {"",
       {"pods"},
       {"create"},
       Where::exempt,
       "",
       Level::warning,
       "create pods in a namespace that is never judged"},
  };
  return kDangers;
}

bool holds(const Json& list, std::string_view word) {
  if (!list.is_array()) return false;
  return std::ranges::any_of(list, [&](const Json& one) { return one == word || one == "*"; });
}

bool names_resource(const Json& list, std::string_view resource) {
  if (holds(list, resource)) return true;
  const auto slash = resource.find('/');
  return slash != std::string_view::npos && list.is_array() &&
         std::ranges::any_of(list, [&](const Json& one) {
           return one == "*" + std::string(resource.substr(slash));
         });
}

bool names_object(const Json& rule, const Danger& danger) {
  const Json& names = at(rule, "/resourceNames");
  if (!names.is_array() || names.empty() || danger.name.empty()) return true;
  return std::ranges::any_of(names, [&](const Json& one) {
    if (!one.is_string()) return false;
    const auto name = one.get<std::string>();
    return danger.name.starts_with('*') ? name.ends_with(danger.name.substr(1))
                                        : name == danger.name;
  });
}

bool grants(const Json& rule, const Danger& danger) {
  if (!holds(at(rule, "/apiGroups"), danger.group) || !names_object(rule, danger)) return false;
  return std::ranges::any_of(danger.resources,
                             [&](std::string_view resource) {
                               return names_resource(at(rule, "/resources"), resource);
                             }) &&
         std::ranges::any_of(
             danger.verbs, [&](std::string_view verb) { return holds(at(rule, "/verbs"), verb); });
}

bool grants_all(const Json& rule) {
  return holds(at(rule, "/apiGroups"), "*") && holds(at(rule, "/resources"), "*") &&
         holds(at(rule, "/verbs"), "*");
}

struct Subject {
  std::string kind, ns, name;
  auto operator<=>(const Subject&) const = default;
  [[nodiscard]] std::string spelled() const {
    return kind + " " + (ns.empty() ? "" : ns + "/") + name;
  }
};

Subject subject_of(const Json& subject, const std::string& binding_ns) {
  Subject out{text_at(subject, "/kind"), text_at(subject, "/namespace"), text_at(subject, "/name")};
  if (out.kind == "ServiceAccount" && out.ns.empty()) out.ns = binding_ns;
  // The user's name by which a ServiceAccount is known is that account.
  constexpr std::string_view kPrefix = "system:serviceaccount:";
  if (out.kind == "User" && out.name.starts_with(kPrefix)) {
    const std::string rest = out.name.substr(kPrefix.size());
    const auto colon = rest.find(':');
    if (colon != std::string::npos)
      out = {"ServiceAccount", rest.substr(0, colon), rest.substr(colon + 1)};
  }
  if (out.kind != "ServiceAccount") out.ns.clear();
  return out;
}

struct Grant {
  std::string role;     // "ClusterRole x", for people
  std::string binding;  // "ClusterRoleBinding y"
  std::string ns;       // where it holds; "" everywhere
  const Json* rules = nullptr;
  std::vector<Subject> subjects;
  bool of_the_system = false;  // the role is Kubernetes' own
};

class Rights {
 public:
  Rights(const Installation& installed, Diagnoses& out)
      : installed_(installed), out_(out), self_guarded_(self_guard_fault(installed).empty()) {}

  bool read(const Live& live, Progress& progress) {
    for (auto [kind, list] :
         {std::pair{&kClusterRoles, &cluster_roles_}, std::pair{&kRoles, &roles_},
          std::pair{&kinds::kClusterRoleBindings, &cluster_bindings_},
          std::pair{&kinds::kRoleBindings, &bindings_}}) {
      auto objects = live.all(*kind, "", progress);
      if (!objects) {
        out_.unread(objects.error());
        return false;
      }
      *list = std::move(*objects);
    }
    for (const Json& role : cluster_roles_)
      by_name_["ClusterRole/" + text_at(role, "/metadata/name")] = &at(role, "/rules");
    for (const Json& role : roles_) {
      by_name_["Role/" + text_at(role, "/metadata/namespace") + "/" +
               text_at(role, "/metadata/name")] = &at(role, "/rules");
    }
    for (const Json& binding : cluster_bindings_)
      add(binding, "ClusterRoleBinding");
    for (const Json& binding : bindings_)
      add(binding, "RoleBinding");
    return true;
  }

  void check_dangers() {
    for (const Grant& grant : grants_) {
      for (const Subject& subject : grant.subjects) {
        if (trusted(subject)) continue;
        if (grant.ns.empty() &&
            std::ranges::any_of(*grant.rules, [](const Json& rule) { return grants_all(rule); })) {
          say(subject, grant, Level::problem,
              "do everything, and so take the guard down, but is no administrator to the webhook");
          continue;
        }
        for (const Danger& danger : dangers()) {
          if (counts(danger, grant) && std::ranges::any_of(*grant.rules, [&](const Json& rule) {
                return grants(rule, danger);
              })) {
            // With the policy in force, the API server refuses them Palisade's own.
            const bool guarded = danger.what == kTurnsOff && self_guarded_;
            // Controllers that serve every namespace have such rights, and nobody meant this one.
            const bool wide = danger.where == Where::palisade && grant.ns.empty();
            say(subject, grant, guarded || wide ? Level::warning : danger.level, danger.what);
          }
        }
      }
    }
  }

  void check_agents(const std::vector<RunningAgent>& agents) {
    std::set<std::pair<std::string, std::string>> accounts;
    for (const RunningAgent& agent : agents)
      accounts.emplace(agent.ns, agent.account);
    for (const Grant& grant : grants_) {
      if (grant.rules->empty() || grant.of_the_system) continue;
      for (const Subject& subject : grant.subjects) {
        for (const auto& [ns, account] : accounts) {
          const bool own = subject == Subject{"ServiceAccount", ns, account};
          const bool group =
              subject.kind == "Group" && (subject.name == "system:serviceaccounts" ||
                                          subject.name == "system:serviceaccounts:" + ns ||
                                          subject.name == "system:authenticated");
          if (!own && !group) continue;
          out_.problem("ServiceAccount " + ns + "/" + account + " of an agent has rights by " +
                           grant.binding + " to " + grant.role +
                           (group ? " (through the group " + subject.name + ")" : ""),
                       "take it out of the binding, or give the agent an account of its own");
        }
      }
    }
  }

 private:
  void add(const Json& binding, const std::string& kind) {
    Grant grant;
    grant.ns = kind == "RoleBinding" ? text_at(binding, "/metadata/namespace") : "";
    const std::string role_kind = text_at(binding, "/roleRef/kind");
    const std::string role = text_at(binding, "/roleRef/name");
    const auto rules = by_name_.find(role_kind == "Role" ? "Role/" + grant.ns + "/" + role
                                                         : role_kind + "/" + role);
    // A binding to a role that is not there grants nothing.
    if (rules == by_name_.end() || !rules->second->is_array()) return;
    grant.rules = rules->second;
    grant.role = role_kind + " " + role;
    grant.of_the_system = role.starts_with("system:");
    grant.binding =
        kind + " " + (grant.ns.empty() ? "" : grant.ns + "/") + text_at(binding, "/metadata/name");
    for (const Json& subject : at(binding, "/subjects"))
      grant.subjects.push_back(subject_of(subject, grant.ns));
    grants_.push_back(std::move(grant));
  }

  [[nodiscard]] bool exempt(const std::string& ns) const {
    return std::ranges::find(installed_.exempt, ns) != installed_.exempt.end();
  }

  [[nodiscard]] bool counts(const Danger& danger, const Grant& grant) const {
    if (grant.ns.empty()) {
      // A right on all namespaces counts once, as what it is in any of them.
      return danger.where != Where::exempt || !installed_.exempt.empty();
    }
    switch (danger.where) {
      case Where::anywhere:
        return true;
      case Where::cluster:
        return false;
      case Where::palisade:
      case Where::accounts:
        return !installed_.ns.empty() && grant.ns == installed_.ns;
      case Where::exempt:
        return exempt(grant.ns);
    }
    return true;
  }

  // Kubernetes' own, Palisade's own, and whom the chart names.
  [[nodiscard]] bool trusted(const Subject& subject) const {
    if (subject.kind == "ServiceAccount") {
      return subject.ns == "kube-system" ||
             (subject.ns == installed_.ns &&
              (subject.name == "palisade-webhook" || subject.name == "palisade-operator"));
    }
    if (subject.kind == "Group") {
      if (std::ranges::find(installed_.admin_groups, subject.name) !=
          installed_.admin_groups.end()) {
        return true;
      }
      // Everybody, logged in or not, is nobody to trust.
      return subject.name.starts_with("system:") && subject.name != "system:authenticated" &&
             subject.name != "system:unauthenticated" &&
             !subject.name.starts_with("system:serviceaccounts");
    }
    return std::ranges::find(installed_.admin_users, subject.name) !=
               installed_.admin_users.end() ||
           (subject.name.starts_with("system:") && subject.name != "system:anonymous");
  }

  void say(const Subject& subject, const Grant& grant, Level level, std::string_view what) {
    const std::string message = subject.spelled() + " may " + std::string(what) + ": " +
                                grant.binding + " to " + grant.role;
    const std::string fix =
        "take the right away, or name an administrator who is meant to have it "
        "in webhook.administrators of the chart";
    if (!said_.insert(message).second) return;
    if (level == Level::problem) {
      out_.problem(message, fix);
    } else {
      out_.warning(message, fix);
    }
  }

  const Installation& installed_;
  Diagnoses& out_;
  bool self_guarded_;
  std::vector<Json> cluster_roles_, roles_, cluster_bindings_, bindings_;
  std::map<std::string, const Json*> by_name_;
  std::vector<Grant> grants_;
  std::set<std::string> said_;
};

}  // namespace

void check_rights(const Live& live, const Installation& installed,
                  const std::vector<RunningAgent>& agents, Progress& progress, Diagnoses& out) {
  out.begin("rights");
  const std::size_t before = out.troubles();
  Rights rights(installed, out);
  if (!rights.read(live, progress)) return;
  rights.check_dangers();
  rights.check_agents(agents);
  if (out.troubles() == before)
    out.ok("nobody but administrators and the system may go round the guard; no agent has rights");
}

}  // namespace palisade::cli
