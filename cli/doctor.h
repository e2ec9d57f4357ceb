// `palisade doctor`: whether the guard of a cluster is whole. Each check reads, compares and says
// what it found; nothing is changed.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <kube/client.h>

#include "live.h"

namespace palisade::cli {

enum class Level : std::uint8_t { ok, warning, problem };
[[nodiscard]] std::string_view level_name(Level level);

struct Diagnosis {
  std::string check;  // kebab-case: what was looked at
  Level level = Level::ok;
  std::string message;
  std::string fix;  // "" where all is well
};

class Diagnoses {
 public:
  // The check that what follows belongs to.
  void begin(std::string check) { check_ = std::move(check); }
  void ok(std::string message) { add(Level::ok, std::move(message), {}); }
  void warning(std::string message, std::string fix) {
    add(Level::warning, std::move(message), std::move(fix));
  }
  void problem(std::string message, std::string fix) {
    add(Level::problem, std::move(message), std::move(fix));
  }
  // What could not be looked at. A guard that nobody can see is not known to be whole.
  void unread(const std::string& error) {
    problem("cannot be looked at: " + error,
            "run doctor as a user who may read it, such as a cluster administrator");
  }
  // How much has been said that is not ok.
  [[nodiscard]] std::size_t troubles() const;

  [[nodiscard]] const std::vector<Diagnosis>& all() const { return all_; }

 private:
  void add(Level level, std::string message, std::string fix) {
    all_.push_back({check_, level, std::move(message), std::move(fix)});
  }
  std::string check_;
  std::vector<Diagnosis> all_;
};

// Of the webhook's configurations, its Deployment and its Service.
inline constexpr const char* kWebhookName = "palisade-webhook";

// What the checks share, read once. `ns` and the rest are empty where no webhook is installed.
struct Installation {
  kube::Json validating;  // null where there is none
  kube::Json mutating;
  kube::Json self_guard;          // ValidatingAdmissionPolicy palisade-self-guard
  kube::Json self_guard_binding;  // of that name
  kube::Json deployment;
  std::string ns;                         // of the webhook's Service
  std::vector<std::string> exempt;        // namespaces that are never judged
  std::vector<std::string> admin_users;   // who may loosen the guard
  std::vector<std::string> admin_groups;  // system:masters unless the Deployment says others
};

// The rules and conditions of both webhook configurations of a rendered chart, and of the policy
// that guards them, in one normal form.
// Values that an installation chooses are placeholders: @NS@ (the release's namespace), @LIST@ (a
// list of names).
[[nodiscard]] kube::Json admission_expectation(const std::vector<kube::Json>& objects);
// That of the chart that this program was built with.
[[nodiscard]] const kube::Json& expected_admission();

void check_admission(const Installation& installed, Diagnoses& out);
// Whether Palisade's configurations are guarded by a policy of the API server's own. "" or why not.
[[nodiscard]] std::string self_guard_fault(const Installation& installed);
void check_service(const Live& live, const Installation& installed, std::int64_t now,
                   Diagnoses& out);
// Against those of this version; and whether Palisade's programs are of it too.
void check_definitions(const Live& live, Progress& progress, Diagnoses& out);
// Every field of a definition, as VERSION:PATH, and VERSION:PATH=VALUE for each value that it lets
// a field have. Anything that is no definition has none.
[[nodiscard]] std::set<std::string> definition_fields(const kube::Json& definition);
// Of the release's Deployments; the check has been begun.
void check_versions(const std::vector<kube::Json>& deployments, Diagnoses& out);
// Whether nodes have what guard needs, by their own word and by what guard found where it tried.
void check_isolation(const Live& live, Progress& progress, Diagnoses& out);
void check_isolation(const std::vector<kube::Json>& nodes,
                     const std::vector<kube::Json>& workspaces, Diagnoses& out);
void check_namespaces(const Live& live, const Installation& installed, Progress& progress,
                      Diagnoses& out);

// An agent pod that runs.
struct RunningAgent {
  std::string ns;
  std::string name;
  std::string account;  // its ServiceAccount
};
// Mirror pods, and pods whose network is open. Returns the agents that it saw.
[[nodiscard]] std::vector<RunningAgent> check_pods(const Live& live, const Installation& installed,
                                                   Progress& progress, Diagnoses& out);
void check_rights(const Live& live, const Installation& installed,
                  const std::vector<RunningAgent>& agents, Progress& progress, Diagnoses& out);

// Makes a workspace, a weak Aider pod and an ordinary one there, each as a dry run.
void try_guard(const Live& live, const std::string& ns, Diagnoses& out);

// Looking into objects of which nothing is certain.
[[nodiscard]] std::string text_at(const kube::Json& object, const std::string& pointer);
// The member, or null where there is none.
[[nodiscard]] const kube::Json& at(const kube::Json& object, const std::string& pointer);

}  // namespace palisade::cli
