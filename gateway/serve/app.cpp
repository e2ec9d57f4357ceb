#include "app.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include <gateway/http/server.h>
#include <gateway/serve/budget_events.h>
#include <gateway/serve/budgets.h>
#include <gateway/serve/config.h>
#include <gateway/serve/directory.h>
#include <gateway/serve/identity.h>
#include <gateway/serve/keys.h>
#include <gateway/serve/record.h>
#include <gateway/serve/trust.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <kube/api_metrics.h>
#include <kube/certificates.h>
#include <kube/daemon.h>
#include <kube/http_server.h>
#include <kube/leader.h>
#include <kube/metrics.h>
#include <kube/mounted.h>

#include "metrics.h"
#include "retention.h"
#include "routes.h"

namespace palisade::gateway {

namespace {

// Of a call that a request waits for.
constexpr std::chrono::milliseconds kShort{3'000};
constexpr std::chrono::seconds kFirstCertificate{60};
// A connection that streams takes about 40 KiB.
constexpr std::size_t kMaxConnections = 8192;

policy::LlmBudget stricter(const policy::LlmBudget& a, const policy::LlmBudget& b) {
  const auto smaller = [](const auto& x, const auto& y) {
    return x && y ? std::min(x, y) : x ? x : y;
  };
  return {smaller(a.tokens, b.tokens), smaller(a.requests_per_minute, b.requests_per_minute),
          smaller(a.cost_micros, b.cost_micros)};
}

using kube::gauge;
using kube::Shown;

struct OwnMetrics {
  explicit OwnMetrics(prometheus::Registry& registry)
      : expiry(gauge(registry, "palisade_gateway_certificate_expiry_timestamp_seconds",
                     "When the serving certificate ends.")),
        connections(gauge(registry, "palisade_gateway_connections", "Open connections.")),
        config(gauge(registry, "palisade_gateway_config_accepted",
                     "1 where the configuration in use is what stands in the file, else 0.")),
        reviews(registry, "palisade_gateway_token_reviews_total", "TokenReviews asked for."),
        failed_reviews(registry, "palisade_gateway_failed_token_reviews_total",
                       "TokenReviews that the API server did not answer."),
        ledger_writes(registry, "palisade_gateway_ledger_writes_total", "Budget ledgers written."),
        ledger_conflicts(registry, "palisade_gateway_ledger_conflicts_total",
                         "Writes of budget ledgers that another replica was faster with."),
        ledger_unknown(registry, "palisade_gateway_ledger_unknown_total",
                       "Writes of budget ledgers of which nobody knows how they ended: what they "
                       "took counts as spent."),
        ledger_waits(registry, "palisade_gateway_ledger_waits_total",
                     "Requests that waited for a budget ledger."),
        ledger_failures(registry, "palisade_gateway_ledger_failures_total",
                        "Times that a budget ledger could not be had."),
        dropped(registry, "palisade_gateway_record_dropped_total",
                "Lines of the record that nobody read fast enough."),
        archived(prometheus::BuildCounter()
                     .Name("palisade_gateway_archived_bytes_total")
                     .Help("Bytes of sessions' records and outputs that the archive took.")
                     .Register(registry)
                     .Add({})),
        archived_sessions(prometheus::BuildCounter()
                              .Name("palisade_gateway_archived_sessions_total")
                              .Help("Sessions that the archive has whole.")
                              .Register(registry)
                              .Add({})),
        watches(registry, "palisade") {
    kube::show_build(registry, "palisade", "gateway");
  }
  std::mutex mutex;  // several may ask at once
  prometheus::Gauge& expiry;
  prometheus::Gauge& connections;
  prometheus::Gauge& config;
  Shown reviews, failed_reviews, ledger_writes, ledger_conflicts, ledger_unknown, ledger_waits,
      ledger_failures, dropped;
  prometheus::Counter& archived;
  prometheus::Counter& archived_sessions;
  kube::WatchMetrics watches;
};

}  // namespace

struct App::Impl {
  Impl(const kube::Config& where, kube::Client::TransportKind transport, AppOptions given)
      : options(std::move(given)),
        calls(std::make_shared<kube::ApiMetrics>(registry, "palisade")),
        client(kube::Client::connect(where, transport, std::chrono::seconds(30), calls->wrap())),
        quick(kube::Client::connect(where, transport, kShort, calls->wrap())),
        file({options.config_file}) {}

  void read_config() {
    auto texts = file.read();
    if (!texts) throw std::runtime_error("--config: " + texts.error());
    auto parsed = parse_gateway_config(texts->at(0));
    if (!parsed) throw std::runtime_error(options.config_file.string() + ": " + parsed.error());
    config_texts = std::move(*texts);
    config = std::move(*parsed);
  }

