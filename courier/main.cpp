// palisade-courier: the only container of an agent's pod that holds the git token. It fetches the
// repository, hands the agent a copy, and pushes the one allowed branch; what it pushes from was
// written by the agent and is read as data.
#include <csignal>
#include <cstdlib>
#include <iostream>

#include <CLI/CLI.hpp>
#include <courier/courier.h>

namespace {

using namespace palisade::courier;

constexpr const char* kConfigVariable = "PALISADE_COURIER_CONFIG";

int with_config(const std::string& file, const std::function<int(const Config&)>& command) {
  auto config = load_config(file);
  if (!config) {
    std::cerr << "palisade-courier: " << config.error() << "\n";
    return 2;
  }
  return command(*config);
}

// In a pod that was there before its session the relay begins at the same moment, and the gateway
// may hear a moment later whose the pod is.
constexpr std::chrono::seconds kWarmPatience{15};

}  // namespace

int main(int argc, char** argv) {
  // git runs GIT_ASKPASS with the prompt as its one argument.
  if (argc == 2 && (std::string_view(argv[1]).starts_with("Username for ") ||
                    std::string_view(argv[1]).starts_with("Password for "))) {
    const char* file = std::getenv(kConfigVariable);  // NOLINT(concurrency-mt-unsafe)
    if (file == nullptr) return 1;
    return with_config(file, [&](const Config& config) { return answer_askpass(config, argv[1]); });
  }
  CLI::App app{
      "Fetches a repository for an agent that must not hold its token, and pushes the one branch "
      "that the agent may change."};
  app.set_version_flag("--version", PALISADE_VERSION);
  app.require_subcommand(1);
  std::string file = "/etc/palisade/courier.json";
  const auto add = [&](const char* name, const char* help) {
    CLI::App* command = app.add_subcommand(name, help);
    command->add_option("--config", file, "the workspace's courier.json")->capture_default_str();
    return command;
  };
  CLI::App* serve_command =
      add("serve", "fetch, write the bundle, push what the agent commits; until SIGTERM");
  CLI::App* checkout_command = add("checkout", "clone the bundle for the agent");
  CLI::App* inputs_command = add("inputs", "write the files that a setup is shown");
  InputsOrder order;
  inputs_command->add_option("--into", order.into, "where they are written")->required();
  inputs_command->add_option("--commit", order.commit, "of which commit; its ref's tip without it");
  inputs_command->add_option("--input", order.files, "a path in the repository; once for each");
  CLI::App* ready_command = add("ready", "exit 0 once the bundle is there");
  bool wait = false;
  for (CLI::App* command : {serve_command, checkout_command}) {
    command->add_flag(
        "--wait", wait,
        "where courier.json is not there yet, wait until it is; and for what it needs");
  }
  CLI11_PARSE(app, argc, argv);

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  if (wait && !wait_for_file(file)) return 0;
  return with_config(file, [&](const Config& config) {
    if (ready_command->parsed()) return fs::exists(config.bundle) ? 0 : 1;
    try {
      if (checkout_command->parsed()) {
        if (wait && !wait_for_file(config.bundle)) return 0;
        return checkout(config);
      }
      if (inputs_command->parsed())
        return take_inputs(config, fs::read_symlink("/proc/self/exe"), order);
      if (serve_command->parsed())
        return serve(config, fs::read_symlink("/proc/self/exe"),
                     wait ? kWarmPatience : std::chrono::seconds(0));
    } catch (const std::exception& error) {
      log("error", error.what());
      Report report;
      report.error = error.what();
      write_report(config, report);
    }
    return 1;
  });
}
