// A session in a pod that waited in a pool. The order, each step a write that the next one needs:
// the status names the pod (so that whoever comes next goes on, or gives up); the workspace's
// NetworkPolicy stands; the pod changes its owner and its label in one write that names the version
// looked at, which only one workspace can win; then its ServiceAccount and its ConfigMap, which
// holds all that the session is. Before that nothing of a session has been near the pod, so that
// one that is given up may be taken by another; after it no other workspace ever has it.
//
// Taking it widens the network of a live pod: nobody's code has run in it until then, which the
// webhook and its checkout, waiting, hold to.
#include <charconv>

#include <fmt/format.h>

#include <operator/pool.h>

#include "compare.h"
#include "decide/decision.h"
#include "minted.h"

namespace palisade::op {

namespace {

using std::chrono::seconds;

constexpr seconds kUnclaimedFor{60};  // its lifetime was reckoned from the moment it was chosen
constexpr seconds kSlack{60};         // beyond the deadline, which guard keeps
constexpr seconds kDeliverAgain{3};
constexpr seconds kLongestDelivery{60};

}  // namespace

bool Decision::fits() const {
  if (!seen_.offer || restarts() > 0 || !text_at(last_, kStartedAt).empty()) return false;
  const Json& pod = *seen_.offer;
  const Json& given = child(child(pod, "spec"), "activeDeadlineSeconds");
  const auto lifetime = lifetime_in(pod);
  return lifetime && given.is_number_integer() && lifetime->count() <= given.get<std::int64_t>() &&
         annotation(pod, kShapeAnnotation) == warm_shape(w_, config_.defaults);
}

std::optional<std::chrono::seconds> Decision::lifetime_in(const Json& pod) const {
  const auto began = parse_time(text_at(child(pod, "status"), "startTime"));
  if (!began) return std::nullopt;
  return std::chrono::ceil<seconds>(now_ - *began) + w_.time() + kSlack;
}

void Decision::choose() {
  const Json& pod = *seen_.offer;
  // Of a pod of its own that it had before: the workspace no longer knows them by name then.
  if (!own_objects_gone()) {
    waiting("Claiming", "what went with an earlier pod goes first", true);
    plan_.requeue_after = seconds(1);
    return;
  }
  const std::string name = text_at(child(pod, "metadata"), "name");
  const std::string pool = text_at(child(child(pod, "metadata"), "labels"), kPoolLabel);
  status_.set(kWarmPod, {{"name", name},
                         {"uid", uid_of(pod)},
                         {"pool", pool},
                         {"since", format_time(now_)},
                         {"lifetimeSeconds", lifetime_in(pod)->count()}});
  status_.set("podName", name);
  waiting("Claiming", fmt::format("it takes pod {} of pool {}", name, pool), true);
  plan_.chooses_offer = true;
  plan_.requeue_after = seconds(0);
}

void Decision::take(const Json& pod, const Json& network) {
  const WarmPod& warm = *w_.warm_pod;
  const auto since = parse_time(warm.since);
  if (!seen_.warm_pod || uid_of(*seen_.warm_pod) != warm.uid || terminating(*seen_.warm_pod)) {
    give_up_warm("it has gone");
    return;
  }
  // It would be this session's loss, or even its end.
  if (!is_warm(*seen_.warm_pod)) {
    give_up_warm("it waits no longer");
    return;
  }
  if (!seen_.warm_account || !seen_.warm_config || !since || *since + kUnclaimedFor < now_ ||
      annotation(pod, kShapeAnnotation).empty() ||
      annotation(*seen_.warm_pod, kShapeAnnotation) != annotation(pod, kShapeAnnotation)) {
    give_up_warm("it fits no longer");
    return;
  }
  // Its containers run with what they had until now: from here on they would have more.
  const PoolPlace place{w_.ns, warm.pool, {}, warm.name, {}};
  if (!is_untouched(*seen_.warm_pod, *seen_.warm_config,
                    desired_warm_pod(place, w_, config_.defaults))) {
    give_up_warm("somebody had a hand in it");
    return;
  }
  repair(plan_, kube::resources::kNetworkPolicies, seen_.network_policy, network, "spec");
  status_.set("podName", warm.name);
  status_.set(kMadeWith, {{kAgentImage, config_.defaults.agent_image},
                          {kCourierImage, config_.defaults.courier_image},
                          {kDeadlineSeconds, w_.time().count()}});
  waiting("Claiming", fmt::format("it takes pod {} of pool {}", warm.name, warm.pool), true);
  if (!same_network(seen_.network_policy, network) || !fenced()) return;
  Json labels = pod["metadata"]["labels"];
  labels[kPoolLabel] = nullptr;
  plan_.actions.push_back({ActionKind::kTake,
                           &kube::resources::kPods,
                           warm.name,
                           warm.uid,
                           {{"metadata",
                             {{"labels", labels},
                              {"annotations", pod["metadata"]["annotations"]},
                              {"ownerReferences", pod["metadata"]["ownerReferences"]}}},
                            {"spec", {{"activeDeadlineSeconds", warm.lifetime.count()}}}},
                           {},
                           version_of(*seen_.warm_pod)});
}

void Decision::take_rest(const Json& config_map) {
  if (seen_.warm_account)
    status_.event(
        false, "PodTaken",
        fmt::format("took pod {}, which waited in pool {}", w_.agent_object(), w_.warm_pod->pool));
  const auto take_over = [this](const kube::Resource& resource, const kube::ObjectPtr& object,
                                const Json& wanted) {
    if (!object) return;
    Json change = Json::object();
    change["metadata"]["labels"] = wanted["metadata"]["labels"];
    change["metadata"]["labels"][kPoolLabel] = nullptr;
    change["metadata"]["ownerReferences"] = wanted["metadata"]["ownerReferences"];
    if (wanted.contains("data")) change["data"] = wanted["data"];
    plan_.actions.push_back({ActionKind::kTake,
                             &resource,
                             w_.agent_object(),
                             uid_of(*object),
                             std::move(change),
                             {},
                             version_of(*object)});
  };
  take_over(kube::resources::kServiceAccounts, seen_.warm_account, desired_service_account(w_));
  take_over(kube::resources::kConfigMaps, seen_.warm_config, config_map);
}

void Decision::give_up_warm(const std::string& why) {
  waiting(
      "Creating",
      fmt::format("pod {} of pool {} was not taken: {}", w_.agent_object(), w_.warm_pod->pool, why),
      true);
  // What is the workspace's by now goes while the status still says what it is called.
  if (!own_objects_gone()) {
    plan_.requeue_after = seconds(1);
    return;
  }
  status_.drop(kWarmPod);
  status_.drop("podName");
  // Whoever comes next looks for the session's pod by what the status says.
  plan_.tells_first = true;
  plan_.requeue_after = seconds(0);
}

bool Decision::own_objects_gone() {
  bool gone = true;
  for (const auto& [resource, object] :
       {std::pair{&kube::resources::kConfigMaps, &seen_.config_map},
        std::pair{&kube::resources::kServiceAccounts, &seen_.service_account}}) {
    if (!*object || !owned_by(**object, w_)) continue;
    remove(*resource, w_.agent_object(), *object);
    gone = false;
  }
  return gone;
}

void Decision::deliver(const Json& wanted, const Session& session) {
  if (session.state != Session::State::kStarting || seen_.warm_account || seen_.warm_config) return;
  const std::string hash = annotation(wanted, kSpecHashAnnotation);
  const std::string told = annotation(*seen_.pod, kDeliveredAnnotation);
  const auto since = parse_time(w_.warm_pod->since);
  const auto now = std::chrono::duration_cast<seconds>(now_.time_since_epoch());
  std::int64_t at = 0;
  if (told.starts_with(hash + "/"))
    std::from_chars(told.data() + hash.size() + 1, told.data() + told.size(), at);
  // The kubelet looks at its volumes when a pod changes, and may have looked a moment too early.
  const bool again =
      at == 0 || (since && now_ < *since + kLongestDelivery && now >= seconds(at) + kDeliverAgain);
  if (again) {
    plan_.actions.push_back(
        {ActionKind::kTake,
         &kube::resources::kPods,
         w_.agent_object(),
         uid_of(*seen_.pod),
         {{"metadata",
           {{"annotations", {{kDeliveredAnnotation, fmt::format("{}/{}", hash, now.count())}}}}}}});
  }
  look_again(plan_, kDeliverAgain);
}

}  // namespace palisade::op
