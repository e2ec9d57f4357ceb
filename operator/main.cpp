// palisade-operator: turns AgentWorkspaces into hardened pods.
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <fstream>
#include <iostream>
#include <iterator>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>

#include <fmt/ranges.h>
#include <malloc.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <kube/api_metrics.h>
#include <kube/daemon.h>
#include <kube/daemon_flags.h>
#include <kube/leader.h>
#include <kube/log.h>
#include <kube/tracing_flags.h>
#include <operator/controller.h>
#include <operator/fence.h>
#include <operator/tokens/orphans.h>

namespace {

using palisade::op::Controller;
using palisade::op::ControllerOptions;

struct Flags {
  kube::DaemonFlags daemon;
  kube::TracingFlags tracing;
  std::string policy_file;
  std::string agent_image;
  std::string courier_image;
  std::vector<std::string> gateways;
  std::string git_ca_file;
  std::string gateway_url;
  std::string gateway_namespace = "palisade-gateway";
  std::string gateway_audience = "palisade-gateway";
  std::string gateway_archive;
  int workers = 16;
  std::string setup_unused = "168h";
  std::vector<std::string> namespaces;
  std::vector<std::string> unreachable;
  std::string lease = "palisade-operator";
  std::string lease_namespace;
  int lease_seconds = 15;
  bool no_lease = false;
};

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path + ": cannot be read");
  return {std::istreambuf_iterator<char>(in), {}};
}

// The word for Palisade's own gateway among --llm-gateway's URLs.
constexpr const char* kOwnGateway = "palisade";

palisade::op::Gateway own_gateway(const Flags& flags) {
  std::string url = flags.gateway_url;
  while (url.ends_with('/'))
    url.pop_back();
  const auto target = palisade::op::parse_target(url);
  if (!target) throw std::runtime_error("--gateway-url: " + target.error());
  // A Service of its namespace: NetworkPolicies name its pods.
  const auto service = target->service();
  if (!target->tls || !service || service->second != flags.gateway_namespace ||
      url.find('/', std::string_view("https://").size()) != std::string::npos) {
    throw std::runtime_error("--gateway-url " + flags.gateway_url +
                             ": must be https://SERVICE.NAMESPACE.svc[:PORT], where NAMESPACE is "
                             "that of --gateway-namespace");
  }
  if (flags.gateway_audience.empty())
    throw std::runtime_error("--gateway-audience must not be empty");
  return {url, flags.gateway_namespace, flags.gateway_audience, {}, flags.gateway_archive};
}

ControllerOptions options_of(const Flags& flags) {
  ControllerOptions options;
  options.workers = flags.workers;
  options.setup_unused = *palisade::op::parse_duration(flags.setup_unused);
  options.namespaces = flags.namespaces;
  for (const std::string& service : flags.unreachable) {
    const auto [ns, name] = kube::split_key(service);
    if (ns.empty() || name.empty() || name.find('/') != std::string::npos)
      throw std::runtime_error("--unreachable-service " + service + ": must be NAMESPACE/NAME");
  }
  options.unreachable = flags.unreachable;
  options.config.defaults.agent_image = flags.agent_image;
  options.config.defaults.courier_image = flags.courier_image;
  if (!flags.git_ca_file.empty()) options.config.defaults.git_ca = read_file(flags.git_ca_file);
  if (!flags.policy_file.empty()) {
    auto settings = palisade::policy::parse_settings(read_file(flags.policy_file));
    if (!settings) throw std::runtime_error(flags.policy_file + ": " + settings.error());
    options.config.policy = std::move(*settings);
  }
  if (!flags.gateway_url.empty()) options.config.defaults.gateway = own_gateway(flags);
  if (flags.gateway_url.empty() && !flags.gateway_archive.empty())
    throw std::runtime_error("--gateway-archive: needs --gateway-url");
  for (const std::string& gateway : flags.gateways) {
    const auto equals = gateway.find('=');
    if (equals == std::string::npos || equals == 0)
      throw std::runtime_error("--llm-gateway " + gateway + ": must be NAME=URL");
    std::string url = gateway.substr(equals + 1);
    if (url == kOwnGateway) {
      if (!options.config.defaults.gateway)
        throw std::runtime_error("--llm-gateway " + gateway + ": needs --gateway-url");
      url = options.config.defaults.gateway->llm_url();
    }
    if (auto target = palisade::op::parse_target(url); !target)
      throw std::runtime_error("--llm-gateway " + gateway + ": " + target.error());
    options.gateways[gateway.substr(0, equals)] = url;
  }
  return options;
}

std::shared_ptr<const palisade::op::tokens::Steward> orphan_steward(
    const std::shared_ptr<const kube::Client>& client, const std::string& git_ca) {
  return std::make_shared<palisade::op::tokens::Steward>(
      client, palisade::op::tokens::usual_transports(git_ca), "orphans",
      [] { return std::chrono::system_clock::now(); });
}

