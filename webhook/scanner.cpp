#include <algorithm>
#include <atomic>
#include <iterator>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <unordered_map>

#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <pthread.h>
#include <spdlog/spdlog.h>

#include <kube/reflector.h>
#include <kube/workqueue.h>
#include <webhook/scanner.h>

#include "judges/guard.h"
#include "report_store.h"
#include "scan_record.h"
#include "scan_report.h"

namespace palisade::webhook {

namespace {

using kube::Json;
using kube::ObjectPtr;
using Clock = std::chrono::steady_clock;

// Keys of the queue that are no namespaces.
constexpr const char* kLeadership = "/leadership";
constexpr const char* kRecheck = "/recheck";
constexpr const char* kDiscover = "/discover";

constexpr std::chrono::milliseconds kLookAtLeadership{500};
constexpr std::chrono::milliseconds kBetweenWrites{100};
constexpr std::uint32_t kJudgePage = 100;

// Whether a pod may matter to a report, without unpacking it.
bool may_matter(const Json& packed) {
  return packed.contains("reason") || packed.contains("basis");
}

// Most updates of pods change nothing that is kept.
bool same_but_version(const Json& a, const Json& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.items()) {
    if (key == "metadata") continue;
    const auto other = b.find(key);
    if (other == b.end() || *other != value) return false;
  }
  return true;
}

}  // namespace

struct Scanner::Impl {
  using PodsByName = std::map<std::string, ObjectPtr, std::less<>>;

  // What the verdicts of a namespace's pods rest on.
  struct Basis {
    std::uint64_t number = 0;
    Mode mode = Mode::kAgents;
    std::string problem;
    policy::Settings settings;
  };

  std::shared_ptr<const kube::Client> client;
  const ScannerContext context;
  const ScannerOptions options;
  std::map<ReportResult, prometheus::Gauge*> pod_gauges;
  std::map<std::string_view, prometheus::Gauge*> control_gauges;

  mutable std::shared_mutex mutex;
  std::unordered_map<std::string, PodsByName> pods;  // packed ScanRecords
  std::unordered_map<std::string, Basis> bases;
  std::uint64_t last_basis = 0;

