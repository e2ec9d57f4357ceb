#include <atomic>

#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <kube/metrics.h>
#include <kube/mounted.h>
#include <webhook/serving.h>

namespace palisade::webhook {

namespace {

using kube::gauge;
using kube::MountedFiles;
using kube::Shown;

constexpr auto kFirstCertificate = std::chrono::seconds(60);

std::expected<void, std::string> plain(const kube::Result<void>& result) {
  if (result) return {};
  return std::unexpected(result.error().message);
}

}  // namespace

struct Serving::Impl {
  ServingOptions options;
  std::unique_ptr<kube::HttpServer> server;
  kube::HttpHandler handler;

  // Threads that hand things to the server: after it, so that they end first.
  std::unique_ptr<CertificateKeeper> keeper;
  std::unique_ptr<MountedFiles> certificate_files;
  std::unique_ptr<MountedFiles> client_files;
  std::atomic<WallClock::rep> mounted_until{0};

  std::mutex mutex;  // metrics are asked for by several
  prometheus::Gauge& expiry;
  prometheus::Gauge& connections;
  Shown accepted;
  Shown refused;
  Shown evicted;
  Shown failed_handshakes;
  Shown shed;
  Shown late;

  Impl(ServingOptions opts, kube::HttpHandler handle, prometheus::Registry& registry)
      : options(std::move(opts)),
        handler(std::move(handle)),
        expiry(gauge(registry, "palisade_webhook_certificate_expiry_timestamp_seconds",
                     "When the serving certificate ends.")),
        connections(gauge(registry, "palisade_webhook_connections", "Open connections.")),
        accepted(registry, "palisade_webhook_connections_total", "Connections taken in."),
        refused(registry, "palisade_webhook_connections_refused_total",
                "Connections for which nothing could make room."),
        evicted(registry, "palisade_webhook_connections_evicted_total",
                "Idle or slow connections closed to make room for new ones."),
        failed_handshakes(registry, "palisade_webhook_failed_handshakes_total",
                          "TLS handshakes that failed, those without a client certificate that is "
                          "asked for included."),
        shed(registry, "palisade_webhook_shed_total",
             "Reviews refused at once because they would have been answered too late."),
        late(registry, "palisade_webhook_late_total",
             "Reviews refused because their look-ups took too long.") {}

  kube::ServingCertificate mounted_certificate() {
    certificate_files = std::make_unique<MountedFiles>(std::vector<std::filesystem::path>{
        options.certificate_dir / "tls.crt", options.certificate_dir / "tls.key"});
    auto texts = certificate_files->read();
    if (!texts) throw std::runtime_error("no serving certificate: " + texts.error());
    mounted_until = end_of(texts->at(0)).time_since_epoch().count();
    return {texts->at(0), texts->at(1)};
  }

  void watch_mounted(const kube::ServingCertificate& taken) {
    certificate_files->start({taken.certificate, taken.key},
                             [this](const MountedFiles::Texts& texts) {
                               auto set = plain(server->set_certificate({texts[0], texts[1]}));
                               if (set) mounted_until = end_of(texts[0]).time_since_epoch().count();
                               return set;
                             });
  }

  [[nodiscard]] WallClock::time_point until() const {
    return keeper ? keeper->expires()
                  : WallClock::time_point(WallClock::duration(mounted_until.load()));
  }
};

Serving::Serving(std::shared_ptr<const kube::Client> client, ServingOptions options,
                 kube::HttpHandler handler, prometheus::Registry& registry)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(handler), registry)) {
  Impl& impl = *impl_;
  if (!impl.options.certificate_dir.empty()) return;
  impl.keeper = std::make_unique<CertificateKeeper>(
      std::move(client), impl.options.keeper, [&impl](const kube::ServingCertificate& certificate) {
        if (auto set = impl.server->set_certificate(certificate); !set)
          spdlog::error("serving certificate: {}", set.error().message);
      });
}

Serving::~Serving() {
  Impl& impl = *impl_;
  impl.keeper.reset();
  impl.certificate_files.reset();
  impl.client_files.reset();
}

void Serving::start() {
  Impl& impl = *impl_;
  kube::HttpServerOptions http = impl.options.http;
  if (!impl.options.client_ca_file.empty()) {
    impl.client_files = std::make_unique<MountedFiles>(
        std::vector<std::filesystem::path>{impl.options.client_ca_file});
    auto texts = impl.client_files->read();
    if (!texts) throw std::runtime_error("no authority of the clients: " + texts.error());
    http.clients = kube::ClientCertificates{texts->at(0), impl.options.client_names};
  } else if (!impl.options.client_names.empty()) {
    throw std::runtime_error("client names without a client authority would let everyone in");
  }
  if (impl.keeper) {
    auto certificate = impl.keeper->first(kFirstCertificate);
    if (!certificate) throw std::runtime_error("no serving certificate: " + certificate.error());
    http.tls = std::move(*certificate);
  } else {
    http.tls = impl.mounted_certificate();
  }
  impl.server = std::make_unique<kube::HttpServer>(http, impl.handler);
  if (auto started = impl.server->start(); !started)
    throw std::runtime_error(started.error().message);
  if (impl.keeper)
    impl.keeper->start();
  else
    impl.watch_mounted(*http.tls);
  if (!impl.client_files) return;
  impl.client_files->start({http.clients->authorities}, [&impl](const MountedFiles::Texts& texts) {
    return plain(impl.server->set_clients({texts[0], impl.options.client_names}));
  });
}

std::uint16_t Serving::port() const {
  return impl_->server->port();
}

std::string Serving::not_ready() const {
  if (!impl_->server) return "there is no serving certificate yet";
  if (impl_->keeper && !impl_->keeper->in_place())
    return "the certificate's authority is not in the webhook configurations yet";
  if (impl_->until() <= WallClock::now()) return "the serving certificate has expired";
  return {};
}

void Serving::measure() {
  Impl& impl = *impl_;
  const std::scoped_lock lock(impl.mutex);
  impl.expiry.Set(static_cast<double>(WallClock::to_time_t(impl.until())));
  if (!impl.server) return;
  const kube::HttpServerCounters counters = impl.server->counters();
  impl.connections.Set(static_cast<double>(impl.server->connections()));
  impl.accepted.show(counters.accepted);
  impl.refused.show(counters.refused);
  impl.evicted.show(counters.evicted);
  impl.failed_handshakes.show(counters.failed_handshakes);
  impl.shed.show(counters.shed);
  impl.late.show(counters.late);
}

void Serving::retire() {
  impl_->server->retire();
}

void Serving::stop(std::chrono::milliseconds drain) {
  impl_->server->stop(drain);
}

}  // namespace palisade::webhook
