// A pod that is there: what its status says becomes the session's.
#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "compare.h"
#include "decide/decision.h"
#include "minted.h"
#include "session.h"

namespace palisade::op {

namespace {

constexpr std::size_t kLongestLocation = 400;

}  // namespace

void Decision::end(const Session& session) {
  status_.phase(session.phase);
  status_.set("finishedAt", format_time(now_));
  Json result{{"reason", session.reason}};
  if (session.exit_code) result["exitCode"] = *session.exit_code;
  if (session.guarded && !session.guarded->last_lines.empty())
    result["lastLines"] = session.guarded->last_lines;
  status_.set("result", std::move(result));
  if (session.unsafe_reason.empty()) {
    status_.condition("Isolated", "True", "NetworkPolicyInPlace", isolated_message());
  } else {
    status_.condition("Isolated", "False", session.unsafe_reason, session.unsafe_message);
  }
  status_.condition("Ready", "False", session.reason, session.message,
                    session.phase == "Succeeded");
  if (session.guarded) account(*session.guarded);
  if (session.relayed)
    status_.set("llm",
                {{"requests", session.relayed->requests}, {"failures", session.relayed->failures}});
  tell_archive(true, session.relayed);
  plan_.requeue_after = std::chrono::seconds(1);
}

void Decision::tell_archive(bool ended, const std::optional<Relayed>& relayed) {
  const std::string base = annotation(*seen_.pod, kArchiveAnnotation);
  if (base.empty()) {
    status_.drop(kArchive);
    return;
  }
  const std::string location =
      fmt::format("{}/{}/{}/{}", printable(base, kLongestLocation), w_.ns, w_.name, w_.uid);
  Json archive{{"location", location}};
  if (!ended) {
    status_.set(kArchive, std::move(archive));
    status_.condition(
        "Archived", "Unknown", "Archiving",
        "the record and what the agent prints go to " + location + " while the session runs", true);
    return;
  }
  const auto told = relayed ? relayed->archived : std::nullopt;
  archive["bytes"] = told ? told->bytes : 0;
  archive["complete"] = told && told->complete;
  status_.set(kArchive, std::move(archive));
  if (!told) {
    status_.condition(
        "Archived", "False", "NoReport",
        "the relay ended without a word about it; what it had sent until then is in " + location);
  } else if (told->complete) {
    status_.condition("Archived", "True", "Complete",
                      "the record and what the agent printed are whole in " + location);
  } else {
    status_.condition(
        "Archived", "False", "Incomplete",
        fmt::format("{} holds the first {} bytes: {}", location, told->bytes,
                    told->trouble.empty() ? "the relay does not say why" : told->trouble));
  }
}

const char* Decision::outdated(const Json& wanted, const Session& session) const {
  const auto differs = [&](const char* name) {
    return annotation(*seen_.pod, name) != annotation(wanted, name);
  };
  if (loosening_) return "the network is being widened: the pod ends first, and a new one is made";
  if (differs(kSpecHashAnnotation))
    return "the spec has changed: the pod ends and a new one is made";
  if (seen_.token && session.courier_failing && differs(kTokenHashAnnotation))
    return "the token has changed while the repository could not be fetched: a new pod is made";
  if (altered(*seen_.pod, wanted))
    return "the pod was changed by someone else: it ends and a new one is made";
  return nullptr;
}

void Decision::follow(const Json& wanted, const Json& network, const Session& session) {
  status_.set("podName", w_.agent_object());
  // The deadline counts from the first pod's start; suspending forgets it.
  std::string began = text_at(last_, kStartedAt);
  if (began.empty()) began = w_.warm_pod ? w_.warm_pod->since : session.started_at;
  if (const auto started = parse_time(began)) {
    status_.set(kStartedAt, began);
    status_.set("expiresAt", format_time(*started + w_.deadline));
  }
  if (session.report) {
    status_.set("commits", session.report->commits);
    if (!session.report->head.empty()) status_.set("head", session.report->head);
  }
  if (session.state == Session::State::kEnded) {
    end(session);
    return;
  }
  if (const char* why = outdated(wanted, session)) {
    if (!loosening_) remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
    status_.drop(kPodUid);
    waiting("Replacing", why, false);
    return;
  }
  if (session.state == Session::State::kGated) {
    status_.drop(kPodUid);
    if (same_network(seen_.network_policy, network) && fenced()) {
      plan_.actions.push_back({ActionKind::kLiftGate,
                               &kube::resources::kPods,
                               w_.agent_object(),
                               uid_of(*seen_.pod),
                               {}});
    }
    waiting(session.reason, session.message, true);
    return;
  }
  status_.set(kPodUid, uid_of(*seen_.pod));
  const bool unplaced = session.reason == "Unschedulable";
  if (session.state == Session::State::kStarting && (unplaced || session.reason == "Starting")) {
    if (const auto waits = volume_problem()) {
      status_.phase("Pending");
      status_.condition("Isolated", "True", "NetworkPolicyInPlace", isolated_message());
      status_.condition("Ready", "False", waits->reason,
                        waits->message + (unplaced ? "; " + session.message : ""), !unplaced);
      look_again(plan_, kLookAgain);
      return;
    }
  }
  status_.phase(session.state == Session::State::kRunning ? "Running" : "Pending");
  status_.condition("Isolated", "True", "NetworkPolicyInPlace", isolated_message());
  status_.condition("Ready", session.ready ? "True" : "False", session.reason, session.message,
                    session.reason == "Starting" || session.reason == "Pushing");
  tell_archive(false, {});
  look_again(plan_, session.courier_failing ? kLookAgain : kRefresh);
  if (w_.warm_pod) deliver(wanted, session);
}

bool Decision::fenced() {
  using namespace kube::resources;
  bool out = true;
  for (const auto& [resource, object, settled] :
       {std::tuple{&kNetworkPolicies, &seen_.network_policy, seen_.network_settled},
        std::tuple{&kConfigMaps, &seen_.config_map, seen_.config_settled}}) {
    const auto written = [&resource](const Action& action) { return action.resource == resource; };
    // A write of this plan does the same; the gate is lifted after it.
    if (settled || !*object || std::ranges::any_of(plan_.actions, written)) continue;
    const std::string version = version_of(**object);
    plan_.actions.push_back({ActionKind::kFence,
                             resource,
                             text_at(child(**object, "metadata"), "name"),
                             uid_of(**object),
                             {{"metadata", {{"annotations", {{kFencedAnnotation, version}}}}}},
                             {},
                             version});
    out = false;
  }
  return out;
}

void Decision::account(const Guarded& guarded) {
  Json audit{{"execs", guarded.execs},
             {"deniedExecs", guarded.denied_execs},
             {"deniedConnects", guarded.denied_connects},
             {"refusals", guarded.refusals},
             {"findings", guarded.findings},
             {"dropped", guarded.dropped}};
  if (!guarded.degraded.empty()) audit["degraded"] = guarded.degraded;
  status_.set("audit", std::move(audit));
  if (w_.task && w_.task->has_checks()) {
    // Killed before it could say anything, the session was ended from outside.
    const Guarded::Feedback feedback = guarded.feedback.value_or(Guarded::Feedback{});
    if (guarded.feedback || guarded.ended == "deadline" || guarded.ended == "idle") {
      Json said{{"rounds", feedback.rounds},
                {"stopped", guarded.feedback ? feedback.stopped : "TimedOut"}};
      if (!feedback.last_failure.empty()) said["lastFailure"] = feedback.last_failure;
      status_.set("feedback", std::move(said));
    }
  }
  if (guarded.refusals == 0 && guarded.findings == 0) return;
  status_.event(
      true, w_.exec.audit ? "WouldRefuse" : "Refused",
      fmt::format("guard {} {} attempts: {} programs, {} connections; {} findings. See "
                  "palisade audit {} -n {}",
                  w_.exec.audit ? "would have refused" : "refused", guarded.refusals,
                  guarded.denied_execs, guarded.denied_connects, guarded.findings, w_.name, w_.ns));
}

std::string Decision::isolated_message() const {
  std::string out =
      "the deny-all NetworkPolicy was read back before the pod could start; it holds where the "
      "cluster's network plugin enforces NetworkPolicies. ";
  out += w_.exec.audit ? "Guard records what it would refuse, and refuses nothing "
                         "(spec.isolation.exec.mode is Audit)"
                       : "Guard refuses programs and connections that are not allowed";
  return out;
}

}  // namespace palisade::op