  kube::WorkQueue queue{{std::chrono::milliseconds(500), std::chrono::milliseconds(30'000)}};

  // A term, and what ends the calls made in it: the term's end or the program's.
  struct Term {
    std::stop_token token;
    std::stop_source calls;
    std::stop_callback<std::function<void()>> on_end;
    std::stop_callback<std::function<void()>> on_stop;

    Term(std::stop_token of, const std::stop_token& stop)
        : token(std::move(of)),
          on_end(token, [this] { calls.request_stop(); }),
          on_stop(stop, [this] { calls.request_stop(); }) {}
  };

  // Only the worker's thread touches what follows.
  std::unique_ptr<Term> term;  // null: another leads
  ReportStore store;
  std::map<std::string, Report> tallies;  // without their results
  Clock::time_point next_write;

  kube::Reflector reflector;  // its thread uses what stands above
  std::jthread worker;

  Impl(std::shared_ptr<const kube::Client> given, ScannerContext with,
       prometheus::Registry& registry, ScannerOptions how)
      : client(std::move(given)),
        context(std::move(with)),
        options(how),
        store(client),
        reflector(client, kube::resources::kPods, watch_options(), events()) {
    auto& by_verdict = prometheus::BuildGauge()
                           .Name("palisade_scan_pods")
                           .Help("Running pods that are judged, by the worst that was found.")
                           .Register(registry);
    for (const auto verdict : {ReportResult::kFail, ReportResult::kError, ReportResult::kWarn,
                               ReportResult::kSkip, ReportResult::kPass}) {
      pod_gauges[verdict] = &by_verdict.Add({{"verdict", std::string(result_name(verdict))}});
    }
    auto& by_control = prometheus::BuildGauge()
                           .Name("palisade_scan_findings")
                           .Help("Running pods that break a control.")
                           .Register(registry);
    for (const policy::Control& control : policy::controls())
      control_gauges[control.id] = &by_control.Add({{"control", std::string(control.id)}});
  }

  // The reflector's thread.

  kube::ReflectorOptions watch_options() {
    kube::ReflectorOptions out;
    out.transform = [this](Json pod) {
      const Rules rules = rules_of(metadata_text(pod, "namespace"));
      return pack(scan_pod(std::move(pod), rules.rules.get(), rules.basis));
    };
    return out;
  }

  kube::EventHandler events() {
    kube::EventHandler out;
    out.on_add = [this](const ObjectPtr& pod) { keep(pod, may_matter(*pod)); };
    out.on_update = [this](const ObjectPtr& before, const ObjectPtr& after) {
      keep(after,
           (may_matter(*before) || may_matter(*after)) && !same_but_version(*before, *after));
    };
    out.on_delete = [this](const ObjectPtr& pod) { drop(*pod); };
    return out;
  }

  void keep(const ObjectPtr& packed, bool report) {
    const std::string ns = metadata_text(*packed, "namespace");
    {
      const std::unique_lock lock(mutex);
      pods[ns].insert_or_assign(metadata_text(*packed, "name"), packed);
    }
    if (report) queue.add_after(ns, options.debounce);
  }

  void drop(const Json& packed) {
    const std::string ns = metadata_text(packed, "namespace");
    {
      const std::unique_lock lock(mutex);
      const auto found = pods.find(ns);
      if (found == pods.end()) return;
      found->second.erase(metadata_text(packed, "name"));
      if (found->second.empty()) pods.erase(found);
    }
    if (may_matter(packed)) queue.add_after(ns, options.debounce);
  }

  // Any thread.

  struct Rules {
    std::shared_ptr<const NamespaceRules> rules;  // null: not known
    std::uint64_t basis = 0;
  };
  Rules rules_of(const std::string& ns) {
    auto rules = context.rules(ns);
    if (!rules) return {};
    const std::unique_lock lock(mutex);
    Basis& basis = bases[ns];
    if (basis.number == 0 || basis.mode != (*rules)->mode || basis.problem != (*rules)->problem ||
        basis.settings != (*rules)->settings) {
      basis = {++last_basis, (*rules)->mode, (*rules)->problem, (*rules)->settings};
    }
    return {std::move(*rules), basis.number};
  }

  [[nodiscard]] std::vector<ObjectPtr> packed_of(const std::string& ns) const {
    std::vector<ObjectPtr> out;
    const std::shared_lock lock(mutex);
    if (const auto found = pods.find(ns); found != pods.end()) {
      out.reserve(found->second.size());
      for (const auto& [name, pod] : found->second)
        out.push_back(pod);
    }
    return out;
  }

  [[nodiscard]] Lookup<std::vector<AgentPod>> agent_pods_of_all(const Scanner& scanner) const {
    std::vector<std::string> namespaces;
    {
      const std::shared_lock lock(mutex);
      for (const auto& [ns, by_name] : pods)
        namespaces.push_back(ns);
    }
    std::vector<AgentPod> out;
    for (const std::string& ns : namespaces) {
      auto found = scanner.agent_pods(ns);
      if (!found) return found;
      std::ranges::move(*found, std::back_inserter(out));
    }
    return out;
  }

  // The worker's thread.

  void run(const std::stop_token& stop) {
    queue.add(kLeadership);
    queue.add_after(kRecheck, options.recheck);
    while (const auto key = queue.get(stop)) {
      if (*key == kLeadership) {
        look_at_leadership(stop);
        queue.add_after(kLeadership, kLookAtLeadership);
      } else if (*key == kRecheck) {
        if (term) add_all();
        queue.add_after(kRecheck, options.recheck);
      } else if (*key == kDiscover) {
        discover();
      } else {
        report_on(*key);
      }
      queue.done(*key);
    }
  }

  void look_at_leadership(const std::stop_token& stop) {
    const auto now = context.term();
    if (now ? term && term->token == *now : !term) return;
    term = now ? std::make_unique<Term>(*now, stop) : nullptr;
    store.forget();
    tallies.clear();
    show_metrics();
    if (term) queue.add(kDiscover);
  }

  void discover() {
    if (!term) return;
    if (auto found = store.discover(term->calls.get_token()); !found) {
      failed(kDiscover, found.error());
      return;
    }
    queue.forget(kDiscover);
    queue.add_after(kDiscover, options.discovery);
    add_all();
  }

  // Every namespace that has pods, or a report.
  void add_all() {
    std::vector<std::string> names = store.namespaces();
    {
      const std::shared_lock lock(mutex);
      for (const auto& [ns, of] : pods)
        names.push_back(ns);
    }
    for (const std::string& ns : names)
      queue.add(ns);
  }

  void failed(const std::string& key, const kube::Error& error) {
    if (error.is_cancelled()) return;
    spdlog::warn("scan of {}: {}", key, error.text());
    queue.add_rate_limited(key);
  }

  void report_on(const std::string& ns) {
    if (!term || term->calls.stop_requested() || !reflector.has_synced()) return;
    const Rules rules = rules_of(ns);
    if (!rules.rules) {
      forget_if_gone(ns);
      return;
    }
    auto judged = judged_pods(ns, rules);
    if (!judged) {
      failed(ns, judged.error());
      return;
    }
    if (!*judged) {
      queue.add_after(ns, options.debounce);
      return;
    }
    const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    Report report = make_report((*judged)->pods, *rules.rules, now, store.results(ns));
    const bool wanted = !(*judged)->pods.empty();
    if (auto written = write(ns, report, wanted, rules.rules->terminating); !written) {
      failed(ns, written.error());
    } else if ((*judged)->in_doubt) {
      queue.add_rate_limited(ns);
    } else {
      queue.forget(ns);
    }
    report.results.clear();
    if (wanted) {
      tallies.insert_or_assign(ns, std::move(report));
    } else {
      tallies.erase(ns);
    }
    show_metrics();
  }

  // A namespace that is not known has gone, or is known in a moment. Its own coming tells of itself
  // (rules_changed()), but a watch that has synced with nothing in it tells nobody: so it is looked
  // for, less and less often.
  void forget_if_gone(const std::string& ns) {
    if (!packed_of(ns).empty()) {
      queue.add_rate_limited(ns);
      return;
    }
    queue.forget(ns);
    store.forget(ns);
    tallies.erase(ns);
    show_metrics();
    const std::unique_lock lock(mutex);
    bases.erase(ns);
  }

  struct Judged {
    std::vector<ReportPod> pods;
    bool in_doubt = false;  // for want of the NetworkPolicies
  };
  // nullopt: the watch is behind what was just read; again in a moment.
  kube::Result<std::optional<Judged>> judged_pods(const std::string& ns, const Rules& rules) {
    auto records = judged_records(ns, *rules.rules);
    const auto stale = [&] {
      return rules.rules->problem.empty() &&
             std::ranges::any_of(records,
                                 [&](const ScanRecord& one) { return one.basis != rules.basis; });
    };
    if (stale()) {
      if (auto again = judge_again(ns, rules); !again) return std::unexpected(again.error());
      records = judged_records(ns, *rules.rules);
      if (stale()) return std::nullopt;
    }
    const auto policies = context.network_policies(ns);
    Judged out;
    for (ScanRecord& record : records) {
      ReportPod& pod = out.pods.emplace_back();
      pod.unsure = rules.rules->problem.empty() ? record.unreadable : rules.rules->problem;
      if (!policies) {
        pod.unsure = policies.error();
        out.in_doubt = true;
      } else {
        pod.network = policy::network_findings(
            {record.pod.labels,
             own_policy(record.pod.labels, record.pod.workspace, record.pod.pool),
             record.pod.workspace_uid},
            *policies);
      }
      pod.record = std::move(record);
    }
    return out;
  }

  [[nodiscard]] std::vector<ScanRecord> judged_records(const std::string& ns,
                                                       const NamespaceRules& rules) const {
    std::vector<ScanRecord> out;
    const auto packed = packed_of(ns);
    for (const ObjectPtr& one : packed) {
      ScanRecord record = unpack(*one);
      if (is_judged(record, rules)) out.push_back(std::move(record));
    }
    return out;
  }

  // The verdicts are kept, not the pods: under other rules they are read once more. Where the watch
  // has another version than the list it brings that one, and it is judged then.
  kube::Result<void> judge_again(const std::string& ns, const Rules& rules) {
    kube::ListOptions query;
    query.ns = ns;
    query.limit = kJudgePage;
    while (true) {
      auto page = client->list_page(kube::resources::kPods, query, term->calls.get_token());
      if (!page) return std::unexpected(page.error());
      for (const Json& pod : page->items) {
        Json packed = pack(scan_pod(pod, rules.rules.get(), rules.basis));
        for (const char* key : {"namespace", "name", "uid", "resourceVersion"})
          packed["metadata"][key] = metadata_text(pod, key);
        const std::unique_lock lock(mutex);
        const auto by_name = pods.find(ns);
        if (by_name == pods.end()) continue;
        const auto known = by_name->second.find(metadata_text(pod, "name"));
        if (known == by_name->second.end() || (*known->second)["metadata"] != packed["metadata"]) {
          continue;
        }
        known->second = std::make_shared<const Json>(std::move(packed));
      }
      if (page->continue_token.empty() || page->continue_token == query.continue_token) return {};
      query.continue_token = page->continue_token;
    }
  }

  kube::Result<void> write(const std::string& ns, const Report& report, bool wanted,
                           bool terminating) {
    if (terminating || !store.would_change(ns, wanted ? &report : nullptr)) return {};
    // One after the other, with room for others between them.
    std::this_thread::sleep_until(next_write);
    next_write = Clock::now() + kBetweenWrites;
    const std::stop_token stop = term->calls.get_token();
    return wanted ? store.write(ns, report, stop) : store.remove(ns, stop);
  }

  void show_metrics() {
    std::map<ReportResult, std::size_t> by_verdict;
    std::map<std::string_view, std::size_t> by_control;
    for (const auto& [ns, tally] : tallies) {
      for (const auto& [verdict, count] : tally.pods)
        by_verdict[verdict] += count;
      for (const auto& [control, count] : tally.controls)
        by_control[control] += count;
    }
    for (const auto& [verdict, gauge] : pod_gauges)
      gauge->Set(static_cast<double>(by_verdict[verdict]));
    for (const auto& [control, gauge] : control_gauges)
      gauge->Set(static_cast<double>(by_control[control]));
  }
};

Scanner::Scanner(std::shared_ptr<const kube::Client> client, ScannerContext context,
                 prometheus::Registry& registry, ScannerOptions options)
    : impl_(std::make_unique<Impl>(std::move(client), std::move(context), registry, options)) {}

Scanner::~Scanner() {
  stop();
}

void Scanner::start() {
  impl_->reflector.start();
  impl_->worker =
      std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->run(stop); });
  pthread_setname_np(impl_->worker.native_handle(), "scan");
}

void Scanner::stop() {
  impl_->queue.shut_down();
  if (impl_->worker.joinable()) {
    impl_->worker.request_stop();
    impl_->worker.join();
  }
  impl_->reflector.stop();
}

void Scanner::rules_changed(std::string_view ns) {
  if (!ns.empty()) {
    impl_->queue.add_after(std::string(ns), impl_->options.debounce);
    return;
  }
  const std::shared_lock lock(impl_->mutex);
  for (const auto& [name, pods] : impl_->pods)
    impl_->queue.add_after(name, impl_->options.debounce);
}

Lookup<std::vector<AgentPod>> Scanner::agent_pods(std::string_view ns) const {
  if (const std::string why = not_synced(); !why.empty()) return std::unexpected(why);
  if (ns.empty()) return impl_->agent_pods_of_all(*this);
  const auto rules = impl_->context.rules(ns);
  const bool all = !rules || (*rules)->mode == Mode::kAll;
  std::vector<AgentPod> out;
  const auto packed = impl_->packed_of(std::string(ns));
  for (const ObjectPtr& one : packed) {
    if (!all && !one->contains("reason")) continue;
    ScanRecord record = unpack(*one);
    if (!record.ended) out.push_back(std::move(record.pod));
  }
  return out;
}

const kube::Reflector& Scanner::watch() const {
  return impl_->reflector;
}

std::string Scanner::not_synced() const {
  if (impl_->reflector.has_synced()) return {};
  const std::string error = impl_->reflector.last_error();
  return "the watch of pods has not synced" + (error.empty() ? "" : ": " + error);
}

}  // namespace palisade::webhook
