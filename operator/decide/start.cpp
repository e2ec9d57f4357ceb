// A session that is to run: everything that must hold before it may, and its objects.
#include <utility>

#include <fmt/format.h>

#include <policy/workspace.h>

#include "compare.h"
#include "decide/decision.h"
#include "judge.h"
#include "minted.h"

namespace palisade::op {

void Decision::run() {
  const bool live = seen_.pod && !terminating(*seen_.pod);
  if (config_.defaults.gateway && w_.ns == gateway_ns()) {
    refuse("NamespaceReserved",
           fmt::format("namespace {} is the gateway's and holds its keys; no session runs there",
                       w_.ns),
           kRefusedAgain);
    return;
  }
  if (!seen_.pod && w_.time().count() <= 0) {
    expire();
    return;
  }
  // A live pod keeps the addresses that it was made with, unless it is sent elsewhere.
  std::optional<Access> access;
  if (live) access = access_from_json(annotation(*seen_.pod, kAccessAnnotation));
  // Whoever may patch pods may write annotations: they open no network.
  if (access && !made_for_pod(*access)) access.reset();
  if (seen_.access &&
      (!access || access->llm_url != seen_.access->llm_url ||
       access->git_url != seen_.access->git_url || access->git.host != seen_.access->git.host ||
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
  const bool own_llm = llm_through_gateway(*access, config_.defaults);
  if (w_.llm_key && own_llm) {
    refuse("InvalidSpec",
           fmt::format("spec.llm.keySecretRef: gateway {} is Palisade's own, which holds the keys "
                       "itself; leave the field out",
                       w_.gateway),
           kRefusedAgain);
    return;
  }
  Defaults set = defaults();
  if (uses_gateway(*access, set) && !authorities(*set.gateway, live)) {
    refuse(seen_.gateway_ca.error().reason, seen_.gateway_ca.error().message, kLookAgain);
    return;
  }
  // One that is minted is so only for a workspace that is accepted: below.
  const Problem* const missing = missing_credential();
  if (missing != nullptr && !live && !(w_.mints() && seen_.llm_key)) {
    without_credentials(*missing);
    return;
  }
  if (!seen_.policies) {
    refuse(seen_.policies.error().reason, seen_.policies.error().message, kRefusedAgain);
    return;
  }
  // A live session outlasts its Secret: what it was given it keeps.
  const std::string token = seen_.token.value_or("");
  for (const policy::AgentPolicy& one : *seen_.policies) {
    if (!one.archive_required || is_archived(*access, set)) continue;
    refuse(
        "ArchiveRequired",
        fmt::format("AgentPolicy {} demands that sessions are archived, but {}", one.name,
                    uses_gateway(*access, set)
                        ? "no archive is configured (the chart's gateway.archive)"
                        : "this one goes through no gateway of Palisade's, which has the archive"),
        kRefusedAgain);
    return;
  }
  const policy::Settings bounds = bounds_of(config_, *seen_.policies);
  // The webhook has said so already, unless the policy is newer: no token is minted for it.
  if (!policy::repository_allowed(w_.url, bounds)) {
    refuse("RepositoryNotAllowed",
           "spec.repository.url is not among the repositories that AgentPolicies allow in this "
           "namespace",
           kRefusedAgain);
    return;
  }
  plan_.draft = drawn(set, *access, token, bounds);
  const Json& pod = plan_.draft->pod;
  const Json& network = plan_.draft->network;
  const Json& config_map = plan_.draft->config_map;
  if (const std::string& offence = plan_.draft->offence; !offence.empty()) {
    refuse("PolicyViolation", "the administrator's policy refuses this session: " + offence,
           kRefusedAgain);
    return;
  }
  if (const std::string& excess = plan_.draft->excess; !excess.empty()) {
    refuse("ExceedsPermissions", excess, kRefusedAgain);
    return;
  }
  if (w_.setup && !seen_.pod && w_.setup_claim.empty() && !may_set_up(*access, bounds, set)) return;
  if (!seen_.pod && !may_run()) return;
  const bool through_gateway = git_through_gateway(*access, config_.defaults);
  if (w_.mints()) hold_token(plan_, seen_, w_, config_, through_gateway, now_);
  if (missing != nullptr && !live) {
    without_credentials(*missing);
    return;
  }
  inspect_token(plan_, seen_, w_, now_);
  status_.condition("Accepted", "True", "Accepted", "the workspace is accepted");
  tell_credentials(through_gateway);

  using namespace kube::resources;
  const bool offered = !seen_.pod && !w_.warm_pod && fits();
  if (!offered && (!w_.warm_pod || (seen_.pod && !seen_.warm_account)))
    repair(plan_, kServiceAccounts, seen_.service_account, desired_service_account(w_), nullptr);
  keep_secrets(*access, token);
  if (!keep_volume()) return;
  if (!seen_.pod) {
    if (!may_recreate()) return;
    if (w_.setup) repair(plan_, kConfigMaps, seen_.config_map, config_map, "data");
    if (!set_up(*access, set)) {
      tell_setup_waits();
      return;
    }
    if (w_.warm_pod) {
      take(pod, network);
      return;
    }
    if (offered) {
      choose();
      return;
    }
    if (!w_.setup) repair(plan_, kConfigMaps, seen_.config_map, config_map, "data");
    repair(plan_, kNetworkPolicies, seen_.network_policy, network, "spec");
    start(pod);
    return;
  }
  use_setup();
  keep_network(network);
  const Session session = read_session(*seen_.pod, w_);
  // What guard lets through does not widen under a pod whose guard has yet to read it: what is for
  // the next pod is written once this one has gone.
  if (w_.warm_pod && (seen_.warm_account || seen_.warm_config)) {
    take_rest(config_map);
  } else if (!terminating(*seen_.pod) && outdated(pod, session) == nullptr) {
    repair(plan_, kConfigMaps, seen_.config_map, config_map, "data");
  }
  // A pod that is being deleted ends however far its agent had come: that is no end of the session.
  const bool ended = session.state == Session::State::kEnded && session.by_itself;
  if (terminating(*seen_.pod) && !ended) {
    ending(pod, session);
  } else if (session.lost) {
    lose();
  } else if (!pod_uid().empty() && pod_uid() != uid_of(*seen_.pod) &&
             !grant(pod_uid(), {"PodDeleted", "somebody deleted it"})) {
    give_up({"PodDeleted", "somebody deleted it"});
  } else {
    follow(pod, network, session);
  }
}

std::shared_ptr<const Draft> Decision::drawn(const Defaults& set, const Access& access,
                                             const std::string& token,
                                             const policy::Settings& bounds) const {
  Draft out{w_, set, access, token, seen_.unreachable, seen_.surroundings, {}, {}, {}, {}, {}};
  // No object tells of the finalizer, and none of whether what is left of the deadline is all of
  // it.
  out.workspace.has_finalizer = true;
  out.workspace.time_left = w_.time();
  const Draft* last = seen_.draft.get();
  // What is read anew may be bounded anew.
  if (last != nullptr && last->surroundings && last->surroundings == out.surroundings &&
      last->workspace == out.workspace && last->defaults == set && last->access == access &&
      last->token == token && last->unreachable == out.unreachable)
    return seen_.draft;
  out.pod = desired_pod(w_, set, access, token);
  out.network = desired_network_policy(w_, access);
  out.config_map = desired_config_map(w_, set, access, seen_.unreachable);
  out.offence = judge_pod(out.pod, bounds);
  if (out.offence.empty()) out.excess = excess_of(out.pod, out.network, out.config_map, bounds);
  return std::make_shared<const Draft>(std::move(out));
}

Defaults Decision::defaults() const {
  Defaults out = config_.defaults;
  if (!seen_.pod) return out;
  // A live pod goes on as it began, whether or not there is an archive by now.
  if (out.gateway) out.gateway->archive = annotation(*seen_.pod, kArchiveAnnotation);
  const Json& made = child(last_, kMadeWith);
  for (const auto& [field, image] :
       {std::pair{kAgentImage, &out.agent_image}, std::pair{kCourierImage, &out.courier_image}}) {
    if (std::string kept = text_at(made, field); !kept.empty()) *image = std::move(kept);
  }
  return out;
}

bool Decision::made_for_pod(const Access& access) const {
  const Defaults& set = config_.defaults;
  const Json& aliases = child((*seen_.pod)["spec"], "hostAliases");
  const bool llm = llm_through_gateway(access, set) ? fits_service(access.llm, access.llm_url)
                                                    : fits_pod(access.llm, access.llm_url, aliases);
  const bool git = git_through_gateway(access, set)
                       ? fits_service(access.git, access.git_url)
                       : access.git_url.empty() && fits_pod(access.git, w_.url, aliases);
  return llm && git;
}

bool Decision::authorities(Gateway& gateway, bool live) const {
  if (seen_.gateway_ca) {
    gateway.authorities = *seen_.gateway_ca;
    return true;
  }
  if (!live || !seen_.config_map) return false;
  gateway.authorities = text_at(child(*seen_.config_map, "data"), kGatewayCaKey);
  return !gateway.authorities.empty();
}

void Decision::start(const Json& pod) {
  use_setup();
  plan_.actions.push_back(
      {ActionKind::kCreatePod, &kube::resources::kPods, w_.agent_object(), {}, pod});
  status_.set("podName", w_.agent_object());
  status_.set(kMadeWith, {{kAgentImage, config_.defaults.agent_image},
                          {kCourierImage, config_.defaults.courier_image},
                          {kDeadlineSeconds, w_.time().count()}});
  if (seen_.create_error.empty()) {
    waiting("Creating", "the pod is being made", true);
  } else {
    waiting("PodNotCreated",
            "the API server refuses what the session needs: " + seen_.create_error +
                ". It is tried again by itself",
            false);
  }
}

void Decision::expire() {
  status_.condition("Accepted", "True", "Accepted", "the workspace is accepted");
  end_without_pod(
      "Expired", "DeadlineExceeded",
      fmt::format("the deadline of {} s, which counts from the session's first start, was over "
                  "before another pod could be made; what was pushed is on branch {}",
                  w_.deadline.count(), w_.branch));
}

void Decision::keep_network(const Json& network) {
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

}  // namespace palisade::op
