// From what a judge found to the answer: modes, warnings, audit annotations, JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <webhook/review.h>

#include "judges/judge.h"

namespace palisade::webhook {

// Ids of controls, with commas.
[[nodiscard]] std::string joined(const std::vector<std::string_view>& ids);

// Denies what no judge was asked about.
void deny_not_understood(const Request& request, const std::string& why, Outcome& outcome);

// The answer of a mutating review; `patch` is a JSON patch, or "" for none.
void answer_with_patch(const Request& request, const std::string& patch, Outcome& outcome);

// `rules` is null for what has no namespace: then every finding denies.
void conclude(const Request& request, const Judgement& judgement, const NamespaceRules* rules,
              Outcome& outcome);

}  // namespace palisade::webhook
