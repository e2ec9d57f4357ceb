#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <cli/cli.h>
#include <policy/policy.h>

#include "check.h"
#include "controls_doc.h"

namespace palisade::cli {
namespace {

constexpr const char* kCheckFooter = R"(
Reads YAML and JSON, also several documents and Lists in one file. Pods and the pod templates of
Deployments, StatefulSets, DaemonSets, ReplicaSets, ReplicationControllers, Jobs, CronJobs and
PodTemplates are checked; other objects are skipped and counted.

Examples:
  palisade check -f pod.yaml
  helm template my-release ./chart | palisade check -f -
  kubectl get pods -n team-a -o yaml | palisade check -f - --all -o json
  palisade check -f pod.yaml --settings policy.json --skip user-namespace

Exit status: 0 compliant, 1 findings, 2 unreadable input (said as file:line:column).)";

constexpr const char* kFooter = R"(
Examples:
  palisade check -f pod.yaml
  palisade controls -o markdown

`palisade check --help` says more.)";

// CLI11 calls it with each --skip.
std::string known_control(const std::string& id) {
  if (policy::find_control(id) != nullptr) return {};
  return "there is no control \"" + id + "\" (palisade controls lists them)";
}

}  // namespace

int run(std::vector<std::string> arguments, std::istream& in, std::ostream& out,
        std::ostream& err) {
  CLI::App app("Palisade: hardened pods for the Aider coding agent", "palisade");
  app.require_subcommand(1);
  app.footer(kFooter);

  CheckOptions options;
  std::string check_format = "text";
  CLI::App* check_command = app.add_subcommand("check", "Check manifests against the policy");
  check_command->footer(kCheckFooter);
  check_command->add_option("-f,--filename", options.files, "A manifest; - is standard input")
      ->required()
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  check_command->add_option("--settings", options.settings_file, "Policy settings, JSON or YAML")
      ->type_name("FILE");
  check_command->add_flag("--all", options.all, "Check every pod, not only Aider pods");
  check_command->add_option("--skip", options.skip, "Leave a control out (may be given again)")
      ->type_name("CONTROL")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->check(CLI::Validator(known_control, ""));
  check_command->add_option("-o,--output", check_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->type_name("FORMAT");

  std::string controls_format = "text";
  CLI::App* controls_command = app.add_subcommand("controls", "Print the control table");
  controls_command->add_option("-o,--output", controls_format, "text, markdown or json")
      ->check(CLI::IsMember({"text", "markdown", "json"}))
      ->type_name("FORMAT");

  CLI::App* version_command = app.add_subcommand("version", "Print the version");

  try {
    std::ranges::reverse(arguments);  // as CLI11 takes them
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? kCompliant : kUnreadable;
  }

  if (check_command->parsed()) {
    if (std::ranges::count(options.files, "-") + (options.settings_file == "-" ? 1 : 0) > 1) {
      err << "standard input (-) can be read only once\n";
      return kUnreadable;
    }
    options.as_json = check_format == "json";
    return check(options, in, out, err);
  }
  if (controls_command->parsed()) {
    out << (controls_format == "json"       ? controls_json()
            : controls_format == "markdown" ? controls_markdown()
                                            : controls_text());
    return kCompliant;
  }
  if (version_command->parsed()) out << "palisade " << PALISADE_VERSION << '\n';
  return kCompliant;
}

}  // namespace palisade::cli
