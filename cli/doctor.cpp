#include "doctor.h"

#include <algorithm>
#include <ctime>
#include <map>
#include <memory>
#include <ostream>

#include <nlohmann/json.hpp>

#include <CLI/CLI.hpp>
#include <cli/cli.h>

#include "commands.h"
#include "json_out.h"
#include "live_pods.h"
#include "sources.h"
#include "text.h"

namespace palisade::cli {
namespace {

using kube::Json;
namespace known = kube::resources;

constexpr const char* kDoctorFooter = R"(
Looks at what the guard of a cluster stands on, and for what goes round it:

  admission    both webhook configurations hold every rule and condition of the chart, deny when the
               webhook is away, select by no label, and trust a certificate; and the policy that keeps
               others from changing them is in force
  service      the webhook's Deployment, Service, endpoints and certificates
  definitions  Palisade's custom resource definitions are there, served, and neither older nor later
               than this program; and its Deployments are of the same version, and rolled out
  isolation    whether NetworkPolicies, Landlock and seccomp hold on the nodes: by what nodes say of
               themselves, and by what guard found there before it started an agent
  namespaces   labels that turn the guard off or down, or that nobody knows
  static-pods  agents that a file on a node started, past every admission
  network      agents that no NetworkPolicy closes in
  rights       who may go round the guard: nodes/proxy, bindings, webhook configurations, definitions,
               exceptions, impersonation and the like; and agents' ServiceAccounts with any right

  try          (with --try alone) an AgentWorkspace, an Aider pod without the hardening and an ordinary
               pod, made in that namespace as dry runs: the second must be refused

Each line is ok, a warning or a problem, with what to do about it. Nothing is changed. It takes an
administrator's rights to read all of it; what cannot be read is a problem. --try takes the rights to
create and patch AgentWorkspaces and pods in its namespace, and no others.

Examples:
  palisade doctor
  palisade doctor --context production -o json
  palisade doctor --only rights --only admission
  palisade doctor --try team-a

Exit status: 0 no problem (warnings may be there), 1 problems, 2 the cluster cannot be reached.)";

const std::vector<std::string>& check_names() {
  static const std::vector<std::string> kNames{"admission", "service",    "definitions",
                                               "isolation", "namespaces", "static-pods",
                                               "network",   "rights"};
  return kNames;
}

struct DoctorOptions {
  ClusterOptions cluster;
  std::vector<std::string> only;
  std::string format = "text";
  std::string try_in;          // a namespace
  std::string expectation_of;  // a rendered chart
};

std::vector<std::string> arguments(const Json& deployment, std::string_view flag) {
  std::vector<std::string> out;
  for (const Json& container : at(deployment, "/spec/template/spec/containers")) {
    for (const Json& argument : at(container, "/args")) {
      if (!argument.is_string()) continue;
      const auto text = argument.get<std::string>();
      if (text.starts_with(flag)) out.push_back(text.substr(flag.size()));
    }
  }
  return out;
}

std::expected<Installation, std::string> read_installation(const Live& live) {
  Installation out;
  static const kube::Resource kMutating{"admissionregistration.k8s.io", "v1",
                                        "mutatingwebhookconfigurations",
                                        "MutatingWebhookConfiguration", false};
  static const kube::Resource kDeployments{"apps", "v1", "deployments", "Deployment", true};
  static const kube::Resource kPolicies{"admissionregistration.k8s.io", "v1",
                                        "validatingadmissionpolicies", "ValidatingAdmissionPolicy",
                                        false};
  static const kube::Resource kBindings{"admissionregistration.k8s.io", "v1",
                                        "validatingadmissionpolicybindings",
                                        "ValidatingAdmissionPolicyBinding", false};
  constexpr const char* kSelfGuard = "palisade-self-guard";
  auto policy = live.find(kPolicies, "", kSelfGuard);
  if (!policy) return std::unexpected(policy.error());
  auto binding = live.find(kBindings, "", kSelfGuard);
  if (!binding) return std::unexpected(binding.error());
  out.self_guard = policy->value_or(Json());
  out.self_guard_binding = binding->value_or(Json());
  auto validating = live.find(known::kValidatingWebhookConfigurations, "", kWebhookName);
  if (!validating) return std::unexpected(validating.error());
  auto mutating = live.find(kMutating, "", kWebhookName);
  if (!mutating) return std::unexpected(mutating.error());
  out.validating = validating->value_or(Json());
  out.mutating = mutating->value_or(Json());
  out.exempt = exempt_namespaces(out.validating);
  out.ns = text_at(out.validating, "/webhooks/0/clientConfig/service/namespace");
  if (out.ns.empty()) out.ns = text_at(out.mutating, "/webhooks/0/clientConfig/service/namespace");
  if (!out.ns.empty()) {
    auto deployment = live.find(kDeployments, out.ns, kWebhookName);
    if (!deployment) return std::unexpected(deployment.error());
    out.deployment = deployment->value_or(Json());
  }
  out.admin_users = arguments(out.deployment, "--admin-user=");
  out.admin_groups = arguments(out.deployment, "--admin-group=");
  if (out.admin_groups.empty()) out.admin_groups.emplace_back("system:masters");
  return out;
}

void print_diagnoses(const Diagnoses& diagnoses, std::ostream& out) {
  std::size_t warnings = 0;
  std::size_t problems = 0;
  for (const Diagnosis& one : diagnoses.all()) {
    warnings += one.level == Level::warning ? 1U : 0U;
    problems += one.level == Level::problem ? 1U : 0U;
    std::string mark(level_name(one.level));
    mark.resize(8, ' ');
    out << mark << one.check << ": " << printable(one.message) << '\n';
    if (!one.fix.empty()) out << "        fix: " << printable(one.fix) << '\n';
  }
  out << counted(problems, "problem") << ", " << counted(warnings, "warning") << '\n';
}

Json to_json(const Diagnoses& diagnoses) {
  Json list = Json::array();
  std::map<std::string, std::size_t> counts{{"ok", 0}, {"warning", 0}, {"problem", 0}};
  for (const Diagnosis& one : diagnoses.all()) {
    ++counts[std::string(level_name(one.level))];
    list.push_back({{"check", one.check},
                    {"level", level_name(one.level)},
                    {"message", one.message},
                    {"fix", one.fix}});
  }
  return {{"checks", std::move(list)}, {"summary", counts}};
}

int print_expectation(const std::string& file, const Streams& streams) {
  const auto documents = read_source(file, streams.in);
  if (!documents) {
    streams.err << documents.error() << '\n';
    return kUnreadable;
  }
  std::vector<Json> objects;
  for (const Document& document : *documents)
    objects.push_back(Json::parse(document.json));
  streams.out << json_text(admission_expectation(objects));
  return kCompliant;
}

int report_on(const Diagnoses& shown, const DoctorOptions& options, const Streams& streams) {
  if (options.format == "json") {
    streams.out << json_text(to_json(shown));
  } else {
    print_diagnoses(shown, streams.out);
  }
  const bool problems = std::ranges::any_of(
      shown.all(), [](const Diagnosis& one) { return one.level == Level::problem; });
  return problems ? kFindings : kCompliant;
}

int doctor(const DoctorOptions& options, const Streams& streams) {
  if (!options.expectation_of.empty()) return print_expectation(options.expectation_of, streams);
  const auto live = Live::connect(options.cluster);
  if (!live) {
    streams.err << live.error() << '\n';
    return kUnreadable;
  }
  if (!options.try_in.empty()) {
    Diagnoses tried;
    try_guard(*live, options.try_in, tried);
    return report_on(tried, options, streams);
  }
  const auto installed = read_installation(*live);
  if (!installed) {
    streams.err << installed.error() << '\n';
    return kUnreadable;
  }
  const auto wanted = [&](std::string_view check) {
    return options.only.empty() || std::ranges::find(options.only, check) != options.only.end();
  };
  Diagnoses out;
  {
    Progress progress(streams.err);
    const auto now = static_cast<std::int64_t>(std::time(nullptr));
    if (wanted("admission")) check_admission(*installed, out);
    if (wanted("service")) check_service(*live, *installed, now, out);
    if (wanted("definitions")) check_definitions(*live, progress, out);
    if (wanted("isolation")) check_isolation(*live, progress, out);
    if (wanted("namespaces")) check_namespaces(*live, *installed, progress, out);
    std::vector<RunningAgent> agents;
    if (wanted("static-pods") || wanted("network") || wanted("rights"))
      agents = check_pods(*live, *installed, progress, out);
    if (wanted("rights")) check_rights(*live, *installed, agents, progress, out);
  }
  Diagnoses shown;
  for (const Diagnosis& one : out.all()) {
    if (!wanted(one.check)) continue;
    shown.begin(one.check);
    if (one.level == Level::ok) shown.ok(one.message);
    if (one.level == Level::warning) shown.warning(one.message, one.fix);
    if (one.level == Level::problem) shown.problem(one.message, one.fix);
  }
  return report_on(shown, options, streams);
}

}  // namespace

