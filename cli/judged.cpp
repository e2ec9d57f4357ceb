#include "judged.h"

#include <algorithm>

#include "text.h"

namespace palisade::cli {

std::string_view effect_name(Effect effect) {
  switch (effect) {
    case Effect::deny:
      return "deny";
    case Effect::warn:
      return "warn";
    case Effect::audit:
      return "audit";
    case Effect::except:
      return "except";
  }
  return "deny";
}

bool Judged::denied() const {
  return std::ranges::any_of(found, [](const Found& one) { return one.effect == Effect::deny; });
}

std::string Judged::title() const {
  std::string out = printable(kind);
  const std::string full = space.empty() ? name : space + "/" + name;
  if (!full.empty()) out += " " + printable(full);
  return out;
}

std::vector<policy::Finding> Judged::findings(Effect effect) const {
  std::vector<policy::Finding> out;
  for (const Found& one : found) {
    if (one.effect == effect) out.push_back(one.finding);
  }
  return out;
}

Counts count(const Outcome& outcome) {
  Counts counts;
  counts.passed_over = outcome.passed_over;
  for (const Judged& pod : outcome.pods) {
    std::size_t denying = 0;
    for (const Found& one : pod.found)
      denying += one.effect == Effect::deny ? 1U : 0U;
    counts.findings += denying;
    counts.tolerated += pod.found.size() - denying;
    ++(!pod.checked ? counts.passed_over : denying == 0 ? counts.compliant : counts.failing);
  }
  return counts;
}

}  // namespace palisade::cli
