// image-signature: what AgentPolicies demand of the images of agent pods, and what registries say.
#include <algorithm>
#include <iterator>

#include <policy/signatures.h>

#include "judges/judge.h"

namespace palisade::webhook {

namespace {

using policy::Finding;
using policy::ImageToVerify;

// Asked of what is new alone: a pod that runs is finished and deleted whatever its registry says.
bool stood_before(const ImageToVerify& image, const policy::SignatureNeeds& before) {
  return std::ranges::any_of(before.images, [&](const ImageToVerify& old) {
    return old.field == image.field && old.text == image.text;
  });
}

bool stood_before(const Finding& finding, const policy::SignatureNeeds& before) {
  return std::ranges::any_of(before.findings, [&](const Finding& old) {
    return old.field == finding.field && old.found == finding.found;
  });
}

std::string quoted(const std::string& text) {
  return '"' + policy::shown(text, 400) + '"';
}

}  // namespace

std::vector<Finding> signature_findings(const ClusterView& cluster, const NamespaceRules& rules,
                                        const simdjson::dom::element& pod,
                                        const std::optional<simdjson::dom::element>& before,
                                        std::string_view prefix) {
  if (rules.settings.signatures.empty()) return {};
  policy::SignatureNeeds needs = policy::signature_needs(pod, rules.settings, prefix);
  const policy::SignatureNeeds then =
      before ? policy::signature_needs(*before, rules.settings, prefix) : policy::SignatureNeeds();
  std::vector<Finding> out = std::move(needs.findings);
  std::erase_if(out, [&](const Finding& finding) { return stood_before(finding, then); });
  for (const ImageToVerify& image : needs.images) {
    if (stood_before(image, then)) continue;
    for (const policy::SignatureRule* rule : image.rules) {
      if (out.size() >= policy::kMaxFindings) return out;
      const auto problem = cluster.signature_problem(image, *rule);
      if (problem && problem->empty()) continue;
      out.push_back({policy::kImageSignature, image.field, quoted(image.text),
                     problem ? *problem
                             : "cannot be verified now, so it is refused: " + problem.error() +
                                   "; once the registry answers the webhook, try again"});
    }
  }
  return out;
}

}  // namespace palisade::webhook
