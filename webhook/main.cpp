// palisade-webhook: rejects Aider pods that weaken the hardening, whoever makes them.
#include <atomic>
#include <iostream>
#include <thread>

#include <malloc.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <kube/api_metrics.h>
#include <kube/daemon.h>
#include <kube/daemon_flags.h>
#include <kube/events.h>
#include <kube/files.h>
#include <kube/leader.h>
#include <kube/log.h>
#include <kube/tracing_flags.h>
#include <webhook/cluster.h>
#include <webhook/scanner.h>
#include <webhook/server.h>
#include <webhook/serving.h>

namespace {

using namespace palisade;

// An update's review holds the pod twice, and etcd takes 1.5 MB of one. Reading takes about sixteen
// times the size of the body for each thread: what may come must fit into the pod's memory.
constexpr std::size_t kMaxReview = 4 * 1024 * 1024;
// A connection takes about 10 KiB while it is idle.
constexpr std::size_t kMaxConnections = 1200;
// Reviews that need to ask the API server, each for kLiveDeadline at most, and those that wait for
// registries, which leave the former this many threads.
constexpr int kAskingThreads = 4;
constexpr int kWaitingThreads = 8;
constexpr std::size_t kMaxWaiting = 128;

// Every pod that comes and goes is an event of a watch, most of them of no interest: this client
// takes half the time for one.
kube::DaemonFlags with_beast() {
  kube::DaemonFlags flags;
  flags.transport = "beast";
  return flags;
}

struct Flags {
  kube::DaemonFlags daemon = with_beast();
  kube::TracingFlags tracing;
  std::string policy_file;
  std::string address = "0.0.0.0";
  std::uint16_t port = 8443;
  std::string service = "palisade-webhook";
  std::string ns;
  std::string secret = "palisade-webhook-tls";
  std::string configuration = "palisade-webhook";
  std::string mutating_configuration;
  std::vector<std::string> extra_names;
  std::string certificate_dir;
  std::string client_ca_file;
  std::vector<std::string> client_names;
  std::string lease = "palisade-webhook";
  webhook::Principals principals;
  // One CPU is left to everybody else: two threads that compete with their own callers for two CPUs
  // answer no more reviews, and the slowest of them seven times later.
  int threads = std::thread::hardware_concurrency() > 2 ? 2 : 1;
  int drain_seconds = 10;
  webhook::SignaturesOptions signatures;
};

policy::Settings read_settings(const std::string& path) {
  if (path.empty()) return {};
  auto settings = kube::parse_file(path, policy::parse_settings);
  if (!settings) throw std::runtime_error(settings.error());
  return std::move(*settings);
}

// What an Event about an exception refers to.
kube::Json regarding(const policy::HardeningException& exception) {
  return {{"apiVersion", "palisade.dev/v1alpha1"},
          {"kind", "HardeningException"},
          {"metadata", {{"name", exception.name}, {"uid", exception.uid}}}};
}

webhook::ServingOptions serving_options(const Flags& flags, const std::string& ns,
                                        std::function<std::optional<std::stop_token>()> term) {
  webhook::ServingOptions options;
  options.http.address = flags.address;
  options.http.port = flags.port;
  options.http.threads = flags.threads;
  options.http.max_body_bytes = kMaxReview;
  options.http.max_bodies_bytes = 8 * kMaxReview;
  options.http.max_connections = kMaxConnections;
  options.http.answer_deadline = std::chrono::seconds(10);
  options.http.waiting_threads = kWaitingThreads;
  options.http.max_waiting = kMaxWaiting;
  options.keeper.ns = ns;
  options.keeper.secret = flags.secret;
  options.keeper.configuration = flags.configuration;
  options.keeper.mutating_configuration = flags.mutating_configuration;
  options.keeper.names = {flags.service + "." + ns + ".svc",
                          flags.service + "." + ns + ".svc.cluster.local"};
  options.keeper.names.insert(options.keeper.names.end(), flags.extra_names.begin(),
                              flags.extra_names.end());
  options.keeper.term = std::move(term);
  options.certificate_dir = flags.certificate_dir;
  options.client_ca_file = flags.client_ca_file;
  options.client_names = flags.client_names;
  return options;
}

int run(const Flags& flags) {
  const policy::Settings settings = read_settings(flags.policy_file);
  auto config = kube::load_config(flags.daemon.kubeconfig);
  if (!config) throw std::runtime_error(config.error().message);
  const std::string ns = flags.ns.empty() ? config->namespace_ : flags.ns;
  const auto kind = flags.daemon.transport_kind();
  prometheus::Registry registry;
  kube::show_build(registry, "palisade", "webhook");
  const auto calls = std::make_shared<kube::ApiMetrics>(registry, "palisade");
  const auto tracer = kube::make_tracer(flags.tracing, "palisade-webhook", kube::host_name());
  const std::shared_ptr<const kube::Client> live = kube::Client::connect(
      *config, kind, webhook::kLiveDeadline, kube::traced(tracer, calls->wrap()));
  const std::shared_ptr<const kube::Client> client =
      kube::Client::connect(std::move(*config), kind, std::chrono::seconds(30), calls->wrap());

  webhook::SignaturesOptions signing = flags.signatures;
  signing.max_waiting = kWaitingThreads - kAskingThreads;
  const auto signatures = std::make_shared<webhook::Signatures>(std::move(signing), registry);
  webhook::ClusterOptions watching_options{settings, flags.principals, signatures};
  if (watching_options.principals.operator_user.empty())
    watching_options.principals.operator_user =
        "system:serviceaccount:" + ns + ":palisade-operator";
  if (watching_options.principals.webhook_user.empty())
    watching_options.principals.webhook_user = "system:serviceaccount:" + ns + ":palisade-webhook";
  // The replica that leads makes the certificate and writes the reports.
  kube::LeaderElector elector(client, {ns, flags.lease, kube::unique_identity(kube::host_name())});
  std::unique_ptr<webhook::Scanner> scanner;
  webhook::Cluster cluster(client, live, std::move(watching_options),
                           [&](std::string_view changed) { scanner->rules_changed(changed); });
  scanner = std::make_unique<webhook::Scanner>(
      client,
      webhook::ScannerContext{
          [&](std::string_view name) { return cluster.known_rules(name); },
          [&](std::string_view name) { return cluster.known_network_policies(name); },
          [&] { return elector.term(); }},
      registry);
  cluster.set_agent_pods([&](std::string_view name) { return scanner->agent_pods(name); });
  cluster.start();
  scanner->start();
  elector.start();
  kube::EventRecorder events(client, "palisade.dev/webhook", kube::host_name());
  webhook::Reviewer reviewer(
      [&](const kube::HttpRequest& request, const auto& use) {
        const auto view = cluster.view(request.may_wait, request.deadline);
        use(view);
        return view.must_wait();
      },
      registry,
      [&](const webhook::ExceptionUse& use, const std::string& subject) {
        events.record(regarding(*use.exception), kube::EventType::kWarning, "ExceptionUsed",
                      "Review", subject + ": let pass " + use.controls);
      },
      tracer);

  webhook::Serving serving(
      client, serving_options(flags, ns, [&] { return elector.term(); }),
      [&](const kube::HttpRequest& request) { return reviewer.answer(request); }, registry);
  serving.start();

  std::atomic<bool> ending = false;
  kube::HttpServerOptions watching;
  watching.address = flags.daemon.metrics_address;
  watching.port = flags.daemon.metrics_port;
  watching.threads = 1;
  kube::StatusPages pages;
  pages.not_ready = [&]() -> std::string {
    if (ending) return "ending";
    for (std::string waiting : {cluster.not_synced(), scanner->not_synced()}) {
      if (!waiting.empty()) return waiting;
    }
    return serving.not_ready();
  };
  kube::WatchMetrics watches(registry, "palisade");
  kube::TraceMetrics traces(registry, "palisade");
  pages.metrics = [&] {
    traces.show(tracer.get());
    serving.measure();
    auto shown = cluster.watches();
    shown.push_back(&scanner->watch());
    watches.show(shown);
    return prometheus::TextSerializer().Serialize(registry.Collect());
  };
  kube::HttpServer metrics(watching, kube::status_handler(pages));
  if (auto started = metrics.start(); !started) throw std::runtime_error(started.error().message);
  spdlog::info("palisade-webhook {} listens on port {}", PALISADE_VERSION, serving.port());

  const int number = kube::wait_for_end_signal();
  // Not ready first; Services need a moment to send reviews elsewhere, and connections that are
  // open end with their next answer.
  spdlog::info("signal {}: draining", number);
  ending = true;
  scanner->stop();
  elector.stop();
  serving.retire();
  std::this_thread::sleep_for(std::chrono::milliseconds(std::min(3000, flags.drain_seconds * 300)));
  serving.stop(std::chrono::seconds(flags.drain_seconds));
  if (tracer) tracer->stop();
  metrics.stop(std::chrono::seconds(1));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app{
      "Validating admission webhook: rejects Aider pods that weaken Palisade's hardening, with "
      "every reason in one message."};
  app.footer(
      "It makes its own certificate (kept in a Secret, renewed by itself) and writes its authority "
      "into the caBundle of its\n"
      "ValidatingWebhookConfiguration, which the chart creates. Namespaces choose by the label "
      "palisade.dev/enforce: agents | all | off.");
  app.set_version_flag("--version", PALISADE_VERSION);
  app.add_option("--address", flags.address, "address of the webhook")->capture_default_str();
  app.add_option("--port", flags.port, "port of the webhook")->capture_default_str();
  app.add_option("--service", flags.service, "Service through which the API server calls")
      ->capture_default_str();
  app.add_option("--namespace", flags.ns,
                 "namespace of the Service and the Secret; the pod's own by default");
  app.add_option("--secret", flags.secret, "Secret of the serving certificate")
      ->capture_default_str();
  app.add_option("--webhook-configuration", flags.configuration,
                 "ValidatingWebhookConfiguration whose caBundle it keeps")
      ->capture_default_str();
  app.add_option("--mutating-webhook-configuration", flags.mutating_configuration,
                 "MutatingWebhookConfiguration whose caBundle it keeps too");
  app.add_option("--lease", flags.lease, "Lease by which replicas agree on who leads")
      ->capture_default_str();
  app.add_option(
         "--certificate-dir", flags.certificate_dir,
         "folder with tls.crt and tls.key, taken up anew when they change; the program then "
         "neither makes a certificate nor writes a caBundle")
      ->check(CLI::ExistingDirectory);
  app.add_option("--client-ca-file", flags.client_ca_file,
                 "PEM of authorities: only clients that show a certificate of theirs are let in")
      ->check(CLI::ExistingFile);
  app.add_option("--client-name", flags.client_names,
                 "common name that a client's certificate may have; may be repeated")
      ->needs("--client-ca-file");
  app.add_option("--extra-san", flags.extra_names,
                 "further DNS name or address of the certificate; may be repeated");
  app.add_option("--threads", flags.threads, "threads that answer reviews")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--drain-seconds", flags.drain_seconds, "time for reviews in flight after SIGTERM")
      ->check(CLI::Range(0, 300))
      ->capture_default_str();
  app.add_option("--operator-user", flags.principals.operator_user,
                 "user that the operator is to the API server; by default the ServiceAccount "
                 "palisade-operator of --namespace");
  app.add_option("--webhook-user", flags.principals.webhook_user,
                 "user that this program is; by default the ServiceAccount palisade-webhook");
  app.add_option("--admin-user", flags.principals.administrator_users,
                 "user who may loosen the guard; may be repeated");
  app.add_option("--admin-group", flags.principals.administrator_groups,
                 "group that may loosen the guard; may be repeated")
      ->capture_default_str();
  app.add_option("--scheduler-user", flags.principals.scheduler_users,
                 "user that may bind agent pods to nodes; may be repeated")
      ->capture_default_str();
  app.add_option("--registry-ca-file", flags.signatures.ca_file,
                 "PEM of the only authorities that may vouch for the registries at which "
                 "signatures are looked for; the system's by default")
      ->check(CLI::ExistingFile);
  app.add_option("--registry-credentials-file", flags.signatures.credentials_file,
                 "credentials for these registries, of the form of Docker's config.json");
  app.add_option("--registry-host", flags.signatures.other_hosts,
                 "HOST or HOST:PORT beside the registries themselves that they may send to, for "
                 "tokens and blobs; may be repeated");
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
    std::cerr << "palisade-webhook: " << error.what() << "\n";
    return 1;
  }
}
