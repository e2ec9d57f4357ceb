// Palisade's own objects: its CustomResourceDefinitions, AgentPolicies and HardeningExceptions are
// written by administrators, and the status of a workspace by the operator.
#include <algorithm>

#include <policy/agent_policy.h>
#include <webhook/signatures.h>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

constexpr std::string_view kOwnGroup = ".palisade.dev";

Judgement administrators_only(const Request& request, const ClusterView& cluster,
                              std::string_view what) {
  Judgement out;
  out.always = true;
  out.subject = what;
  out.reason = "Palisade's own configuration";
  if (!by_administrator(request, cluster)) {
    out.findings.push_back(
        {policy::kPalisadeObjects, "userInfo.username", shown(request.user.name),
         "only an administrator of Palisade writes or deletes this: have one do it, or have this "
         "user named in the chart's webhook.administrators"});
  }
  return out;
}

// What the schema cannot say; a broken one would guard nothing, or hold up its namespaces.
template <class Parse>
void check(const Request& request, Parse parse, Judgement& out) {
  if (request.operation == Operation::kDelete) return;
  if (!request.object) {
    out.error = "the review holds no object";
    return;
  }
  // One that is on its way out must be able to lose its finalizers whatever it says.
  simdjson::dom::element metadata;
  simdjson::dom::element deletion;
  if (request.operation == Operation::kUpdate && object_at(*request.object, "metadata", metadata) &&
      object_at(metadata, "deletionTimestamp", deletion)) {
    return;
  }
  if (const auto parsed = parse(*request.object); !parsed)
    out.findings.push_back({policy::kPalisadeObjects, "spec", "not understood", parsed.error()});
}

// The policy, whose form is right, with keys that are good for nothing refused.
std::expected<policy::AgentPolicy, std::string> with_good_keys(simdjson::dom::element object) {
  auto policy = policy::parse_agent_policy(object);
  if (!policy) return policy;
  for (std::size_t i = 0; i < policy->signatures.size(); ++i) {
    const auto& keys = policy->signatures[i].keys;
    for (std::size_t k = 0; k < keys.size(); ++k) {
      if (const std::string wrong = public_key_problem(keys[k].pem); !wrong.empty()) {
        return std::unexpected("spec.requireSignatures[" + std::to_string(i) + "].keys[" +
                               std::to_string(k) + "].publicKey " + wrong);
      }
    }
  }
  return policy;
}

}  // namespace

Judgement judge_own_crd(const Request& request, const ClusterView& cluster) {
  const std::string_view name = request.object_name();
  if (name.empty()) return Judgement::unsure("the review names no CustomResourceDefinition");
  if (!name.ends_with(kOwnGroup)) return Judgement::pass("not Palisade's");
  // Whoever the administrators are, the API server itself says what it has made of a definition.
  if (request.subresource == "status" && request.user.name == "system:apiserver")
    return Judgement::pass("the API server's own record");
  return administrators_only(request, cluster, "CustomResourceDefinition");
}

Judgement judge_agent_policy(const Request& request, const ClusterView& cluster) {
  Judgement out = administrators_only(request, cluster, "AgentPolicy");
  check(request, with_good_keys, out);
  return out;
}

Judgement judge_hardening_exception(const Request& request, const ClusterView& cluster) {
  Judgement out = administrators_only(request, cluster, "HardeningException");
  check(request, policy::parse_exception, out);
  return out;
}

Judgement judge_workspace_status(const Request& request, const ClusterView& cluster) {
  Judgement out;
  out.subject = "status of an AgentWorkspace";
  out.reason = "the operator's record";
  if (!by_operator(request, cluster)) {
    out.findings.push_back({policy::kWorkspaceObjects, "userInfo.username",
                            shown(request.user.name),
                            "only the operator writes the status of a workspace"});
  }
  if (auto creator = creator_findings(request); !creator) {
    out.error = creator.error();
  } else {
    std::ranges::move(*creator, std::back_inserter(out.findings));
  }
  return out;
}

}  // namespace palisade::webhook