palisade::op::tokens::OrphanOptions orphans_of(const Flags& flags,
                                               const palisade::op::Controller& controller) {
  palisade::op::tokens::OrphanOptions out;
  out.ns = flags.gateway_namespace;
  out.selector = std::string(palisade::op::kGitTokenLabel) + "=true";
  out.prefix = "git-";
  out.annotation = palisade::op::kWorkspaceLabel;
  out.workspaces = palisade::op::workspaces();
  out.namespaces = flags.namespaces;
  out.lives = [&controller](const std::string& key, const std::string& uid) {
    return controller.has(key, uid);
  };
  out.first = std::chrono::seconds(10);  // by then the caches know most workspaces
  return out;
}

kube::LeaderOptions lease_of(const Flags& flags, const std::string& own_namespace) {
  kube::LeaderOptions out;
  out.ns = flags.lease_namespace.empty() ? own_namespace : flags.lease_namespace;
  out.name = flags.lease;
  out.identity = kube::unique_identity(kube::host_name());
  // A successor looks often enough that one that ends in order is followed within two seconds.
  out.lease_duration = std::chrono::seconds(flags.lease_seconds);
  out.renew_deadline = out.lease_duration * 2 / 3;
  out.retry_period = out.lease_duration / 15;
  return out;
}

// This process' part in the election: stands by until it leads, and ends once it leads no more.
// What it knew of its own writes and of turns may be wrong then, and a fresh start is quick.
class Candidate {
 public:
  // `begin` starts what writes; it is called at most once.
  Candidate(std::shared_ptr<const kube::Client> client, kube::LeaderOptions options,
            std::function<void()> begin)
      : begin_(std::move(begin)),
        elector_(std::move(client), std::move(options),
                 {[this](std::stop_token term) { started(std::move(term)); }, nullptr, nullptr}) {}

  void start() { elector_.start(); }
  // All that writes has ended: the next may begin.
  void give_back() { elector_.stop(); }
  [[nodiscard]] std::optional<std::stop_token> term() const { return elector_.term(); }
  // From here on nothing is begun, and the end of the term is no loss.
  void ending() {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  [[nodiscard]] bool lost() const { return lost_; }

 private:
  void started(std::stop_token term) {
    const std::scoped_lock lock(mutex_);
    if (ending_ || lost_) return;
    at_end_.emplace(std::move(term), [this] {
      if (ending_ || lost_.exchange(true)) return;
      // For wait_for_end_signal(): all threads have it blocked.
      ::kill(::getpid(), SIGTERM);
    });
    begin_();
  }

  const std::function<void()> begin_;
  std::mutex mutex_;  // not for what runs at the term's end
  std::atomic<bool> ending_ = false;
  std::atomic<bool> lost_ = false;
  std::optional<std::stop_callback<std::function<void()>>> at_end_;
  kube::LeaderElector elector_;
};

// What a burst leaves free in the middle of the heap goes back to the kernel.
void trim(const std::stop_token& stop) {
  constexpr std::chrono::seconds kEvery{20};
  std::mutex mutex;
  std::condition_variable_any ending;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    ending.wait_for(lock, stop, kEvery, [] { return false; });
    malloc_trim(0);
  }
}

