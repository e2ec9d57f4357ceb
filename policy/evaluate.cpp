#include <policy/policy.h>

#include "pod_view.h"

namespace palisade::policy {

std::vector<Finding> evaluate(simdjson::dom::element pod, const Settings& settings,
                              std::string_view prefix) {
  const PodView view(pod, prefix);
  std::vector<Finding> findings;
  for (const Control& control : controls())
    control.check(view, settings, findings);
  return findings;
}

}  // namespace palisade::policy
