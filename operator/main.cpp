// palisade-operator: turns AgentWorkspaces into hardened pods.
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <kube/daemon.h>
#include <kube/daemon_flags.h>
#include <kube/log.h>
#include <operator/controller.h>

namespace {

using palisade::op::Controller;
using palisade::op::ControllerOptions;

struct Flags {
  kube::DaemonFlags daemon;
  std::string policy_file;
  std::string agent_image;
  std::string courier_image;
  std::vector<std::string> gateways;
  std::string git_ca_file;
  int workers = 4;
};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

ControllerOptions options_of(const Flags& flags) {
  ControllerOptions options;
  options.workers = flags.workers;
  options.config.defaults.agent_image = flags.agent_image;
  options.config.defaults.courier_image = flags.courier_image;
  if (!flags.git_ca_file.empty()) options.config.defaults.git_ca = read_file(flags.git_ca_file);
  if (!flags.policy_file.empty()) {
    auto settings = palisade::policy::parse_settings(read_file(flags.policy_file));
    if (!settings) throw std::runtime_error(flags.policy_file + ": " + settings.error());
    options.config.policy = std::move(*settings);
  }
  for (const std::string& gateway : flags.gateways) {
    const auto equals = gateway.find('=');
    if (equals == std::string::npos || equals == 0)
      throw std::runtime_error("--llm-gateway " + gateway + ": must be NAME=URL");
    const std::string url = gateway.substr(equals + 1);
    if (auto target = palisade::op::parse_target(url); !target)
      throw std::runtime_error("--llm-gateway " + gateway + ": " + target.error());
    options.gateways[gateway.substr(0, equals)] = url;
  }
  return options;
}

int run(const Flags& flags) {
  ControllerOptions options = options_of(flags);
  auto config = kube::load_config(flags.daemon.kubeconfig);
  if (!config) throw std::runtime_error(config.error().message);
  const auto kind = flags.daemon.transport_kind();
  const std::shared_ptr<const kube::Client> client =
      kube::Client::connect(std::move(*config), kind);
  prometheus::Registry registry;
  Controller controller(client, std::move(options), registry);
  kube::HttpServerOptions serving;
  serving.address = flags.daemon.metrics_address;
  serving.port = flags.daemon.metrics_port;
  serving.threads = 1;
  kube::StatusPages pages;
  pages.not_ready = [&] {
    return controller.ready() ? std::string() : "watches have not synced: " + controller.trouble();
  };
  pages.metrics = [&] {
    static_cast<void>(controller.ready());  // counts the phases
    return prometheus::TextSerializer().Serialize(registry.Collect());
  };
  kube::HttpServer server(serving, kube::status_handler(pages));
  if (auto started = server.start(); !started) throw std::runtime_error(started.error().message);
  controller.start();
  spdlog::info("palisade-operator {} runs against {}", PALISADE_VERSION, client->config().server);

  const int number = kube::wait_for_end_signal();
  spdlog::info("signal {}: ending", number);
  controller.stop();
  server.stop(std::chrono::seconds(1));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app{
      "Reconciles AgentWorkspaces (palisade.dev/v1alpha1) into hardened pods that run the Aider "
      "coding agent."};
  app.footer(
      "In a cluster it uses its pod's ServiceAccount; elsewhere --kubeconfig or $KUBECONFIG.\n"
      "Example: palisade-operator --agent-image registry.example.com/palisade/aider:0.86.2 \\\n"
      "           --courier-image registry.example.com/palisade/control-plane:0.1.0 --llm-gateway "
      "default=http://llm.llm.svc:8080/v1");
  app.set_version_flag("--version", PALISADE_VERSION);
  app.add_option("--agent-image", flags.agent_image,
                 "image of sessions that name none: aider, git and tini")
      ->required();
  app.add_option("--courier-image", flags.courier_image,
                 "image with palisade-courier and git: the trusted side of each pod")
      ->required();
  app.add_option(
         "--llm-gateway", flags.gateways,
         "NAME=URL of an OpenAI-compatible gateway that holds the key itself; may be repeated")
      ->required();
  app.add_option("--git-ca-file", flags.git_ca_file,
                 "PEM of certificate authorities that git hosts may use beside the public ones");
  app.add_option("--workers", flags.workers, "workspaces reconciled at once")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--policy", flags.policy_file,
                 "JSON file of policy settings (see docs/controls.md)");
  kube::add_daemon_flags(app, flags.daemon);
  CLI11_PARSE(app, argc, argv);

  kube::block_end_signals();
  kube::init_json_logs(flags.daemon.log_level);
  try {
    return run(flags);
  } catch (const std::exception& error) {
    std::cerr << "palisade-operator: " << error.what() << "\n";
    return 1;
  }
}
