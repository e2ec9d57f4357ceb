// Deleted, finished and suspended sessions.
#include <algorithm>

#include "compare.h"
#include "decide/decision.h"
#include "minted.h"
#include "session.h"

namespace palisade::op {

void Decision::tear_down() {
  if (!w_.has_finalizer) return;
  end_strays();
  const bool has_pod = seen_.pod && owned_by(*seen_.pod, w_);
  if (has_pod) remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
  const bool set_up = end_setup();
  if (has_pod || !set_up || !seen_.strays.empty()) {
    plan_.requeue_after = kLookAgain;
    return;
  }
  // The tokens themselves before the Secrets that know them.
  if (!end_tokens(plan_, seen_, w_, config_, true, now_)) return;
  for (const Child& entry : children()) {
    if (*entry.resource == volume_claims()) {
      release_volume();
    } else if (entry.resource != &kube::resources::kPods) {
      remove(*entry.resource, entry.name, *entry.object, entry.ns);
    }
  }
  plan_.actions.push_back({ActionKind::kRemoveFinalizer, &workspaces(), w_.name, w_.uid, {}});
}

bool Decision::finished() const {
  return is_final_phase(text_at(last_, "phase"));
}

void Decision::rest() {
  status_.phase(text_at(last_, "phase"));
  Json conditions = child(last_, "conditions");
  if (conditions.is_array())
    std::erase_if(conditions.get_ref<Json::array_t&>(), [](const Json& entry) {
      return text_at(entry, "type") == kMergeRequestCondition;
    });
  status_.set("conditions", std::move(conditions));
  status_.keep("observedGeneration");
  const bool set_up = end_setup();
  if (end_tokens(plan_, seen_, w_, config_, false, now_) && set_up) remove_secrets();
  // Whoever told of the end may not have come to ending the pod; or its creation was sent before.
  if (seen_.pod && read_session(*seen_.pod, w_).state != Session::State::kEnded)
    remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
  open_merge_request(plan_, status_, seen_, w_, now_);
  const auto ended = parse_time(text_at(last_, "finishedAt")).value_or(now_);
  const auto left = std::chrono::ceil<std::chrono::seconds>(ended + w_.ttl_after_finished - now_);
  if (left.count() <= 0) {
    plan_.actions.push_back({ActionKind::kDelete, &workspaces(), w_.name, w_.uid, {}});
  } else {
    look_again(plan_, left);
  }
}

void Decision::suspend() {
  remove(kube::resources::kPods, w_.agent_object(), seen_.pod);
  const bool set_up = end_setup();
  if (!seen_.pod && set_up && end_tokens(plan_, seen_, w_, config_, false, now_)) remove_secrets();
  suspend_setup();
  status_.phase("Suspended");
  status_.condition("Accepted", "True", "Accepted", "the workspace is accepted");
  status_.condition(
      "Ready", "False", "Suspended",
      std::string("spec.lifecycle.suspend is true; set it to false to ") +
          (w_.storage ? "go on with what the volume holds" : "start anew from what was pushed"),
      true);
  for (const char* field : {"podName", "startedAt", "expiresAt", kPodUid})
    status_.drop(field);
  // One that was chosen and not taken yet stays the pool's.
  if (seen_.warm_pod && own_objects_gone()) status_.drop(kWarmPod);
}

}  // namespace palisade::op
