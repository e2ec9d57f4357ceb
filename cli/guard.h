// How a namespace is guarded, and what that makes of a finding: the webhook's verdict on what a
// cluster holds. Pure.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <policy/agent_policy.h>
#include <policy/exceptions.h>
#include <policy/modes.h>
#include <policy/network.h>
#include <policy/policy.h>
#include <policy/selector.h>
#include <policy/templates.h>

#include "judged.h"

namespace palisade::cli {

struct Guard {
  std::string ns;
  bool exempt = false;  // the webhook's configuration leaves it out
  policy::Modes modes;
  policy::Settings settings;                           // with every AgentPolicy's bounds
  std::vector<policy::HardeningException> exceptions;  // that name this namespace
  std::vector<std::shared_ptr<const policy::NetworkPolicy>> networks;
  bool networks_known = false;  // else nobody knows whether a pod's network is closed
};

struct JudgeOptions {
  std::vector<std::string> skip;  // controls that are left out
  bool all = false;               // also pods that are no Aider pods
  std::int64_t now = 0;           // seconds since 1970
};

// deny-all-network of a running pod.
[[nodiscard]] std::vector<policy::Finding> network_findings_of(
    simdjson::dom::element pod,
    const std::vector<std::shared_ptr<const policy::NetworkPolicy>>& networks);

// A pod or a template. nullopt where the namespace does not judge it.
[[nodiscard]] std::optional<Judged> judge_template(simdjson::dom::element pod,
                                                   std::string_view kind, std::string_view name,
                                                   std::string_view prefix, const Guard& guard,
                                                   const JudgeOptions& options);

// An object of a kind that is or makes pods; `space`, `name` and `kind` are its own. nullopt where
// the namespace does not judge it, where its pod has ended, and for a ReplicaSet that an owner has
// scaled away.
[[nodiscard]] std::optional<Judged> judge_live(simdjson::dom::element object,
                                               const policy::PodTemplate& kind, const Guard& guard,
                                               const JudgeOptions& options);

}  // namespace palisade::cli
