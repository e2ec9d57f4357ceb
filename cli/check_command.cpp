// The command line of `palisade check`.
#include <algorithm>
#include <memory>
#include <ostream>
#include <string>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <policy/policy.h>

#include "check.h"
#include "explain.h"

namespace palisade::cli {
namespace {

constexpr const char* kFooter = R"(
Reads YAML and JSON, also several documents and Lists in one file, and every *.yaml, *.yml and
*.json file below a directory. Pods and the pod templates of Deployments, StatefulSets, DaemonSets,
ReplicaSets, ReplicationControllers, Jobs, CronJobs and PodTemplates are checked; other objects are
skipped and counted.

With --live it reads pods and workloads from a cluster and judges each as the webhook would: by the
settings, AgentPolicies, HardeningExceptions and NetworkPolicies there, and by the labels
palisade.dev/enforce, palisade.dev/mode and control.palisade.dev/CONTROL of its namespace. Pods that
have ended and ReplicaSets scaled away are left out. --all also judges what the namespace lets pass.

Examples:
  palisade check pod.yaml
  palisade check deploy/ jobs/nightly.yaml
  helm template my-release ./chart | palisade check -f -
  palisade check manifests/ -o sarif > palisade.sarif      # for code scanning
  palisade check manifests/ -o junit > palisade.xml        # for CI's test report
  palisade check -f pod.yaml --settings policy.json --skip user-namespace
  palisade check --live -n team-a
  palisade check --live -A -l app=agents -o json

`palisade explain CONTROL` says why a control is there and what to write instead.

Exit status: 0 compliant, 1 findings, 2 unreadable input (said as file:line:column).)";

}  // namespace

Command add_check(CLI::App& parent) {
  auto options = std::make_shared<CheckOptions>();
  auto named = std::make_shared<std::vector<std::string>>();
  CLI::App* app = parent.add_subcommand("check", "Check manifests against the policy");
  app->footer(kFooter);
  app->add_option("-f,--filename", options->files, "A manifest or a directory; - is standard input")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_option("FILE", *named, "The same without -f");
  app->add_option("--settings", options->settings_file,
                  "Policy settings, JSON or YAML; with --live also configmap/NAMESPACE/NAME")
      ->type_name("FILE");
  CLI::Option* live = app->add_flag("--live", options->live, "Check what a cluster holds");
  add_cluster_options(*app, options->cluster);
  add_scope_options(*app, options->scope);
  for (const char* name :
       {"--kubeconfig", "--context", "--as", "--as-group", "--as-uid", "-n", "-A", "-l"})
    app->get_option(name)->needs(live);
  app->add_flag("--all", options->all, "Check every pod, not only Aider pods");
  app->add_option("--skip", options->skip, "Leave a control out (may be given again)")
      ->type_name("CONTROL")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Validator(known_control_of_pods, ""));
  app->add_option("-o,--output", options->format, "text, json, sarif or junit")
      ->check(CLI::IsMember({"text", "json", "sarif", "junit"}))
      ->type_name("FORMAT");
  return {
      app, [options, named](const Streams& streams) {
        options->files.insert(options->files.end(), named->begin(), named->end());
        if (options->live) {
          if (options->files.empty()) return check(*options, streams);
          streams.err << "--live checks what the cluster holds: leave the files out, or --live\n";
          return kUnreadable;
        }
        if (options->files.empty()) {
          streams.err << "nothing to check: name files or directories, - for standard input, or "
                         "--live (palisade check --help has examples)\n";
          return kUnreadable;
        }
        if (std::ranges::count(options->files, "-") + (options->settings_file == "-" ? 1 : 0) > 1) {
          streams.err << "standard input (-) can be read only once\n";
          return kUnreadable;
        }
        return check(*options, streams);
      }};
}

}  // namespace palisade::cli
