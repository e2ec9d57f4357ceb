#include "metrics.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>

#include <kube/metrics.h>
#include <kube/rfc3339.h>
#include <operator/decide.h>

#include "json_access.h"

namespace palisade::op {

namespace {

// Each is a series of its own.
constexpr std::size_t kMostNamed = 100;

constexpr std::array kPhases{"Pending", "Running", "Succeeded", "Failed", "Suspended", "Expired"};
constexpr std::array kConditions{"Accepted", "CredentialsReady", "Isolated", "Ready"};

prometheus::Family<prometheus::Counter>& counters(prometheus::Registry& registry, const char* name,
                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Gauge>& gauges(prometheus::Registry& registry, const char* name,
                                              const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

prometheus::Histogram& histogram(prometheus::Registry& registry, const char* name, const char* help,
                                 const prometheus::Histogram::BucketBoundaries& bounds) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, bounds);
}

double seconds(std::chrono::duration<double> span) {
  return span.count();
}

std::string phase_of(const Json& workspace) {
  const std::string phase = text_at(child(workspace, "status"), "phase");
  return phase.empty() ? "Pending" : phase;
}

// What guard counted in the session that ended last.
struct Audit {
  double execs = 0, programs = 0, connections = 0, refusals = 0, findings = 0;
};

Audit audit_of(const Json& workspace) {
  const Json& audit = child(child(workspace, "status"), "audit");
  const auto number = [&](const char* field) {
    const Json& value = child(audit, field);
    return value.is_number_integer() ? std::max(0.0, value.get<double>()) : 0.0;
  };
  return {number("execs"), number("deniedExecs"), number("deniedConnects"), number("refusals"),
          number("findings")};
}

}  // namespace

Metrics::Looks::Looks(prometheus::Family<prometheus::Counter>& looks)
    : succeeded(looks.Add({{"result", "success"}})), failed(looks.Add({{"result", "error"}})) {}

Metrics::Waiting::Waiting(prometheus::Family<prometheus::Gauge>& depth)
    : fresh(depth.Add({{"priority", "fresh"}})), routine(depth.Add({{"priority", "routine"}})) {}

Metrics::Refused::Refused(prometheus::Family<prometheus::Counter>& refused)
    : programs(refused.Add({{"kind", "program"}})),
      connections(refused.Add({{"kind", "connection"}})),
      others(refused.Add({{"kind", "other"}})) {}

Metrics::Claims::Claims(prometheus::Family<prometheus::Counter>& claims)
    : taken(claims.Add({{"result", "taken"}})),
      none(claims.Add({{"result", "none"}})),
      unfit(claims.Add({{"result", "unfit"}})) {}

Metrics::Setups::Setups(prometheus::Family<prometheus::Counter>& setups)
    : installed(setups.Add({{"result", "installed"}})),
      cached(setups.Add({{"result", "cached"}})),
      failed(setups.Add({{"result", "failed"}})) {}

Metrics::Metrics(prometheus::Registry& registry)
    : leader_(kube::gauge(registry, "palisade_operator_leader",
                          "1 where this process does the work, 0 where it stands by.")),
      looks_(counters(registry, "palisade_operator_reconciles_total",
                      "Looks at workspaces, by how they ended.")),
      duration_(histogram(registry, "palisade_operator_reconcile_duration_seconds",
                          "Time of one look at a workspace.",
                          {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30})),
      waiting_(gauges(registry, "palisade_operator_queue_depth",
                      "Workspaces that wait for a worker, by why: somebody changed something, or "
                      "they are looked at again.")),
      delayed_(kube::gauge(registry, "palisade_operator_queue_delayed",
                           "Workspaces that are to be looked at later.")),
      failing_(kube::gauge(registry, "palisade_operator_queue_failing",
                           "Workspaces whose last look failed.")),
      longest_wait_(kube::gauge(registry, "palisade_operator_queue_longest_wait_seconds",
                                "How long the first of the queue has waited for a worker.")),
      longest_look_(kube::gauge(registry, "palisade_operator_longest_look_seconds",
                                "How long the oldest look that has not ended has taken.")),
      latency_(histogram(registry, "palisade_operator_queue_latency_seconds",
                         "How long a workspace waited for a worker.",
                         {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30, 120, 600})),
      phases_(gauges(registry, "palisade_operator_workspaces", "AgentWorkspaces by phase.")),
      conditions_(gauges(registry, "palisade_operator_conditions",
                         "AgentWorkspaces that have not ended, by condition and its status.")),
      unisolated_(kube::gauge(registry, "palisade_operator_unisolated_workspaces",
                              "AgentWorkspaces whose guard found no isolation and did not let the "
                              "agent start, or could not go on.")),
      time_to_ready_(
          histogram(registry, "palisade_operator_time_to_ready_seconds",
                    "From the making of a workspace until its agent runs for the first time.",
                    {1, 2, 3, 5, 8, 12, 20, 30, 60, 120, 300, 900})),
      execs_(counters(registry, "palisade_agent_programs_total",
                      "Programs that agents started, of sessions that have ended.")
                 .Add({})),
      refused_(counters(registry, "palisade_agent_refusals_total",
                        "What guard refused agents, of sessions that have ended, by kind.")),
      findings_(counters(registry, "palisade_agent_findings_total",
                         "What guard did not refuse but found worth a look, of sessions that have "
                         "ended.")
                    .Add({})),
      workspace_refusals_(gauges(
          registry, "palisade_agent_workspace_refusals",
          "What guard refused in a workspace's last session; of the hundred with the most alone.")),
      pools_(
          gauges(registry, "palisade_operator_pools",
                 "AgentWorkspacePools by how many pods wait there: all that are asked for, some, "
                 "none, or none asked for.")),
      warm_pods_(gauges(registry, "palisade_operator_warm_pods",
                        "Pods of AgentWorkspacePools that nobody has taken, by state: they wait, "
                        "they still come up, or the template has changed since.")),
      claims_(counters(registry, "palisade_operator_warm_claims_total",
                       "Pods of workspaces whose template has a pool, by result: one that waited "
                       "was taken, none waited, or the session needs another.")),
      claim_time_(histogram(registry, "palisade_operator_warm_claim_duration_seconds",
                            "From the choice of a waiting pod until all that the session is has "
                            "been given to it.",
                            {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30})),
      setups_(counters(registry, "palisade_operator_setups_total",
                       "Setups of workspaces, by result: a pod installed what is needed, it had "
                       "been made before, or an attempt failed.")),
      watches_(registry, "palisade") {
  kube::show_build(registry, "palisade", "operator");
}

void Metrics::lead() {
  leading_ = true;
  leader_.Set(1);
}

void Metrics::reconciled(bool ok, std::chrono::nanoseconds took) {
  (ok ? looks_.succeeded : looks_.failed).Increment();
  duration_.Observe(seconds(took));
}

void Metrics::waited(std::chrono::nanoseconds since_due) {
  latency_.Observe(seconds(since_due));
}

void Metrics::changed(const kube::ObjectPtr& before, const kube::ObjectPtr& after,
                      std::chrono::system_clock::time_point now) {
  if (!before) return;
  const std::string uid = text_at(child(*before, "metadata"), "uid");
  bool resumed = false;
  {
    const std::scoped_lock lock(mutex_);
    if (!after) {
      resumed_.erase(uid);
      return;
    }
    if (phase_of(*after) == "Suspended") resumed_.insert(uid);
    resumed = resumed_.contains(uid);
  }
  if (!leading_) return;
  // The first time alone: a pod is made anew within one workspace's life.
  if (phase_of(*before) == "Pending" && phase_of(*after) == "Running" && !resumed &&
      child(child(*before, "status"), "restarts").empty()) {
    const auto made = kube::parse_rfc3339(text_at(child(*after, "metadata"), "creationTimestamp"));
    if (made) time_to_ready_.Observe(std::max(0.0, seconds(now - *made)));
  }
  const Json& had = child(child(*before, "status"), "setup");
  const Json& has = child(child(*after, "status"), "setup");
  if (text_at(had, "phase") != "Ready" && text_at(has, "phase") == "Ready")
    (child(has, "cached") == true ? setups_.cached : setups_.installed).Increment();
  if (has.value("attempts", 0) > had.value("attempts", 0)) setups_.failed.Increment();
  const Audit was = audit_of(*before);
  const Audit is = audit_of(*after);
  // A session that begins anew drops what the last one counted.
  const auto add = [](prometheus::Counter& counter, double from, double to) {
    if (to > from) counter.Increment(to - from);
  };
  add(execs_, was.execs, is.execs);
  add(refused_.programs, was.programs, is.programs);
  add(refused_.connections, was.connections, is.connections);
  add(refused_.others, std::max(0.0, was.refusals - was.programs - was.connections),
      std::max(0.0, is.refusals - is.programs - is.connections));
  add(findings_, was.findings, is.findings);
}

void Metrics::claimed(WarmPods pods, std::optional<std::chrono::nanoseconds> took) {
  (pods == WarmPods::kOffered ? claims_.taken
   : pods == WarmPods::kNone  ? claims_.none
                              : claims_.unfit)
      .Increment();
  if (took) claim_time_.Observe(seconds(*took));
}

void Metrics::show(const kube::Cache* workspaces, const std::vector<kube::ObjectPtr>& pools,
                   const kube::WorkQueueSnapshot& queue,
                   std::span<const kube::Reflector* const> watches) {
  const std::scoped_lock lock(showing_);
  waiting_.fresh.Set(static_cast<double>(queue.fresh));
  waiting_.routine.Set(static_cast<double>(queue.routine));
  delayed_.Set(static_cast<double>(queue.delayed_total));
  failing_.Set(static_cast<double>(queue.failing));
  longest_wait_.Set(seconds(queue.longest_wait));
  std::chrono::milliseconds longest{0};
  for (const auto& look : queue.processing)
    longest = std::max(longest, look.since);
  longest_look_.Set(seconds(longest));
  watches_.show(watches);
  show_workspaces(workspaces);
  show_pools(pools);
}

void Metrics::show_pools(const std::vector<kube::ObjectPtr>& pools) {
  std::map<std::string, int> states{{"full", 0}, {"short", 0}, {"empty", 0}, {"idle", 0}};
  std::int64_t waiting = 0;
  std::int64_t coming = 0;
  std::int64_t outdated = 0;
  for (const kube::ObjectPtr& pool : pools) {
    const Json& status = child(*pool, "status");
    const auto number = [](const Json& object, const char* field) {
      const Json& value = child(object, field);
      return value.is_number_integer() ? std::max<std::int64_t>(0, value.get<std::int64_t>()) : 0;
    };
    const std::int64_t wanted = number(child(*pool, "spec"), "replicas");
    const std::int64_t ready = number(status, "readyReplicas");
    const std::int64_t current = number(status, "updatedReplicas");
    ++states[wanted == 0 ? "idle" : ready >= wanted ? "full" : ready > 0 ? "short" : "empty"];
    waiting += ready;
    coming += std::max<std::int64_t>(0, current - ready);
    outdated += std::max<std::int64_t>(0, number(status, "replicas") - current);
  }
  for (const auto& [state, count] : states)
    pools_.Add({{"state", state}}).Set(count);
  for (const auto& [state, count] :
       {std::pair{"waiting", waiting}, {"coming", coming}, {"outdated", outdated}})
    warm_pods_.Add({{"state", state}}).Set(static_cast<double>(count));
}

void Metrics::show_workspaces(const kube::Cache* workspaces) {
  std::map<std::string, int> phases;
  for (const char* phase : kPhases)
    phases[phase] = 0;
  std::map<std::pair<std::string, std::string>, int> conditions;
  for (const char* type : kConditions) {
    for (const char* status : {"True", "False", "Unknown"})
      conditions[{type, status}] = 0;
  }
  int unisolated = 0;
  std::vector<std::pair<double, std::string>> most;
  const auto tell = [&](const kube::ObjectPtr& workspace) {
    if (const double refusals = audit_of(*workspace).refusals; refusals > 0)
      most.emplace_back(refusals, kube::object_key(*workspace));
    const std::string phase = phase_of(*workspace);
    if (const auto known = phases.find(phase); known != phases.end()) ++known->second;
    const Json& status = child(*workspace, "status");
    const Json& isolated = condition_of(status, "Isolated");
    if (text_at(isolated, "status") == "False" && text_at(isolated, "reason") != "NotStarted")
      ++unisolated;
    if (is_final_phase(phase)) return;
    for (const char* type : kConditions) {
      const auto known = conditions.find({type, text_at(condition_of(status, type), "status")});
      if (known != conditions.end()) ++known->second;
    }
  };
  if (workspaces != nullptr) workspaces->visit(tell);
  for (const auto& [phase, count] : phases)
    phases_.Add({{"phase", phase}}).Set(count);
  for (const auto& [key, count] : conditions)
    conditions_.Add({{"type", key.first}, {"status", key.second}}).Set(count);
  unisolated_.Set(unisolated);
  show_refusals(std::move(most));
}

void Metrics::show_refusals(std::vector<std::pair<double, std::string>> most) {
  const auto kept = std::min(kMostNamed, most.size());
  std::ranges::partial_sort(most, most.begin() + static_cast<std::ptrdiff_t>(kept),
                            std::greater<>());
  most.resize(kept);
  std::map<std::string, prometheus::Gauge*> shown;
  for (const auto& [refusals, key] : most) {
    const auto [ns, name] = kube::split_key(key);
    prometheus::Gauge& gauge =
        workspace_refusals_.Add({{"workspace_namespace", ns}, {"workspace", name}});
    gauge.Set(refusals);
    shown.emplace(key, &gauge);
  }
  for (const auto& [key, gauge] : shown_refusals_) {
    if (!shown.contains(key)) workspace_refusals_.Remove(gauge);
  }
  shown_refusals_ = std::move(shown);
}

}  // namespace palisade::op
