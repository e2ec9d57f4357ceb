// spec.setup: what a project needs is installed before its agent exists, and never again after that
// (docs/setup.md). The order, each step one that the next one needs: the commit is known, from the
// spec or from a pod that only looks; the claim of the result's key is made, by whichever workspace
// is first, for a create meets no other; that one's pod fills it behind a NetworkPolicy that was
// read back; once the pod has succeeded an annotation says that the claim is complete; the
// workspace writes down, on the claim, that it uses it, so that a collector that looked before
// fails; the setup's pod and its network go; then the agent's pod is made.
//
// status.setup is the record: what has been found out, tried and decided.
#include <algorithm>

#include <fmt/format.h>

#include "compare.h"
#include "decide/decision.h"
#include "judge.h"
#include "waiting.h"

namespace palisade::op {

namespace {

using std::chrono::seconds;

constexpr const char* kSetupReady = "SetupReady";
constexpr int kMostAttempts = 3;
constexpr seconds kFirstSetupPause{15};  // doubles with each attempt
constexpr seconds kLookForClaim{3};      // of another's
constexpr std::size_t kMaxSetupReport = 4096;
constexpr std::size_t kMaxSaid = 1000;
constexpr std::size_t kCommitDigits = 40;

const Json& setup_end_of(const Json& pod, const char* list, const char* container) {
  const Json& statuses = child(child(pod, "status"), list);
  if (statuses.is_array()) {
    for (const Json& entry : statuses) {
      if (text_at(entry, "name") == container) return child(child(entry, "state"), "terminated");
    }
  }
  return kNothing;
}

// What fetch says, which is data: nothing of it is more than a name.
Json report_of(const Json& pod) {
  const std::string said = text_at(setup_end_of(pod, "initContainerStatuses", "fetch"), "message");
  if (said.size() > kMaxSetupReport) return kNothing;
  Json out = Json::parse(said, nullptr, false);
  return out.is_object() ? out : kNothing;
}

// Why the pod failed, for people; what comes from inside it is text that was cut and cleaned.
std::string why_failed(const Json& pod) {
  const Json& status = child(pod, "status");
  if (text_at(status, "reason") == "DeadlineExceeded")
    return "spec.setup.timeout was over before it had ended";
  if (const std::string error = text_at(report_of(pod), "error"); !error.empty())
    return "the repository's files could not be fetched: " + printable(error, kMaxSaid);
  const Json& end = setup_end_of(pod, "containerStatuses", "setup");
  if (text_at(end, "reason") == "OOMKilled")
    return "spec.setup.command ran out of memory; raise spec.setup.resources.limits.memory";
  if (child(end, "exitCode").is_number_integer())
    return fmt::format("spec.setup.command ended with exit code {}: {}",
                       end["exitCode"].get<std::int64_t>(),
                       printable(text_at(end, "message"), kMaxSaid));
  return printable(fmt::format("{} {}", text_at(status, "reason"), text_at(status, "message")),
                   kMaxSaid);
}

// Why its containers do not start, or "".
std::string waits_for(const Json& pod) {
  if (const auto waiting = waiting_container(child(pod, "status")))
    return fmt::format("; container {}: {} {}", waiting->container, printable(waiting->reason, 100),
                       printable(waiting->message));
  const Json& placed = condition_of(child(pod, "status"), "PodScheduled");
  if (text_at(placed, "status") == "False")
    return "; it is not scheduled: " + printable(text_at(placed, "message"));
  return {};
}

}  // namespace

bool Decision::may_set_up(const Access& access, const policy::Settings& bounds,
                          const Defaults& set) {
  const auto known = bounds.setup_mirrors.value_or(std::vector<policy::SetupMirror>());
  if (!w_.setup->mirrors) mirrors_ = known;
  for (const std::string& name : w_.setup->mirrors.value_or(std::vector<std::string>())) {
    const auto found = std::ranges::find(known, name, &policy::SetupMirror::name);
    if (found == known.end()) {
      refuse("ExceedsPermissions",
             fmt::format("spec.setup.mirrors: no AgentPolicy lets setups of this namespace reach "
                         "{}; have an administrator add it to spec.setup.mirrors of one",
                         printable(name, 100)),
             kRefusedAgain);
      return false;
    }
    mirrors_.push_back(*found);
  }
  for (const policy::SetupMirror& mirror : mirrors_) {
    for (const std::string& address : mirror.addresses) {
      const auto block = parse_cidr(address);
      std::string why = block ? forbidden_reason(*block, {}, seen_.api_server) : "it is no address";
      for (const Unreachable& never : seen_.unreachable) {
        const auto range = parse_cidr(never.address);
        if (why.empty() && block && range && block->overlaps(*range))
          why = "it reaches " + never.name;
      }
      if (why.empty()) continue;
      refuse("EgressRefused",
             fmt::format("the mirror {} ({}) that AgentPolicies name is refused: {}", mirror.name,
                         address, why),
             kRefusedAgain);
      return false;
    }
  }
  // The one that looks for the commit, and the one that has all that it may come to have.
  const SetupInputs whole{mirrors_, std::string(kCommitDigits, '0'), {}};
  for (const std::string& key : {std::string(), setup_key(w_, set, whole)}) {
    const SetupInputs inputs = key.empty() ? SetupInputs{mirrors_, {}, {}} : whole;
    const std::string offence = judge_pod(desired_setup_pod(w_, set, access, inputs, key), bounds);
    if (offence.empty()) continue;
    refuse("PolicyViolation", "the administrator's policy refuses the setup: " + offence,
           kRefusedAgain);
    return false;
  }
  return true;
}

bool Decision::set_up(const Access& access, const Defaults& set) {
  if (!w_.setup) return true;
  Json record = setup_record();
  if (!w_.setup_claim.empty()) {
    // Decided: whatever has changed since, it is not made again.
    const bool stands = seen_.setup_claim && !terminating(*seen_.setup_claim) &&
                        !annotation(*seen_.setup_claim, kSetupCompleteAnnotation).empty();
    if (stands && setup_gone()) return true;
    if (stands) {
      setup_waiting("Ending", "it is done; its pod ends before the agent's is made");
      return false;
    }
    if (!text_at(record, "usedAt").empty()) {
      status_.condition(kSetupReady, "False", "SetupLost", "what the setup had made is gone");
      end_without_pod("Failed", "SetupLost",
                      fmt::format("PersistentVolumeClaim {} is gone, and a setup never runs again "
                                  "once an agent has run; make another AgentWorkspace",
                                  w_.setup_claim));
      return false;
    }
    status_.set(kSetup, {{"phase", "Pending"}});
    setup_waiting("Preparing", "what was made before is gone; it is made again");
    plan_.requeue_after = seconds(0);
    return false;
  }
  if (record.empty()) record = {{"phase", "Pending"}};
  status_.set(kSetup, record);
  const int attempts = record.value("attempts", 0);
  if (attempts >= kMostAttempts) {
    if (!end_setup()) {
      setup_waiting("Failed", "the setup's pod ends");
      return false;
    }
    const std::string why = text_at(record, "lastFailure");
    status_.condition(kSetupReady, "False", "Failed", why);
    end_without_pod("Failed", "SetupFailed",
                    fmt::format("the setup failed {} times: {}", attempts, why));
    return false;
  }
  if (text_at(record, "phase") == "Failed") {
    // What the attempt has left is half done: it goes before another begins.
    const bool half = has_half_a_setup_claim();
    const bool over = end_setup() && !half;
    const auto due = parse_time(text_at(record, "retryAt")).value_or(now_);
    if (due > now_ || !over) {
      setup_waiting("BackOff",
                    fmt::format("attempt {} of {} failed: {}; the next one is made at {}", attempts,
                                kMostAttempts, text_at(record, "lastFailure"), format_time(due)));
      plan_.requeue_after = over ? std::chrono::ceil<seconds>(due - now_) : kLookForClaim;
      return false;
    }
    record["phase"] = "Pending";
    status_.set(kSetup, record);
  }
  SetupInputs inputs{mirrors_, {}, {}};
  if (is_commit_id(w_.setup->ref)) {
    inputs.commit = w_.setup->ref;
  } else {
    inputs.commit = text_at(record, "commit");
    inputs.digest = text_at(record, "inputs");
  }
  const Json network = desired_setup_network(w_, access, mirrors_);
  const std::string key = inputs.commit.empty() ? "" : setup_key(w_, set, inputs);
  const Json pod = desired_setup_pod(w_, set, access, inputs, key);
  if (!key.empty()) {
    make_setup(key, pod, network);
    return false;
  }
  if (!setup_ran(pod, network)) return false;
  const Json report = report_of(*seen_.setup_pod);
  const std::string commit = text_at(report, "commit");
  const std::string digest = text_at(report, "digest");
  if (!is_commit_id(commit) || !is_commit_id(digest)) {
    setup_failed("what the pod said of the commit is no commit");
    return false;
  }
  record["commit"] = commit;
  record["inputs"] = digest;
  record.erase("podUID");
  status_.set(kSetup, record);
  remove(kube::resources::kPods, w_.setup_object(), seen_.setup_pod);
  setup_waiting("Resolved", fmt::format("its files are taken from commit {}", commit));
  plan_.requeue_after = seconds(0);
  return false;
}

bool Decision::writes_setup_claim() const {
  return seen_.setup_claim &&
         annotation(*seen_.setup_claim, kSetupByAnnotation) == w_.name + "/" + w_.uid;
}

bool Decision::has_half_a_setup_claim() const {
  return writes_setup_claim() && annotation(*seen_.setup_claim, kSetupCompleteAnnotation).empty();
}

void Decision::make_setup(const std::string& key, const Json& pod, const Json& network) {
  const std::string name = setup_claim_name(key);
  Json record = setup_record();
  // It is looked for once the status says what it is called.
  if (text_at(record, "claim") != name) {
    if (!setup_gone()) {
      setup_waiting("Preparing", "the pod of what is no longer asked for ends");
      return;
    }
    record["claim"] = name;
    record.erase("podUID");
    status_.set(kSetup, record);
    setup_waiting("Preparing", "it is looked for among what was made before");
    plan_.requeue_after = seconds(0);
    return;
  }
  if (!seen_.setup_claim) {
    if (!setup_gone()) {
      setup_waiting("Preparing", "an earlier pod ends");
      return;
    }
    const Json claim = desired_setup_claim(w_, key);
    plan_.actions.push_back({ActionKind::kApply, &volume_claims(), name, {}, claim, w_.ns});
    setup_waiting("Preparing", "its volume is being made");
    if (!seen_.create_error.empty())
      setup_waiting("NotCreated", "the API server refuses what the setup needs: " +
                                      seen_.create_error + ". It is tried again by itself");
    return;
  }
  const Json& claim = *seen_.setup_claim;
  if (annotation(claim, kSetupKeyAnnotation) != key ||
      text_at(child(child(claim, "metadata"), "labels"), kManagedByLabel) != kManagedBy) {
    setup_waiting(
        "NameConflict",
        fmt::format("PersistentVolumeClaim {} is there already and is no setup's; remove it",
                    name));
    return;
  }
  if (terminating(claim)) {
    static_cast<void>(setup_gone());
    setup_waiting("Preparing", fmt::format("PersistentVolumeClaim {} is being deleted; a new one "
                                           "is made once it is gone",
                                           name));
    plan_.requeue_after = kLookForClaim;
    return;
  }
  const bool own = writes_setup_claim();
  if (!annotation(claim, kSetupCompleteAnnotation).empty()) {
    adopt_setup(!own || text_at(record, "podUID").empty());
    return;
  }
  if (!own) {
    static_cast<void>(setup_gone());
    if (seen_.setup_writer_lives) {
      setup_waiting("Sharing",
                    fmt::format("workspace {} sets up the same; its result is waited for",
                                printable(annotation(claim, kSetupByAnnotation), 100)));
    } else {
      plan_.actions.push_back({ActionKind::kDelete,
                               &volume_claims(),
                               name,
                               uid_of(claim),
                               {},
                               w_.ns,
                               version_of(claim)});
      setup_waiting("Preparing", "whoever was to fill the volume has gone; it is made anew");
    }
    plan_.requeue_after = kLookForClaim;
    return;
  }
  // A pod that was seen running and is no more has left half of it.
  if (!seen_.setup_pod && !text_at(record, "podUID").empty()) {
    setup_failed("somebody deleted its pod");
    return;
  }
  if (!setup_ran(pod, network)) return;
  plan_.actions.push_back(
      {ActionKind::kTake,
       &volume_claims(),
       name,
       uid_of(claim),
       {{"metadata", {{"annotations", {{kSetupCompleteAnnotation, format_time(now_)}}}}}},
       w_.ns,
       version_of(claim)});
  setup_waiting("Running", "it has ended; its result is written down");
}

bool Decision::setup_ran(const Json& wanted, const Json& network) {
  using namespace kube::resources;
  Json record = setup_record();
  const bool resolves = annotation(wanted, kSetupKeyAnnotation).empty();
  record["phase"] = resolves ? "Resolving" : "Running";
  status_.set(kSetup, record);
  const char* const doing = resolves ? "a pod finds out the commit that its files are taken from"
                                     : "its pod installs what the project needs";
  setup_waiting(resolves ? "Resolving" : "Running", doing);
  if (!seen_.setup_pod) {
    repair(plan_, kNetworkPolicies, seen_.setup_network, network, "spec");
    plan_.actions.push_back({ActionKind::kCreatePod, &kPods, w_.setup_object(), {}, wanted});
    if (seen_.create_error.empty()) {
      status_.event(false, "SetupStarted",
                    fmt::format("pod {} is made: {}", w_.setup_object(), doing));
    } else {
      setup_waiting("NotCreated", "the API server refuses what the setup needs: " +
                                      seen_.create_error + ". It is tried again by itself");
    }
    return false;
  }
  const Json& pod = *seen_.setup_pod;
  if (terminating(pod)) return false;
  if (annotation(pod, kSpecHashAnnotation) != annotation(wanted, kSpecHashAnnotation) ||
      tampered(pod, wanted)) {
    remove(kPods, w_.setup_object(), seen_.setup_pod);
    return false;
  }
  // Nothing opens under a pod that is there.
  if (same_network(seen_.setup_network, network) || narrows(seen_.setup_network, network)) {
    repair(plan_, kNetworkPolicies, seen_.setup_network, network, "spec");
  } else {
    remove(kPods, w_.setup_object(), seen_.setup_pod);
    return false;
  }
  if (!child(pod["spec"], "schedulingGates").empty()) {
    if (!same_network(seen_.setup_network, network)) return false;
    if (!seen_.setup_network_settled) {
      const std::string version = version_of(*seen_.setup_network);
      plan_.actions.push_back({ActionKind::kFence,
                               &kNetworkPolicies,
                               w_.setup_object(),
                               uid_of(*seen_.setup_network),
                               {{"metadata", {{"annotations", {{kFencedAnnotation, version}}}}}},
                               {},
                               version});
      return false;
    }
    // On record before it may run: where it has ended unseen, what it leaves is half done.
    record["podUID"] = uid_of(pod);
    status_.set(kSetup, record);
    plan_.tells_first = true;
    plan_.actions.push_back({ActionKind::kLiftGate, &kPods, w_.setup_object(), uid_of(pod), {}});
    return false;
  }
  record["podUID"] = uid_of(pod);
  status_.set(kSetup, record);
  const std::string phase = text_at(child(pod, "status"), "phase");
  if (phase == "Succeeded") return true;
  if (phase == "Failed") {
    setup_failed(why_failed(pod));
    return false;
  }
  if (const std::string waits = waits_for(pod); !waits.empty())
    setup_waiting(resolves ? "Resolving" : "Running", doing + waits);
  return false;
}

void Decision::adopt_setup(bool cached) {
  const Json& claim = *seen_.setup_claim;
  const std::string name = text_at(child(claim, "metadata"), "name");
  // Whoever was about to remove it as unused looked at an earlier version.
  plan_.actions.push_back(
      {ActionKind::kTake,
       &volume_claims(),
       name,
       uid_of(claim),
       {{"metadata", {{"annotations", {{kSetupUsedAnnotation, format_time(now_)}}}}}},
       w_.ns,
       version_of(claim)});
  Json record = setup_record();
  for (const char* field : {"podUID", "retryAt", "lastFailure"})
    record.erase(field);
  record["phase"] = "Ready";
  record["cached"] = cached;
  if (is_commit_id(w_.setup->ref)) record["commit"] = w_.setup->ref;
  status_.set(kSetup, record);
  status_.event(false, cached ? "SetupCached" : "SetupDone",
                cached ? fmt::format("what it needs was made before: {}", name)
                       : fmt::format("what it needs is installed on {}", name));
  setup_waiting("Preparing", "its result is there");
  plan_.requeue_after = seconds(0);
}

void Decision::setup_failed(const std::string& why) {
  Json record = setup_record();
  const int attempts = record.value("attempts", 0) + 1;
  record["phase"] = "Failed";
  record["attempts"] = attempts;
  record["lastFailure"] = why;
  record["retryAt"] = format_time(now_ + kFirstSetupPause * (1 << std::min(attempts - 1, 8)));
  for (const char* field : {"podUID", "commit", "inputs"})
    record.erase(field);
  status_.set(kSetup, record);
  static_cast<void>(end_setup());
  setup_waiting("AttemptFailed",
                fmt::format("attempt {} of {} failed: {}", attempts, kMostAttempts, why));
  status_.event(true, "SetupFailed",
                fmt::format("attempt {} of {}: {}", attempts, kMostAttempts, why));
}

void Decision::setup_waiting(const char* reason, const std::string& message) {
  setup_waits_ = Problem{reason, message};
  plan_.requeue_after = kLookAgain;
}

void Decision::tell_setup_waits() {
  if (!setup_waits_) return;
  status_.phase("Pending");
  status_.condition(kSetupReady, "False", setup_waits_->reason, setup_waits_->message, true);
  status_.condition("Isolated", "False", "NotStarted", "no pod runs yet", true);
  status_.condition("Ready", "False", "SettingUp",
                    "the session cannot start: see the condition SetupReady", true);
}

bool Decision::setup_gone() {
  if (seen_.setup_pod) {
    remove(kube::resources::kPods, w_.setup_object(), seen_.setup_pod);
    return false;
  }
  remove(kube::resources::kNetworkPolicies, w_.setup_object(), seen_.setup_network);
  return true;
}

bool Decision::end_setup() {
  const bool gone = !seen_.setup_pod || !owned_by(*seen_.setup_pod, w_);
  if (!gone) {
    remove(kube::resources::kPods, w_.setup_object(), seen_.setup_pod);
  } else if (!w_.deleting) {
    remove(kube::resources::kNetworkPolicies, w_.setup_object(), seen_.setup_network);
  }
  // What is not complete is nobody's: the cluster keeps it until the pod that mounts it has gone.
  if (has_half_a_setup_claim() && !terminating(*seen_.setup_claim))
    plan_.actions.push_back({ActionKind::kDelete,
                             &volume_claims(),
                             text_at(child(*seen_.setup_claim, "metadata"), "name"),
                             uid_of(*seen_.setup_claim),
                             {},
                             w_.ns});
  return gone;
}

void Decision::suspend_setup() {
  if (w_.setup && w_.setup_claim.empty()) status_.set(kSetup, {{"phase", "Pending"}});
}

void Decision::use_setup() {
  if (!w_.setup || w_.setup_claim.empty()) return;
  Json record = setup_record();
  if (text_at(record, "usedAt").empty()) {
    record["usedAt"] = format_time(now_);
    status_.set(kSetup, record);
    plan_.tells_first = true;  // no setup runs after its agent, whoever comes next
  }
  const Json& cached = child(record, "cached");
  const bool was_there = cached.is_boolean() && cached.get<bool>();
  status_.condition(kSetupReady, "True", was_there ? "Cached" : "Installed",
                    fmt::format("{} is mounted at {}, read-only", w_.setup_claim, kSetupMount));
}

}  // namespace palisade::op
