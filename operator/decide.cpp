#include <algorithm>

#include <fmt/format.h>

#include <operator/decide.h>

#include "json_access.h"
#include "session.h"
#include "status.h"

namespace palisade::op {

namespace {

using Clock = std::chrono::system_clock;
using std::chrono::seconds;

constexpr seconds kLookAgain{
    10};  // for what nothing tells us of (a Secret, a name that does not resolve)
constexpr seconds kRefresh{60};       // a rotated token is copied within this
constexpr seconds kRefusedAgain{60};  // for what only an administrator changes

std::string uid_of(const Json& object) {
  return text_at(child(object, "metadata"), "uid");
}
bool terminating(const Json& object) {
  return !child(child(object, "metadata"), "deletionTimestamp").empty();
}
std::string annotation(const Json& object, const char* name) {
  return text_at(child(child(object, "metadata"), "annotations"), name);
}

bool owned_by(const Json& object, const std::string& uid) {
  const Json& owners = child(child(object, "metadata"), "ownerReferences");
  return owners.is_array() && std::ranges::any_of(owners, [&](const Json& owner) {
           return text_at(owner, "uid") == uid && child(owner, "controller").is_boolean() &&
                  child(owner, "controller").get<bool>();
         });
}

// Every field of `wanted` stands in `found` with the same value; `found` may have more.
bool covers(const Json& found, const Json& wanted) {
  if (wanted.is_object()) {
    if (!found.is_object()) return false;
    for (const auto& [key, value] : wanted.items()) {
      const auto member = found.find(key);
      if (member == found.end() || !covers(*member, value)) return false;
    }
    return true;
  }
  if (wanted.is_array()) {
    return found.is_array() && found.size() == wanted.size() &&
           std::ranges::equal(found, wanted,
                              [](const Json& a, const Json& b) { return covers(a, b); });
  }
  return found == wanted;
}

struct Child {
  const kube::Resource* resource;
  std::string name;
  const kube::ObjectPtr* object;
};

// Puts one object right: applies it where it is missing or differs, and takes away what others have
// put into `section` (spec or data). A section is ours alone: one label more in a selector, or an
// endPort in a rule, changes what a policy means.
void repair(Plan& plan, const kube::Resource& resource, const kube::ObjectPtr& found,
            const Json& wanted, const char* section) {
  const std::string name = wanted["metadata"]["name"];
  if (!found || !covers(*found, wanted) ||
      (section != nullptr && child(*found, section) != wanted[section]))
    plan.actions.push_back({ActionKind::kApply, &resource, name, {}, wanted});
  if (!found || section == nullptr) return;
  Json extra = Json::object();
  for (const auto& [key, value] : child(*found, section).items()) {
    if (!wanted[section].contains(key)) extra[key] = nullptr;
  }
  if (!extra.empty())
    plan.actions.push_back(
        {ActionKind::kStrip, &resource, name, uid_of(*found), {{section, extra}}});
}

bool same_network(const kube::ObjectPtr& found, const Json& wanted) {
  return found && !terminating(*found) && child(*found, "spec") == wanted["spec"];
}

// Whether `wanted` allows nothing that `found` does not: its rules are all there already. A policy
// that selects other pods protects nothing.
bool narrows(const kube::ObjectPtr& found, const Json& wanted) {
  if (!found || child(child(*found, "spec"), "podSelector") != wanted["spec"]["podSelector"])
    return true;
  const Json& open = child(child(*found, "spec"), "egress");
  return std::ranges::all_of(wanted["spec"]["egress"], [&](const Json& rule) {
    return open.is_array() && std::ranges::find(open, rule) != open.end();
  });
}

// The mutable fields of a pod that somebody may have changed under us. Its labels are what the
// NetworkPolicy and the webhook know it by.
bool altered(const Json& pod, const Json& wanted) {
  if (!covers(child(pod["metadata"], "labels"), wanted["metadata"]["labels"])) return true;
  if (child(pod["spec"], "activeDeadlineSeconds") != wanted["spec"]["activeDeadlineSeconds"])
    return true;
  for (const char* list : {"initContainers", "containers"}) {
    const Json& found = child(pod["spec"], list);
    if (!found.is_array() || found.size() != wanted["spec"][list].size()) return true;
    for (std::size_t i = 0; i < found.size(); ++i) {
      if (found[i].value("image", "") != wanted["spec"][list][i].value("image", "")) return true;
    }
  }
  return !child(pod["spec"], "ephemeralContainers").empty();
}

// status.madeWith
constexpr const char* kMadeWith = "madeWith";
constexpr const char* kAgentImage = "agentImage";
constexpr const char* kCourierImage = "courierImage";

class Decision {
 public:
  Decision(const Observed& observed, const Config& config, Clock::time_point now,
           Workspace workspace)
      : seen_(observed),
        config_(config),
        now_(now),
        w_(std::move(workspace)),
        last_(child(observed.workspace, "status")),
        status_(last_, w_, now) {}