  [[nodiscard]] policy::Settings settings_with(const GatewayConfig& with) const {
    policy::Settings out = options.settings;
    out.workspace_budget = stricter(out.workspace_budget, with.per_workspace);
    out.namespace_budget = stricter(out.namespace_budget, with.per_namespace);
    return out;
  }

  std::expected<void, std::string> take_config(const kube::MountedFiles::Texts& texts) {
    auto next = parse_gateway_config(texts.at(0));
    own->config.Set(next ? 1 : 0);
    if (!next) return std::unexpected(options.config_file.string() + ": " + next.error());
    if (next->audience != config.audience) {
      own->config.Set(0);
      return std::unexpected(options.config_file.string() +
                             ": audience: cannot change while the program runs; start it anew");
    }
    directory->set_settings(settings_with(*next));
    routes->use(make_sides(*next, services, archive_counting()));
    retention->use(next->archive);
    config = std::move(*next);
    return {};
  }

  [[nodiscard]] std::string not_ready() const {
    if (ending) return "ending";
    for (std::string waiting : {directory->not_synced(), keys->not_synced()}) {
      if (!waiting.empty()) return waiting;
    }
    if (!keeper->in_place())
      return "the serving certificate's authority is not in ConfigMap " + options.trust + " yet";
    if (keeper->expires() <= kube::WallClock::now()) return "the serving certificate has expired";
    return {};
  }

  [[nodiscard]] std::string metrics() {
    const std::scoped_lock lock(own->mutex);
    own->expiry.Set(static_cast<double>(kube::WallClock::to_time_t(keeper->expires())));
    own->connections.Set(static_cast<double>(server->connections()));
    const IdentityCounters seen = identity->counters();
    own->reviews.show(seen.reviews);
    own->failed_reviews.show(seen.failed_reviews);
    const BudgetCounters ledgers = budgets->counters();
    own->ledger_writes.show(ledgers.writes);
    own->ledger_conflicts.show(ledgers.conflicts);
    own->ledger_unknown.show(ledgers.unknown);
    own->ledger_waits.show(ledgers.waits);
    own->ledger_failures.show(ledgers.failures);
    own->dropped.show(record->dropped());
    auto watches = directory->watches();
    watches.push_back(&keys->watch());
    own->watches.show(watches);
    return prometheus::TextSerializer().Serialize(registry.Collect());
  }

  [[nodiscard]] archive::ArchiveCounting archive_counting() const {
    archive::ArchiveCounting out;
    out.kept = [own = own.get()](std::uint64_t bytes) {
      own->archived.Increment(static_cast<double>(bytes));
    };
    out.closed = [own = own.get()] { own->archived_sessions.Increment(); };
    return out;
  }

  void make_parts() {
    own = std::make_unique<OwnMetrics>(registry);
    own->config.Set(1);
    elector = std::make_unique<kube::LeaderElector>(
        client,
        kube::LeaderOptions{options.ns, options.lease, kube::unique_identity(kube::host_name())});
    const auto term = [this] { return elector->term(); };
    record = std::make_shared<JsonRecord>();
    metered = std::make_shared<MeteredRecord>(record, registry);
    BudgetsOptions budgeting;
    budgeting.ns = options.ns;
    budgeting.namespaces = options.namespaces;
    budgeting.term = term;
    budgets = std::make_shared<KubeBudgets>(quick, std::move(budgeting));
    DirectoryEvents events;
    events.workspace_gone = [this](std::string_view ns, std::string_view uid) {
      budgets->forget(ns, uid);
    };
    directory = std::make_unique<Directory>(client, settings_with(config), std::move(events),
                                            options.namespaces);
    IdentityOptions identifying;
    identifying.audience = config.audience;
    identity = std::make_shared<TokenIdentity>(quick, *directory, std::move(identifying));
    keys = std::make_shared<SecretKeys>(client, options.ns);
    services = {identity, keys, std::make_shared<BudgetEvents>(budgets, client), metered};
    routes = std::make_unique<Routes>(
        services, metered, [this](const Caller& caller) { return keys->git_username(caller); });
    routes->use(make_sides(config, services, archive_counting()));
    retention = std::make_unique<Retention>([term] {
      const auto now = term();
      return now && !now->stop_requested();
    });
    retention->use(config.archive);
    make_keeper(term);
  }

