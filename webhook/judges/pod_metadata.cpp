// What makes a pod a workspace's or an agent's: labels, owner references, the operator's
// annotations and its scheduling gate. Selectors, look-ups and the order "network first, then the
// pod" rest on them.
#include <algorithm>

#include "judges/guard.h"

namespace palisade::webhook {

namespace {

using policy::Finding;
using simdjson::dom::element;

constexpr std::string_view kGate = "palisade.dev/network-policy";

// A null where the other side has nothing is no difference.
void compare(const char* field, const Texts& before, const Texts& now, std::vector<Finding>& out) {
  const auto refuse = [&](std::string_view key, std::optional<std::string_view> found,
                          const std::string& what) {
    out.push_back({policy::kAgentIdentity, path_of(field, key), shown(found), what});
  };
  for (const auto& [key, value] : before) {
    if (!key.starts_with(kOwnPrefix)) continue;
    const auto kept = find_text(now, key);
    if (!kept || *kept != value)
      refuse(key, kept, "only the operator changes this: leave it at " + shown(value));
  }
  for (const auto& [key, value] : now) {
    // To call a pod an agent binds it more, not less.
    if (!key.starts_with(kOwnPrefix) || key == kAgentLabel || find_text(before, key)) continue;
    refuse(key, value, "only the operator sets this: leave it out");
  }
}

std::string owner_path(const WorkspaceOwner& owner, std::string_view prefix) {
  return std::string(prefix) + "metadata.ownerReferences[" + std::to_string(owner.index) + "]";
}

void compare_owners(const element& before, const element& now, std::vector<Finding>& out) {
  const auto had = workspace_owners(before);
  const auto has = workspace_owners(now);
  for (const WorkspaceOwner& owner : had) {
    if (std::ranges::find(has, owner) == has.end()) {
      out.push_back({policy::kAgentIdentity, "metadata.ownerReferences", "(absent)",
                     "the reference to " + std::string(owner.kind()) + " " + clipped(owner.name) +
                         (owner.pool ? " must stay: only the operator gives the pod to a workspace"
                                     : " must stay: the pod ends with its workspace")});
    }
  }
  for (const WorkspaceOwner& owner : has) {
    if (std::ranges::find(had, owner) == had.end()) {
      out.push_back({policy::kAgentIdentity, owner_path(owner, ""), shown(owner.name),
                     "only the operator makes pods of an " + std::string(owner.kind()) +
                         ": leave the reference out"});
    }
  }
}

// A running container is started anew with another image, which then has all that it had: the
// courier its token, the agent its repository.
void compare_images(const element& before, const element& now, std::vector<Finding>& out) {
  for (const char* const list : {"containers", "initContainers"}) {
    simdjson::dom::array had;
    simdjson::dom::array has;
    const std::string at = "/spec/" + std::string(list);
    if (before.at_pointer(at).get(had) != simdjson::SUCCESS ||
        now.at_pointer(at).get(has) != simdjson::SUCCESS) {
      continue;  // no update of a pod adds or removes either
    }
    std::size_t index = 0;
    auto next = has.begin();
    for (const element container : had) {
      const std::string_view image = text_at(container, "image");
      const std::string_view other = next != has.end() ? text_at(*next, "image") : "";
      if (image != other) {
        out.push_back({policy::kAgentIdentity,
                       "spec." + std::string(list) + "[" + std::to_string(index) + "].image",
                       shown(other),
                       "only the operator changes a workspace's images: leave it at " +
                           shown(image) + ", or change the AgentWorkspace's spec.agent.image"});
      }
      if (next != has.end()) ++next;
      ++index;
    }
  }
}

bool gated(const element& pod) {
  simdjson::dom::array gates;
  return pod.at_pointer("/spec/schedulingGates").get(gates) == simdjson::SUCCESS &&
         std::ranges::any_of(gates,
                             [](const element gate) { return text_at(gate, "name") == kGate; });
}

}  // namespace

std::vector<Finding> membership_findings(const element& pod, std::string_view prefix) {
  std::vector<Finding> out;
  for (const std::string_view mark : {kWorkspaceLabel, kPoolLabel, kSetupLabel}) {
    const auto label = find_text(metadata_texts(pod, "labels"), mark);
    if (!label) continue;
    out.push_back({policy::kAgentIdentity, std::string(prefix) + path_of("labels", mark),
                   shown(label),
                   "only the operator makes pods of an AgentWorkspace: leave the label out, or "
                   "create an AgentWorkspace"});
  }
  for (const WorkspaceOwner& owner : workspace_owners(pod)) {
    out.push_back({policy::kAgentIdentity, owner_path(owner, prefix), shown(owner.name),
                   "only the operator makes pods of an " + std::string(owner.kind()) +
                       ": leave the reference out, or create an " + std::string(owner.kind())});
  }
  return out;
}

std::vector<Finding> pod_metadata_findings(const Request& request, const ClusterView& cluster) {
  if (!request.object || by_operator(request, cluster)) return {};
  const element& now = *request.object;
  if (request.operation == Operation::kCreate) return membership_findings(now, "");
  if (!request.old_object) return {};
  const element& before = *request.old_object;
  std::vector<Finding> out;
  compare("labels", metadata_texts(before, "labels"), metadata_texts(now, "labels"), out);
  compare_owners(before, now, out);
  // Annotations mean something on a workspace's pod only, and other pods may have any.
  if (!workspace_owners(before).empty()) {
    compare("annotations", metadata_texts(before, "annotations"),
            metadata_texts(now, "annotations"), out);
    compare_images(before, now, out);
  }
  if (gated(before) && !gated(now)) {
    out.push_back({policy::kAgentIdentity, "spec.schedulingGates",
                   "(without " + std::string(kGate) + ")",
                   "only the operator lifts this gate, once the pod's NetworkPolicy is in place: "
                   "leave it"});
  }
  return out;
}

Judgement judge_pod_status(const Request& request, const ClusterView& cluster) {
  if (request.operation != Operation::kUpdate) {
    return Judgement::not_understood("the operation \"" + clipped(request.operation_text) +
                                     "\" is not judged here; check the webhook's rules");
  }
  if (!request.object || !request.old_object)
    return Judgement::not_understood("the review holds no object, or not the old one");
  Judgement out;
  out.subject = "status of a pod";
  out.reason = "a pod's labels and owners";
  out.findings = pod_metadata_findings(request, cluster);
  // The kubelets write statuses all day, and labels hardly ever with them.
  if (metadata_texts(*request.object, "labels") == metadata_texts(*request.old_object, "labels"))
    return out;
  const std::string reason = policy::agent_reason(*request.old_object);
  if (reason.empty()) return out;
  out.is_agent = true;
  out.reason = reason;
  auto network = pod_network_findings(request, cluster);
  if (!network) return Judgement::unsure(network.error());
  std::ranges::move(*network, std::back_inserter(out.findings));
  return out;
}

}  // namespace palisade::webhook