  Plan make() {
    if (w_.deleting) {
      tear_down();
      return std::move(plan_);
    }
    if (!w_.has_finalizer)
      plan_.actions.push_back({ActionKind::kAddFinalizer, &workspaces(), w_.name, w_.uid, {}});
    status_.set("branch", w_.branch);
    for (const char* field :
         {"podName", "startedAt", "expiresAt", "commits", "head", "finishedAt", kMadeWith})
      status_.keep(field);
    if (const std::string foreign = name_conflict(); !foreign.empty()) {
      refuse("NameConflict", foreign, kLookAgain * 3);
    } else if (finished()) {
      rest();
    } else if (w_.suspend) {
      suspend();
    } else {
      run();
    }
    status_.finish(plan_);
    return std::move(plan_);
  }

 private:
  [[nodiscard]] std::vector<Child> children() const {
    using namespace kube::resources;
    return {{&kPods, w_.agent_object(), &seen_.pod},
            {&kNetworkPolicies, w_.agent_object(), &seen_.network_policy},
            {&kSecrets, w_.git_secret(), &seen_.secret},
            {&kConfigMaps, w_.agent_object(), &seen_.config_map},
            {&kServiceAccounts, w_.agent_object(), &seen_.service_account}};
  }

  [[nodiscard]] std::string name_conflict() const {
    for (const Child& entry : children()) {
      if (*entry.object && !owned_by(**entry.object, w_.uid)) {
        return fmt::format(
            "{} {} is there already and belongs to someone else; remove or rename it, or rename "
            "this workspace",
            entry.resource->kind, entry.name);
      }
    }
    return {};
  }

  void remove(const kube::Resource& resource, const std::string& name,
              const kube::ObjectPtr& object) {
    if (object && owned_by(*object, w_.uid) && !terminating(*object)) {
      plan_.actions.push_back({ActionKind::kDelete, &resource, name, uid_of(*object), {}});
    }
  }

  // The pod's end comes before its policy's and its token's. What is not ours is left alone.
  void tear_down() {
    if (!w_.has_finalizer) return;
    if (seen_.pod && owned_by(*seen_.pod, w_.uid)) {
      remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
      plan_.requeue_after = kLookAgain;
      return;
    }
    for (const Child& entry : children()) {
      if (entry.resource != &kube::resources::kPods)
        remove(*entry.resource, entry.name, *entry.object);
    }
    plan_.actions.push_back({ActionKind::kRemoveFinalizer, &workspaces(), w_.name, w_.uid, {}});
  }

  [[nodiscard]] bool finished() const {
    const std::string phase = text_at(last_, "phase");
    return phase == "Succeeded" || phase == "Failed" || phase == "Expired";
  }

