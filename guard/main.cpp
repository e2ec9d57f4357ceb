// palisade-guard: what Kubernetes cannot say about an agent, the kernel enforces and guard records.
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "guard/await.h"
#include "guard/install.h"
#include "guard/kernel.h"
#include "guard/policy.h"
#include "guard/preflight.h"
#include "guard/rounds.h"
#include "guard/run.h"
#include "guard/tail.h"

namespace {

using namespace palisade::guard;

constexpr const char* kAbout =
    R"(palisade-guard runs an agent as an untrusted program, without any privilege.

It reads one policy, proves that the network is closed, and starts the agent so that the kernel
refuses what the policy does not allow: programs, executable memory, files, connections, system
calls. Every program that starts, every connection and every refusal is one line of the record.)";

constexpr const char* kExamples = R"(
Examples:
  palisade-guard check
      what this kernel can do for guard
  palisade-guard run --policy /palisade/policy/guard.json -- aider --message "fix the login form"
      a session; the exit code is the agent's
  palisade-guard tail /palisade/record/record.jsonl
      the record, as it grows
  palisade-guard install /palisade/bin
      copies guard to where the agent's container starts it from

Exit codes of guard itself: 120 policy, 121 kernel, 122 the network is open, 123 the program cannot
be started, 124 a limit ended the session, 125 the record cannot be kept, 126 internal. Any other is
the agent's own (128 + N: it was ended by signal N).)";

int check(bool json) {
  const auto kernel = look_at_kernel();
  const auto text = json ? kernel_json(kernel) : kernel_text(kernel);
  if (std::fputs(text.c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    return kExitInternal;
  }
  return missing(kernel).empty() ? 0 : kExitKernel;
}

struct InstallOptions {
  std::string folder;
  std::string policy;  // "": nothing is tried
};

int failed(int code, const std::string& message) {
  std::fprintf(stderr, "palisade-guard: %s\n", message.c_str());
  return code;
}

int install_into(const InstallOptions& options) {
  if (!options.policy.empty()) {
    const auto text = read_text(options.policy);
    if (!text) {
      return failed(kExitPolicy, text.error());
    }
    const auto policy = read_policy(*text);
    if (!policy) {
      return failed(kExitPolicy, options.policy + ": " + policy.error());
    }
    if (const auto closed = preflight(policy->preflight); !closed) {
      return failed(kExitPreflight, closed.error());
    }
  }
  if (const auto done = install(options.folder); !done) {
    return failed(kExitInternal, done.error());
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{kAbout, "palisade-guard"};
  app.footer(kExamples);
  app.set_version_flag("--version", "palisade-guard " PALISADE_VERSION);
  app.require_subcommand(1);

  RunOptions options;
  auto* run_command = app.add_subcommand("run", "Start a program under guard, as the policy says");
  run_command->add_option("--policy", options.policy, "The policy: a JSON file")->required();
  run_command
      ->add_option("--termination-log", options.termination_log,
                   "Where the session's summary is written when it ends; \"\" for nowhere")
      ->capture_default_str();
  auto* words = run_command->add_option("command", options.command,
                                        "The program and its arguments, behind --");
  auto* command_file = run_command->add_option(
      "--command-file", options.command_file,
      "Instead of a command: a file with a JSON list of words, which is waited for");
  words->excludes(command_file);

  InstallOptions installed;
  auto* install_command =
      app.add_subcommand("install", "Copy guard into a folder, as an init container does");
  install_command->add_option("folder", installed.folder, "A folder that exists")->required();
  install_command->add_option("--preflight", installed.policy,
                              "Before that, prove that what this policy says is unreachable is so");

  TailOptions record;
  auto* tail_command = app.add_subcommand("tail", "Print the record as it grows, until SIGTERM");
  tail_command->add_option("record", record.path, "The record's file")->required();

  RoundsOptions loop;
  auto* rounds_command = app.add_subcommand(
      "rounds", "Within a session: the agent's task, then checks of its work, until they pass");
  rounds_command->add_option("--rounds", loop.rounds, "How often their output goes back to it")
      ->check(CLI::Range(1, 20))
      ->capture_default_str();
  rounds_command->add_option("--lint", loop.lint, "A command: a JSON list of words");
  rounds_command->add_option("--test", loop.test, "Another, run once the first one passes");
  rounds_command->add_option("--message", loop.message, "The task")->required();
  rounds_command->add_option("--relay-port", loop.relay_port, "Of the relay that knows of budgets")
      ->check(CLI::Range(1, 65535));
  rounds_command->add_option("command", loop.command, "The agent and its arguments, behind --")
      ->required();

  // What `rounds` becomes at its end: the word is its arguments, which guard reads.
  auto* feedback_command = app.add_subcommand("feedback")->group("");
  feedback_command->prefix_command();

  std::string format = "text";
  auto* check_command = app.add_subcommand("check", "Tell what this kernel can do for guard");
  check_command->add_option("-o,--output", format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitInternal;
  }
  if (run_command->parsed()) {
    if (options.command.empty() && options.command_file.empty()) {
      return failed(kExitInternal, "run: needs a command behind --, or --command-file");
    }
    return run(options);
  }
  if (rounds_command->parsed()) {
    try {
      return rounds(loop);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "palisade-guard: %s\n", error.what());
      return kExitInternal;
    }
  }
  if (feedback_command->parsed()) {
    return feedback_code(std::vector<std::string>(argv, argv + argc));
  }
  if (install_command->parsed()) {
    return install_into(installed);
  }
  if (tail_command->parsed()) {
    return tail(record);
  }
  return check_command->parsed() ? check(format == "json") : kExitInternal;
}