std::string_view level_name(Level level) {
  switch (level) {
    case Level::ok:
      return "ok";
    case Level::warning:
      return "warning";
    case Level::problem:
      return "problem";
  }
  return "problem";
}

std::size_t Diagnoses::troubles() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(all_, [](const Diagnosis& one) { return one.level != Level::ok; }));
}

std::string text_at(const Json& object, const std::string& pointer) {
  const Json& found = at(object, pointer);
  return found.is_string() ? found.get<std::string>() : std::string();
}

const Json& at(const Json& object, const std::string& pointer) {
  static const Json kNone;
  const Json::json_pointer place(pointer);
  return object.contains(place) ? object.at(place) : kNone;
}

Command add_doctor(CLI::App& parent) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* app = parent.add_subcommand("doctor", "Find what weakens or goes round the guard");
  app->footer(kDoctorFooter);
  add_cluster_options(*app, options->cluster);
  app->add_option("--only", options->only, "Look at this alone (may be given again)")
      ->type_name("CHECK")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::IsMember(check_names()));
  app->add_option("-o,--output", options->format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");
  app->add_option("--try", options->try_in,
                  "Try the guard in this namespace by dry runs, and look at nothing else")
      ->type_name("NAMESPACE")
      ->excludes("--only");
  app->add_option("--expectation-of", options->expectation_of,
                  "Print what a rendered chart makes doctor expect, and look at no cluster")
      ->type_name("FILE");
  return {app, [options](const Streams& streams) { return doctor(*options, streams); }};
}

}  // namespace palisade::cli