  // A finished session: its token goes at once, itself and its pod after a while.
  void rest() {
    status_.phase(text_at(last_, "phase"));
    status_.set("conditions", child(last_, "conditions"));
    status_.keep("observedGeneration");
    remove(kube::resources::kSecrets, w_.git_secret(), seen_.secret);
    const auto ended = parse_time(text_at(last_, "finishedAt")).value_or(now_);
    const auto left = std::chrono::ceil<seconds>(ended + w_.ttl_after_finished - now_);
    if (left.count() <= 0) {
      plan_.actions.push_back({ActionKind::kDelete, &workspaces(), w_.name, w_.uid, {}});
    } else {
      plan_.requeue_after = left;
    }
  }

  void suspend() {
    remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
    if (!seen_.pod) remove(kube::resources::kSecrets, w_.git_secret(), seen_.secret);
    status_.phase("Suspended");
    status_.condition("Accepted", "True", "Accepted", "the workspace is accepted");
    status_.condition(
        "Ready", "False", "Suspended",
        "spec.lifecycle.suspend is true; set it to false to start anew from what was pushed", true);
    for (const char* field : {"podName", "startedAt", "expiresAt"})
      status_.drop(field);
  }

  void refuse(const std::string& reason, const std::string& message, seconds again) {
    status_.phase(seen_.pod && text_at(last_, "phase") == "Running" ? "Running" : "Pending");
    status_.condition("Accepted", "False", reason, message);
    if (!seen_.pod)
      status_.condition("Ready", "False", reason,
                        "the session cannot start: see the condition Accepted", true);
    plan_.requeue_after = again;
  }

  void run() {
    const bool live = seen_.pod && !terminating(*seen_.pod);
    // A live pod keeps the addresses that it was made with, unless it is sent elsewhere.
    std::optional<Access> access;
    if (live) access = access_from_json(annotation(*seen_.pod, kAccessAnnotation));
    // Whoever may patch pods may write annotations: they open no network.
    if (access && !made_for_pod(*access)) access.reset();
    if (seen_.access && (!access || access->llm_url != seen_.access->llm_url ||
                         access->git.host != seen_.access->git.host ||
                         access->llm.host != seen_.access->llm.host)) {
      access = *seen_.access;
    }
    if (!access) {
      refuse(seen_.access.error().reason, seen_.access.error().message, kLookAgain);
      return;
    }
    if (const std::string bad = check_egress(w_.egress, seen_.api_server); !bad.empty()) {
      refuse("EgressRefused", bad, kRefusedAgain);
      return;
    }
    if (!seen_.token && !live) {
      status_.phase("Pending");
      status_.condition("Accepted", "True", "Accepted", "the workspace is accepted");
      status_.condition("CredentialsReady", "False", seen_.token.error().reason,
                        seen_.token.error().message);
      status_.condition("Ready", "False", "CredentialsMissing",
                        "the session cannot start: see the condition CredentialsReady", true);
      plan_.requeue_after = kLookAgain;
      return;
    }
    // A live session outlasts its Secret: what it was given it keeps.
    const std::string token = seen_.token.value_or("");
    const Json pod = desired_pod(w_, defaults(), *access, token);
    if (const std::string offence = judge(pod); !offence.empty()) {
      refuse("PolicyViolation", "the administrator's policy refuses this session: " + offence,
             kRefusedAgain);
      return;
    }
    status_.condition("Accepted", "True", "Accepted", "the workspace is accepted");
    if (!w_.secret) {
      status_.condition(
          "CredentialsReady", "True", "NoneNeeded",
          "no credentials are named: the repository must be public, and nothing is pushed");
    } else if (seen_.token) {
      status_.condition(
          "CredentialsReady", "True", "Copied",
          fmt::format("the token of Secret {} is at hand for the courier", w_.secret->name));
    } else {
      status_.condition("CredentialsReady", "False", seen_.token.error().reason,
                        seen_.token.error().message);
    }

    using namespace kube::resources;
    repair(plan_, kServiceAccounts, seen_.service_account, desired_service_account(w_), nullptr);
    if (w_.secret && seen_.token)
      repair(plan_, kSecrets, seen_.secret, desired_secret(w_, token), "data");
    if (!w_.secret && !seen_.pod) remove(kSecrets, w_.git_secret(), seen_.secret);
    repair(plan_, kConfigMaps, seen_.config_map, desired_config_map(w_, config_.defaults), "data");
    const Json network = desired_network_policy(w_, *access);
    if (!seen_.pod) {
      repair(plan_, kNetworkPolicies, seen_.network_policy, network, "spec");
      start(pod);
      return;
    }
    keep_network(network);
    if (terminating(*seen_.pod)) {
      waiting("Replacing", "the former pod is ending", false);
      return;
    }
    follow(pod, network);
  }

