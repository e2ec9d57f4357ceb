// The volume of a workspace with spec.storage: made before the first pod, the same for each later
// one, kept while the session is suspended or has ended, and given up with the workspace alone.
#include <fmt/format.h>

#include "compare.h"
#include "decide/decision.h"

namespace palisade::op {

bool Decision::keep_volume() {
  if (!w_.storage) return true;
  Json wanted = desired_volume_claim(w_);
  if (!seen_.volume) {
    repair(plan_, volume_claims(), nullptr, wanted, nullptr);
    return true;
  }
  const Json& claim = *seen_.volume;
  // A pod that is there has it for as long as it lives.
  const auto wait = [this](const std::string& reason, const std::string& message) {
    if (!seen_.pod) waiting(reason, message, false);
    return seen_.pod != nullptr;
  };
  if (terminating(claim)) {
    return wait("VolumeEnding",
                fmt::format("PersistentVolumeClaim {} is being deleted, and what it held goes with "
                            "it; a new one is made once it is gone",
                            w_.volume_claim()));
  }
  // The API server lets a claim's spec be changed only by who resizes it.
  wanted.erase("spec");
  repair(plan_, volume_claims(), seen_.volume, wanted, nullptr);
  if (w_.retain) strip_owner(claim);
  const auto problem = volume_problem();
  if (!problem || problem->reason != kVolumeLostReason) return true;
  // Until somebody deletes the claim nothing can start: others go first.
  plan_.gives_turn_back = !seen_.pod;
  return wait(problem->reason, problem->message);
}

std::optional<Problem> Decision::volume_problem() const {
  if (!w_.storage || !seen_.volume) return std::nullopt;
  const std::string phase = text_at(child(*seen_.volume, "status"), "phase");
  if (phase == "Bound") return std::nullopt;
  const std::string name = w_.volume_claim();
  if (phase == "Lost") {
    return Problem{kVolumeLostReason,
                   fmt::format("the volume behind PersistentVolumeClaim {0} is gone; delete the "
                               "claim (kubectl delete pvc {0} -n {1}) and an empty one is made",
                               name, w_.ns)};
  }
  const std::string of = text_at(child(*seen_.volume, "spec"), "storageClassName");
  return Problem{
      "VolumePending",
      fmt::format("PersistentVolumeClaim {} ({}) is not bound yet. Storage that is made "
                  "for the first pod takes a moment; else see kubectl describe pvc {} "
                  "-n {}",
                  name, of.empty() ? "no storage class" : "storage class " + of, name, w_.ns)};
}

void Decision::release_volume() {
  if (!seen_.volume || !w_.storage) return;
  if (!w_.retain) {
    remove(volume_claims(), w_.volume_claim(), seen_.volume);
  } else if (is_volume_of(*seen_.volume, w_)) {
    strip_owner(*seen_.volume);
  }
}

void Decision::strip_owner(const Json& claim) {
  if (child(child(claim, "metadata"), "ownerReferences").empty()) return;
  plan_.actions.push_back({ActionKind::kStrip,
                           &volume_claims(),
                           w_.volume_claim(),
                           uid_of(claim),
                           {{"metadata", {{"ownerReferences", nullptr}}}}});
}

}  // namespace palisade::op
