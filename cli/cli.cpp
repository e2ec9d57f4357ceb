#include <algorithm>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <cli/cli.h>

#include "commands.h"
#include "complete.h"
#include "controls_doc.h"

namespace palisade::cli {
namespace {

constexpr const char* kMainFooter = R"(
Examples:
  palisade create --repo URL -m "..."     # set an agent to work
  palisade list -A                        # workspaces and where they are
  palisade status fix-login               # one of them, and why it is not ready
  palisade check deploy/                  # manifests
  palisade check --live -n team-a         # what a cluster holds
  palisade explain run-as-non-root
  palisade scan                           # what runs and would be rejected
  palisade doctor                         # what weakens or goes round the guard
  palisade audit fix-login                # what a session ran and what was refused

`palisade COMMAND --help` says more.)";

}  // namespace

Command add_controls(CLI::App& parent) {
  auto format = std::make_shared<std::string>("text");
  CLI::App* app = parent.add_subcommand("controls", "Print the control table");
  app->add_option("-o,--output", *format, "text, wide, markdown or json")
      ->check(CLI::IsMember({"text", "wide", "markdown", "json"}))
      ->type_name("FORMAT");
  return {app, [format](const Streams& streams) {
            streams.out << (*format == "json"       ? controls_json()
                            : *format == "markdown" ? controls_markdown()
                            : *format == "wide"     ? controls_table()
                                                    : controls_text());
            return kCompliant;
          }};
}

Command add_version(CLI::App& parent) {
  CLI::App* app = parent.add_subcommand("version", "Print the version");
  return {app, [](const Streams& streams) {
            streams.out << "palisade " << PALISADE_VERSION << '\n';
            return kCompliant;
          }};
}

Command add_completion(CLI::App& parent) {
  auto shell = std::make_shared<std::string>();
  CLI::App* app = parent.add_subcommand("completion", "Print the completion for a shell");
  app->footer(R"(
Offers commands, options and their values, and the cluster's workspaces and namespaces.

Examples:
  source <(palisade completion bash)      # in ~/.bashrc
  source <(palisade completion zsh)       # in ~/.zshrc
  palisade completion fish | source       # in ~/.config/fish/config.fish)");
  app->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  return {app, [shell](const Streams& streams) {
            streams.out << completion_script(*shell);
            return kCompliant;
          }};
}

int run(std::vector<std::string> arguments, std::istream& in, std::ostream& out,
        std::ostream& err) {
  CLI::App app("Palisade: hardened pods for the Aider coding agent", "palisade");
  app.require_subcommand(1);
  app.footer(kMainFooter);
  // In the order of the help.
  std::vector<Command> commands;
  for (const auto add :
       {add_create,  add_list,        add_pools,    add_status, add_attach,     add_logs,
        add_diff,    add_approve,     add_suspend,  add_resume, add_delete,     add_check,
        add_explain, add_test,        add_scan,     add_doctor, add_audit,      add_report,
        add_ui,      add_permissions, add_controls, add_render, add_completion, add_version})
    commands.push_back(add(app));

  // What the scripts of `palisade completion` ask: not for people, so not in the help.
  if (!arguments.empty() && arguments.front() == "__complete") {
    arguments.erase(arguments.begin());
    for (const std::string& one : complete(app, arguments, names_of_the_cluster()))
      out << one << '\n';
    return kCompliant;
  }
  try {
    std::ranges::reverse(arguments);  // as CLI11 takes them
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error, out, err) == 0 ? kCompliant : kUnreadable;
  }
  for (const Command& command : commands) {
    if (command.app->parsed()) return command.run({in, out, err});
  }
  return kUnreadable;  // never: a command is required
}

}  // namespace palisade::cli