  // The default images that a pod was made with are kept for its life: an operator that is upgraded
  // ends no session. A new pod gets the new ones, whatever the status says.
  [[nodiscard]] Defaults defaults() const {
    Defaults out = config_.defaults;
    if (!seen_.pod) return out;
    const Json& made = child(last_, kMadeWith);
    for (const auto& [field, image] :
         {std::pair{kAgentImage, &out.agent_image}, std::pair{kCourierImage, &out.courier_image}}) {
      if (std::string kept = text_at(made, field); !kept.empty()) *image = std::move(kept);
    }
    return out;
  }

  [[nodiscard]] bool made_for_pod(const Access& access) const {
    const Json& aliases = child((*seen_.pod)["spec"], "hostAliases");
    return fits_pod(access.llm, access.llm_url, aliases) && fits_pod(access.git, w_.url, aliases);
  }

  // policy/ on what is about to be written; the pod as the API server will see it.
  [[nodiscard]] std::string judge(const Json& pod) const {
    simdjson::dom::parser parser;
    simdjson::dom::element parsed;
    const simdjson::padded_string text(pod.dump());
    if (parser.parse(text).get(parsed) != simdjson::SUCCESS)
      return "the pod cannot be written as JSON";
    const auto findings = policy::evaluate(parsed, config_.policy);
    return findings.empty() ? std::string() : policy::explain(findings);
  }

  void start(const Json& pod) {
    plan_.actions.push_back(
        {ActionKind::kCreatePod, &kube::resources::kPods, w_.agent_object(), {}, pod});
    status_.set("podName", w_.agent_object());
    status_.set(kMadeWith, {{kAgentImage, config_.defaults.agent_image},
                            {kCourierImage, config_.defaults.courier_image}});
    if (seen_.create_error.empty()) {
      waiting("Creating", "the pod is being made", true);
    } else {
      waiting("PodNotCreated",
              "the API server refuses what the session needs: " + seen_.create_error +
                  ". It is tried again by itself",
              false);
    }
  }

  // A change that loosens waits until the pod is gone; anything else, and any drift, is put right
  // at once.
  void keep_network(const Json& network) {
    const bool intended =
        seen_.network_policy && annotation(*seen_.network_policy, kNetworkHashAnnotation) ==
                                    annotation(network, kNetworkHashAnnotation);
    // What is no network (labels, owners) is put right at any time.
    if (intended || same_network(seen_.network_policy, network) ||
        narrows(seen_.network_policy, network)) {
      repair(plan_, kube::resources::kNetworkPolicies, seen_.network_policy, network, "spec");
    } else {
      remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
      loosening_ = true;
    }
  }

