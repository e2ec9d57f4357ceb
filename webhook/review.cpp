#include <algorithm>
#include <array>

#include <policy/templates.h>
#include <webhook/review.h>

#include "judges/judge.h"
#include "verdict.h"

namespace palisade::webhook {

namespace {

using simdjson::dom::element;

constexpr std::size_t kMaxDepth = 128;
constexpr std::size_t kUsualBody = 64 * 1024;
constexpr std::size_t kMaxKeptBody = 1024 * 1024;

// A parser grows to about sixteen times the largest body that it has read. One that a single huge
// review has blown up is given back, or a few of them would hold the pod's memory for good.
class KeptParser {
 public:
  explicit KeptParser(simdjson::dom::parser& parser) : parser_(parser) {}
  ~KeptParser() {
    if (parser_.capacity() > kMaxKeptBody) parser_ = simdjson::dom::parser();
  }
  KeptParser(const KeptParser&) = delete;
  KeptParser& operator=(const KeptParser&) = delete;

 private:
  simdjson::dom::parser& parser_;
};

Outcome bad_request(std::string_view why) {
  Outcome outcome;
  outcome.status = 400;
  outcome.body = "not an AdmissionReview: ";
  outcome.body += why;
  outcome.body += '\n';
  return outcome;
}

// Every resource that the chart's rules send here. What makes pods stands in policy/templates.h.
constexpr std::array kDispatch{
    Dispatch{"", "pods", "", judge_pod},
    Dispatch{"", "pods", "ephemeralcontainers", judge_pod},
    Dispatch{"", "pods", "resize", judge_pod},
    Dispatch{"", "pods", "status", judge_pod_status},
    Dispatch{"", "pods", "exec", judge_connect},
    Dispatch{"", "pods", "attach", judge_connect},
    Dispatch{"", "pods", "portforward", judge_connect},
    Dispatch{"", "pods", "proxy", judge_connect},
    Dispatch{"", "pods", "binding", judge_binding},
    Dispatch{"", "bindings", "", judge_binding},
    Dispatch{"", "secrets", "", judge_owned_object},
    Dispatch{"", "configmaps", "", judge_owned_object},
    Dispatch{"", "serviceaccounts", "", judge_owned_object},
    Dispatch{"", "persistentvolumeclaims", "", judge_volume_claim},
    Dispatch{"", "persistentvolumeclaims", "status", judge_volume_claim},
    Dispatch{"", "serviceaccounts", "token", judge_token_request},
    Dispatch{"", "namespaces", "", judge_namespace},
    Dispatch{"", "namespaces", "status", judge_namespace},
    Dispatch{"", "namespaces", "finalize", judge_namespace},
    Dispatch{"networking.k8s.io", "networkpolicies", "", judge_network_policy},
    Dispatch{"policy.networking.k8s.io", "adminnetworkpolicies", "", judge_foreign_network_policy},
    Dispatch{"policy.networking.k8s.io", "clusternetworkpolicies", "",
             judge_foreign_network_policy},
    Dispatch{"cilium.io", "ciliumnetworkpolicies", "", judge_foreign_network_policy},
    Dispatch{"cilium.io", "ciliumclusterwidenetworkpolicies", "", judge_foreign_network_policy},
    Dispatch{"crd.projectcalico.org", "networkpolicies", "", judge_foreign_network_policy},
    Dispatch{"crd.projectcalico.org", "globalnetworkpolicies", "", judge_foreign_network_policy},
    Dispatch{"projectcalico.org", "networkpolicies", "", judge_foreign_network_policy},
    Dispatch{"projectcalico.org", "globalnetworkpolicies", "", judge_foreign_network_policy},
    Dispatch{"crd.antrea.io", "networkpolicies", "", judge_foreign_network_policy},
    Dispatch{"crd.antrea.io", "clusternetworkpolicies", "", judge_foreign_network_policy},
    Dispatch{"rbac.authorization.k8s.io", "rolebindings", "", judge_role_binding},
    Dispatch{"rbac.authorization.k8s.io", "clusterrolebindings", "", judge_role_binding},
    Dispatch{"apiextensions.k8s.io", "customresourcedefinitions", "", judge_own_crd},
    Dispatch{"apiextensions.k8s.io", "customresourcedefinitions", "status", judge_own_crd},
    Dispatch{"palisade.dev", "agentworkspaces", "", judge_workspace},
    Dispatch{"palisade.dev", "agentworkspaces", "status", judge_workspace_status},
    Dispatch{"palisade.dev", "agentworkspacetemplates", "", judge_workspace_template},
    Dispatch{"palisade.dev", "agentpolicies", "", judge_agent_policy},
    Dispatch{"palisade.dev", "hardeningexceptions", "", judge_hardening_exception},
};

Judge judge_of(const Request& request) {
  const auto row = std::ranges::find_if(kDispatch, [&](const Dispatch& candidate) {
    return candidate.group == request.group && candidate.resource == request.resource &&
           candidate.subresource == request.subresource;
  });
  if (row != kDispatch.end()) return row->judge;
  const bool makes_pods = request.subresource.empty() &&
                          policy::template_of_resource(request.group, request.resource) != nullptr;
  return makes_pods ? judge_template : nullptr;
}

// What must hold whatever is guarded in the object's namespace.
bool judged_even_if_off(const Request& request) {
  return request.resource == "namespaces" || request.group == "palisade.dev";
}

void answer(const Request& request, const ClusterView& cluster, Outcome& outcome) {
  const Judge judge = judge_of(request);
  if (judge == nullptr) {
    std::string what = clipped(request.resource);
    if (!request.subresource.empty()) what += "/" + clipped(request.subresource);
    if (what.empty()) what = "a review that names no resource";
    if (!request.group.empty()) what += " of " + clipped(request.group);
    deny_not_understood(request, what + " is not judged here; check the webhook's rules", outcome);
    return;
  }
  std::shared_ptr<const NamespaceRules> rules;
  if (!request.ns.empty() && request.resource != "namespaces") {
    auto known = cluster.rules(request.ns);
    if (!known) {
      conclude(request,
               Judgement::unsure("how this namespace is guarded is not known: " + known.error()),
               nullptr, outcome);
      return;
    }
    rules = std::move(*known);
    if (rules->mode == Mode::kOff && !judged_even_if_off(request)) {
      conclude(request, Judgement::pass("the namespace is labelled palisade.dev/enforce=off"),
               nullptr, outcome);
      return;
    }
  } else if (policy::template_of_resource(request.group, request.resource) != nullptr) {
    conclude(request, Judgement::not_understood("the review names no namespace"), nullptr, outcome);
    return;
  }
  conclude(request, judge(request, cluster), rules.get(), outcome);
}

void record_creator(const Request& request, const ClusterView& cluster, Outcome& outcome) {
  if (request.group != "palisade.dev" || request.resource != "agentworkspaces" ||
      !request.subresource.empty()) {
    deny_not_understood(request, "only AgentWorkspaces are changed; check the webhook's rules",
                        outcome);
    return;
  }
  const Judgement judgement = mutate_workspace(request, cluster);
  if (!judgement.error.empty()) {
    conclude(request, judgement, nullptr, outcome);
  } else {
    answer_with_patch(request, judgement.patch, outcome);
  }
}

using Answer = void (*)(const Request&, const ClusterView&, Outcome&);

Outcome decode_and(Answer then, std::string_view body, const ClusterView& cluster,
                   std::int64_t now) {
  if (body.empty()) return bad_request("the body is empty");
  thread_local simdjson::dom::parser parser;
  if (parser.max_depth() != kMaxDepth) {
    if (parser.allocate(kUsualBody, kMaxDepth) != simdjson::SUCCESS)
      return bad_request("out of memory");
  }
  const KeptParser kept(parser);
  element document;
  if (const auto error = parser.parse(body.data(), body.size()).get(document);
      error != simdjson::SUCCESS) {
    return bad_request(simdjson::error_message(error));
  }
  simdjson::dom::object members;
  if (document.get(members) != simdjson::SUCCESS) return bad_request("the body is no JSON object");
  std::array<int, 3> seen{};
  for (const auto [key, value] : members) {
    seen[0] += key == "apiVersion" ? 1 : 0;
    seen[1] += key == "kind" ? 1 : 0;
    seen[2] += key == "request" ? 1 : 0;
  }
  if (std::ranges::any_of(seen, [](int count) { return count != 1; }))
    return bad_request("apiVersion, kind and request must each be there once");
  if (text_at(document, "kind") != "AdmissionReview" ||
      text_at(document, "apiVersion") != "admission.k8s.io/v1") {
    return bad_request("kind must be AdmissionReview and apiVersion admission.k8s.io/v1");
  }
  element member;
  if (!object_at(document, "request", member) || !member.is_object())
    return bad_request("request is no object");
  const auto request = decode_request(member, now);
  if (!request) return bad_request(request.error());

  Outcome outcome;
  outcome.operation = operation_name(request->operation);
  outcome.dry_run = request->dry_run;
  outcome.request = request->uid;
  outcome.resource = request->resource;
  if (!request->subresource.empty()) (outcome.resource += '/') += request->subresource;
  then(*request, cluster, outcome);
  return outcome;
}

}  // namespace

std::vector<JudgedResource> judged_resources() {
  std::vector<JudgedResource> out;
  for (const Dispatch& row : kDispatch)
    out.push_back({row.group, row.resource, row.subresource});
  for (const policy::PodTemplate& kind : policy::pod_templates()) {
    if (kind.resource != "pods") out.push_back({kind.group, kind.resource, ""});
  }
  return out;
}

Outcome review(std::string_view body, const ClusterView& cluster, std::int64_t now) {
  return decode_and(answer, body, cluster, now);
}

Outcome mutate(std::string_view body, const ClusterView& cluster, std::int64_t now) {
  return decode_and(record_creator, body, cluster, now);
}

}  // namespace palisade::webhook
