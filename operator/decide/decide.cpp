// The order of the questions, and what several answers share.
#include <algorithm>

#include <fmt/format.h>

#include "compare.h"
#include "decide/decision.h"
#include "minted.h"

namespace palisade::op {

Plan Decision::make() {
  if (w_.deleting) {
    tear_down();
    return std::move(plan_);
  }
  if (!w_.has_finalizer)
    plan_.actions.push_back({ActionKind::kAddFinalizer, &workspaces(), w_.name, w_.uid, {}});
  status_.set("branch", w_.branch);
  for (const char* field : {"podName", "startedAt", "expiresAt", "commits", "head", "finishedAt",
                            "audit", "feedback", "llm", kArchive, "mergeRequest", kMadeWith,
                            kPodUid, kLastLoss, kRestarts, kWarmPod, kSetup, "result"})
    status_.keep(field);
  end_strays();
  // What has ended stays so, whoever has its names by now.
  if (finished()) {
    rest();
  } else if (w_.warm_pod && seen_.pod && !owned_by(*seen_.pod, w_)) {
    give_up_warm("another workspace took it");
  } else if (const std::string foreign = name_conflict(); !foreign.empty()) {
    refuse("NameConflict", foreign, kLookAgain * 3);
  } else if (w_.suspend) {
    suspend();
  } else {
    run();
  }
  status_.finish(plan_);
  return std::move(plan_);
}

std::vector<Child> Decision::children() const {
  using namespace kube::resources;
  return {{&kPods, w_.agent_object(), &seen_.pod},
          {&kNetworkPolicies, w_.network_policy(), &seen_.network_policy},
          {&kPods, w_.setup_object(), &seen_.setup_pod},
          {&kNetworkPolicies, w_.setup_object(), &seen_.setup_network},
          {&kSecrets, w_.git_secret(), &seen_.secret},
          {&kSecrets, w_.llm_secret(), &seen_.llm_secret},
          {&kSecrets, w_.gateway_secret(), &seen_.gateway_secret, gateway_ns()},
          {&volume_claims(), w_.volume_claim(), &seen_.volume},
          {&kConfigMaps, w_.agent_object(), &seen_.config_map},
          {&kServiceAccounts, w_.agent_object(), &seen_.service_account}};
}

std::string Decision::name_conflict() const {
  for (const Child& entry : children()) {
    if (*entry.object && !owns(*entry.resource, **entry.object)) {
      return fmt::format(
          "{} {} is there already and belongs to someone else; remove or rename it, or rename "
          "this workspace",
          entry.resource->kind, entry.name);
    }
  }
  return {};
}

bool Decision::owns(const kube::Resource& resource, const Json& object) const {
  return resource == volume_claims() ? is_volume_of(object, w_) : owned_by(object, w_);
}

void Decision::remove(const kube::Resource& resource, const std::string& name,
                      const kube::ObjectPtr& object, const std::string& ns) {
  if (object && owns(resource, *object) && !terminating(*object)) {
    plan_.actions.push_back({ActionKind::kDelete, &resource, name, uid_of(*object), {}, ns});
  }
}

void Decision::end_strays() {
  for (const kube::ObjectPtr& pod : seen_.strays)
    remove(kube::resources::kPods, text_at(child(*pod, "metadata"), "name"), pod);
}

void Decision::remove_secrets() {
  const auto all = children();
  for (const Child& entry : all) {
    if (entry.resource == &kube::resources::kSecrets)
      remove(*entry.resource, entry.name, *entry.object, entry.ns);
  }
}

std::string Decision::gateway_ns() const {
  return config_.defaults.gateway ? config_.defaults.gateway->ns : std::string();
}

Workspace Decision::completed(Workspace workspace, const Observed& observed,
                              Clock::time_point now) {
  using std::chrono::seconds;
  if (!observed.username.empty()) workspace.username = observed.username;
  const Json& last = child(observed.workspace, "status");
  const Json& setup = child(last, kSetup);
  if (workspace.setup && text_at(setup, "phase") == "Ready")
    workspace.setup_claim = text_at(setup, "claim");
  if (observed.pod) {
    const Json& given = child(child(last, kMadeWith), kDeadlineSeconds);
    if (given.is_number_integer() && given > 0)
      workspace.time_left = seconds(given.get<std::int64_t>());
  } else if (const auto began = parse_time(text_at(last, kStartedAt))) {
    workspace.time_left =
        std::min(workspace.deadline, std::chrono::ceil<seconds>(*began + workspace.deadline - now));
  }
  return workspace;
}

void Decision::refuse(const std::string& reason, const std::string& message,
                      std::chrono::seconds again) {
  plan_.gives_turn_back = true;
  status_.phase(seen_.pod && text_at(last_, "phase") == "Running" ? "Running" : "Pending");
  status_.condition("Accepted", "False", reason, message);
  if (!seen_.pod)
    status_.condition("Ready", "False", reason,
                      "the session cannot start: see the condition Accepted", true);
  plan_.requeue_after = again;
}

void Decision::waiting(const std::string& reason, const std::string& message, bool quiet) {
  status_.phase("Pending");
  status_.condition("Isolated", "False", "NotStarted", "no pod runs yet", true);
  status_.condition("Ready", "False", reason, message, quiet);
  plan_.requeue_after = kLookAgain;
}

void Decision::end_without_pod(const char* phase, const char* reason, const std::string& message) {
  status_.phase(phase);
  status_.drop(kPodUid);
  status_.set("finishedAt", format_time(now_));
  status_.set("result", {{"reason", reason}});
  status_.condition("Isolated", "False", "NotStarted", "no pod runs", true);
  status_.condition("Ready", "False", reason, message);
  plan_.requeue_after = std::chrono::seconds(1);
}

Plan decide(const Observed& observed, const Config& config,
            std::chrono::system_clock::time_point now) {
  auto workspace = parse_workspace(observed.workspace);
  if (workspace && workspace->mints() && !workspace->deleting) {
    Observed seen = observed;
    fill_minted(seen, *workspace, config, now);
    return Decision(seen, config, now, std::move(*workspace)).make();
  }
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
  plan.gives_turn_back = true;
  StatusBuilder status(child(observed.workspace, "status"), bare, now);
  status.phase("Pending");
  status.condition("Accepted", "False", "InvalidSpec", workspace.error());
  status.finish(plan);
  return plan;
}

}  // namespace palisade::op
