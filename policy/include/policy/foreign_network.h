// Network policies of other APIs than networking.k8s.io. They add up with NetworkPolicies or go
// before them, so one that selects an agent pod can open what those close. Their languages are read
// as far as it takes to say that one cannot: whatever is not understood counts as selecting and as
// opening. Pure.
//
// Sources: https://network-policy-api.sigs.k8s.io/api-overview/
// https://docs.cilium.io/en/stable/security/policy/
// https://docs.tigera.io/calico/latest/reference/resources/globalnetworkpolicy
// https://antrea.io/docs/main/docs/antrea-network-policy/
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <simdjson.h>

#include <policy/selector.h>

namespace palisade::policy {

// A pod as selectors see it.
struct SelectedPod {
  std::string_view ns;
  const Labels& ns_labels;
  const Labels& labels;
};

struct ForeignOpening {
  std::string field;  // spec.egress[0]
  std::string found;  // its action, or why it is in doubt
};

// What such a policy may let through for the pod; nullopt where it certainly leaves it as closed as
// it is. `group` and `resource` are the API's. A namespaced policy is to be asked about pods of its
// own namespace only.
[[nodiscard]] std::optional<ForeignOpening> foreign_opening(std::string_view group,
                                                            std::string_view resource,
                                                            simdjson::dom::element object,
                                                            const SelectedPod& pod);

// Whether one of Calico's selectors may match: a conjunction of all(), has(KEY), !has(KEY), KEY ==
// 'V', KEY != 'V', KEY in {'V', 'W'} and KEY not in {'V'} is read; anything else may match
// everything.
[[nodiscard]] bool calico_may_match(std::string_view selector, const Labels& labels);

}  // namespace palisade::policy