int run(const Flags& flags) {
  ControllerOptions options = options_of(flags);
  const std::string git_ca = options.config.defaults.git_ca;
  auto config = kube::load_config(flags.daemon.kubeconfig);
  if (!config) throw std::runtime_error(config.error().message);
  const auto kind = flags.daemon.transport_kind();
  prometheus::Registry registry;
  const auto tracer = kube::make_tracer(flags.tracing, "palisade-operator", kube::host_name());
  options.tracer = tracer;
  kube::TransportWrap wrap =
      kube::traced(tracer, std::make_shared<kube::ApiMetrics>(registry, "palisade")->wrap());
  std::function<void()> begin;
  std::optional<Candidate> candidate;
  if (!flags.no_lease) {
    // Connections of its own: no other call holds up a renewal.
    candidate.emplace(kube::Client::connect(*config, kind, std::chrono::seconds(30), wrap),
                      lease_of(flags, config->namespace_), [&begin] { begin(); });
    wrap = [metered = std::move(wrap),
            fence = palisade::op::fenced([&candidate] { return candidate->term(); })](
               std::shared_ptr<kube::Transport> inner) { return fence(metered(std::move(inner))); };
  }
  const std::shared_ptr<const kube::Client> client =
      kube::Client::connect(std::move(*config), kind, std::chrono::seconds(30), wrap);
  Controller controller(client, std::move(options), registry);
  kube::HttpServerOptions serving;
  serving.address = flags.daemon.metrics_address;
  serving.port = flags.daemon.metrics_port;
  serving.threads = 1;
  kube::StatusPages pages;
  pages.not_ready = [&] {
    return controller.ready() ? std::string() : "watches have not synced: " + controller.trouble();
  };
  kube::TraceMetrics traces(registry, "palisade");
  pages.metrics = [&] {
    controller.measure();
    traces.show(tracer.get());
    return prometheus::TextSerializer().Serialize(registry.Collect());
  };
  pages.stuck = [&] { return controller.stuck(); };
  pages.queue = [&] { return controller.debug(); };
  kube::HttpServer server(serving, kube::status_handler(pages));
  if (auto started = server.start(); !started) throw std::runtime_error(started.error().message);
  controller.watch();
  std::optional<palisade::op::tokens::OrphanSweep> left_over;
  if (!flags.gateway_url.empty())
    left_over.emplace(client, orphan_steward(client, git_ca), orphans_of(flags, controller));
  begin = [&] {
    controller.lead();
    if (left_over) left_over->start();
  };
  spdlog::info("palisade-operator {} runs against {}{}", PALISADE_VERSION, client->config().server,
               flags.namespaces.empty()
                   ? std::string()
                   : fmt::format(" for namespaces {}", fmt::join(flags.namespaces, ", ")));
  if (candidate) {
    candidate->start();
  } else {
    begin();
  }

  const std::jthread trimming(trim);
  const int number = kube::wait_for_end_signal();
  const bool lost = candidate && candidate->lost();
  if (candidate) candidate->ending();
  if (lost) {
    spdlog::error("the lease is lost: ending");
  } else {
    spdlog::info("signal {}: ending", number);
  }
  controller.stop();
  left_over.reset();
  if (candidate) candidate->give_back();
  server.stop(std::chrono::seconds(1));
  if (tracer) tracer->stop();
  return lost ? 1 : 0;
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
      "default=palisade --gateway-url https://palisade-gateway.palisade-gateway.svc:8443");
  app.set_version_flag("--version", PALISADE_VERSION);
  app.add_option("--agent-image", flags.agent_image,
                 "image of sessions that name none: aider, git and python3")
      ->required();
  app.add_option(
         "--courier-image", flags.courier_image,
         "image with palisade-courier, palisade-guard and git: the trusted side of each pod")
      ->required();
  app.add_option("--llm-gateway", flags.gateways,
                 "NAME=palisade for Palisade's own gateway, or NAME=URL of an OpenAI-compatible "
                 "one; may be repeated")
      ->required();
  app.add_option("--git-ca-file", flags.git_ca_file,
                 "PEM of certificate authorities that git hosts may use beside the public ones");
  app.add_option("--gateway-url", flags.gateway_url,
                 "Palisade's own gateway, https://SERVICE.NAMESPACE.svc:PORT; without it there is "
                 "none");
  app.add_option("--gateway-namespace", flags.gateway_namespace,
                 "its namespace, where git tokens are kept for it")
      ->capture_default_str();
  app.add_option("--gateway-audience", flags.gateway_audience,
                 "audience of the tokens by which it knows sessions")
      ->capture_default_str();
  app.add_option("--gateway-archive", flags.gateway_archive,
                 "where its archive keeps sessions' records, as people are told; without it relays "
                 "send none");
  app.add_option("--setup-unused", flags.setup_unused,
                 "what a setup has made is removed once no workspace has used it for so long")
      ->check([](const std::string& given) {
        const auto read = palisade::op::parse_duration(given);
        return read && read->count() >= 60 ? std::string()
                                           : "--setup-unused must be a duration such as 168h";
      })
      ->capture_default_str();
  app.add_option("--workers", flags.workers, "workspaces reconciled at once")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  kube::add_watch_namespaces_flag(app, flags.namespaces);
  app.add_option(
      "--unreachable-service", flags.unreachable,
      "NAMESPACE/NAME of a Service whose pods no session may reach: guard tries two of "
      "them before an agent starts; needs to list EndpointSlices there; may be repeated");
  app.add_option("--lease", flags.lease,
                 "Lease by which several agree on who works; the others watch, and take over")
      ->capture_default_str();
  app.add_option("--lease-namespace", flags.lease_namespace, "its namespace; default: its own");
  app.add_option("--lease-duration", flags.lease_seconds,
                 "seconds after which another takes over from one that has gone without a word; "
                 "one that cannot renew the Lease for two thirds of them writes no more and ends")
      ->check(CLI::Range(3, 300))
      ->capture_default_str();
  app.add_flag("--no-lease", flags.no_lease,
               "work without a Lease: only where no other process can run, as in a test");
  app.add_option("--policy", flags.policy_file,
                 "JSON file of policy settings (see docs/controls.md)");
  kube::add_tracing_flags(app, flags.tracing);
  kube::add_daemon_flags(app, flags.daemon);
  CLI11_PARSE(app, argc, argv);

  // glibc gives each of two dozen threads an arena of its own; most of them would stay empty.
  mallopt(M_ARENA_MAX, 2);
  kube::block_end_signals();
  kube::init_json_logs(flags.daemon.log_level);
  try {
    return run(flags);
  } catch (const std::exception& error) {
    std::cerr << "palisade-operator: " << error.what() << "\n";
    return 1;
  }
}