  void make_keeper(const std::function<std::optional<std::stop_token>()>& term) {
    kube::CertificateKeeperOptions keeping;
    keeping.ns = options.ns;
    keeping.secret = options.secret;
    keeping.authority_name = "palisade-gateway-ca";
    keeping.managed_by = "palisade-gateway";
    keeping.names = {options.service + "." + options.ns + ".svc",
                     options.service + "." + options.ns + ".svc.cluster.local"};
    keeping.names.insert(keeping.names.end(), options.extra_names.begin(),
                         options.extra_names.end());
    keeping.interval = std::min<std::chrono::milliseconds>(
        keeping.interval,
        std::max<std::chrono::milliseconds>(options.overlap, std::chrono::milliseconds(200)));
    keeping.overlap = options.overlap;
    keeping.term = term;
    keeper = std::make_unique<kube::CertificateKeeper>(
        client, keeping, trust_by_configmap(client, {options.ns, options.trust, term}),
        [this](const kube::ServingCertificate& one) {
          if (const auto set = server->set_identity({one.certificate, one.key}); !set)
            spdlog::error("serving certificate: {}", set.error().message);
        });
  }

  void serve(const kube::ServingCertificate& certificate) {
    ServerOptions serving;
    serving.address = options.address;
    serving.port = options.port;
    serving.tls = ServingIdentity{certificate.certificate, certificate.key};
    serving.threads = options.threads;
    serving.max_connections = kMaxConnections;
    serving.log = [](const std::string& line) { spdlog::error("{}", line); };
    server = std::make_unique<Server>(
        std::move(serving), [this](Exchange& exchange) { return routes->handle(exchange); });
    if (const auto started = server->start(); !started)
      throw std::runtime_error("port " + std::to_string(options.port) + ": " +
                               started.error().message);
  }

  void serve_status() {
    kube::HttpServerOptions watching;
    watching.address = options.metrics_address;
    watching.port = options.metrics_port;
    watching.threads = 1;
    kube::StatusPages pages;
    pages.not_ready = [this] { return not_ready(); };
    pages.metrics = [this] { return metrics(); };
    status = std::make_unique<kube::HttpServer>(watching, kube::status_handler(pages));
    if (const auto started = status->start(); !started)
      throw std::runtime_error("metrics port: " + started.error().message);
  }

  const AppOptions options;
  prometheus::Registry registry;
  const std::shared_ptr<kube::ApiMetrics> calls;
  const std::shared_ptr<const kube::Client> client;
  const std::shared_ptr<const kube::Client> quick;
  kube::MountedFiles::Texts config_texts;
  GatewayConfig config;
  std::atomic<bool> ending{false};

  // In the order in which they are made; ended in the other.
  std::unique_ptr<OwnMetrics> own;
  std::unique_ptr<kube::LeaderElector> elector;
  std::shared_ptr<JsonRecord> record;
  std::shared_ptr<MeteredRecord> metered;
  std::shared_ptr<KubeBudgets> budgets;
  std::unique_ptr<Directory> directory;
  std::shared_ptr<TokenIdentity> identity;
  std::shared_ptr<SecretKeys> keys;
  Services services;
  std::unique_ptr<Routes> routes;
  std::unique_ptr<Retention> retention;
  std::unique_ptr<Server> server;
  std::unique_ptr<kube::CertificateKeeper> keeper;  // hands certificates to the server
  std::unique_ptr<kube::HttpServer> status;
  kube::MountedFiles file;  // its thread uses nearly all of the above
};

App::App(const kube::Config& config, kube::Client::TransportKind transport, AppOptions options)
    : impl_(std::make_unique<Impl>(config, transport, std::move(options))) {}

App::~App() = default;

void App::start() {
  Impl& impl = *impl_;
  impl.read_config();
  impl.make_parts();
  impl.directory->start();
  impl.keys->start();
  impl.budgets->start();
  impl.elector->start();
  const auto certificate = impl.keeper->first(kFirstCertificate);
  if (!certificate) throw std::runtime_error("no serving certificate: " + certificate.error());
  impl.serve(*certificate);
  impl.keeper->start();
  impl.serve_status();
  impl.file.start(impl.config_texts, [&impl](const kube::MountedFiles::Texts& texts) {
    return impl.take_config(texts);
  });
  spdlog::info("palisade-gateway {} listens on port {}", PALISADE_VERSION, impl.server->port());
}

void App::stop() {
  Impl& impl = *impl_;
  impl.ending = true;
  // Whoever leads next need not wait.
  impl.elector->stop();
  // Services take a moment to send requests elsewhere.
  std::this_thread::sleep_for(
      std::min<std::chrono::milliseconds>(std::chrono::seconds(3), impl.options.drain / 10));
  impl.server->stop(impl.options.drain);
  impl.budgets->stop(std::chrono::seconds(5));
  impl.status->stop(std::chrono::seconds(1));
}

}  // namespace palisade::gateway
