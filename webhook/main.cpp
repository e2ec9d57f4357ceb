// palisade-webhook: rejects Aider pods that weaken the hardening, whoever makes them.
#include <atomic>
#include <fstream>
#include <iostream>
#include <iterator>
#include <thread>

#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <kube/daemon.h>
#include <kube/daemon_flags.h>
#include <kube/log.h>
#include <webhook/certificates.h>
#include <webhook/namespaces.h>
#include <webhook/server.h>

namespace {

using namespace palisade;

// An update's review holds the pod twice, and etcd takes 1.5 MB of one. Reading takes about sixteen
// times the size of the body for each thread: what may come must fit into the pod's memory.
constexpr std::size_t kMaxReview = 4 * 1024 * 1024;

struct Flags {
  kube::DaemonFlags daemon;
  std::string policy_file;
  std::string address = "0.0.0.0";
  std::uint16_t port = 8443;
  std::string service = "palisade-webhook";
  std::string ns;
  std::string secret = "palisade-webhook-tls";
  std::string configuration = "palisade-webhook";
  std::vector<std::string> extra_names;
  int threads = 2;
  int drain_seconds = 10;
};

policy::Settings read_settings(const std::string& path) {
  if (path.empty()) return {};
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(path + ": cannot be read");
  auto settings = policy::parse_settings(std::string{std::istreambuf_iterator<char>(in), {}});
  if (!settings) throw std::runtime_error(path + ": " + settings.error());
  return std::move(*settings);
}

int run(const Flags& flags) {
  const policy::Settings settings = read_settings(flags.policy_file);
  auto config = kube::load_config(flags.daemon.kubeconfig);
  if (!config) throw std::runtime_error(config.error().message);
  const std::string ns = flags.ns.empty() ? config->namespace_ : flags.ns;
  const auto kind = flags.daemon.transport_kind();
  const std::shared_ptr<const kube::Client> live =
      kube::Client::connect(*config, kind, webhook::kLiveDeadline);
  const std::shared_ptr<const kube::Client> client =
      kube::Client::connect(std::move(*config), kind);

  webhook::Namespaces namespaces(client, live);
  namespaces.start();
  prometheus::Registry registry;
  auto& expiry = prometheus::BuildGauge()
                     .Name("palisade_webhook_certificate_expiry_timestamp_seconds")
                     .Help("When the serving certificate ends.")
                     .Register(registry)
                     .Add({});
  webhook::Reviewer reviewer(
      settings, [&](std::string_view name) { return namespaces.mode(name); }, registry);

  kube::HttpServerOptions serving;
  serving.address = flags.address;
  serving.port = flags.port;
  serving.threads = flags.threads;
  serving.max_body_bytes = kMaxReview;
  serving.max_bodies_bytes = 8 * kMaxReview;
  serving.max_connections = 512;
  webhook::KeeperOptions keeping;
  keeping.ns = ns;
  keeping.secret = flags.secret;
  keeping.configuration = flags.configuration;
  keeping.names = {flags.service + "." + ns + ".svc",
                   flags.service + "." + ns + ".svc.cluster.local"};
  keeping.names.insert(keeping.names.end(), flags.extra_names.begin(), flags.extra_names.end());
  // Before the keeper, whose thread hands it new certificates.
  std::unique_ptr<kube::HttpServer> server;
  webhook::CertificateKeeper keeper(
      client, keeping, [&](const kube::ServingCertificate& certificate) {
        if (auto set = server->set_certificate(certificate); !set)
          spdlog::error("serving certificate: {}", set.error().message);
      });
  auto certificate = keeper.first(std::chrono::seconds(60));
  if (!certificate) throw std::runtime_error("no serving certificate: " + certificate.error());
  serving.tls = std::move(*certificate);
  server = std::make_unique<kube::HttpServer>(
      serving, [&](const kube::HttpRequest& request) { return reviewer.answer(request); });
  if (auto started = server->start(); !started) throw std::runtime_error(started.error().message);
  keeper.start();

  std::atomic<bool> ending = false;
  kube::HttpServerOptions watching;
  watching.address = flags.daemon.metrics_address;
  watching.port = flags.daemon.metrics_port;
  watching.threads = 1;
  kube::StatusPages pages;
  pages.not_ready = [&]() -> std::string {
    if (ending) return "ending";
    if (!namespaces.has_synced()) return "the watch of namespaces has not synced";
    if (!keeper.in_place())
      return "the certificate's authority is not in the webhook configuration yet";
    return "";
  };
  pages.metrics = [&] {
    expiry.Set(static_cast<double>(webhook::WallClock::to_time_t(keeper.expires())));
    return prometheus::TextSerializer().Serialize(registry.Collect());
  };
  kube::HttpServer metrics(watching, kube::status_handler(pages));
  if (auto started = metrics.start(); !started) throw std::runtime_error(started.error().message);
  spdlog::info("palisade-webhook {} listens on port {}", PALISADE_VERSION, server->port());

  const int number = kube::wait_for_end_signal();
  // Not ready first; Services need a moment to send reviews elsewhere.
  spdlog::info("signal {}: draining", number);
  ending = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(std::min(3000, flags.drain_seconds * 300)));
  server->stop(std::chrono::seconds(flags.drain_seconds));
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
  app.add_option("--extra-san", flags.extra_names,
                 "further DNS name or address of the certificate; may be repeated");
  app.add_option("--threads", flags.threads, "threads that answer reviews")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--drain-seconds", flags.drain_seconds, "time for reviews in flight after SIGTERM")
      ->check(CLI::Range(0, 300))
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
    std::cerr << "palisade-webhook: " << error.what() << "\n";
    return 1;
  }
}