  void follow(const Json& wanted, const Json& network) {
    const Session session = read_session(*seen_.pod, w_);
    status_.set("podName", w_.agent_object());
    if (!session.started_at.empty()) {
      status_.set("startedAt", session.started_at);
      if (const auto started = parse_time(session.started_at))
        status_.set("expiresAt", format_time(*started + w_.deadline));
    }
    if (session.report) {
      status_.set("commits", session.report->commits);
      if (!session.report->head.empty()) status_.set("head", session.report->head);
    }
    if (session.state == Session::State::kEnded) {
      status_.phase(session.phase);
      status_.set("finishedAt", format_time(now_));
      status_.condition("Isolated", "True", "NetworkPolicyInPlace", isolated_message());
      status_.condition("Ready", "False", session.reason, session.message,
                        session.phase == "Succeeded");
      plan_.requeue_after = seconds(1);
      return;
    }
    const bool stale =
        annotation(*seen_.pod, kSpecHashAnnotation) != annotation(wanted, kSpecHashAnnotation);
    const bool new_token =
        seen_.token && session.courier_failing &&
        annotation(*seen_.pod, kTokenHashAnnotation) != annotation(wanted, kTokenHashAnnotation);
    const bool foreign = altered(*seen_.pod, wanted);
    if (loosening_ || stale || new_token || foreign) {
      if (!loosening_) remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
      waiting(
          "Replacing",
          loosening_ ? "the network is being widened: the pod ends first, and a new one is made"
          : stale    ? "the spec has changed: the pod ends and a new one is made"
          : new_token
              ? "the token has changed while the repository could not be fetched: a new pod is made"
              : "the pod was changed by someone else: it ends and a new one is made",
          false);
      return;
    }
    if (session.state == Session::State::kGated) {
      if (same_network(seen_.network_policy, network)) {
        plan_.actions.push_back({ActionKind::kLiftGate,
                                 &kube::resources::kPods,
                                 w_.agent_object(),
                                 uid_of(*seen_.pod),
                                 {}});
      }
      waiting(session.reason, session.message, true);
      return;
    }
    status_.phase(session.state == Session::State::kRunning ? "Running" : "Pending");
    status_.condition("Isolated", "True", "NetworkPolicyInPlace", isolated_message());
    status_.condition("Ready", session.ready ? "True" : "False", session.reason, session.message,
                      session.reason == "Starting" || session.reason == "Pushing");
    plan_.requeue_after = session.courier_failing ? kLookAgain : kRefresh;
  }

  static std::string isolated_message() {
    return "the deny-all NetworkPolicy was read back before the pod could start; it holds where "
           "the cluster's network plugin enforces NetworkPolicies";
  }

  void waiting(const std::string& reason, const std::string& message, bool quiet) {
    status_.phase("Pending");
    status_.condition("Isolated", "False", "NotStarted", "no pod runs yet", true);
    status_.condition("Ready", "False", reason, message, quiet);
    plan_.requeue_after = kLookAgain;
  }

  const Observed& seen_;
  const Config& config_;
  const Clock::time_point now_;
  const Workspace w_;
  const Json last_;
  StatusBuilder status_;
  Plan plan_;
  bool loosening_ = false;
};

}  // namespace

Plan decide(const Observed& observed, const Config& config,
            std::chrono::system_clock::time_point now) {
  auto workspace = parse_workspace(observed.workspace);
  if (workspace) return Decision(observed, config, now, std::move(*workspace)).make();
  // What cannot be read is never run; on its way out it is only let go.
  Workspace bare;
  const Json& metadata = child(observed.workspace, "metadata");
  bare.name = text_at(metadata, "name");
  bare.ns = text_at(metadata, "namespace");
  bare.uid = uid_of(observed.workspace);
  const Json& finalizers = child(metadata, "finalizers");
  bare.has_finalizer =
      finalizers.is_array() && std::ranges::find(finalizers, Json(kFinalizer)) != finalizers.end();
  bare.deleting = terminating(observed.workspace);
  bare.generation = child(metadata, "generation").is_number_integer()
                        ? metadata["generation"].get<std::int64_t>()
                        : 0;
  if (bare.deleting) return Decision(observed, config, now, bare).make();
  Plan plan;
  StatusBuilder status(child(observed.workspace, "status"), bare, now);
  status.phase("Pending");
  status.condition("Accepted", "False", "InvalidSpec", workspace.error());
  status.finish(plan);
  return plan;
}

}  // namespace palisade::op
