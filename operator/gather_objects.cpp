// The objects of a session: by caches and memory or, where a mistake would do harm, as the API
// server has them.
#include <algorithm>
#include <utility>

#include <operator/gather.h>

#include "compare.h"
#include "json_access.h"
#include "status.h"

namespace palisade::op {

namespace {

bool is_a_pools(const Json& object) {
  const Json owners = object["metadata"].value("ownerReferences", Json::array());
  return std::ranges::any_of(owners, [](const Json& owner) {
    return owner.value("kind", "") == kPoolApiKind &&
           owner.value("apiVersion", "").starts_with("palisade.dev/");
  });
}

}  // namespace

// Where nothing is there by cache and memory, nothing is assumed that would do harm: what is made
// then is created and must not exist. Only what a decision may loosen or leave behind is looked up
// at the API server itself.
kube::Result<void> Gatherer::find_objects(Observed& seen, const std::string& key,
                                          const std::optional<Workspace>& workspace,
                                          const std::stop_token& stop) const {
  using namespace kube::resources;
  const auto [ns, name] = kube::split_key(key);
  Workspace named;
  named.name = name;
  named.ns = ns;
  named.warm_pod = warm_pod_of(seen.workspace);
  const Json& metadata = seen.workspace["metadata"];
  named.uid = metadata.value("uid", "");
  const std::string objects = named.agent_object();
  // The finalizer comes before anything else.
  const Json finalizers = metadata.value("finalizers", Json::array());
  const bool untouched =
      std::ranges::find(finalizers, Json(kFinalizer)) == finalizers.end() && workspace;
  const bool suspect = known_->is_suspect(key);
  const bool certain = suspect || !workspace || workspace->deleting;
  bool foreign = false;

  const auto find_named = [&](const kube::Resource& resource, const kube::Cache* cache,
                              const std::string& called, bool live,
                              kube::ObjectPtr& into) -> kube::Result<void> {
    into = known_->newest(resource, ns, called, cache->get(ns, called));
    if (into || !live) return {};
    auto object = read(resource, ns, called, stop);
    if (!object) return std::unexpected(std::move(object.error()));
    into = std::move(*object);
    foreign = foreign || into;
    return {};
  };
  const auto find = [&](const kube::Resource& resource, const kube::Cache* cache, bool live,
                        kube::ObjectPtr& into) {
    return find_named(resource, cache, objects, live, into);
  };
  auto done = find(kServiceAccounts, caches_.service_accounts, certain, seen.service_account);
  if (done) done = find(kConfigMaps, caches_.config_maps, certain, seen.config_map);
  if (done)
    done = find_named(kNetworkPolicies, caches_.network_policies, named.network_policy(), certain,
                      seen.network_policy);
  // A pod that the cache does not know yet may stand behind any of them, and behind a status that
  // names it: a loss is counted.
  const bool begun = seen.service_account || seen.config_map || seen.network_policy ||
                     !text_at(child(seen.workspace, "status"), kPodUid).empty();
  if (done) done = find(kPods, caches_.pods, certain || begun, seen.pod);
  // Nor does a status begin to name a pod of which a cache alone has told: where that has not heard
  // of its end yet, the next look would count a loss.
  const Json& status = child(seen.workspace, "status");
  if (done && seen.pod && !is_a_pools(*seen.pod) && text_at(status, kPodUid) != uid_of(*seen.pod) &&
      !is_final_phase(text_at(status, "phase")) && !known_->is_answer(kPods, *seen.pod)) {
    auto live = read(kPods, ns, objects, stop);
    if (!live) return std::unexpected(std::move(live.error()));
    seen.pod = std::move(*live);
    if (seen.pod) known_->learn(kPods, seen.pod);
  }
  // Only a workspace with storage has one; of one that cannot be read it is left alone.
  if (done && workspace && workspace->storage)
    done = find_named(volume_claims(), caches_.volume_claims, named.volume_claim(), certain,
                      seen.volume);
  if (done && workspace && workspace->setup) {
    // What a setup made is nobody's own: no name is another's.
    const bool known = foreign;
    const std::string claim = text_at(child(child(seen.workspace, "status"), "setup"), "claim");
    if (is_setup_claim_name(claim))
      done = find_named(volume_claims(), caches_.volume_claims, claim, true, seen.setup_claim);
    foreign = known;
    if (done)
      done = find_named(kNetworkPolicies, caches_.network_policies, named.setup_object(), certain,
                        seen.setup_network);
    if (done)
      done = find_named(kPods, caches_.pods, named.setup_object(),
                        certain || seen.setup_network || seen.setup_claim, seen.setup_pod);
    if (done) done = find_setup_writer(seen, named, stop);
    if (done && seen.setup_pod && (*seen.setup_pod)["spec"].contains("schedulingGates")) {
      auto policy = read(kNetworkPolicies, ns, named.setup_object(), stop);
      if (!policy) return std::unexpected(std::move(policy.error()));
      seen.setup_network = std::move(*policy);
    }
    seen.setup_network_settled =
        !seen.setup_network || known_->is_settled(kNetworkPolicies, *seen.setup_network);
  }
  if (!done) return done;
  // Who was told by a cache alone which pod is to be taken may have been told of that pod before it
  // was: giving it up then would leave the session without its pod.
  if (named.warm_pod && (!seen.pod || is_a_pools(*seen.pod)) &&
      !is_final_phase(text_at(child(seen.workspace, "status"), "phase")) &&
      !known_->is_answer(workspaces(), seen.workspace)) {
    auto live = read(kPods, ns, objects, stop);
    if (!live) return std::unexpected(std::move(live.error()));
    seen.pod = std::move(*live);
  }
  if (named.warm_pod) {
    for (const auto& [held, warm] : {std::pair{&seen.pod, &seen.warm_pod},
                                     std::pair{&seen.service_account, &seen.warm_account},
                                     std::pair{&seen.config_map, &seen.warm_config}}) {
      if (*held && is_a_pools(**held)) *warm = std::exchange(*held, nullptr);
    }
  }
  if (done = find_strays(seen, named, stop); !done) return done;
  // Until the gate is lifted the policy is read from the API server itself: what is known may be of
  // a moment ago.
  if (seen.warm_pod || (seen.pod && (*seen.pod)["spec"].contains("schedulingGates"))) {
    auto policy = read(kNetworkPolicies, ns, named.network_policy(), stop);
    if (!policy) return std::unexpected(std::move(policy.error()));
    seen.network_policy = std::move(*policy);
  }

  seen.network_settled =
      !seen.network_policy || known_->is_settled(kNetworkPolicies, *seen.network_policy);
  seen.config_settled = !seen.config_map || known_->is_settled(kConfigMaps, *seen.config_map);

  const auto secret = [&](const std::string& of, const std::string& named_so,
                          kube::ObjectPtr& into) -> kube::Result<void> {
    if (untouched && !suspect) {
      if (!known_->secret(key, named_so)) known_->learn_secret(key, named_so, nullptr);
      return {};
    }
    // Minted ones are written by the keeper too.
    const bool remembered = !certain && !workspace->mints();
    if (auto held = remembered ? known_->secret(key, named_so) : std::nullopt) {
      into = std::move(*held);
      return {};
    }
    auto object = read(kSecrets, of, named_so, stop);
    if (!object) return std::unexpected(std::move(object.error()));
    into = std::move(*object);
    known_->learn_secret(key, named_so, into);
    return {};
  };
  done = secret(ns, named.git_secret(), seen.secret);
  if (done) done = secret(ns, named.llm_secret(), seen.llm_secret);
  if (done && own_.gateway && !named.uid.empty())
    done = secret(own_.gateway->ns, named.gateway_secret(), seen.gateway_secret);
  if (suspect && foreign) known_->suspect(key);
  return done;
}

// Of a claim that another workspace fills: whether that is still about it.
kube::Result<void> Gatherer::find_setup_writer(Observed& seen, const Workspace& named,
                                               const std::stop_token& stop) const {
  if (!seen.setup_claim || !annotation(*seen.setup_claim, kSetupCompleteAnnotation).empty())
    return {};
  const std::string by = annotation(*seen.setup_claim, kSetupByAnnotation);
  const auto slash = by.find('/');
  const std::string name = by.substr(0, slash);
  const std::string uid = slash == std::string::npos ? std::string() : by.substr(slash + 1);
  if (uid == named.uid) return {};
  kube::ObjectPtr writer;
  if (!name.empty() && !uid.empty()) {
    auto live = read(workspaces(), named.ns, name, stop);
    if (!live) return std::unexpected(std::move(live.error()));
    writer = std::move(*live);
  }
  const Json& status = writer ? child(*writer, "status") : kNothing;
  const Json& lifecycle = writer ? child(child(*writer, "spec"), "lifecycle") : kNothing;
  seen.setup_writer_lives = writer && uid_of(*writer) == uid && !terminating(*writer) &&
                            !is_final_phase(text_at(status, "phase")) &&
                            child(lifecycle, "suspend") != true &&
                            text_at(child(status, "setup"), "claim") ==
                                text_at(child(*seen.setup_claim, "metadata"), "name");
  return {};
}

// A pod that was taken by a write that came late, of one that led before: the workspace has been
// given another since. Which one is its own the API server says.
kube::Result<void> Gatherer::find_strays(Observed& seen, const Workspace& named,
                                         const std::stop_token& stop) const {
  const auto mine = caches_.pods->by_index(kByWorkspace, kube::object_key(named.ns, named.name));
  for (const kube::ObjectPtr& cached : mine) {
    const std::string name = text_at(child(*cached, "metadata"), "name");
    auto pod = known_->newest(kube::resources::kPods, named.ns, name, cached);
    const bool sets_up = child(child(*pod, "metadata"), "labels").contains(kSetupLabel);
    if (name != named.agent_object() && !sets_up && owned_by(*pod, named))
      seen.strays.push_back(std::move(pod));
  }
  if (seen.strays.empty()) return {};
  auto live = read(workspaces(), named.ns, named.name, stop);
  if (!live) return std::unexpected(std::move(live.error()));
  // Gone, or another by now: the garbage collector has them.
  const bool same = *live && uid_of(**live) == named.uid;
  const std::string own = same ? pod_name_of(**live) : std::string();
  std::erase_if(seen.strays, [&](const kube::ObjectPtr& pod) {
    return !same || text_at(child(*pod, "metadata"), "name") == own;
  });
  if (same) known_->learn(workspaces(), std::move(*live));
  return {};
}

}  // namespace palisade::op
