// palisade-gateway: the only thing that holds keys for models and git hosts, and uses them for
// agents within what their workspaces may.
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>
#include <utility>

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <kube/daemon.h>
#include <kube/daemon_flags.h>
#include <kube/log.h>

#include "app.h"

namespace {

using namespace palisade;

struct Flags {
  kube::DaemonFlags daemon;
  gateway::AppOptions app;
  std::string config_file;
  std::string policy_file;
  int overlap_seconds = 300;
  int drain_seconds = 30;
};

policy::Settings read_settings(const std::string& path) {
  if (path.empty()) return {};
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path + ": cannot be read");
  auto settings = policy::parse_settings(std::string{std::istreambuf_iterator<char>(in), {}});
  if (!settings) throw std::runtime_error(path + ": " + settings.error());
  return std::move(*settings);
}

int run(Flags flags) {
  flags.app.config_file = flags.config_file;
  flags.app.settings = read_settings(flags.policy_file);
  flags.app.overlap = std::chrono::seconds(flags.overlap_seconds);
  flags.app.drain = std::chrono::seconds(flags.drain_seconds);
  flags.app.metrics_address = flags.daemon.metrics_address;
  flags.app.metrics_port = flags.daemon.metrics_port;
  auto config = kube::load_config(flags.daemon.kubeconfig);
  if (!config) throw std::runtime_error(config.error().message);
  if (flags.app.ns.empty()) flags.app.ns = config->namespace_;
  gateway::App app(*config, flags.daemon.transport_kind(), std::move(flags.app));
  app.start();
  const int number = kube::wait_for_end_signal();
  spdlog::info("signal {}: draining", number);
  app.stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  // Requests wait for its exchanges, and it takes less for one.
  flags.daemon.transport = "beast";
  flags.app.threads = std::thread::hardware_concurrency() > 2 ? 2 : 1;
  CLI::App app{
      "Gateway for agents: proves which workspace asks by its pod's token, and calls models and "
      "git "
      "hosts for it, with\nkeys that the agent never sees, within the workspace's models, budgets, "
      "repository and branch."};
  app.footer(
      "Keys are Secrets of --namespace; nothing else is read there. It makes its own certificate "
      "(kept in a Secret, renewed by\n"
      "itself) and writes its authority into a ConfigMap, for relays. The record, one JSON line a "
      "call, goes to standard output,\n"
      "logs to standard error. gateway.json is taken up anew as it changes; one that is wrong is "
      "refused, and the old one stays.");
  app.set_version_flag("--version", PALISADE_VERSION);
  app.add_option("--config", flags.config_file,
                 "gateway.json: upstreams, models, prices, limits, budgets (see gateway/README.md)")
      ->required();
  app.add_option("--policy", flags.policy_file,
                 "JSON file of policy settings, as the webhook has it (see docs/controls.md)");
  app.add_option("--address", flags.app.address, "address of the gateway")->capture_default_str();
  app.add_option("--port", flags.app.port, "port of the gateway")->capture_default_str();
  app.add_option("--service", flags.app.service, "Service through which relays call")
      ->capture_default_str();
  app.add_option("--namespace", flags.app.ns,
                 "namespace of the Service, the keys and the budgets; the pod's own by default");
  kube::add_watch_namespaces_flag(app, flags.app.namespaces);
  app.add_option("--secret", flags.app.secret, "Secret of the serving certificate")
      ->capture_default_str();
  app.add_option("--trust-configmap", flags.app.trust,
                 "ConfigMap whose key ca.crt is kept at what relays must trust")
      ->capture_default_str();
  app.add_option("--lease", flags.app.lease, "Lease by which replicas agree on who leads")
      ->capture_default_str();
  app.add_option("--extra-san", flags.app.extra_names,
                 "further DNS name or address of the certificate; may be repeated");
  app.add_option("--certificate-overlap-seconds", flags.overlap_seconds,
                 "how long a new authority is published before what it has signed is served: as "
                 "long as relays take to see it")
      ->check(CLI::Range(0, 24 * 3600))
      ->capture_default_str();
  app.add_option("--threads", flags.app.threads, "threads that serve requests")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--drain-seconds", flags.drain_seconds,
                 "time for requests in flight after SIGTERM")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  kube::add_daemon_flags(app, flags.daemon);
  CLI11_PARSE(app, argc, argv);

  // glibc gives each of two dozen threads an arena of its own; most of them would stay empty.
  mallopt(M_ARENA_MAX, 2);
  kube::block_end_signals();
  kube::init_json_logs(flags.daemon.log_level);
  try {
    return run(std::move(flags));
  } catch (const std::exception& error) {
    std::cerr << "palisade-gateway: " << error.what() << "\n";
    return 1;
  }
}
